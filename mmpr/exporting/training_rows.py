"""Choose the questions and responses that become rows of a training set, and explain the others. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmpr.exporting.export_records import OF_RESPONSES, Format, Unfit
from mmpr.exporting.fitness import prompt_fault, says_media
from mmpr.exporting.training_records import LabelledResponse, TrainingChoice, TrainingExample
from mmpr.judging import JudgeOptions
from mmpr.pairing import (
    Judged,
    PairOptions,
    Strategy,
    first_round,
    grounding_cost,
    lengths_of,
    may_be_chosen,
    may_be_rejected,
    of_policy,
    outside_window,
    without_duplicates,
)
from mmpr.rewards import write_reference
from mmpr.run import DatasetRecipe, StoredQuestion
from mmpr.run.columns import side_of
from mmpr.types import Outcome, Reason, Skip, Stage

# The reason and the place of a row that is left out: `question q7 (vqa:7)`, perhaps with details.
Omission = tuple[Unfit | Reason, str]


@dataclass(frozen=True, slots=True)
class PartRules:
    """The rules for consecutive chunks of one member and source of a run.

    Args:
        recipe: of their pairs; its messages, verdicts and selection also apply to training sets.
        rule: of their pairs: decides which responses are surely right or wrong.
        options: of their judge; exported with the reference answer.
    """

    recipe: DatasetRecipe
    rule: PairOptions
    options: JudgeOptions


def example_of(
    committed: StoredQuestion, part: PartRules, format: Format, choice: TrainingChoice
) -> tuple[TrainingExample | None, list[Omission]]:
    """Return a committed question's example (None if it gives no row), and everything that is left out of it."""
    if why := _left_out(committed, part, format, choice):
        return None, [why]
    question, first = committed.question, first_round(of_policy(committed.judged, part.rule.policy))
    example = TrainingExample(
        question=question,
        turns=part.recipe.messages(committed),
        images=committed.images,
        reference="" if question.answer is None else write_reference(question, part.options),
        kind=part.recipe.kind(committed),
        first=first,
        model=part.recipe.columns.model,
        asked=(part.recipe.columns.prompt_version, part.options.format),
        split=side_of(committed, part.recipe),
    )
    if format is Format.ROLLOUTS:
        # `mmpr import` reads one file
        return replace(example, split="train", responses=_all_samples(committed)), []
    if format not in OF_RESPONSES:
        return example, []
    if question.answer is None:
        responses, omitted = _preferred(committed, part.recipe)
    else:
        responses, omitted = _labelled(committed, part.rule, format, choice)
    kept = list(_within(responses, example, choice.max_chars, omitted))
    return (replace(example, responses=tuple(kept)) if kept else None), omitted


def _left_out(committed: StoredQuestion, part: PartRules, format: Format, choice: TrainingChoice) -> Omission | None:
    """Return why a question gives no row; cheap checks come first."""
    question = committed.question
    place = f"question {question.id} ({question.source}:{question.row})"
    skip = committed.skip or part.recipe.selection.exclusion.skip(question, [i.sha256 for i in committed.images])
    if format is Format.ROLLOUTS:
        return _no_rollouts(committed, place)
    if skip is not None:
        return skip.reason, f"{place}: {skip.detail}"
    if question.answer is None and format is not Format.KTO:
        return Unfit.NO_REFERENCE, place
    turns = part.recipe.messages(committed)
    if fault := prompt_fault(turns, len(committed.images)):
        return fault, place
    if choice.max_chars is not None and sum(len(turn.text) for turn in turns) >= choice.max_chars:
        return Unfit.PROMPT_BEYOND_MAX_CHARS, place
    if question.answer is None:
        return None
    if part.recipe.kind(committed) == "unknown":
        return Unfit.REFERENCE_UNFIT, place
    outside = outside_window(question, of_policy(committed.judged, part.rule.policy), choice.accuracy)
    return (outside.reason, f"{place}: {outside.detail}") if outside else None


def _no_rollouts(committed: StoredQuestion, place: str) -> Omission | None:
    """Return why a question has no responses for a file of rollouts."""
    if committed.skip is not None:
        return committed.skip.reason, f"{place}: {committed.skip.detail}"
    return (Unfit.NO_REFERENCE, place) if committed.question.answer is None else None


def _all_samples(committed: StoredQuestion) -> tuple[LabelledResponse, ...]:
    return tuple(
        LabelledResponse(response.text, verdict.outcome is Outcome.CORRECT, response, verdict)
        for response, verdict in committed.judged
    )


