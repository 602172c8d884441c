"""One server over HTTP: limit the open requests, retry faults that may pass, and keep the key in a header only."""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import time
import zlib
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

import httpx

from mmpr.engines.endpoint.server_records import Reply
from mmpr.engines.endpoint.wire import Json, refusal
from mmpr.engines.engine_options import EndpointOptions
from mmpr.engines.protocol import EngineClock, Pulse
from mmpr.errors import EngineDead, EngineError, EngineStartError, RequestRefused
from mmpr.redact import HIDDEN, redacted
from mmpr.types import Reason

_CONNECT_S = 10.0
_SHORT = 8  # open requests to the tokenizer: they take milliseconds and have their own slots, to pass long answers
_LONGEST_PAUSE_S = 60.0  # between two tries; each pause is shortened by a random part of up to half
_LONGEST_WISH_S = 120.0  # a longer Retry-After is taken for a mistake of the server and is cut to this
_MOST_BYTES = 256 * 2**20  # of a reply: the scores of a long prompt take some megabytes
_MOST_BYTES_AT_ONCE = 512 * 2**20  # of all replies that are being received
_SHOWN_CHARS = 300  # of a server's message: some servers repeat the whole request in it, with its images
_SECRET_CHARS = 12  # a shorter key, such as `EMPTY`, may occur in an answer by chance
_LATER = frozenset({408, 425, 429, 503, 529})
_FOR_ALL = frozenset({401, 404})  # a wrong key or path: all other requests would get the same status

T = TypeVar("T")


class Kind(Enum):
    """The kind of a fault; its value is how often one request is tried."""

    LATER = 20  # the server is busy
    GONE = 12  # the server cannot be reached, or closed the connection
    BROKEN = 5  # the server sent a bad reply, or none within the time limit


