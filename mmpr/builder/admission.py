"""Limit how many questions an engine holds at once.

The limit is in tokens, because tokens fill a batch, not requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Admission:
    """Admits questions up to `budget_tokens`. A question waits before its image is opened, which bounds memory too.

    The expected length of a response is the mean of those seen so far; the first guess is `first_guess` tokens. The
    limit of a response (4,096 tokens) would be a bad guess: it would admit a tenth of what the engine can hold.
    """

    def __init__(self, budget_tokens: int, *, first_guess: int = 300) -> None:
        self._budget = budget_tokens
        self._held = 0
        self._mean = float(first_guess)
        self._room = asyncio.Condition()

    @asynccontextmanager
    async def question(self, n_responses: int, prompt_tokens: int) -> AsyncIterator[Held]:
        """Hold a question's tokens while it is asked. Without another question, even the largest one is admitted."""
        held = Held(self, prompt_tokens)
        cost = held.cost(n_responses)
        async with self._room:
            # a question with more tokens than the budget is admitted alone, otherwise it would wait for ever
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
        """The mean number of tokens per response so far."""
        return self._mean

    def take(self, tokens: int) -> None:
        """Hold this many more tokens; a negative number releases them."""
        self._held += tokens

    def learn(self, n_tokens: int) -> None:
        """Update the mean with the length of one response."""
        # a moving mean: sources follow one another, and their responses differ in length
        self._mean += 0.01 * (n_tokens - self._mean)


class Held:
    """What one question holds.

    A later round may be larger than the first; it does not wait, but the next question does.
    """

    def __init__(self, gate: Admission, prompt_tokens: int) -> None:
        self._gate, self._prompt_tokens = gate, prompt_tokens
        self._tokens = 0

    def cost(self, n_responses: int) -> int:
        """Return the expected tokens of the prompt and of `n_responses` responses."""
        return self._prompt_tokens + int(n_responses * self._gate.mean_tokens)

    def expect(self, n_responses: int) -> None:
        """Hold the tokens of `n_responses` responses from now on."""
        cost = self.cost(n_responses)
        self._gate.take(cost - self._tokens)
        self._tokens = cost

    def release(self) -> None:
        """Release all tokens."""
        self._gate.take(-self._tokens)
        self._tokens = 0
