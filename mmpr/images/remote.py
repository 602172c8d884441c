"""Fetch images from allowed hosts only, with limits of size and time.

A row's address is untrusted input. Refused are: hosts that are not allowed, also behind a redirect; addresses of this
machine and its network, also behind an allowed name whose DNS answer changes (the resolver of the connection itself
checks this); endless bodies; servers that never answer. fsspec's file systems read keys from the environment. If the
environment names a proxy, the proxy resolves names.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

from mmpr.errors import ConfigError, ImageError, MmprError
from mmpr.extras import missing_extra
from mmpr.images.allowed import Allowed, Place, parse_allowed, place_of
from mmpr.images.image_faults import too_large, unreadable
from mmpr.images.image_options import ImageOptions
from mmpr.types import Reason

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientResponse, ClientResponseError, ClientSession
    from tenacity import RetryCallState

_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_CHUNK_BYTES = 1 << 20
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # temporary statuses
_MOST_REDIRECTS = 5
_CONNECTIONS_A_HOST = 16


class _Refused(MmprError):
    """A redirect or a name that leads to a refused host; caught inside this file."""


class _Failed(MmprError):
    """A failed attempt: its reason, whether another one may succeed, and the pause that the server asks for."""

    def __init__(self, words: str, *, may_pass: bool, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.may_pass = may_pass
        self.wait_s = wait_s


def check_hosts(allowed_hosts: Sequence[str]) -> None:
    """Raise `ConfigError` for an invalid entry, or for a store whose package is not installed."""
    import fsspec

    for scheme in parse_allowed(tuple(allowed_hosts)).schemes():
        try:
            fsspec.get_filesystem_class(scheme)
        except (ImportError, ValueError) as error:
            if isinstance(error, ImportError) and (missing := missing_extra(error)):
                raise missing from None
            raise ConfigError(f"allowed_hosts: {scheme}:// cannot be read here: {error}") from None


def fetch(address: str, name: str, options: ImageOptions, max_bytes: int, out: BinaryIO) -> None:
    """Write the content of an address to `out`; each attempt truncates it first.

    Raises:
        ImageError: IMAGE_NOT_ALLOWED; IMAGE_MISSING; IMAGE_TOO_LARGE; IMAGE_UNREACHABLE after the last attempt.
    """
    place = place_of(address)
    if isinstance(place, str):
        raise unreadable(name, place)
    if refusal := parse_allowed(options.allowed_hosts).refusal(place):
        raise ImageError(Reason.IMAGE_NOT_ALLOWED, f"{name}: {refusal}")
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    attempt = _from_web if place.port is not None else _from_store
    retrying = Retrying(
        stop=stop_after_attempt(options.fetch_retries + 1),
        retry=retry_if_exception(lambda error: isinstance(error, _Failed) and error.may_pass),
        wait=_pause_s,
        reraise=True,
    )
    tries = 0
    try:
        for once in retrying:
            with once:
                tries = once.retry_state.attempt_number
                out.seek(0)
                out.truncate()
                attempt(address, place, options, cast("BinaryIO", _Bounded(out, name, max_bytes)))
    except FileNotFoundError as error:
        raise ImageError(Reason.IMAGE_MISSING, f"{name}: nothing is there") from error
    except _Refused as error:
        raise ImageError(Reason.IMAGE_NOT_ALLOWED, f"{name}: {error}") from error
    except _Failed as error:
        message = f"{name}: {error}" + (f" ({tries} attempts)" if tries > 1 else "")
        raise ImageError(Reason.IMAGE_UNREACHABLE, " ".join(message.split())) from error


def _pause_s(state: RetryCallState) -> float:
    """Return the pause: twice as long each time, with a random part, and at least as long as the server asks."""
    from tenacity import wait_exponential, wait_random

    growing = wait_exponential(multiplier=_PAUSE_S, max=_LONGEST_PAUSE_S) + wait_random(0, _PAUSE_S)
    failed = state.outcome.exception() if state.outcome else None
    asked_s = failed.wait_s if isinstance(failed, _Failed) else 0.0
    return min(max(growing(state), asked_s), _LONGEST_PAUSE_S)


class _Bounded:
    """A file that refuses to grow beyond a limit, because a header or a store's listing may lie."""

    def __init__(self, out: BinaryIO, name: str, max_bytes: int) -> None:
        self._out, self._name, self._max_bytes = out, name, max_bytes
        self._size = 0

    def write(self, content: bytes) -> int:
        self._size += len(content)
        if self._size > self._max_bytes:
            raise too_large(self._name, self._size, "bytes or more", self._max_bytes)
        return self._out.write(content)

    def read(self) -> bytes:
        raise OSError("only written to")  # fsspec recognises a file by its methods read, close and tell

    close = tell = read


