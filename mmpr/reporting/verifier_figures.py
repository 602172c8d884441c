"""What a verifier was asked, what it decided, and how far its margins can be believed: figures of a report."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass

from mmpr.evaluation import wilson
from mmpr.reporting.safe_text import visible_line
from mmpr.run import RunFolder, VerdictCounts
from mmpr.run.run_record import Settings
from mmpr.run.verifier_counts import AUDITED, LIKELY, MARGINS, UNDECIDED, Contradiction, VerifierCounts
from mmpr.run.verifier_files import AskedVerifier, asked_chunks, load_answers_commit
from mmpr.text_table import aligned

_GROUPS = {UNDECIDED: "undecided", LIKELY: "likely wrong", AUDITED: "proven (audit)"}
_SHOWN_CONTRADICTIONS = 10


@dataclass(frozen=True, slots=True)
class AgreementFigures:
    """How often a verifier that decided agrees with the rules' proofs; the share has Wilson's interval at 95 %."""

    agree: int
    disagree: int
    share: float | None
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, sums: Counter[str]) -> AgreementFigures:
        n = sums["agree"] + sums["disagree"]
        if not n:
            return cls(0, 0, None, None)
        found = wilson(sums["agree"] / n, n)
        return cls(sums["agree"], sums["disagree"], round(found.value, 4), (round(found.low, 4), round(found.high, 4)))


@dataclass(frozen=True, slots=True)
class MarginFigures:
    """A row of the reliability table: audited answers with a margin from `least` up to the next row's, in nats."""

    least: float
    agreement: AgreementFigures


