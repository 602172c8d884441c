"""Ask an engine about one response: one prompt, or one for each order of the letters; each reply is one letter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmpr.engines.protocol import Engine
from mmpr.errors import RequestRefused
from mmpr.types import Message, Prompt, Question, Reason, Stage
from mmpr.verifier.opinions import Letters, VerifierAnswer
from mmpr.verifier.verifier_prompts import GENERAL, LETTERS, VerifierFormat, messages_about

PRIORITY = 1 << 20  # the engine takes lower numbers first: every waiting question precedes the verifier
_SHOWN_CHARS = 200  # of an engine's refusal


@dataclass(frozen=True, slots=True)
class VerifierAsk:
    """How a verifier is asked; `model` is its name in stored answers."""

    model: str
    form: VerifierFormat = GENERAL
    both_orders: bool = True


@dataclass(frozen=True, slots=True)
class VerifierReply:
    """A verifier's answer and its cost: the number of prompts that were sent, and their tokens."""

    answer: VerifierAnswer
    requests: int = 0
    prompt_tokens: int = 0


def verifier_prompts(
    question: Question, answer: str | None, response: str, ask: VerifierAsk
) -> tuple[tuple[Message, ...], ...]:
    """Return the prompts about one response: one for each order of the letters."""
    orders = (False, True) if ask.both_orders else (False,)
    return tuple(messages_about(question, answer, response, swapped=swapped, form=ask.form) for swapped in orders)


async def ask_verifier(
    engine: Engine, question: Question, prompts: Sequence[tuple[Message, ...]], ask: VerifierAsk
) -> VerifierReply:
    """Return the engine's answer; if the engine refuses, the answer has a fault.

    The orders are asked one after the other: their prompts share a prefix, which the engine then has in its cache.

    Raises:
        EngineDead: as `Engine.choose` does.
    """
    found: list[Letters] = []
    n_tokens = 0
    try:
        for messages in prompts:
            prompt = Prompt(question.id, Stage.VERIFY, messages, priority=PRIORITY)
            scores = await engine.choose(prompt, LETTERS)
            n_tokens += scores.prompt_tokens
            found.append(_letters(scores.logprobs))
    except RequestRefused as refused:
        words = " ".join(f"{refused.reason}: {refused.detail}".split())[:_SHOWN_CHARS]
        return VerifierReply(VerifierAnswer(model=ask.model, fault=words), len(found), n_tokens)
    plain, swapped = found[0], found[1] if len(found) > 1 else None
    return VerifierReply(VerifierAnswer(plain, swapped, ask.model), len(found), n_tokens)


def _letters(logprobs: Sequence[float]) -> Letters:
    """Return one log-probability for each letter; NaN counts as probability 0.

    Raises:
        RequestRefused: the user's own engine gave more or fewer than three, or one that is not a number.
    """
    try:
        first, second, third = (-math.inf if math.isnan(one) else float(one) for one in logprobs)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestRefused(Reason.ENGINE_REFUSED, f"no log-probability for each of three letters: {error}") from None
    return (first, second, third)
