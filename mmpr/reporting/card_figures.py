"""The card's figures beyond counts: how often the model was right, and which rules of the judge decided."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import partial

from mmpr.reporting.plain_names import view_label
from mmpr.reporting.report_record import Report
from mmpr.reporting.safe_text import visible_line
from mmpr.run.run_record import Settings, by_source
from mmpr.types import Certainty, View
from mmpr.verifier.opinions import UseVerifier

_BAR_CELLS = 24
SHOWN_RULES = 10


def accuracy_rows(report: Report) -> list[tuple[str, ...]]:
    """Return one table row per bin with a bar of blocks; empty if no question has a reference answer."""
    histogram = report.accuracy.histogram
    top = max(histogram.values(), default=0)
    if not top:
        return []
    words = {"0": "none right", "1": "all right"}
    # Markdown would read `[0.2, 0.4)` as the text of a link.
    ranges = {label: words.get(label, re.sub(r"([(\])])", r"\\\1", label)) for label in histogram}
    bars = {label: "█" * max(1, round(_BAR_CELLS * n / top)) if n else "" for label, n in histogram.items()}
    return [(ranges[label], f"{n:,}", bars[label]) for label, n in histogram.items()]


def rule_rows(report: Report) -> list[tuple[str, ...]]:
    """Return the rules that decided most often, with counts: right, proven and likely wrong, no answer, undecided.

    A dataset of an older mmpr does not store the certainty; its wrong responses count as likely.
    """
    if report.abstaining is not None and report.abstaining.by_rule:
        known = report.abstaining.by_rule.items()
        found = [(rule, (n.correct, n.proven, n.likely, n.unparsed, n.undecided)) for rule, n in known]
    else:
        older = ((rule, Counter(outcomes)) for rule, outcomes in report.outcomes_by_rule.items())
        found = [
            (rule, (n["correct"], 0, n["incorrect"], n["unparsed"], n["ambiguous"] + n["error"])) for rule, n in older
        ]
    return [(code(rule), *(f"{n:,}" for n in counts)) for rule, counts in found[:SHOWN_RULES]]


def how_made(report: Report) -> list[str]:
    """Describe in sentences how the existing kinds of pairs were made."""
    sentences = []
    if report.accuracy.questions:
        sentences += _by_member(report, partial(_sampling, verified=_is_verified(report)))
        sentences.append(_pairing(report.selection))
    if "dropout_ntp" in report.pairs_by_kind:
        sentences += _by_member(report, _dropout)
    return sentences


def _by_member(report: Report, describe: Callable[[Settings], str]) -> list[str]:
    """Describe the settings; if members or sources were made in different ways, each description lists its names."""
    names: dict[str, list[str]] = {}
    for member, identity in _members(report):
        for source, asked in by_source(identity):
            name = "/".join(filter(None, (member, source)))
            names.setdefault(describe(asked), []).append(code(name))
    return [f"{', '.join(named)}: {sentences}" if len(names) > 1 else sentences for sentences, named in names.items()]


def _members(report: Report) -> list[tuple[str, Settings]]:
    """Return names and settings of a merged run's members; a built run is one member without a name."""
    return [(member.name, member.identity) for member in report.members] or [("", report.identity)]


def code(text: str) -> str:
    """Format a name as Markdown code that is safe in tables."""
    # A backtick would end the code, a bar the table's cell, also inside of code.
    return f"`{visible_line(text).replace('`', '').replace('|', '')}`"


def views_of(report: Report) -> set[str]:
    """Return the views of the run's rejected completions; its parts may have different ones."""
    asked = (settings for _, identity in _members(report) for _, settings in by_source(identity))
    return {str(settings.get("rejected_view") or View.BLIND) for settings in asked}


def _dropout(asked: Settings) -> str:
    view, keep = str(asked.get("rejected_view") or View.BLIND), asked.get("keep_fraction")
    # `endings` is the name under which run folders store `dropout.completions`
    n = asked.get("endings") or 1
    how = "with the image, its tag and its label taken away" if view == View.BLIND else view_label(view)
    times = "" if n == 1 else f", {n} times"
    kept = f"Of that draft about {keep} of the tokens stayed; the same model finished it {how}{times}. The "
    if keep == 0:
        kept = f"Nothing of that draft was kept; the same model answered again {how}{times}. The "
    rejected = "an answer given this way" if keep == 0 else "its kept part with a completion written this way"
    return (
        f"A question without a reference answer was answered once. {kept}draft is the chosen side, {rejected} the "
        f"rejected one{'; completions equal to another, unfinished or refusing ones were left out' if n != 1 else ''}."
    )


def _is_verified(report: Report) -> bool:
    """Whether a side of a pair may be there because of a verifier's decision."""
    return report.verifier is not None and report.verifier.use_verifier != UseVerifier.NONE


def _sampling(asked: Settings, *, verified: bool) -> str:
    names = ("temperature", "top_k", "top_p", "max_tokens")
    sampling = ", ".join(f"{name} {asked[name]}" for name in names if asked.get(name) is not None)
    rounds = f"in rounds, the first of {asked.get('first_round')}, until it had its pairs; "
    times, rounds = ("up to ", rounds) if asked.get("adaptive") else ("", "")
    how = (
        f"A question with a reference answer was answered {times}{asked.get('n')} times ({rounds}{sampling}; "
        f"instruction `{asked.get('prompt_version')}`)."
    )
    if asked.get("imported"):
        how = "The responses were made elsewhere and imported: how they were sampled is not known."
    left = "what the judge left undecided is in no pair"
    if verified:
        left = "a model was asked about what the rules left open; its decisions may be used in pairs (see Verifier)"
    return (
        f"{how} A judge made of rules, not of a model, compared the final answer of each "
        "response with the reference answer: right and finished responses can be chosen; those proven wrong, and those "
        f"without a clear final answer, can be rejected; {left}."
    )


def _pairing(paired: Settings) -> str:
    sentences = f"At most {paired.get('pairs_per_question')} pairs per question"
    if (uses := paired.get("max_uses")) is not None:
        sentences += f", at most {uses} with the same response"
    if paired.get("rejected_certainty") == Certainty.LIKELY:
        sentences += ", responses that are only likely wrong among the rejected"
    if paired.get("refusal_negatives"):
        sentences += ", refusals among the rejected"
    if strategy := paired.get("strategy"):
        sentences += f", taken by the strategy `{strategy}`"
    if isinstance(window := paired.get("accuracy_window"), list | tuple):
        sentences += f", from questions of which {window[0]:g} to {window[1]:g} of the responses are right"
    return f"{sentences}."