class _Trouble(Exception):
    """A fault that may be gone at the next try."""

    def __init__(self, kind: Kind, words: str, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.kind, self.words, self.wait_s = kind, words, wait_s


class Server:
    """A server: its address, its key, and counters of its requests.

    Raises:
        EngineStartError: the environment variable of the key is not set here, or an HTTP header cannot hold the key.
    """

    def __init__(self, options: EndpointOptions) -> None:
        self.url = (options.url or "").rstrip("/")
        self._key = _key(options.key_env)
        self._timeout_s = options.timeout_s
        self._patience_s, self._pause_s = options.patience_s, options.pause_s
        self._slots = asyncio.Semaphore(options.concurrency)
        self._short_slots = asyncio.Semaphore(_SHORT)
        self._client = httpx.AsyncClient(
            verify=self.url.startswith("https:"),  # loading certificates takes a tenth of a second
            headers={
                "Accept-Encoding": "gzip, deflate",
                **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            },
            # No time limit for a free connection (`pool`): `_slots` already bounds the number of open requests.
            timeout=httpx.Timeout(options.timeout_s, connect=_CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=options.concurrency + _SHORT + 1),  # one more for `is_alive`
        )
        self.clock = EngineClock()
        self._answered = time.monotonic()
        self._asked = 0
        self._receiving = 0  # bytes
        self._prompt_tokens = self._cached_tokens = self._generated_tokens = 0
        self._closed = False

    @property
    def hint(self) -> str:
        """Return the probable mistake if the server finds nothing at the address, as the end of a line; or ""."""
        return "" if self.url.endswith("/v1") else "; such an address usually ends in /v1"

    async def models(self) -> dict[str, str]:
        """Return the served models, each with its owner; empty if the server does not list them. Makes one try.

        Raises:
            EngineStartError: no server answers at the address.
        """
        try:
            return await self._once("GET", f"{self.url}/models", None, _read_models)
        except _Trouble as trouble:
            raise EngineStartError(f"no model server at {self.url}: {trouble.words}") from None
        except EngineError:  # some servers have no list of models, or show it only to some keys
            return {}

    async def post(self, path: str, body: Json, read: Callable[[Any], T]) -> T:
        """Send a request, with retries, and return the reply as a record.

        Args:
            path: under the base URL; with a leading slash, under the server's root, where vLLM has its tokenizer.
            body: sent as JSON.
            read: makes a record of the reply's JSON; if it raises an error, the reply is damaged and is requested
                again.

        Raises:
            RequestRefused: the server refuses this request, or fails at it at every try and is still alive.
            EngineDead: the server has answered no request for `patience_s`, or has closed the connection at every try.
            EngineError: the server refuses every request, because of the key or the path.
        """
        if path.startswith("/"):
            async with self._short_slots:
                return await self._insist(self.url.removesuffix("/v1") + path, body, read)
        self._asked += 1
        try:
            async with self._slots:
                with self.clock.serving():
                    return await self._insist(f"{self.url}/{path}", body, read)
        finally:
            self._asked -= 1

    async def _insist(self, url: str, body: Json, read: Callable[[Any], T]) -> T:
        failed_at, tries = 0.0, 0
        while True:
            try:
                return await self._once("POST", url, body, read)
            except _Trouble as trouble:
                failed_at, tries = failed_at or time.monotonic(), tries + 1
                await self._pause(trouble, failed_at, tries)

    async def _pause(self, trouble: _Trouble, failed_at: float, tries: int) -> None:
        """Wait before the next try, or raise an error if there is none.

        A server that is busy or fails at one request, but is alive, has refused that request. A server that closes the
        connection may have crashed, so the engine counts as dead; if one question causes it, the pool finds that
        question.
        """
        if self._closed:
            raise EngineDead(f"{self.url}: this engine was closed")
        if tries >= trouble.kind.value:
            words = f"{trouble.words} ({tries} times)"
            if trouble.kind is Kind.GONE or not await self.is_alive():
                raise EngineDead(f"{self.url}: {words}")
            raise RequestRefused(Reason.ENGINE_REFUSED, words)
        grown = min(_LONGEST_PAUSE_S, self._pause_s * 2 ** (tries - 1))
        pause = trouble.wait_s + grown * random.uniform(0.5, 1.0)
        silent_s = time.monotonic() - max(failed_at, self._answered)
        if silent_s + pause > self._patience_s:
            raise EngineDead(f"{self.url}: {trouble.words}; no request was answered for {silent_s:.0f} s")
        await asyncio.sleep(pause)

    async def _once(self, method: str, url: str, body: Json | None, read: Callable[[Any], T]) -> T:
        if self._closed:
            raise EngineDead(f"{self.url}: this engine was closed")
        try:
            response = await self._fetch(method, url, body)
        except httpx.TimeoutException as error:
            kind = Kind.GONE if isinstance(error, httpx.ConnectTimeout) else Kind.BROKEN
            raise _Trouble(kind, f"timed out ({type(error).__name__})") from None
        except TimeoutError:
            raise _Trouble(Kind.BROKEN, f"timed out (no complete reply in {self._timeout_s:.0f} s)") from None
        except UnicodeEncodeError:
            raise RequestRefused(
                Reason.ENGINE_REFUSED, "a text has half a surrogate pair, which UTF-8 cannot encode"
            ) from None
        except (httpx.TransportError, httpx.DecodingError, RuntimeError) as error:  # RuntimeError: `close` was called
            raise _Trouble(Kind.GONE, self._cleaned(f"{error}") or type(error).__name__) from None
        except (httpx.InvalidURL, ValueError) as error:
            raise EngineError(f"{self.url}: {self._cleaned(str(error))}") from None
        if not response.is_success:
            raise self._fault(response)
        if self._key and len(self._key) >= _SECRET_CHARS and self._key in response.text:
            raise RequestRefused(Reason.ENGINE_REFUSED, "the reply contains the key")
        try:
            record = read(response.json())
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            raise _Trouble(Kind.BROKEN, f"unexpected reply: {self._cleaned(response.text)}") from None
        self._answered = time.monotonic()
        if isinstance(record, Reply):
            self._tally(record)
        return record

    async def _fetch(self, method: str, url: str, body: Json | None) -> httpx.Response:
        """Return the whole reply, within a time limit and a size limit.

        The time limits of httpx hold for each read: a server that sends one byte a second would never reach them.
        """
        content = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s), self._client.stream(method, url, json=body) as response:
                async for block in response.aiter_raw():
                    content += block
                    self._receiving += len(block)
                    if len(content) > _MOST_BYTES or self._receiving > _MOST_BYTES_AT_ONCE:
                        raise _Trouble(Kind.BROKEN, f"a reply of more than {len(content) // 2**20} MiB")
        finally:
            self._receiving -= len(content)
        whole = _unpacked(bytes(content), response.headers.get("content-encoding", ""))
        # it is unpacked, so the new response must not do it again
        headers = {name: value for name, value in response.headers.items() if name.lower() != "content-encoding"}
        return httpx.Response(response.status_code, headers=headers, content=whole, request=response.request)

    def _tally(self, reply: Reply) -> None:
        self._prompt_tokens += reply.prompt_tokens
        self._cached_tokens += reply.cached_tokens
        self._generated_tokens += sum(choice.n_tokens for choice in reply.choices)

    def _fault(self, response: httpx.Response) -> Exception:
        words = f"HTTP {response.status_code}: {self._cleaned(_words(response)) or response.reason_phrase}"
        if response.status_code in _LATER:
            return _Trouble(Kind.LATER, words, _retry_after(response))
        if response.status_code >= 500 and response.status_code != 501:  # 501 (Not Implemented) stays at every try
            return _Trouble(Kind.BROKEN, words, _retry_after(response))
        self._answered = time.monotonic()  # a refusal too shows that the server is alive
        if response.status_code in _FOR_ALL:
            hint = self.hint if response.status_code == httpx.codes.NOT_FOUND else ""
            return EngineError(f"{response.url.copy_with(query=None)}: {words}{hint}")
        return refusal(words)

    def _cleaned(self, words: str) -> str:
        """Return a message of a server or library as one short line; the key is hidden if the message repeats it."""
        words = words.replace(self._key, HIDDEN) if self._key else words
        words = "".join(char if char.isprintable() else " " for char in words[: 20 * _SHOWN_CHARS])
        line = " ".join(redacted(words).split())
        return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}.."

    async def is_alive(self) -> bool:
        """Whether the server answers without a server error: at `/health`, or at `/models` if it has no `/health`."""
        for url in (f"{self.url.removesuffix('/v1')}/health", f"{self.url}/models"):
            try:
                async with asyncio.timeout(_CONNECT_S), self._client.stream("GET", url) as response:
                    status = response.status_code
            except (httpx.HTTPError, RuntimeError, TimeoutError):
                return False
            if status != httpx.codes.NOT_FOUND:
                return not httpx.codes.is_server_error(status)
        return True

    def pulse(self) -> Pulse:
        """Return the totals so far. `step_age_s` stays 0, because every request has its own time-out."""
        pulse = Pulse(
            running=self.clock.running,
            waiting=self._asked - self.clock.running,
            generated_tokens=self._generated_tokens,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
        )
        return self.clock.on(pulse)

    async def close(self) -> None:
        """Close all connections; open requests end with `EngineDead`."""
        self._closed = True
        await self._client.aclose()


