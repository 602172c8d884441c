"""Count the verdicts of a whole run, as its pairs were made from them.

They are stored beside the dataset. A commit has only the counts of its own time: pairing again under other judge
settings gives new verdicts and leaves the commits unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from mmpr.errors import RunFolderError
from mmpr.judging import VERSION
from mmpr.pairing import FirstRound, first_round, of_policy
from mmpr.run.commit_records import StoredQuestion
from mmpr.run.json_records import JsonObject, record_of, sealed
from mmpr.run.verifier_counts import StoredVerifierCounts, VerifierCounts
from mmpr.types import Certainty, Outcome, Pair, Verdict

if TYPE_CHECKING:
    from mmpr.run.folder import RunFolder

VERDICTS = "verdicts.json"
GROUPS = ("source", "kind", "rule")


@dataclass(slots=True)
class VerdictCounts:
    """Sums that do not depend on the order of counting.

    Args:
        by_rule: responses by deciding rule and outcome.
        by_accuracy: questions by (number of correct responses, number of responses that `accuracy` counts).
        groups: counts by `source`, `kind` (of the reference answer) and `rule`, then by name. Of the questions with a
            reference answer: `paired` and `skipped`. Of their `responses`: `correct`, `proven` and `likely` wrong,
            `unparsed`, `undecided`, `off_format`, and `in_pairs`. A rule counts the responses that it decided and
            the questions of these. Empty if an older mmpr counted.
        first_round: sums of `mmpr.pairing.FirstRound` over the questions.
        judge_version: version of the judge that gave the verdicts.
        verifier: counts of the verifier's answers, if one was asked.
    """

    by_rule: dict[str, Counter[str]] = field(default_factory=dict)
    by_accuracy: Counter[tuple[int, int]] = field(default_factory=Counter)
    groups: dict[str, dict[str, Counter[str]]] = field(default_factory=lambda: {name: {} for name in GROUPS})
    first_round: Counter[str] = field(default_factory=Counter)
    judge_version: int = VERSION
    verifier: VerifierCounts = field(default_factory=VerifierCounts)

    def count(
        self,
        committed: StoredQuestion,
        pairs: Sequence[Pair],
        kind: str | None,
        policy: str | None = None,
        min_margin: float = 0.0,
    ) -> None:
        """Add one question with its pairs; they are empty if it is skipped.

        A question without a reference answer is not judged and not counted. If several models answered, the first round
        counts only the responses of `policy`.
        """
        if committed.question.answer is None:
            return
        judged = committed.judged
        for _, verdict in judged:
            self.by_rule.setdefault(str(verdict.rule), Counter())[verdict.outcome.value] += 1
        first = first_round(of_policy(judged, policy))
        if n := first.n_correct + first.n_wrong:
            self.by_accuracy[first.n_correct, n] += 1
        self.first_round.update(asdict(first))
        self._count_groups(committed, pairs, kind)
        self.verifier.count(committed, pairs, min_margin)

    def _count_groups(self, committed: StoredQuestion, pairs: Sequence[Pair], kind: str | None) -> None:
        """Count each response under its question's source and kind, and under its own rule."""
        shared = [self._group("source", committed.question.source), *([self._group("kind", kind)] if kind else [])]
        decided: dict[str, Counter[str]] = {}
        used = {side for pair in pairs for side in (pair.chosen, pair.rejected)}
        for response, verdict in committed.judged:
            names = ["responses", verdict_label(verdict)]
            names += ["off_format"] if verdict.off_format else []
            names += ["in_pairs"] if (response.stage, response.index) in used else []
            # a question counts once for each rule that decided one of its responses
            own = decided[str(verdict.rule)] = self._group("rule", str(verdict.rule))
            for counter in (*shared, own):
                counter.update(names)
        for counter in (*shared, *decided.values()):
            counter["paired" if pairs else "skipped"] += 1

    def _group(self, group: str, name: str) -> Counter[str]:
        return self.groups[group].setdefault(name, Counter())

    def add(self, other: VerdictCounts) -> None:
        """Add the sums of another."""
        _add(self.by_rule, other.by_rule)
        self.by_accuracy.update(other.by_accuracy)
        self.first_round.update(other.first_round)
        for group, found in other.groups.items():
            _add(self.groups[group], found)
        self.verifier.add(other.verifier)

    def to_json(self) -> JsonObject:
        """Return plain sorted JSON: equal sums give equal bytes."""
        return {
            "judge_version": self.judge_version,
            "by_rule": _plain(self.by_rule),
            "by_accuracy": [[*place, questions] for place, questions in sorted(self.by_accuracy.items())],
            "first_round": dict(sorted(self.first_round.items())),
            "groups": {group: _plain(found) for group, found in self.groups.items()},
            **({"verifier": self.verifier.to_json()} if self.verifier.was_asked else {}),
        }


def verdict_label(verdict: Verdict) -> str:
    """Return the name under which a response is counted: `correct`, `proven`, `likely`, `unparsed` or `undecided`."""
    if verdict.outcome is Outcome.INCORRECT:
        return (verdict.certainty or Certainty.LIKELY).value
    return verdict.outcome.value if verdict.outcome in (Outcome.CORRECT, Outcome.UNPARSED) else "undecided"


def _add(sums: dict[str, Counter[str]], others: Mapping[str, Counter[str]]) -> None:
    for name, counts in others.items():
        sums.setdefault(name, Counter()).update(counts)


def _plain(sums: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {name: dict(sorted(counts.items())) for name, counts in sorted(sums.items())}


@dataclass(frozen=True, slots=True)
class _StoredGroups:
    source: dict[str, dict[str, int]] = field(default_factory=dict)
    kind: dict[str, dict[str, int]] = field(default_factory=dict)
    rule: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Stored:
    """The content of `verdicts.json`; an older mmpr wrote no `first_round` and no `groups`, and had judge version 1."""

    by_rule: dict[str, dict[str, int]]
    by_accuracy: tuple[tuple[int, int, int], ...]
    first_round: FirstRound | None = None
    groups: _StoredGroups = field(default_factory=_StoredGroups)
    judge_version: int = 1
    verifier: StoredVerifierCounts = field(default_factory=StoredVerifierCounts)


def write_verdicts(folder: RunFolder, counts: VerdictCounts) -> None:
    """Write `verdicts.json`."""
    folder.store.write_bytes(VERDICTS, sealed(counts.to_json()))


def read_verdicts(folder: RunFolder) -> VerdictCounts:
    """Read what was counted when the dataset was cut.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    try:
        stored = record_of(_Stored, folder.store.read_bytes(VERDICTS))
    except (FileNotFoundError, ValueError) as error:
        fault = "missing" if isinstance(error, FileNotFoundError) else "damaged"
        raise RunFolderError(f"{folder.url}/{VERDICTS} is {fault}; `mmpr pair {folder.url}` writes it again") from error
    counts = VerdictCounts(judge_version=stored.judge_version, verifier=stored.verifier.counts())
    counts.by_rule |= {rule: Counter(outcomes) for rule, outcomes in stored.by_rule.items()}
    counts.by_accuracy.update({(right, n): questions for right, n, questions in stored.by_accuracy})
    if stored.first_round is not None:
        counts.first_round.update(asdict(stored.first_round))
    for group, found in asdict(stored.groups).items():
        counts.groups[group] |= {name: Counter(sums) for name, sums in found.items()}
    return counts