# -- stores ---------------------------------------------------------------------------------------------------------


def _from_store(address: str, place: Place, options: ImageOptions, out: BinaryIO) -> None:
    import fsspec

    try:
        files = fsspec.filesystem(place.scheme)
        with files.open(address, "rb") as file:
            while content := file.read(_CHUNK_BYTES):
                out.write(content)
    except (ImageError, FileNotFoundError):
        raise
    except (PermissionError, IsADirectoryError, ImportError, ValueError) as error:
        raise _Failed(_words(error), may_pass=False) from error
    except Exception as error:  # every store has its own errors
        raise _Failed(_words(error), may_pass=True) from error


# -- the web --------------------------------------------------------------------------------------------------------


def _from_web(address: str, place: Place, options: ImageOptions, out: BinaryIO) -> None:
    import aiohttp

    try:
        _web(options).get_file(address, out)
    except aiohttp.TooManyRedirects as error:
        raise _Failed(f"redirects more than {_MOST_REDIRECTS} times", may_pass=False) from error
    except aiohttp.ClientResponseError as error:
        raise _answered(error) from error
    except TimeoutError as error:
        slow = f"no complete answer within {options.fetch_timeout_s:g} s (fetch_timeout_s)"
        raise _Failed(slow, may_pass=True) from error
    except aiohttp.ClientError as error:
        raise _Failed(_words(error), may_pass=not isinstance(error, aiohttp.InvalidURL)) from error
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # the disk is full, or the client cannot parse the address
        raise _Failed(_words(error), may_pass=False) from error


def _answered(error: ClientResponseError) -> _Failed:
    asked = error.headers.get("Retry-After", "") if error.headers else ""
    wait_s = float(asked) if asked.isdecimal() else 0.0
    words = f"{error.request_info.real_url.host} answers {error.status} {error.message}"
    return _Failed(words, may_pass=error.status in _PASSING, wait_s=wait_s)


@functools.lru_cache(maxsize=4)
def _web(options: ImageOptions) -> Any:  # noqa: ANN401 fsspec has no types
    """Return fsspec's file system of the web with a restricted client; one per process."""
    from fsspec.implementations.http import HTTPFileSystem

    allowed = parse_allowed(options.allowed_hosts)
    client = functools.partial(_client, allowed=allowed, timeout_s=options.fetch_timeout_s)
    # with compression, the limit would count unpacked bytes
    headers = {"Accept-Encoding": "identity", "User-Agent": "mmpr"}
    return HTTPFileSystem(
        get_client=client, headers=headers, max_redirects=_MOST_REDIRECTS, skip_instance_cache=True, encoded=False
    )


async def _client(*, allowed: Allowed, timeout_s: float, loop: object) -> ClientSession:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    proxies = {urlsplit(proxy).hostname for proxy in getproxies().values()}

    class Resolver(AbstractResolver):
        """Resolves names with the system's resolver and refuses addresses that are not allowed."""

        def __init__(self) -> None:
            self._system = aiohttp.ThreadedResolver()

        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:  # noqa: ANN401
            found = await self._system.resolve(host, port, family)
            for one in found if host not in proxies else ():
                if refusal := allowed.address_refusal(host, one["host"]):
                    raise _Refused(refusal)
            return found

        async def close(self) -> None:
            await self._system.close()

    async def stay(request: ClientRequest, handler: Callable[[Any], Awaitable[ClientResponse]]) -> ClientResponse:
        """Check the address before each connection, redirects included."""
        place = place_of(str(request.url))
        if refusal := place if isinstance(place, str) else allowed.refusal(place):
            raise _Refused(f"leads to {request.url.host}: {refusal}")
        return await handler(request)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=Resolver(), limit_per_host=_CONNECTIONS_A_HOST),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        middlewares=(stay,),
        trust_env=True,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
