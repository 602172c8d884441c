"""Anyone's rollouts: rows in, one verdict a response out. `mmpr.sources.rollout_rows` reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmpr.errors import JudgeError
from mmpr.judging.option_lists import DEFAULTS, JudgeOptions
from mmpr.judging.reference import compile_reference
from mmpr.judging.session import Judge
from mmpr.types import Outcome, Question

Judged = dict[str, str | int | None]  # a verdict as it is printed
ODD_ROW = "error-row"  # the rule of a row that is no question with a response


@dataclass(frozen=True, slots=True)
class Rollout:
    """One row of rollouts: a question and what was answered to it, or why the row is none.

    Args:
        id: the row's own, or that of its place.
        question: None where the row cannot be read.
        responses: one verdict each; where the row has a list, `index` tells them apart.
        listed: whether the row has a list of responses.
        fault: why there is no question or no response; names file and row.
    """

    id: str
    question: Question | None
    responses: tuple[str, ...] = ()
    listed: bool = False
    fault: str | None = None


def judge_rollouts(
    rollouts: Iterable[Rollout], *, options: JudgeOptions = DEFAULTS, time_limit_s: float = 5.0
) -> Iterator[Judged]:
    """One `{"id", "outcome", "answer", "rule", "kind"}` a response, as the rows are read.

    A row that cannot be judged has the outcome `error` and says why in `detail`; of a list each response has its
    `index`.
    """
    with Judge(options=options, time_limit_s=time_limit_s) as judge:
        for one in rollouts:
            if one.question is None or one.fault is not None:
                yield _odd(one)
                continue
            kind = _kind(one.question, options)
            for index, verdict in enumerate(judge.judge_all(one.question, one.responses)):
                yield {
                    "id": one.id,
                    **({"index": index} if one.listed else {}),
                    "outcome": verdict.outcome.value,
                    "answer": verdict.answer,
                    "rule": str(verdict.rule),
                    "kind": kind,
                }


def _odd(one: Rollout) -> Judged:
    said = {"outcome": Outcome.ERROR.value, "answer": None, "rule": ODD_ROW, "kind": "unknown"}
    return {"id": one.id, **said, "detail": one.fault}


def _kind(question: Question, options: JudgeOptions) -> str:
    try:
        return compile_reference(question, options=options).kind
    except JudgeError:
        return "unknown"


def summary_table(rows: Iterable[Judged]) -> str:
    """Outcomes by kind, then by rule, as a table in plain text."""
    kinds: Counter[tuple[str, str]] = Counter()
    rules: Counter[tuple[str, str]] = Counter()
    for row in rows:
        kinds[str(row["kind"]), str(row["outcome"])] += 1
        rules[str(row["rule"]), str(row["outcome"])] += 1
    return table("kind", kinds) + "\n\n" + table("rule", rules)


def table(title: str, counts: Counter[tuple[str, str]]) -> str:
    """One line a name, one column an outcome."""
    outcomes = ("correct", "incorrect", "ambiguous", "unparsed", "error")
    names = sorted({name for name, _ in counts})
    width = max([len(title), 5, *map(len, names)])
    lines = [f"{title:<{width}}  " + "  ".join(f"{outcome:>9}" for outcome in outcomes)]
    for name in [*names, "total"]:
        row = [
            sum(counts[n, outcome] for n in names) if name == "total" else counts[name, outcome] for outcome in outcomes
        ]
        lines.append(f"{name:<{width}}  " + "  ".join(f"{count:>9,}" for count in row))
    return "\n".join(lines)
