"""`ScriptedEngine`: an `Engine` without a model, the public double for tests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from statistics import fmean

from mmpr.engines.protocol import AnswerScores, EngineClock, Pulse, Sampling, check_tags
from mmpr.engines.thoughts import split_ids, split_text
from mmpr.errors import EngineDead
from mmpr.thought_marks import THINK, ThoughtMarks
from mmpr.types import Continues, Finish, Prompt, Response

Script = Callable[[Prompt, int], str]
ChoiceScript = Callable[[Prompt, Sequence[str]], Sequence[float]]


def scripted_text(prompt: Prompt, index: int) -> str:
    """Return the default response: words that depend only on the question's id, the stage and the index."""
    digest = hashlib.sha256(f"{prompt.question_id}/{prompt.stage}/{index}".encode()).digest()
    words = " ".join(f"w{byte:02x}" for byte in digest)
    return f" {words}." if prompt.prefix else f"{words}.\n\nFinal Answer: {digest[0] % 4}"


def scripted_choice(prompt: Prompt, answers: Sequence[str]) -> Sequence[float]:
    """Return the default log-probabilities of answers; they depend only on the prompt's text."""
    text = "\n".join(message.text for message in prompt.messages)
    digest = hashlib.sha256(text.encode()).digest()
    return [-digest[i % len(digest)] / 32 for i in range(len(answers))]


def _logprob(token_id: int) -> float:
    """Return a log-probability that the token alone decides, with an image and without."""
    return -(token_id % 97) / 97


class ScriptedEngine:
    """An `Engine` without a model, for tests and for measuring everything around an engine.

    A token is one Unicode character. `prompts` records every prompt, in order. As with every engine, the thoughts of a
    text that begins with `<think>` are kept apart; the script reads in `prompt.thinking` whether to write some.

    Args:
        script: (prompt, index) -> the text of the response; after a prefix, the text that follows the prefix.
        seconds_per_token: duration of a response; all requests run at once and none slows down another.
        kill_on: ids of questions that end the engine (`EngineDead`), for tests of leases.
        choices: (prompt, answers) -> the log-probability of each answer.
        continues: with TEXT, responses have no token ids, and prefixes need none.
        marks: the marks that the script writes around thoughts.
    """

    def __init__(
        self,
        script: Script = scripted_text,
        *,
        seconds_per_token: float = 0.0,
        kill_on: frozenset[str] = frozenset(),
        choices: ChoiceScript = scripted_choice,
        continues: Continues = Continues.EXACT,
        marks: ThoughtMarks = THINK,
    ) -> None:
        self.continues = continues
        self.clock = EngineClock()
        self.prompts: list[Prompt] = []
        self._script = script
        self._seconds_per_token = seconds_per_token
        self._kill_on = kill_on
        self._choices = choices
        self._tokens = 0
        self._marks = marks

    async def generate(self, prompt: Prompt, sampling: Sampling) -> list[Response]:
        check_tags(prompt)
        self.prompts.append(prompt)
        if prompt.question_id in self._kill_on:
            raise EngineDead(f"the script ends the engine at {prompt.question_id}")
        with self.clock.serving():
            responses = [
                self._respond(prompt, sampling, index) for index in range(sampling.first, sampling.first + sampling.n)
            ]
            await asyncio.sleep(self._seconds_per_token * max(r.tokens for r in responses))
        self._tokens += sum(r.tokens for r in responses)
        return responses

    async def score(self, prompt: Prompt, token_ids: Sequence[int]) -> float:
        check_tags(prompt)
        self.prompts.append(prompt)
        return fmean(map(_logprob, token_ids))

    async def choose(self, prompt: Prompt, answers: Sequence[str]) -> AnswerScores:
        check_tags(prompt)
        self.prompts.append(prompt)
        if prompt.question_id in self._kill_on:
            raise EngineDead(f"the script ends the engine at {prompt.question_id}")
        with self.clock.serving():
            await asyncio.sleep(self._seconds_per_token)
        self._tokens += 1
        scores = tuple(float(one) for one in self._choices(prompt, answers))
        return AnswerScores(scores, sum(len(message.text) for message in prompt.messages))

    def _respond(self, prompt: Prompt, sampling: Sampling, index: int) -> Response:
        text = self._within(self._script(prompt, index), prompt, sampling.max_thought_tokens)
        finish = Finish.LENGTH if len(text) > sampling.max_tokens else Finish.STOP
        ids = self.encode(text)[: sampling.max_tokens]
        seed = None if sampling.seed is None else sampling.seed + index
        thoughts, n_thoughts = self._thoughts(prompt, ids)
        kept = ids if self.continues is Continues.EXACT else ()
        scored = tuple(map(_logprob, kept[n_thoughts:])) if sampling.scored else ()
        return Response(
            prompt.question_id, prompt.stage, index, self.decode(ids[n_thoughts:]), kept[n_thoughts:], len(ids),
            finish, seed, thoughts=thoughts, thought_ids=kept[:n_thoughts], logprobs=scored,
        )  # fmt: skip

    def _within(self, text: str, prompt: Prompt, most: int | None) -> str:
        """Return the text with its thoughts closed after at most `most` tokens."""
        thoughts, rest = split_text(text, self._marks, is_open=False)
        if prompt.prefix is not None or thoughts is None or most is None or len(thoughts) <= most:
            return text
        return f"{self._marks.start}{thoughts[:most]}{self._marks.end}{rest}"

    def _thoughts(self, prompt: Prompt, ids: tuple[int, ...]) -> tuple[str | None, int]:
        if prompt.thinking is None or prompt.prefix is not None:
            return None, 0
        return split_ids(ids, self._marks, is_open=False, decode=self.decode)

    def describe(self) -> tuple[str, ...]:
        return ("a script",)

    async def count_tokens(self, text: str) -> int:
        return len(text)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(ord(c) for c in text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in token_ids)

    def pulse(self) -> Pulse:
        return self.clock.on(Pulse(running=self.clock.running, generated_tokens=self._tokens))

    async def close(self) -> None:
        return None
