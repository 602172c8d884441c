"""Watch a training by a few held-out questions: how many answers are right, and how many have an answer at all.

Preference training can ruin a model while its loss falls: the rejected sides become unlikely, and so do answers in the
form that was asked for. The fraction of parsable answers shows this first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]
from transformers import TrainerCallback

from mmpr.errors import MmprError
from mmpr.images import Loader
from mmpr.judging import Judge
from mmpr.prompts import PromptOptions, ask
from mmpr.run.columns import content_parts
from mmpr.sources import index, open_source, ranges, read_range
from mmpr.types import Outcome, Question
from pipelines.mpo.processor import PairProcessor

_BATCH = 8  # prompts at once
_MAX_TOKENS = 256
_MAX_DROP = 0.05  # of the fraction of parsable answers
_DROPS = 2  # evaluations in a row: one may be chance, because 1 of 40 questions is 2.5 points


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Which questions a training is watched by: the first `n` of a source that have a reference answer."""

    source: str
    n: int = 40
    every: int = 50
    on_drop: Literal["stop", "warn"] = "stop"


@dataclass(frozen=True, slots=True)
class HeldOutFigures:
    """Fractions of the held-out questions: with a correct answer, and with any final answer."""

    right: float
    parsable: float


def read_held_out(source: str, n: int) -> list[tuple[Question, list[Any]]]:
    """Read the first n questions of a source that have a reference answer, each with its images (PIL, RGB).

    Raises:
        MmprError: the source cannot be read, an image cannot be opened, or no question has a reference answer.
    """
    opened = open_source(source)
    load = Loader(Path(opened.image_root))
    rows = (row for span in ranges(index(opened)) for row in read_range(opened, span))
    closed = (row for row in rows if isinstance(row, Question) and row.answer is not None)
    found = [(row, [image.pixels for image in load(row.images)]) for row in islice(closed, n)]
    if not found:
        raise MmprError(f"{source}: no question with a reference answer to evaluate the training on")
    return found


class HeldOutWatch(TrainerCallback):  # type: ignore[misc]
    """Answers the held-out questions before the training and after every few steps, and prints the figures.

    If at two evaluations in a row clearly fewer answers are parsable than at the start, it prints a warning, or stops
    the training. `history` has (step, figures). The policy is asked as it is: weights that are sharded over processes
    (FSDP, ZeRO-3) cannot answer.

    Raises:
        MmprError: as `read_held_out` does.
    """

    def __init__(self, held_out: HeldOut, processor: PairProcessor) -> None:
        self._options, self._processor = held_out, processor
        self._questions = read_held_out(held_out.source, held_out.n)
        self._ends = _end_of_turn(processor)
        self._drops = 0
        self.history: list[tuple[int, HeldOutFigures]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401  transformers'
        self._look(state, given["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401
        if state.global_step % self._options.every:
            return
        self._look(state, given["model"])
        # only the first process has looked, and all must end at the same step
        ruined = [self._drops >= _DROPS]
        if torch.distributed.is_initialized():
            broadcast_object_list(ruined)
        if not ruined[0]:
            return
        if state.is_world_process_zero:
            what = "the training stops here" if self._options.on_drop == "stop" else "the training goes on"
            print(
                f"step {state.global_step}: {self.history[-1][1].parsable:.1%} of the held-out answers are parsable, "
                f"{self.history[0][1].parsable:.1%} before the training: {what}; lower training.learning_rate or raise "
                "weights.generation",
                flush=True,
            )
        control.should_training_stop = control.should_training_stop or self._options.on_drop == "stop"

    def _look(self, state: Any, model: Any) -> None:  # noqa: ANN401
        if not state.is_world_process_zero:
            return
        figures = self._figures(getattr(model, "module", model))
        dropped = self.history and figures.parsable < self.history[0][1].parsable - _MAX_DROP
        self._drops = self._drops + 1 if dropped else 0
        self.history.append((state.global_step, figures))
        print(
            f"held-out, step {state.global_step}: {figures.right:.1%} right, {figures.parsable:.1%} parsable",
            flush=True,
        )

    def _figures(self, model: Any) -> HeldOutFigures:  # noqa: ANN401
        training = model.training
        model.eval()
        outcomes = []
        # the training must draw the same numbers as without the evaluation
        with torch.random.fork_rng(), torch.no_grad(), Judge() as judge:
            torch.manual_seed(0)
            for i in range(0, len(self._questions), _BATCH):
                some = self._questions[i : i + _BATCH]
                for (question, _), text in zip(some, self._answers(model, some), strict=True):
                    (verdict,) = judge.judge_all(question, [text])
                    outcomes.append(verdict.outcome)
        model.train(training)
        n = len(outcomes)
        return HeldOutFigures(outcomes.count(Outcome.CORRECT) / n, 1 - outcomes.count(Outcome.UNPARSED) / n)

    def _answers(self, model: Any, some: Sequence[tuple[Question, list[Any]]]) -> list[str]:  # noqa: ANN401
        """Return one answer to each question, sampled at temperature 1 as a build samples."""
        asked = [
            self._processor.apply_chat_template(_turns(question), add_generation_prompt=True) for question, _ in some
        ]
        given = self._processor(
            images=[images for _, images in some], text=asked, padding=True, padding_side="left",
            add_special_tokens=False, return_tensors="pt",
        ).to(model.device)  # fmt: skip
        said = model.generate(
            **given, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=_MAX_TOKENS, eos_token_id=self._ends,
            pad_token_id=self._ends[0],
        )  # fmt: skip
        texts: list[str] = self._processor.tokenizer.batch_decode(
            said[:, given["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return texts


def _end_of_turn(processor: PairProcessor) -> list[int]:
    """Return the tokens that end an answer: the one that the chat template puts there, and the end of a text."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "."}]
    ids = processor.tokenizer(processor.apply_chat_template(turns), add_special_tokens=False)["input_ids"]
    return sorted({ids[-1], processor.tokenizer.eos_token_id} - {None})


def _turns(question: Question) -> list[dict[str, Any]]:
    """Return a build's prompt as the conversation that a row of its dataset has."""
    return [
        {"role": message.role, "content": content_parts(message.text)} for message in ask(question, PromptOptions())
    ]