def _preferred(committed: StoredQuestion, recipe: DatasetRecipe) -> tuple[list[LabelledResponse], list[Omission]]:
    """Return the sides of a question's Dropout-NTP pairs, each once: the draft, and the blind completions."""
    pairs = recipe.pair(committed)
    if isinstance(pairs, Skip):
        return [], [(pairs.reason, f"question {committed.question.id}: {pairs.detail}")]
    sides = {pair.chosen: True for pair in pairs} | {pair.rejected: False for pair in pairs}
    kept = recipe.keep_thoughts
    found = [
        (committed.find(side).response, committed.text_of(side, thoughts=kept), label) for side, label in sides.items()
    ]
    return [LabelledResponse(text, label, response) for response, text, label in found], []


def _labelled(
    committed: StoredQuestion, rule: PairOptions, format: Format, choice: TrainingChoice
) -> tuple[list[LabelledResponse], list[Omission]]:
    """Return the judged responses with a sure label, without near-duplicates: right ones first, then wrong ones."""
    sides: dict[bool, list[Judged]] = {True: [], False: []}
    omitted: list[Omission] = []
    for judged in committed.judged:
        label = _label(judged, rule, format)
        if isinstance(label, Unfit):
            omitted.append((label, _place(committed, judged)))
        else:
            sides[label].append(judged)
    rows: list[LabelledResponse] = []
    for label, side in sides.items():
        distinct = _distinct(side, rule)
        omitted += [(Unfit.NEAR_DUPLICATE, _place(committed, one)) for one in side if one not in distinct]
        # `--per-question` keeps the first ones
        ordered = _best_first(distinct) if label else sorted(distinct, key=lambda judged: judged[0].index)
        kept = ordered[: choice.per_question]
        omitted += [(Unfit.PER_QUESTION, _place(committed, one)) for one in ordered[len(kept) :]]
        rows += [
            LabelledResponse(one.whole_text if rule.keep_thoughts else one.text, label, one, verdict)
            for one, verdict in kept
        ]
    return rows, omitted


def _label(judged: Judged, rule: PairOptions, format: Format) -> bool | Unfit:
    """Return whether a response is right, if that is sure; otherwise why it is no row."""
    response, verdict = judged
    if not response.text.strip():
        return Unfit.RESPONSE_EMPTY
    if says_media(response.whole_text if rule.keep_thoughts else response.text):
        return Unfit.RESPONSE_TAG
    if may_be_chosen(judged, rule):
        return True
    if may_be_rejected(judged, rule):
        return Unfit.WRONG if format is Format.SFT else False
    if response.is_cut:
        return Unfit.UNFINISHED
    if verdict.outcome is Outcome.CORRECT:  # an outcome label does not depend on the form
        return True if format is Format.ORM else Unfit.OFF_FORMAT
    return _unsure(judged)


def _unsure(judged: Judged) -> Unfit:
    """Return why a finished response that is not right is not surely wrong either."""
    _, verdict = judged
    if verdict.rule == "refusal":
        return Unfit.REFUSAL
    if verdict.outcome is Outcome.INCORRECT:
        return Unfit.UNPROVEN
    return Unfit.NO_FINAL_ANSWER if verdict.outcome is Outcome.UNPARSED else Unfit.UNDECIDED


def _distinct(side: Sequence[Judged], rule: PairOptions) -> list[Judged]:
    """Return one response of each group of near-duplicates; if they are scored, the best grounded one."""
    return without_duplicates(side, rule=replace(rule, strategy=Strategy.GROUNDED) if _is_scored(side) else rule)


def _best_first(right: Sequence[Judged]) -> list[Judged]:
    """Return right responses by their gain from the image if that was scored, otherwise the shortest first."""
    scored, length = _is_scored(right), lengths_of(right)

    def cost(judged: Judged) -> tuple[float, int]:
        response = judged[0]
        return grounding_cost(response) if scored else float(length(response)), response.index

    return sorted(right, key=cost)


def _is_scored(side: Sequence[Judged]) -> bool:
    return any(response.gain is not None for response, _ in side)


def _within(
    responses: Sequence[LabelledResponse], example: TrainingExample, max_chars: int | None, omitted: list[Omission]
) -> Iterator[LabelledResponse]:
    """Yield the responses that a trainer does not cut: a cut response has no final answer to learn."""
    asked = sum(len(turn.text) for turn in example.turns)
    for one in responses:
        if max_chars is None or asked + len(one.text) <= max_chars:
            yield one
        else:
            place = f"response {one.response.stage.value} {one.response.index} of question {example.question.id}"
            omitted.append((Unfit.BEYOND_MAX_CHARS, place))


def _place(committed: StoredQuestion, judged: Judged) -> str:
    question, response = committed.question, judged[0]
    stage = "" if response.stage is Stage.SAMPLE else f"{response.stage.value} "
    return f"response {stage}{response.index} of question {question.id} ({question.source}:{question.row})"