@dataclass(frozen=True, slots=True)
class AskedFigures:
    """Responses that the verifier was asked about for one cause, and what it said.

    Args:
        asked: about how many.
        correct, incorrect: decided so by at least `min_margin`.
        below_margin: decided, but by less.
        cannot_say: not decided; `orders_differ` of them since both orders of the letters said different things.
        faults: not answered.
        unasked: would be asked about now, and were not: their verdicts are of another judge, or answers are missing.
    """

    asked: int
    correct: int
    incorrect: int
    below_margin: int
    cannot_say: int
    orders_differ: int
    faults: int
    unasked: int

    @classmethod
    def of(cls, sums: Counter[str]) -> AskedFigures:
        return cls(**{name: sums[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class VerifierFigures:
    """What a report says of the verifier.

    Args:
        verifiers: who was asked, and how; several in a merged run.
        groups: by why a response was asked about.
        decided: verdicts that are the verifier's, by outcome.
        chosen_sides, rejected_sides: sides of pairs that stand there by its decision.
        min_margin: nats, of the settings that pairs were made with.
        use_verifier: the same.
        agreement: with proofs, whatever the margin; `agreement_beyond` with a margin of at least `min_margin`.
        reliability: the same by margin.
        contradictions: proofs that it contradicts, the widest margin first.
        faults: why it did not answer.
        requests, prompt_tokens: that were sent; a request gives one token.
        seconds: from lease to commit, over all chunks; several were under way at once.
    """

    verifiers: tuple[AskedVerifier, ...]
    groups: dict[str, AskedFigures]
    decided: dict[str, int]
    chosen_sides: int
    rejected_sides: int
    min_margin: float
    use_verifier: str
    agreement: AgreementFigures
    agreement_beyond: AgreementFigures
    reliability: tuple[MarginFigures, ...]
    contradictions: tuple[Contradiction, ...]
    faults: dict[str, int]
    requests: int
    prompt_tokens: int
    seconds: float


def verifier_figures(folder: RunFolder, counts: VerdictCounts, selection: Settings) -> VerifierFigures | None:
    """The figures of a run; None where nobody was asked.

    Raises:
        RunFolderError: a commit of answers is damaged.
    """
    found = counts.verifier
    if not found.was_asked:
        return None
    commits = [commit for chunk in sorted(asked_chunks(folder)) if (commit := load_answers_commit(folder, chunk))]
    margin, use = selection.get("min_margin"), selection.get("use_verifier")
    return VerifierFigures(
        verifiers=tuple(dict.fromkeys(commit.by for commit in commits)),
        groups={name: AskedFigures.of(found.groups[name]) for name in _GROUPS if name in found.groups},
        decided=dict(sorted(found.decided.items())),
        chosen_sides=found.stand["chosen"],
        rejected_sides=found.stand["rejected"],
        min_margin=float(margin) if isinstance(margin, int | float) else 0.0,
        use_verifier=str(use or "none"),
        agreement=AgreementFigures.of(sum(found.proven.values(), Counter())),
        agreement_beyond=AgreementFigures.of(found.proven_beyond),
        reliability=_reliability(found),
        contradictions=tuple(found.contradictions),
        faults=dict(found.faults.most_common()),
        requests=sum(commit.requests for commit in commits),
        prompt_tokens=sum(commit.prompt_tokens for commit in commits),
        seconds=round(sum(commit.seconds for commit in commits), 3),
    )


def _reliability(found: VerifierCounts) -> tuple[MarginFigures, ...]:
    return tuple(
        MarginFigures(least, AgreementFigures.of(found.proven.get(place, Counter())))
        for place, least in enumerate(MARGINS)
    )


# -- as text ----------------------------------------------------------------------------------------------------------

ASKED_HEAD = ("", "asked", "right", "wrong", "below margin", "cannot say", "not answered", "not asked")
RELIABILITY_HEAD = ("margin, nats", "agree", "disagree", "agreement", "95 % interval")


def asked_rows(found: VerifierFigures) -> list[tuple[str, ...]]:
    """Rows under `ASKED_HEAD`."""
    return [
        (
            _GROUPS[name],
            *(f"{n:,}" for n in (one.asked, one.correct, one.incorrect, one.below_margin)),
            *(f"{n:,}" for n in (one.cannot_say, one.faults, one.unasked)),
        )
        for name, one in found.groups.items()
    ]


def reliability_rows(found: VerifierFigures) -> list[tuple[str, ...]]:
    """Rows under `RELIABILITY_HEAD`: each range of margins, then all, then those that count."""
    ends = [*(one.least for one in found.reliability[1:]), None]
    rows = [
        (f"{one.least:g} or more" if end is None else f"{one.least:g} to {end:g}", one.agreement)
        for one, end in zip(found.reliability, ends, strict=True)
    ]
    rows += [("all", found.agreement), (f"{found.min_margin:g} or more (min_margin)", found.agreement_beyond)]
    return [(name, f"{one.agree:,}", f"{one.disagree:,}", *_shares(one)) for name, one in rows]


def _shares(one: AgreementFigures) -> tuple[str, str]:
    if one.share is None or one.interval is None:
        return "–", "–"
    low, high = one.interval
    return f"{one.share:.1%}", f"{low:.1%} to {high:.1%}"


def verifier_names(found: VerifierFigures) -> str:
    """Who was asked: `opencompass/CompassVerifier-3B`."""
    return visible_line(", ".join(dict.fromkeys(one.model for one in found.verifiers)))


def verifier_sentence(found: VerifierFigures) -> str:
    """What it was asked and what became of it, in one or two sentences."""
    asked = sum(one.asked for name, one in found.groups.items() if name != AUDITED)
    audited = found.groups[AUDITED].asked if AUDITED in found.groups else 0
    right = sum(one.correct for name, one in found.groups.items() if name != AUDITED)
    wrong = sum(one.incorrect for name, one in found.groups.items() if name != AUDITED)
    stand = f"{found.chosen_sides:,} chosen and {found.rejected_sides:,} rejected sides stand by its decision"
    used = "no pair uses them (use_verifier: none)" if found.use_verifier == "none" else stand
    return (
        f"{verifier_names(found)} was asked about {asked:,} open verdicts and {audited:,} proven ones: "
        f"{right:,} right, {wrong:,} wrong at a margin of {found.min_margin:g} nats or more; {used}"
    )


def cost_words(found: VerifierFigures) -> str:
    """What asking took."""
    return f"{found.requests:,} requests, {found.prompt_tokens:,} prompt tokens, {found.seconds:,.0f} s of all chunks"


def explain_command(url: str, one: Contradiction) -> str:
    """The command that shows a contradiction, as a shell takes it."""
    return f"mmpr explain {shlex.quote(url)} {shlex.quote(f'{one.source}:{one.row}')}"


def contradiction_line(one: Contradiction) -> str:
    """One contradiction without its command."""
    return visible_line(
        f"{one.source}:{one.row} response {one.index}: {one.proven} by the rule {one.rule} ({one.answer!r} against "
        f"{one.reference!r}), the verifier says {one.decision}, margin {one.margin:g}"
    )


def verifier_lines(found: VerifierFigures | None, url: str, *, width: int | None = None) -> list[str]:
    """What a terminal shows: who was asked, two tables, the proofs that it contradicts with their commands."""
    if found is None:
        return []
    lines = [f"verifier {verifier_sentence(found)}"]
    lines += aligned([ASKED_HEAD, *asked_rows(found)], width=width)
    lines.append(cost_words(found))
    if found.agreement.share is not None:
        lines += ["", *aligned([RELIABILITY_HEAD, *reliability_rows(found)], width=width)]
    if found.contradictions:
        lines += ["", f"{len(found.contradictions)} proofs that it contradicts, the widest margin first:"]
        for one in found.contradictions[:_SHOWN_CONTRADICTIONS]:
            lines += [contradiction_line(one), f"  {visible_line(explain_command(url, one))}"]
    return lines
