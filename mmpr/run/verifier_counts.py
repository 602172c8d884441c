"""A verifier's decisions over a whole run: sums of its answers, and the proofs of the rules that it contradicts."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from mmpr.judging.rules import is_open, is_proven
from mmpr.run.commit_records import StoredQuestion, StoredResponse
from mmpr.run.json_records import JsonObject
from mmpr.types import JudgedBy, Outcome, Pair, Question, Verdict
from mmpr.verifier.opinions import Opinion, agrees
from mmpr.verifier.verifier_prompts import Decision

MARGINS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)  # nats: lower bounds of the rows of the reliability table
MOST_CONTRADICTIONS = 50
_SHOWN_CHARS = 80
# Groups of responses, by the reason why the verifier was asked about them.
UNDECIDED, LIKELY, AUDITED = "undecided", "likely", "audited"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A proven verdict that the verifier contradicts; `index` is the index of the response."""

    source: str
    row: int
    index: int
    rule: str
    proven: str
    decision: str
    margin: float
    answer: str
    reference: str


@dataclass(slots=True)
class VerifierCounts:
    """Sums of a verifier's answers; the order of counting does not matter.

    Args:
        groups: counts per group of responses: `asked`, and of these `correct`, `incorrect`, `cannot_say`,
            `below_margin` (decided, but not by `min_margin`), `orders_differ` and `faults`; `unasked` counts
            responses that the current settings would ask about and that have no answer.
        proven: `agree` and `disagree` of audited responses, per row of `MARGINS`.
        proven_beyond: the same, only answers with a margin of at least `min_margin`.
        stand: number of `chosen` and `rejected` sides of pairs that are there because of the verifier's decision.
        decided: number of verdicts by the verifier, per outcome.
        faults: number of answers that are missing, per reason.
        contradictions: the `MOST_CONTRADICTIONS` with the widest margin.
    """

    groups: dict[str, Counter[str]] = field(default_factory=dict)
    proven: dict[int, Counter[str]] = field(default_factory=dict)
    proven_beyond: Counter[str] = field(default_factory=Counter)
    stand: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    contradictions: list[Contradiction] = field(default_factory=list)

    def count(self, committed: StoredQuestion, pairs: Sequence[Pair], min_margin: float) -> None:
        """Add a question and its pairs."""
        for stored in committed.responses:
            ruled = stored.by_rules
            if ruled is not None:
                self._count_response(committed.question, stored, ruled, min_margin)
        by = {
            (one.response.stage, one.response.index)
            for one in committed.responses
            if one.verdict is not None and one.verdict.judged_by is JudgedBy.VERIFIER
        }
        self.stand["chosen"] += sum(pair.chosen in by for pair in pairs)
        self.stand["rejected"] += sum(pair.rejected in by for pair in pairs)

    def _count_response(self, question: Question, stored: StoredResponse, ruled: Verdict, min_margin: float) -> None:
        if stored.verdict is not None and stored.verdict.judged_by is JudgedBy.VERIFIER:
            self.decided[stored.verdict.outcome.value] += 1
        # A proven verdict without an answer was not drawn for the audit.
        if not (is_open(ruled) or is_proven(ruled)) or (stored.answer is None and is_proven(ruled)):
            return
        group = AUDITED if is_proven(ruled) else LIKELY if ruled.outcome is Outcome.INCORRECT else UNDECIDED
        counts = self.groups.setdefault(group, Counter())
        if stored.answer is None:
            counts["unasked"] += 1
            return
        counts["asked"] += 1
        opinion = stored.answer.opinion
        if opinion is None:
            counts["faults"] += 1
            self.faults[(stored.answer.fault or "").partition(":")[0]] += 1
            return
        counts[_label(opinion, min_margin)] += 1
        if stored.answer.swapped is not None and opinion.decision is Decision.CANNOT_SAY and opinion.margin == 0.0:
            counts["orders_differ"] += 1
        if group == AUDITED:
            self._audit(question, stored, ruled, opinion, min_margin)

    def _audit(
        self, question: Question, stored: StoredResponse, ruled: Verdict, opinion: Opinion, min_margin: float
    ) -> None:
        same = agrees(ruled, opinion)
        if same is None:
            return
        name = "agree" if same else "disagree"
        self.proven.setdefault(bisect_right(MARGINS, opinion.margin) - 1, Counter())[name] += 1
        if opinion.margin >= min_margin:
            self.proven_beyond[name] += 1
        if not same:
            self.contradictions.append(
                Contradiction(
                    question.source,
                    question.row,
                    stored.response.index,
                    str(ruled.rule)[:_SHOWN_CHARS],
                    ruled.outcome.value,
                    opinion.decision.value,
                    round(opinion.margin, 3),
                    (ruled.answer or "")[:_SHOWN_CHARS],
                    (ruled.reference or "")[:_SHOWN_CHARS],
                )
            )
            self._keep_widest()

    def _keep_widest(self) -> None:
        self.contradictions.sort(key=lambda one: (-one.margin, one.source, one.row, one.index))
        del self.contradictions[MOST_CONTRADICTIONS:]

    def add(self, other: VerifierCounts) -> None:
        """Add the sums of `other`."""
        for group, counts in other.groups.items():
            self.groups.setdefault(group, Counter()).update(counts)
        for place, counts in other.proven.items():
            self.proven.setdefault(place, Counter()).update(counts)
        self.proven_beyond.update(other.proven_beyond)
        self.stand.update(other.stand)
        self.decided.update(other.decided)
        self.faults.update(other.faults)
        self.contradictions += other.contradictions
        self._keep_widest()

    @property
    def was_asked(self) -> bool:
        """Whether the verifier was asked about at least one response."""
        return any(counts["asked"] for counts in self.groups.values())

    def to_json(self) -> JsonObject:
        """Return sorted JSON: equal sums give equal text."""
        return {
            "groups": {group: _plain(counts) for group, counts in sorted(self.groups.items())},
            "proven": {str(place): _plain(counts) for place, counts in sorted(self.proven.items())},
            "proven_beyond": _plain(self.proven_beyond),
            "stand": _plain(self.stand),
            "decided": _plain(self.decided),
            "faults": _plain(self.faults),
            "contradictions": [asdict(one) for one in self.contradictions],
        }


@dataclass(frozen=True, slots=True)
class StoredVerifierCounts:
    """`VerifierCounts` as stored in JSON."""

    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    proven: dict[int, dict[str, int]] = field(default_factory=dict)
    proven_beyond: dict[str, int] = field(default_factory=dict)
    stand: dict[str, int] = field(default_factory=dict)
    decided: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    contradictions: tuple[Contradiction, ...] = ()

    def counts(self) -> VerifierCounts:
        """Return the stored values as `VerifierCounts`."""
        return VerifierCounts(
            {group: Counter(counts) for group, counts in self.groups.items()},
            {place: Counter(counts) for place, counts in self.proven.items()},
            Counter(self.proven_beyond),
            Counter(self.stand),
            Counter(self.decided),
            Counter(self.faults),
            list(self.contradictions),
        )


def _label(opinion: Opinion, min_margin: float) -> str:
    if opinion.decision is Decision.CANNOT_SAY:
        return opinion.decision.value
    return "below_margin" if opinion.margin < min_margin else opinion.decision.value


def _plain(counts: Counter[str]) -> dict[str, int]:
    return {name: n for name, n in sorted(counts.items()) if n}
