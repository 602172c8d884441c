"""`allowed_hosts`: decide which addresses may be fetched, and which IP addresses they may resolve to. Pure."""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass

from mmpr.errors import ConfigError

_WEB_PORTS = {"https": 443, "http": 80}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")
_EXPECTED = "example.org, *.example.org, http://example.org:8080, s3://bucket, or a network of your own like 10.0.0.0/8"

_UNICAST, _NAT64 = ipaddress.IPv6Network("2000::/3"), ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = {0x5EFE, 0x2005EFE}  # the upper half of an interface identifier that ends in an IPv4 address
# Ranges that are reserved, but that some versions of Python still report as global.
_SET_ASIDE = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4"),
            *("2001::/23", "2001:db8::/32", "3fff::/20"),
            # AS112 answers for private addresses, AMT relays multicast, and the 6bone is returned
            *("192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "2620:4f:8000::/48", "3ffe::/16"),
        ),
    )
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Place:
    """The target of an address: host and port of a web server, or the bucket of a store (port None)."""

    scheme: str
    host: str
    port: int | None = None

    def entry(self) -> str:
        """Return the entry of `allowed_hosts` that would allow it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port is not None and self.port != _WEB_PORTS[self.scheme]:
            host = f"{host}:{self.port}"
        return host if self.scheme == "https" else f"{self.scheme}://{host}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """The parsed entries of `allowed_hosts`.

    `above` allows every subdomain of its places, but not the places themselves.
    """

    places: frozenset[Place]
    above: frozenset[Place]
    networks: tuple[Network, ...]

    def refusal(self, place: Place) -> str | None:
        """Return why nothing may be fetched from a place, with the remedy; None if it is allowed."""
        if place in self.places or any(self._is_below(place, above) for above in self.above):
            return None
        address = _ip(place.host)
        if place.scheme == "https" and address is not None and self._lists(address):
            return None
        entry = place.entry()
        return f"{entry} is not in allowed_hosts: allowed_hosts=[{entry}] lets mmpr fetch from it"

    def address_refusal(self, host: str, address: str) -> str | None:
        """Return why a connection is refused although its host is allowed: the name resolves to a private network."""
        ip = _ip(address)
        if ip is None or not (self._lists(ip) or all(_is_public(one) or self._lists(one) for one in _ends(ip))):
            remedy = f"if that is meant, list {address} in allowed_hosts, too"
            return f"{host} leads to {address}, an address of this machine or its network: {remedy}"
        return None

    def schemes(self) -> list[str]:
        """The allowed kinds of addresses, sorted."""
        networks = {"https"} if self.networks else set()
        return sorted({place.scheme for place in (*self.places, *self.above)} | networks)

    def _is_below(self, place: Place, above: Place) -> bool:
        same = (place.scheme, place.port) == (above.scheme, above.port)
        return same and place.host.endswith(f".{above.host}") and _ip(place.host) is None

    def _lists(self, address: IpAddress) -> bool:
        return not address.is_multicast and any(address in network for network in self.networks)


def place_of(address: str) -> Place | str:
    """Return the target of an address, or why it is unclear.

    An address that two parsers may read differently is refused.
    """
    scheme, separator, rest = address.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return f"addresses that begin with {scheme[:40]!r} are not read"
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # parsers differ here: `http://good.org\@evil.org` is evil.org to some and good.org to others
    if re.search(r"[\s\\\x00-\x1f\x7f]", host):
        return "the host of its address has characters that no host has"
    scheme = scheme.lower()
    if scheme in ("file", "local"):
        return "a file of this machine is written as a path, or file:///path"
    if scheme not in _WEB_PORTS:
        return Place(scheme, host) if host else "its address has no host or bucket"
    found = _HOST.fullmatch(host)
    if found is None:
        return "its address must be https://host/path or https://host:port/path, the host in ASCII, without a user"
    return Place(scheme, _plain(found["host"]), int(found["port"] or _WEB_PORTS[scheme]))


@functools.lru_cache(maxsize=16)
def parse_allowed(entries: tuple[str, ...]) -> Allowed:
    """Parse `allowed_hosts`; raises `ConfigError` that names an invalid entry."""
    places: set[Place] = set()
    above: set[Place] = set()
    networks: list[Network] = []
    for entry in entries:
        if (network := _network(entry)) is not None:
            networks.append(network)
            continue
        scheme, separator, host = entry.rpartition("://")
        wildcard = host.startswith("*.")
        place = place_of(f"{scheme or 'https'}://{host.removeprefix('*.')}")
        if isinstance(place, str) or "/" in host or (wildcard and place.port is None) or (separator and not scheme):
            raise ConfigError(f"allowed_hosts: {entry!r}: write {_EXPECTED}")
        (above if wildcard else places).add(place)
        if (network := _network(place.host)) is not None:
            networks.append(network)
    return Allowed(frozenset(places), frozenset(above), tuple(networks))


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _ip(host: str) -> IpAddress | None:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped) or found


def _ends(address: IpAddress) -> list[IpAddress]:
    """Return where packets to an address may arrive: there, and at each IPv4 address that a gateway may read in it.

    `64:ff9b::a9fe:a9fe` is 169.254.169.254 behind a NAT64 gateway, where cloud machines find their credentials.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    number = int(address)
    last = ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if address in _NAT64:
        return [last]  # DNS64 gives such addresses to every name in networks without IPv4
    inside = [one for one in (address.sixtofour, *(address.teredo or ())) if one is not None]
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        inside.append(last)
    return [address, *inside]


def _is_public(address: IpAddress) -> bool:
    """Whether an address is public and not reserved; each version of Python knows more reserved ranges."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False  # ::127.0.0.1, ::ffff:0:127.0.0.1, 64:ff9b:1::/48, fec0::1, and unassigned ranges
    set_aside = any(address in network for network in _SET_ASIDE)
    return address.is_global and not (address.is_multicast or address.is_reserved or set_aside)


def _plain(host: str) -> str:
    return host.strip("[]").lower().rstrip(".")
