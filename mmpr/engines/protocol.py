"""The protocol of an engine, with its sampling values, its clock and its pulse."""

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
    """How an engine samples one request; `top_k` 0 means no limit; with a seed of None the engine chooses one.

    `first` is the index of the first response; the seed of a response is `seed` plus its index. After
    `max_thought_tokens` tokens the engine closes the thoughts; None: no limit. `scored`: return each response with its
    token ids and their log-probabilities, if the engine can.
    """

    n: int = 1
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    first: int = 0
    max_thought_tokens: int | None = None
    scored: bool = False


@dataclass(frozen=True, slots=True)
class Pulse:
    """The state of an engine; tokens and seconds are totals since its start.

    `running` and `waiting` are numbers of requests. `busy_s`, `preparing_s` and `alive_s` come from its `EngineClock`.
    `step_age_s` is the time since its last step. `memory_bytes` is the memory of its processes, without the memory of
    GPUs. `phase` is what the engine does while it starts; `warning` is a line that says what it had to assume.
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


# A context variable, because functions that start an engine take no argument for it.
_hear: ContextVar[Callable[[str], None]] = ContextVar("hear", default=lambda _: None)


def report_phase(words: str) -> None:
    """Report what a starting engine does ("loading weights"); a build shows it while it waits for the engine."""
    _hear.get()(words)


@contextmanager
def phases_heard(hear: Callable[[str], None]) -> Iterator[None]:
    """Pass every phase that a starting engine reports inside the block to `hear`."""
    token = _hear.set(hear)
    try:
        yield
    finally:
        _hear.reset(token)


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Natural log-probabilities of some answers as the first token of a reply, in the order of the answers.

    `prompt_tokens` is the length of the prompt that the engine read for them.
    """

    logprobs: tuple[float, ...]
    prompt_tokens: int


class EngineClock:
    """Measure how an engine spends its time; not thread-safe: use it in the engine's event loop only.

    `running` is the number of requests that the engine has now. The engine is busy while it has one. Otherwise it waits
    for images while a request is prepared (images are opened and cut into tiles), and for work while none is.

    Args:
        now: returns seconds since any fixed time.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.running = 0
        self._preparing = 0
        self._busy_s = self._preparing_s = 0.0
        self._began = self._changed = now()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count one more running request inside the block."""
        self._pass()
        self.running += 1
        try:
            yield
        finally:
            self._pass()
            self.running -= 1

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Count one more request that is being prepared inside the block."""
        self._pass()
        self._preparing += 1
        try:
            yield
        finally:
            self._pass()
            self._preparing -= 1

    def on(self, pulse: Pulse) -> Pulse:
        """Return the pulse with the seconds until now.

        They are `busy_s`, `preparing_s` (not busy, but a request is being prepared) and `alive_s`.
        """
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

    `encode` and `decode` may block, so call them from a thread. An engine that continues a prefix as text may have no
    tokenizer for them.
    """

    @property
    def continues(self) -> Continues:
        """How the engine continues a prefix; with TEXT, its responses and prefixes have no token ids."""

    @property
    def clock(self) -> EngineClock:
        """The engine's clock. Code that prepares a request runs inside `clock.preparing()`."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        """Answer a prompt `sampling.n` times.

        Returns:
            n responses whose indices start at `sampling.first`. After a prefix, `text` is what follows it in the
            decoded whole. Without a prefix, `text` has no thoughts, unless `prompt.thinking` is None.

        Raises:
            RequestRefused: the engine cannot answer this request (too long, wrong image tags, prefix changed); it
                still answers others.
            EngineDead: the engine has ended; none of its open requests is answered.
        """

    async def score(self, prompt: Prompt, token_ids: Sequence[int]) -> float:
        """Return the mean natural log-probability per token of `token_ids` after the prompt; costs one prefill.

        Raises:
            RequestRefused, EngineDead: as `generate` does.
        """

    async def choose(self, prompt: Prompt, answers: Sequence[str]) -> AnswerScores:
        """Return how likely each answer is as the first token of the reply; costs one prefill and one token.

        Args:
            prompt: a prompt without a prefix.
            answers: texts of one token each, such as option letters.

        Raises:
            RequestRefused: as `generate` does; or an answer is not a single token, or the engine gave no
                log-probability for it.
            EngineDead: as `generate` does.
        """

    def describe(self) -> tuple[str, ...]:
        """Return what the engine found out or assumed about its model, as lines for `mmpr check --engine`."""

    async def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text of the assistant."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text of the assistant; none of them is a special token."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens and without any clean-up of spaces."""

    def pulse(self) -> Pulse:
        """Return the engine's state now; cheap, never blocks."""

    async def close(self) -> None:
        """End the engine and every process that it started."""


def check_tags(prompt: Prompt) -> None:
    """Check that a prompt has as many `<image>` tags as images; a blind prompt has none of both.

    Every engine does this first.

    Raises:
        RequestRefused: the numbers differ.
    """
    tags = count_tags(message.text for message in prompt.messages)
    if tags != len(prompt.images):
        raise RequestRefused(Reason.IMAGE_TAGS, f"{tags} <image> tags for {len(prompt.images)} images")