def _unpacked(content: bytes, encoding: str) -> bytes:
    """Unpack a reply; httpx would unpack 60 kB of `gzip, gzip` to gigabytes before it returns any of them."""
    names = [name for one in encoding.lower().split(",") if (name := one.strip()) not in ("", "identity")]
    if not names:
        return content
    if names not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise _Trouble(Kind.BROKEN, "a reply that is packed in another way than was asked for")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of the two
    try:
        whole = unpacker.decompress(content, _MOST_BYTES)
    except zlib.error as error:
        raise _Trouble(Kind.BROKEN, f"a reply that cannot be unpacked ({error})") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise _Trouble(Kind.BROKEN, f"a reply that is cut short, or unpacks to more than {_MOST_BYTES // 2**20} MiB")
    return whole


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineStartError("the environment variable that endpoint_key_env names is not set on this node")
    if not (key.isascii() and key.isprintable()):
        raise EngineStartError(f"the key in {variable} has characters that an HTTP header cannot hold")
    return key


def _read_models(answer: Any) -> dict[str, str]:  # noqa: ANN401  any JSON
    return {str(model["id"]): str(model.get("owned_by", "")).lower() for model in answer["data"]}


def _words(response: httpx.Response) -> str:
    """Return the message in an error reply of OpenAI, vLLM, LMDeploy or FastAPI, or else the whole body.

    OpenAI has it in `error.message`, LMDeploy in `message`, FastAPI in `detail`.
    """
    try:
        answer = response.json()
    except ValueError:
        return response.text
    for name in ("error", "message", "detail"):
        if isinstance(answer, dict) and name in answer:
            answer = answer[name]
    return str(answer)


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds that the server's Retry-After header asks for, as a number or as a date; 0 if it has none."""
    wish = response.headers.get("Retry-After", "").strip()
    if wish.replace(".", "", 1).isdecimal():
        return min(_LONGEST_WISH_S, float(wish))
    try:
        return min(_LONGEST_WISH_S, max(0.0, email.utils.parsedate_to_datetime(wish).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 0.0
