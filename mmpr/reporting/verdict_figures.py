"""The verdicts that a run's pairs were made from, for one question and as figures of the whole run.

They are a chunk's own verdicts, or new ones if the run was paired again under other settings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import TypedDict

from mmpr.errors import RunFolderError
from mmpr.judging import JudgeOptions, open_judge
from mmpr.judging.own_judge import own_label
from mmpr.pairing import FirstRound
from mmpr.reporting.tally import short
from mmpr.run import StoredQuestion, VerdictCounts
from mmpr.run.json_records import JsonObject, record_of, to_json, unsealed
from mmpr.run.run_record import Settings
from mmpr.run.stored_verdicts import with_opinions, with_verdicts
from mmpr.verifier.opinions import UseVerifier

N_ACCURACY_BINS = 12  # none right, ten tenths, all right


@dataclass(frozen=True, slots=True)
class AccuracyFigures:
    """Questions by the fraction of their first responses that is right: number, mean fraction, histogram by label.

    The other fields count all first responses as right, wrong and undecided; `interval` bounds the fraction of right
    ones, whatever the undecided ones are. They are None if an older mmpr cut the dataset.
    """

    questions: int
    mean: float | None
    histogram: dict[str, int]
    n_correct: int | None = None
    n_wrong: int | None = None
    n_undecided: int | None = None
    interval: tuple[float, float] | None = None


def accuracy_figures(counts: VerdictCounts) -> AccuracyFigures:
    """Return the report's figures of accuracy."""
    questions = counts.by_accuracy.total()
    bins = [0] * N_ACCURACY_BINS
    for (right, judged), n in counts.by_accuracy.items():
        bins[accuracy_bin(right, judged)] += n
    # sorted: a sum of floats depends on the order, and equal runs must give equal bytes
    shares = sum(n * right / judged for (right, judged), n in sorted(counts.by_accuracy.items()))
    # All wrong and all right give no pairs: each has its own bin.
    tenths = [f"({k / 10:g}, {(k + 1) / 10:g}{']' if k < 9 else ')'}" for k in range(10)]
    found = AccuracyFigures(
        questions=questions,
        mean=round(shares / questions, 4) if questions else None,
        histogram=dict(zip(["0", *tenths, "1"], bins, strict=True)),
    )
    if not counts.first_round:
        return found
    first = FirstRound(**counts.first_round)
    low, high = first.interval
    return replace(found, **asdict(first), interval=(round(low, 4), round(high, 4)))


def accuracy_bin(right: int, judged: int) -> int:
    """Return the bin: 0: none right; k: above (k-1)/10 and at most k/10; 11: all right."""
    if right == judged:
        return N_ACCURACY_BINS - 1
    return -(-10 * right // judged)


def outcomes_by_rule(counts: VerdictCounts) -> dict[str, Counter[str]]:
    """Count what each rule decided; the most frequent rule comes first."""
    found: dict[str, Counter[str]] = {}
    for rule, outcomes in counts.by_rule.items():
        found.setdefault(short(rule) or "(none)", Counter()).update(outcomes)
    return dict(sorted(found.items(), key=lambda entry: (-entry[1].total(), entry[0])))


def judged_as_paired(
    rows: Iterable[StoredQuestion], judge: str, selection: Settings, *, version: int
) -> Iterator[StoredQuestion]:
    """Yield questions with the verdicts that their pairs were made from.

    These are the stored verdicts, new ones under the current settings, or a verifier's if it may decide.

    Args:
        rows: committed questions of one chunk.
        judge: how the chunk was judged, from its account; empty if the account does not have it.
        selection: the run's current selection settings.
        version: version of the judge when the dataset was cut.

    Raises:
        RunFolderError: a setting has an invalid value.
    """
    stored: JsonObject = {}
    with suppress(ValueError):  # a damaged account is like one without this field
        stored = unsealed(judge.encode())
    then = {field.name: stored[field.name] for field in fields(JudgeOptions) if field.name in stored}
    now = {name: selection.get(name, value) for name, value in then.items()}
    try:
        options = record_of(JudgeOptions, to_json({**now, "judge": selection.get("judge")}))
    except ValueError as error:
        raise RunFolderError(f"run.json is damaged (selection.{error}); restore it from a copy") from error
    opinions = partial(with_opinions, **_verifier_use(selection))
    # a custom judge has its own name and version; another one must judge again
    own = {name: stored[name] for name in ("judge_name", "judge_version") if name in stored}
    same = all(getattr(options, name) == value for name, value in then.items())
    if same and own == own_label(options) and (not stored or stored.get("version", 1) == version):
        yield from map(opinions, rows)
        return
    with open_judge(options) as again:
        yield from (opinions(with_verdicts(committed, again)) for committed in rows)


class _Use(TypedDict):
    min_margin: float
    use: UseVerifier


def _verifier_use(selection: Settings) -> _Use:
    """Return how a verifier's answers count; in a run of an older mmpr they do not.

    Raises:
        RunFolderError: a setting has an invalid value.
    """
    margin = selection.get("min_margin", 0.0)
    try:
        use = UseVerifier(str(selection.get("use_verifier") or UseVerifier.NONE))
        return _Use(min_margin=float(str(margin)), use=use)
    except ValueError as error:
        raise RunFolderError(
            f"run.json is damaged (selection.use_verifier: {error}); restore it from a copy"
        ) from error
