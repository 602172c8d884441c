"""What an engine is: the protocol, the sampling values, its clock and its pulse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Protocol

from mmpr.errors import RequestRefused
from mmpr.prompts import count_tags
from mmpr.types import Continues, Prompt, Reason, Response


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an engine samples one request; `top_k` 0 means no limit; a seed of None leaves it to the engine.

    `first` is the index of the first response; a response's seed is `seed` plus its index. After
    `max_thought_tokens` the engine closes the thoughts; None: it never does.
    """

    n: int = 1
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    first: int = 0
    max_thought_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Pulse:
    """An engine's state as totals since its start.

    `busy_s`, `preparing_s` and `alive_s` are an `EngineClock`'s; `step_age_s` is the time since its last step;
    `memory_bytes` is what its processes hold (not a GPU's memory). `phase` is what it does while it starts, `warning` a
    line for a person about what it had to assume.
    """

    running: int = 0
    waiting: int = 0
    generated_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    busy_s: float = 0.0
    preparing_s: float = 0.0
    alive_s: float = 0.0
    step_age_s: float = 0.0
    memory_bytes: int = 0
    phase: str = ""
    warning: str = ""


_hear: ContextVar[Callable[[str], None]] = ContextVar("hear", default=lambda _: None)


def report_phase(words: str) -> None:
    """What an engine does while it starts ("loading weights"), shown while a build waits for it."""
    _hear.get()(words)


@contextmanager
def phases_heard(hear: Callable[[str], None]) -> Iterator[None]:
    """Within, `hear` gets what a starting engine reports."""
    token = _hear.set(hear)
    try:
        yield
    finally:
        _hear.reset(token)


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Natural log-probabilities of some answers as the first token of a reply, in their order.

    `prompt_tokens` is the length of the prompt that was read for them.
    """

    logprobs: tuple[float, ...]
    prompt_tokens: int


class EngineClock:
    """What an engine's time went into since it was up; for its event loop alone.

    `running` requests are with it now. It is busy while there is one; else, while one is on its way (images opened,
    cut into tiles), it waits for images; else for work.

    Args:
        now: seconds, from any beginning.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.running = 0
        self._preparing = 0
        self._busy_s = self._preparing_s = 0.0
        self._began = self._changed = now()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Around a request that the engine has."""
        self._pass()
        self.running += 1
        try:
            yield
        finally:
            self._pass()
            self.running -= 1

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Around what makes a request ready for the engine."""
        self._pass()
        self._preparing += 1
        try:
            yield
        finally:
            self._pass()
            self._preparing -= 1

    def on(self, pulse: Pulse) -> Pulse:
        """The pulse with the seconds until now: `busy_s`, `preparing_s` (not busy, a request on its way), `alive_s`."""
        self._pass()
        alive_s = self._changed - self._began
        return replace(pulse, busy_s=self._busy_s, preparing_s=self._preparing_s, alive_s=alive_s)

    def _pass(self) -> None:
        now = self._now()
        if self.running:
            self._busy_s += now - self._changed
        elif self._preparing:
            self._preparing_s += now - self._changed
        self._changed = now


class Engine(Protocol):
    """A served model. Many requests may wait at once; the engine batches them.

    `encode` and `decode` may block, so call them from a thread; an engine that continues from text has neither.
    """

    @property
    def continues(self) -> Continues:
        """How it continues a prefix; with TEXT its responses and prefixes have no token ids."""

    @property
    def clock(self) -> EngineClock:
        """The engine's clock. Code that prepares a request runs inside `clock.preparing()`."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        """Answer a prompt `sampling.n` times.

        Returns:
            n responses, their index from `sampling.first` on. After a prefix, `text` is what follows it in the decoded
            whole. Without one, thoughts stand apart from `text` unless `prompt.thinking` is None.

        Raises:
            RequestRefused: this request cannot be answered (too long, wrong tags, prefix changed); the engine lives on.
            EngineDead: the engine has ended; nothing it held was answered.
        """

    async def score(self, prompt: Prompt, token_ids: Sequence[int]) -> float:
        """Mean natural log-probability per token of `token_ids` as what follows the prompt; one prefill.

        Raises:
            RequestRefused, EngineDead: as `generate` does.
        """

    async def choose(self, prompt: Prompt, answers: Sequence[str]) -> AnswerScores:
        """How likely each of some answers is as the first token of the reply; one prefill and one token.

        Args:
            prompt: without a prefix.
            answers: texts that are one token each, such as the letters of options.

        Raises:
            RequestRefused: as `generate` does; or an answer is no single token, or got no log-probability.
            EngineDead: as `generate` does.
        """

    def describe(self) -> tuple[str, ...]:
        """What it took its model for, a line each, for `mmpr check --engine`."""

    async def count_tokens(self, text: str) -> int:
        """How many tokens an assistant's text takes."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of an assistant's text, no special token among them."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out, nothing cleaned up."""

    def pulse(self) -> Pulse:
        """How the engine is doing; cheap, never blocks."""

    async def close(self) -> None:
        """End the engine and every process it started."""


def check_tags(prompt: Prompt) -> None:
    """Every engine's first step: a prompt has one `<image>` tag an image, so a blind one has neither.

    Raises:
        RequestRefused: the counts differ.
    """
    tags = count_tags(message.text for message in prompt.messages)
    if tags != len(prompt.images):
        raise RequestRefused(Reason.IMAGE_TAGS, f"{tags} <image> tags for {len(prompt.images)} images")
