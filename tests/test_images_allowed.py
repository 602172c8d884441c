"""Which addresses an allowed name may lead to: only the internet, however a private address is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.images.allowed import parse_allowed

SPECIAL_4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24"),
)
SPECIAL_6 = (
    *("::/128", "::1/128", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:2::/48"),
    *("2001:10::/28", "2001:20::/28", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10"),
    *("ff00::/8", "4000::/3", "8000::/3", "2620:4f:8000::/48", "3ffe::/16", "2001:4:112::/48", "2001:30::/28"),
)
PUBLIC_4 = ("8.8.8.8", "1.1.1.1", "93.184.215.14", "172.32.0.1", "100.128.0.1", "169.253.1.1", "192.169.0.1")
# An IPv4 address in an IPv6 address: mapped, NAT64, 6to4, ISATAP (local and global).
CARRIERS = {
    "mapped": lambda number: 0xFFFF << 32 | number,
    "NAT64": lambda number: 0x64FF9B << 96 | number,
    "6to4": lambda number: 0x2002 << 112 | number << 80 | 1,
    "ISATAP": lambda number: 0x26064700 << 96 | 0x5EFE << 32 | number,
    "ISATAP, global": lambda number: 0x26064700 << 96 | 0x2005EFE << 32 | number,
}


def in_networks(networks):
    """Any address of any of them, its first and last too."""
    each = [ipaddress.ip_network(network) for network in networks]
    return st.one_of(
        *(st.integers(int(n.network_address), int(n.broadcast_address)).map(type(n.network_address)) for n in each)
    )


def refused(address, *entries):
    return parse_allowed(("example.org", *entries)).address_refusal("example.org", str(address)) is not None


@given(in_networks((*SPECIAL_4, *SPECIAL_6)))
def test_every_address_of_a_special_range_is_refused(address):
    assert refused(address)


@given(in_networks(SPECIAL_4), st.sampled_from(sorted(CARRIERS)))
def test_an_address_of_a_special_range_is_refused_in_every_form(address, carrier):
    assert refused(ipaddress.IPv6Address(CARRIERS[carrier](int(address))))


@pytest.mark.parametrize("address", PUBLIC_4)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_public_address_is_not_refused_in_any_form(address, carrier):
    number = int(ipaddress.IPv4Address(address))
    assert not refused(address)
    assert not refused(ipaddress.IPv6Address(CARRIERS[carrier](number)))


@pytest.mark.parametrize(
    "address", ["2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "2400:cb00::1", "2001:4860::1"]
)
def test_a_public_address_of_the_new_protocol_is_not_refused(address):
    assert not refused(address)


@given(in_networks(("10.0.0.0/8",)), st.sampled_from(["mapped", "NAT64"]))
def test_a_network_that_is_listed_is_listed_in_every_form(address, carrier):
    assert not refused(address, "10.0.0.0/8")
    assert not refused(ipaddress.IPv6Address(CARRIERS[carrier](int(address))), "10.0.0.0/8")


def test_what_is_no_address_is_refused():
    assert all(refused(text) for text in ("", "localhost", "127.1", "0x7f000001", "fe80::1%eth0", "1.2.3.4.5"))
