"""Anyone's rollouts: a JSON Lines file in, one verdict a row out. The only file of this package that opens one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmpr.errors import JudgeError, SourceError
from mmpr.judging.option_lists import DEFAULTS, JudgeOptions, kind_named
from mmpr.judging.reference import compile_reference
from mmpr.judging.session import Judge
from mmpr.prompts import language_of
from mmpr.types import Question


def judge_file(
    path: str | Path, *, options: JudgeOptions = DEFAULTS, time_limit_s: float = 5.0
) -> Iterator[dict[str, str | None]]:
    """One `{"id", "outcome", "answer", "rule", "kind"}` a row, as the rows are read; blank lines are skipped.

    Rows are `{"id", "question", "choices"?, "answer" (one or a list), "response", "answer_kind"?}`.

    Raises:
        SourceError: a row cannot be read; names the file, the row and the mend.
    """
    path = Path(path)
    try:
        lines = path.open(encoding="utf-8")
    except OSError as err:
        raise SourceError(f"{path}: cannot be opened: {err.strerror}") from err
    with lines, Judge(options=options, time_limit_s=time_limit_s) as judge:
        for number, line in enumerate(_lines(lines, path), start=1):
            if line.strip():
                question, response = read_row(line, where=f"{path}: row {number}")
                verdict = judge.judge(question, response)
                kind = _kind(question, options)
                yield {
                    "id": question.id,
                    "outcome": verdict.outcome.value,
                    "answer": verdict.answer,
                    "rule": str(verdict.rule),
                    "kind": kind,
                }


def _lines(lines: Iterable[str], path: Path) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as err:
        raise SourceError(f"{path}: is not UTF-8 at byte {err.start}: save the file as UTF-8") from err


def _kind(question: Question, options: JudgeOptions) -> str:
    try:
        return compile_reference(question, options=options).kind
    except JudgeError:
        return "unknown"


def read_row(line: str, *, where: str) -> tuple[Question, str]:
    """The question and response of one row.

    Raises:
        SourceError: the row is no JSON object, or a field is missing or of another type.
    """
    try:
        row = json.loads(line)
    except ValueError as err:
        raise SourceError(f"{where}: is not JSON ({err}): write one object a line") from err
    if not isinstance(row, dict):
        raise SourceError(f"{where}: is not an object: write one object a line")
    text = {name: _string(row, name, where) for name in ("question", "response")}
    identity = row.get("id")
    if not isinstance(identity, (str, int)) or isinstance(identity, bool):
        raise SourceError(f'{where}: "id" must be text or a whole number')
    kind = row.get("answer_kind")
    if kind is not None and (not isinstance(kind, str) or kind_named(kind) is None):
        raise SourceError(f'{where}: "answer_kind" {kind!r} is not known')
    question = Question(
        id=str(identity),
        source="rollouts",
        row=0,
        text=text["question"],
        choices=_strings(row, "choices", where, required=False),
        answer=_strings(row, "answer", where, required=True),
        answer_kind=kind,
        language=language_of(text["question"]),
    )
    return question, text["response"]


def _string(row: dict[str, object], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise SourceError(f'{where}: "{name}" must be text, it is {type(value).__name__ if name in row else "missing"}')
    return value


def _strings(row: dict[str, object], name: str, where: str, *, required: bool) -> tuple[str, ...]:
    value = row.get(name)
    if value is None and not required:
        return ()
    values = value if isinstance(value, list) else [value]
    texts = [str(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else v for v in values]
    if (not texts and required) or not all(isinstance(text, str) for text in texts):
        found = repr(value)[:60] if name in row else "missing"
        raise SourceError(f'{where}: "{name}" must be text or a list of texts, it is {found}')
    return tuple(str(text) for text in texts)


def summary_table(rows: Iterable[dict[str, str | None]]) -> str:
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
