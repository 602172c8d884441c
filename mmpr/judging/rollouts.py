"""Judge the rollouts of any model: rows in, one verdict per response out. `mmpr.sources.rollout_rows` reads rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from mmpr.errors import EngineError, JudgeError
from mmpr.judging.judge_session import Judge, VerifiesResponses
from mmpr.judging.option_lists import JudgeOptions
from mmpr.judging.reference import compile_reference
from mmpr.judging.rules import is_open
from mmpr.text_table import aligned
from mmpr.types import Outcome, Question, Verdict

Judged = dict[str, str | int | float | bool | None]  # a verdict as it is printed
_AT_ONCE = 64  # rows that a verifier is asked about at once
ODD_ROW = "error-row"  # the rule of a row that is no question with a response
ROLLOUT_DEFAULTS = JudgeOptions(format="any")  # the requested form is unknown


@dataclass(frozen=True, slots=True)
class Rollout:
    """One row of rollouts: a question and its responses, or the fault of the row.

    Args:
        id: the row's own, or that of its place.
        question: None where the row cannot be read.
        responses: one verdict each; where the row has a list, `index` tells them apart, and an entry that is no text
            is None.
        listed: whether the row has a list of responses.
        fault: why there is no question or no response; names file and row.
    """

    id: str
    question: Question | None
    responses: tuple[str | None, ...] = ()
    listed: bool = False
    fault: str | None = None


def judge_rollouts(
    rollouts: Iterable[Rollout],
    *,
    options: JudgeOptions = ROLLOUT_DEFAULTS,
    time_limit_s: float = 5.0,
    verifier: VerifiesResponses | None = None,
) -> Iterator[Judged]:
    """One `{"id", "outcome", "certainty", "off_format", "answer", "rule", "kind"}` a response, as the rows are read.

    What cannot be judged, a row or a reference answer, has the outcome `error` and says why in `detail`; of a list
    each response has its `index`. With a verifier, which is asked about what the rules leave open, each line also has
    `judged_by` and `verifier_margin`.

    Raises:
        EngineError: the verifier has ended or answers nothing; the rows before the first that needs it were yielded.
    """
    with Judge(options=options, time_limit_s=time_limit_s) as judge:
        rows, at_once = iter(rollouts), 1 if verifier is None else _AT_ONCE
        while some := list(islice(rows, at_once)):
            verdicts, fault = [_judged(one, judge) for one in some], None
            if verifier is not None:
                try:
                    verdicts = _verified(some, verdicts, verifier)
                except EngineError as error:
                    fault = error  # the rows before the first open verdict are judged without it
                    verdicts = list(takewhile(lambda found: not any(map(is_open, found)), verdicts))
            for one, found in zip(some, verdicts, strict=fault is None):
                yield from _lines(one, found, options, verified=verifier is not None)
            if fault is not None:
                raise fault


def _judged(one: Rollout, judge: Judge) -> list[Verdict]:
    """Return a verdict for each text of the row."""
    if one.question is None or one.fault is not None:
        return []
    return judge.judge_all(one.question, [text for text in one.responses if text is not None])


def _verified(
    some: Sequence[Rollout], verdicts: Sequence[list[Verdict]], verifier: VerifiesResponses
) -> list[list[Verdict]]:
    """Yield verdicts, the verifier's instead of open ones; all these rows are asked about at once."""
    found = [list(each) for each in verdicts]
    places, asked = [], []
    for row, one in enumerate(some):
        texts = [text for text in one.responses if text is not None]
        for place, (text, verdict) in enumerate(zip(texts, found[row], strict=False)):
            if one.question is not None and is_open(verdict):
                places.append((row, place))
                asked.append((one.question, text, verdict))
    for (row, place), verdict in zip(places, verifier.verify(asked) if asked else [], strict=True):
        found[row][place] = verdict
    return found


def _lines(one: Rollout, verdicts: Sequence[Verdict], options: JudgeOptions, *, verified: bool) -> Iterator[Judged]:
    if one.question is None or one.fault is not None:
        yield {"id": one.id, **_line(_ODD, "unknown", verified=verified), "detail": one.fault}
        return
    kind, fault = _compiled(one.question, options)
    left = iter(verdicts)
    for index, text in enumerate(one.responses):
        verdict, detail = (_ODD, "it is no text") if text is None else (next(left), fault or _FAILED)
        place = {"index": index} if one.listed else {}
        line: Judged = {"id": one.id, **place, **_line(verdict, kind, verified=verified)}
        yield {**line, "detail": detail} if verdict.outcome is Outcome.ERROR else line


_ODD = Verdict(Outcome.ERROR, None, ODD_ROW)
_FAILED = "the judge failed on this response, as its rule says: docs/judge.md"


def _line(verdict: Verdict, kind: str, *, verified: bool) -> Judged:
    by: Judged = {"judged_by": verdict.judged_by.value, "verifier_margin": verdict.verifier_margin}
    return {
        "outcome": verdict.outcome.value,
        "certainty": verdict.certainty.value if verdict.certainty else None,
        "off_format": verdict.off_format,
        "answer": verdict.answer,
        "rule": str(verdict.rule),
        "kind": kind,
        **(by if verified else {}),
    }


def _compiled(question: Question, options: JudgeOptions) -> tuple[str, str | None]:
    """Return the kind of the reference answer, or the reason why it has none."""
    try:
        return compile_reference(question, options=options).kind, None
    except JudgeError as error:
        return "unknown", " ".join(str(error).split())


_COLUMNS = ("correct", "proven", "likely", "ambiguous", "unparsed", "error")


def summary_table(rows: Iterable[Judged], *, width: int | None = None) -> str:
    """Format outcomes by kind, then by rule, as tables of this width; wrong ones are `proven` or `likely`."""
    kinds: Counter[tuple[str, str]] = Counter()
    rules: Counter[tuple[str, str]] = Counter()
    for row in rows:
        column = str(row["certainty"] or row["outcome"])
        kinds[str(row["kind"]), column] += 1
        rules[str(row["rule"]), column] += 1
    return "\n".join([*_table("kind", kinds, width), "", *_table("rule", rules, width)])


def _table(title: str, counts: Counter[tuple[str, str]], width: int | None) -> list[str]:
    """Format one line per name, one column per outcome."""
    names = sorted({name for name, _ in counts})
    rows = [(title, *_COLUMNS), *((name, *(f"{counts[name, column]:,}" for column in _COLUMNS)) for name in names)]
    sums = (f"{sum(counts[name, column] for name in names):,}" for column in _COLUMNS)
    return aligned([*rows, ("total", *sums)], width=width)
