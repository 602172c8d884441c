"""The figures of a report about the verifier: what it was asked, what it decided, and how reliable its margins are."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass

from mmpr.evaluation import wilson
from mmpr.reporting.safe_text import visible_line
from mmpr.run import RunFolder, VerdictCounts
from mmpr.run.run_record import Settings
from mmpr.run.verifier_counts import AUDITED, LIKELY, MARGINS, UNDECIDED, Contradiction, VerifierCounts
from mmpr.run.verifier_files import AskedVerifier, answers_commits
from mmpr.text_table import aligned
from mmpr.verifier.verifier_options import SELF, VerifierKind

_GROUPS = {UNDECIDED: "undecided", LIKELY: "likely wrong", AUDITED: "proven (audit)"}
_SHOWN_CONTRADICTIONS = 10


@dataclass(frozen=True, slots=True)
class AgreementFigures:
    """How often a verifier that decided agrees with the proofs of the rules, with Wilson's 95 % interval."""

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
    """A row of the reliability table: audited answers with a margin from `least` to the next row's `least`, in nats."""

    least: float
    agreement: AgreementFigures


@dataclass(frozen=True, slots=True)
class AskedFigures:
    """The responses that the verifier was asked about for one reason, and its answers.

    Args:
        asked: number of these responses.
        correct, incorrect: decided with a margin of at least `min_margin`.
        below_margin: decided with a smaller margin.
        cannot_say: not decided, `orders_differ` of them because the two orders of the letters disagree.
        faults: not answered.
        unasked: the current settings would ask about these, but there is no answer to their current verdict.
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
    """The figures of a report about the verifier.

    Args:
        verifiers: the verifiers and how they were asked; a merged run may have several.
        groups: counts by the reason for asking.
        decided: number of verdicts by the verifier, per outcome.
        chosen_sides, rejected_sides: sides of pairs that are there because of its decision.
        min_margin: nats; the setting with which the pairs were made.
        use_verifier: the setting with which the pairs were made.
        agreement: agreement with proofs at any margin; `agreement_beyond`: at a margin of at least `min_margin`.
        reliability: agreement per range of margins.
        contradictions: proofs that it contradicts, the widest margin first.
        faults: number of missing answers, per reason.
        requests, prompt_tokens: what was sent; each reply is one token.
        seconds: sum over all chunks of the time from lease to commit; chunks overlap, so a run takes less.
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
    """Return the figures of a run; None if no verifier was asked.

    Raises:
        RunFolderError: a commit of answers is damaged.
    """
    found = counts.verifier
    if not found.was_asked:
        return None
    commits = answers_commits(folder)
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
    """Return the rows under `ASKED_HEAD`."""
    return [
        (
            _GROUPS[name],
            *(f"{n:,}" for n in (one.asked, one.correct, one.incorrect, one.below_margin)),
            *(f"{n:,}" for n in (one.cannot_say, one.faults, one.unasked)),
        )
        for name, one in found.groups.items()
    ]


def reliability_rows(found: VerifierFigures) -> list[tuple[str, ...]]:
    """Return the rows under `RELIABILITY_HEAD`: each range of margins, all, those of at least `min_margin`."""
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
    """Return the verifiers' names: `opencompass/CompassVerifier-3B`."""
    return visible_line(", ".join(dict.fromkeys(one.model for one in found.verifiers)))


def verifier_sentence(found: VerifierFigures) -> str:
    """Return a sentence about what was asked, decided and used in pairs."""
    asked = sum(one.asked for name, one in found.groups.items() if name != AUDITED)
    audited = found.groups[AUDITED].asked if AUDITED in found.groups else 0
    right = sum(one.correct for name, one in found.groups.items() if name != AUDITED)
    wrong = sum(one.incorrect for name, one in found.groups.items() if name != AUDITED)
    stand = f"{found.chosen_sides:,} chosen and {found.rejected_sides:,} rejected sides are there by its decision"
    used = "no pair uses them (use_verifier: none)" if found.use_verifier == "none" else stand
    return (
        f"{verifier_names(found)} was asked about {asked:,} open verdicts and {audited:,} proven ones: "
        f"{right:,} right, {wrong:,} wrong at a margin of {found.min_margin:g} nats or more; {used}"
    )


def cost_words(found: VerifierFigures) -> str:
    """Return the cost of asking, in words."""
    return f"{found.requests:,} requests, {found.prompt_tokens:,} prompt tokens, {found.seconds:,.0f} s of all chunks"


def missing_words(found: VerifierFigures) -> str | None:
    """Return how many responses have no answer although one was wanted, and why; None if there are none."""
    failed, unasked = (sum(getattr(one, name) for one in found.groups.values()) for name in ("faults", "unasked"))
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in found.faults.items())
    parts = [f"{failed:,} responses could not be asked about ({reasons})" if failed else ""]
    parts += [f"{unasked:,} were not asked about" if unasked else ""]
    return visible_line(" and ".join(filter(None, parts))) or None


def ask_command(url: str, found: VerifierFigures) -> str:
    """Return the shell command that asks about the missing ones only."""
    by = found.verifiers[0]
    model = SELF if by.kind is VerifierKind.SELF else by.model
    server = " --url URL" if by.kind is VerifierKind.ENDPOINT else ""
    return visible_line(f"mmpr ask-verifier {shlex.quote(url)} --model {shlex.quote(model)}{server}")


def explain_command(url: str, one: Contradiction) -> str:
    """Return the shell command that shows a contradiction."""
    return f"mmpr explain {shlex.quote(url)} {shlex.quote(f'{one.source}:{one.row}')}"


def contradiction_line(one: Contradiction) -> str:
    """Return a contradiction as one line, without its command."""
    return visible_line(
        f"{one.source}:{one.row} response {one.index}: {one.proven} by the rule {one.rule} ({one.answer!r} against "
        f"{one.reference!r}), the verifier says {one.decision}, margin {one.margin:g}"
    )


def missing_lines(found: VerifierFigures, url: str) -> list[str]:
    """Return how many responses have no answer, and the command that asks again; empty if there are none."""
    words = missing_words(found)
    return [] if words is None else [f"warning: {words}; this asks about them alone:", f"  {ask_command(url, found)}"]


def verifier_lines(found: VerifierFigures | None, url: str, *, width: int | None = None) -> list[str]:
    """Return the terminal's lines: the verifier, two tables, and the contradicted proofs with their commands."""
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
