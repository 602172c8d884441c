"""One server over HTTP: so many requests at once, faults tried again or named, the key in a header and nowhere else."""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import time
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
_SHORT = 8  # requests of its tokenizer at once: they take milliseconds, and shall not wait behind long answers
_LONGEST_PAUSE_S = 60.0  # between two tries; up to half of every pause is drawn by lot
_LONGEST_WISH_S = 120.0  # of a server's Retry-After: a longer one is a mistake, and is asked again by then
_MOST_BYTES = 256 * 2**20  # of an answer: scores of a long prompt take some megabytes
_SHOWN_CHARS = 300  # of what a server says: some give the whole request back, images and all
_SECRET_CHARS = 12  # a shorter key, such as `EMPTY`, may well stand in an answer
_LATER = frozenset({408, 425, 429, 503, 529})
_FOR_ALL = frozenset({401, 404})  # said of one request, it holds for every other

T = TypeVar("T")


class Kind(Enum):
    """What a fault says of the server; its value is how often one request is tried."""

    LATER = 20  # it is there, and busy
    GONE = 12  # it cannot be reached, or hung up
    BROKEN = 5  # it answered, or should have by now, and not as it ought to


class _Trouble(Exception):
    """A fault that may pass."""

    def __init__(self, kind: Kind, words: str, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.kind, self.words, self.wait_s = kind, words, wait_s


class Server:
    """A server's address, its key, and what has been asked of it.

    Raises:
        EngineStartError: the key's variable is not set here, or holds what no header can.
    """

    def __init__(self, options: EndpointOptions) -> None:
        self.url = (options.url or "").rstrip("/")
        self._key = _key(options.key_env)
        self._timeout_s = options.timeout_s
        self._patience_s, self._pause_s = options.patience_s, options.pause_s
        self._slots = asyncio.Semaphore(options.concurrency)
        self._short_slots = asyncio.Semaphore(_SHORT)
        self._client = httpx.AsyncClient(
            verify=self.url.startswith("https:"),  # else no certificates are loaded, for a tenth of a second
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(options.timeout_s, connect=_CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=options.concurrency + _SHORT + 1),  # one to ask whether it is alive
        )
        self.clock = EngineClock()
        self._answered = time.monotonic()
        self._asked = 0
        self._prompt_tokens = self._cached_tokens = self._generated_tokens = 0
        self._closed = False

    async def models(self) -> dict[str, str]:
        """The models that it serves, each with its owner; empty where the server does not say. Asked once.

        Raises:
            EngineStartError: no server answers there.
        """
        try:
            return await self._once("GET", f"{self.url}/models", None, _read_models)
        except _Trouble as trouble:
            raise EngineStartError(f"no model server at {self.url}: {trouble.words}") from None
        except EngineError:  # not every server lists its models, nor to everyone
            return {}

    async def post(self, path: str, body: Json, read: Callable[[Any], T]) -> T:
        """Ask until it is answered, or cannot be.

        Args:
            path: under the base URL; with a leading slash under the server's root, where vLLM has its tokenizer.
            body: sent as JSON.
            read: makes a record of the answer; what it raises means that the answer is damaged.

        Raises:
            RequestRefused: the server refuses this request, or fails at it again and again while it is alive.
            EngineDead: nothing has been answered for `patience_s`, or the server hung up again and again.
            EngineError: the server refuses every request: the key, the path.
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
        """Wait before the next try, or give up.

        Who is busy or broken at one request and lives refuses that request. Who hangs up may do so at any question, so
        that is the engine's death: the pool then finds the question, if it is one.
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
            raise _Trouble(Kind.BROKEN, f"timed out (no whole answer in {self._timeout_s:.0f} s)") from None
        except UnicodeEncodeError:
            raise RequestRefused(
                Reason.ENGINE_REFUSED, "half a surrogate pair in a text: no JSON can hold it"
            ) from None
        except (httpx.TransportError, httpx.DecodingError, RuntimeError) as error:  # RuntimeError: closed meanwhile
            raise _Trouble(Kind.GONE, self._cleaned(f"{error}") or type(error).__name__) from None
        except (httpx.InvalidURL, ValueError) as error:
            raise EngineError(f"{self.url}: {self._cleaned(str(error))}") from None
        if not response.is_success:
            raise self._fault(response)
        if self._key and len(self._key) >= _SECRET_CHARS and self._key in response.text:
            raise RequestRefused(Reason.ENGINE_REFUSED, "the answer holds the key")
        try:
            record = read(response.json())
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise _Trouble(Kind.BROKEN, f"unexpected answer: {self._cleaned(response.text)}") from None
        self._answered = time.monotonic()
        if isinstance(record, Reply):
            self._tally(record)
        return record

    async def _fetch(self, method: str, url: str, body: Json | None) -> httpx.Response:
        """The whole answer: in one time for all of it, since httpx's own is for each read, and of bounded size."""
        content = bytearray()
        async with asyncio.timeout(self._timeout_s), self._client.stream(method, url, json=body) as response:
            async for block in response.aiter_bytes():
                content += block
                if len(content) > _MOST_BYTES:
                    raise _Trouble(Kind.BROKEN, f"an answer of more than {_MOST_BYTES // 2**20} MiB")
        headers = {name: value for name, value in response.headers.items() if name.lower() != "content-encoding"}
        return httpx.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)

    def _tally(self, reply: Reply) -> None:
        self._prompt_tokens += reply.prompt_tokens
        self._cached_tokens += reply.cached_tokens
        self._generated_tokens += sum(choice.n_tokens for choice in reply.choices)

    def _fault(self, response: httpx.Response) -> Exception:
        words = f"HTTP {response.status_code}: {self._cleaned(_words(response)) or response.reason_phrase}"
        if response.status_code in _LATER:
            return _Trouble(Kind.LATER, words, _retry_after(response))
        if response.status_code >= 500 and response.status_code != 501:
            return _Trouble(Kind.BROKEN, words, _retry_after(response))
        self._answered = time.monotonic()
        if response.status_code in _FOR_ALL:
            return EngineError(f"{response.url.copy_with(query=None)}: {words}")
        return refusal(words)

    def _cleaned(self, words: str) -> str:
        """What a server or a library said, fit for an error: one short line without the key, even if given back."""
        words = words.replace(self._key, HIDDEN) if self._key else words
        words = "".join(char if char.isprintable() else " " for char in words[: 20 * _SHOWN_CHARS])
        line = " ".join(redacted(words).split())
        return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}.."

    async def is_alive(self) -> bool:
        """Whether the server answers at all: where it has one, its own report of its health."""
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
        """Totals so far. No step is ever overdue: every request has a time-out of its own."""
        pulse = Pulse(
            running=self.clock.running,
            waiting=self._asked - self.clock.running,
            generated_tokens=self._generated_tokens,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
        )
        return self.clock.on(pulse)

    async def close(self) -> None:
        """Hang up; what is still asked ends in `EngineDead`."""
        self._closed = True
        await self._client.aclose()


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineStartError("the environment variable that endpoint_key_env names is not set on this node")
    if not (key.isascii() and key.isprintable()):
        raise EngineStartError(f"the key in {variable} has characters that no HTTP header can hold")
    return key


def _read_models(answer: Any) -> dict[str, str]:  # noqa: ANN401  any JSON
    return {str(model["id"]): str(model.get("owned_by", "")).lower() for model in answer["data"]}


def _words(response: httpx.Response) -> str:
    """The message of an error as OpenAI, vLLM, LMDeploy and FastAPI wrap it, else the body."""
    try:
        answer = response.json()
    except ValueError:
        return response.text
    for name in ("error", "message", "detail"):
        if isinstance(answer, dict) and name in answer:
            answer = answer[name]
    return str(answer)


def _retry_after(response: httpx.Response) -> float:
    """Seconds to wait at the server's wish: a number, or a date."""
    wish = response.headers.get("Retry-After", "").strip()
    if wish.replace(".", "", 1).isdecimal():
        return min(_LONGEST_WISH_S, float(wish))
    try:
        return min(_LONGEST_WISH_S, max(0.0, email.utils.parsedate_to_datetime(wish).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 0.0
