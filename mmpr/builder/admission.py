"""How many questions an engine holds at once: counted in tokens, for a batch is full of tokens and not of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Admission:
    """A gate of `budget_tokens`; a question waits before its image is even opened, so that memory is bounded too.

    What a response costs is the mean of those seen so far, and a guess of `first_guess` tokens before any was seen: its
    limit (4,096 tokens) would admit a tenth of what the engine can hold.
    """

    def __init__(self, budget_tokens: int, *, first_guess: int = 300) -> None:
        self._budget = budget_tokens
        self._held = 0
        self._mean = float(first_guess)
        self._room = asyncio.Condition()

    @asynccontextmanager
    async def question(self, n_responses: int, prompt_tokens: int) -> AsyncIterator[Held]:
        """Hold a question's tokens while it is asked; one question is always admitted, however large."""
        held = Held(self, prompt_tokens)
        cost = held.cost(n_responses)
        async with self._room:
            await self._room.wait_for(lambda: self._held == 0 or self._held + cost <= self._budget)
            held.expect(n_responses)
        try:
            yield held
        finally:
            async with self._room:
                held.release()
                self._room.notify_all()

    @property
    def mean_tokens(self) -> float:
        """Tokens of a response, as learnt so far."""
        return self._mean

    def take(self, tokens: int) -> None:
        """Hold so many tokens more, or fewer."""
        self._held += tokens

    def learn(self, n_tokens: int) -> None:
        """Count one response's length."""
        self._mean += 0.01 * (n_tokens - self._mean)


class Held:
    """What one question holds. A later round may be larger than the first: it does not wait, the next question does."""

    def __init__(self, gate: Admission, prompt_tokens: int) -> None:
        self._gate, self._prompt_tokens = gate, prompt_tokens
        self._tokens = 0

    def cost(self, n_responses: int) -> int:
        """Tokens of the prompt and so many responses."""
        return self._prompt_tokens + int(n_responses * self._gate.mean_tokens)

    def expect(self, n_responses: int) -> None:
        """The question has so many responses at the engine from now on."""
        cost = self.cost(n_responses)
        self._gate.take(cost - self._tokens)
        self._tokens = cost

    def release(self) -> None:
        """Hold nothing any more."""
        self._gate.take(-self._tokens)
        self._tokens = 0
