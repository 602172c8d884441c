"""The verdicts that a run's pairs were made from, a chunk's own or new ones where it was paired again since: of one
question, and as figures of the whole run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from mmpr.judging import Judge, JudgeOptions, OwnJudge, open_judge
from mmpr.judging.own_judge import own_label
from mmpr.pairing import FirstRound
from mmpr.reporting.tally import short
from mmpr.run import Committed, StoredResponse, VerdictCounts
from mmpr.types import Stage

N_ACCURACY_BINS = 12  # none right, ten tenths, all right


def accuracy_figures(counts: VerdictCounts) -> dict[str, Any]:
    """Questions by the share of their responses that is right: how many, the mean share, and a histogram by label.

    Beside it all first responses, right, wrong and undecided, and the interval that the share of right ones is in,
    whatever the undecided are; these are missing where an older mmpr cut the dataset.
    """
    questions = counts.by_accuracy.total()
    bins = [0] * N_ACCURACY_BINS
    for (right, judged), n in counts.by_accuracy.items():
        bins[accuracy_bin(right, judged)] += n
    shares = sum(n * right / judged for (right, judged), n in sorted(counts.by_accuracy.items()))
    return {
        "questions": questions,
        "mean": round(shares / questions, 4) if questions else None,
        "histogram": dict(zip(_accuracy_labels(), bins, strict=True)),
        **(_first_round(FirstRound(**counts.first_round)) if counts.first_round else {}),
    }


def _first_round(first: FirstRound) -> dict[str, Any]:
    return {**asdict(first), "interval": [round(share, 4) for share in first.interval]}


def accuracy_bin(right: int, judged: int) -> int:
    """0: none right; k: above (k-1)/10 and up to k/10; 11: all right."""
    if right == judged:
        return N_ACCURACY_BINS - 1
    return -(-10 * right // judged)


def outcomes_by_rule(counts: VerdictCounts) -> dict[str, Counter[str]]:
    """What each rule decided, how often; the most used rule first."""
    found: dict[str, Counter[str]] = {}
    for rule, outcomes in counts.by_rule.items():
        found.setdefault(short(rule) or "(none)", Counter()).update(outcomes)
    return dict(sorted(found.items(), key=lambda entry: (-entry[1].total(), entry[0])))


def _accuracy_labels() -> list[str]:
    """`0`, `(0, 0.1]`, .. `(0.9, 1)`, `1`: all wrong and all right give no pairs, so they stand alone."""
    tenths = [f"({k / 10:g}, {(k + 1) / 10:g}{']' if k < 9 else ')'}" for k in range(10)]
    return ["0", *tenths, "1"]


def judged_as_paired(committed: Committed, judge: str, selection: Mapping[str, Any], *, version: int) -> Committed:
    """The question with the verdicts that its pairs were made from: its own, or new ones of the run's present settings.

    Args:
        committed: the question as it was committed.
        judge: how its chunk was judged, as the account has it; empty where it does not say.
        selection: the run's present settings of selection.
        version: of the judge when the dataset was cut.
    """
    stored = json.loads(judge) if judge else {}
    then = {field.name: stored[field.name] for field in fields(JudgeOptions) if field.name in stored}
    now = {name: selection.get(name, value) for name, value in then.items()}
    if "relative_tolerance" in now:
        now["relative_tolerance"] = now["relative_tolerance"] or None  # none is 0 among the settings
    options = JudgeOptions(**{**now, "judge": selection.get("judge")})
    own = {name: stored[name] for name in ("judge_name", "judge_version") if name in stored}
    is_same = now == then and own == own_label(options) and (not stored or stored.get("version", 1) == version)
    if is_same or not committed.of_stage(Stage.SAMPLE):
        return committed
    with open_judge(options) as again:
        anew = tuple(_judged(stored, committed, again) for stored in committed.responses)
    return replace(committed, responses=anew)


def _judged(stored: StoredResponse, committed: Committed, judge: Judge | OwnJudge) -> StoredResponse:
    if stored.response.stage is not Stage.SAMPLE:
        return stored
    return replace(stored, verdict=judge.judge(committed.question, stored.response.text))
