"""`report.html`: one self-contained file for looking at preference pairs.

Text of a model or a source reaches the page in only two ways: through autoescaping, or in a JSON island with escaped
`<`, `>` and `&`, whose texts the script sets as text and never as markup. The page's content security policy allows
only its own script, by hash, and no network access.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from itertools import accumulate
from typing import TYPE_CHECKING

from mmpr.image_tags import without_tags
from mmpr.prompts import QUESTION, VERSIONS
from mmpr.reporting.abstaining import AbstainingFigures, abstaining_cells
from mmpr.reporting.card_figures import views_of
from mmpr.reporting.charts import accuracy_bars, duration, gap_bars, length_curves, rate_curve, rule_bars, shares
from mmpr.reporting.diff import differing_runs
from mmpr.reporting.flow import flow_chart
from mmpr.reporting.plain_names import KINDS, POCKET_LINE, accuracy_label, cut_label, explain, kind_label, plain
from mmpr.reporting.report_record import Report
from mmpr.reporting.safe_text import visible
from mmpr.reporting.sample import Pick, read_picks
from mmpr.reporting.thumbnails import Thumbnails
from mmpr.reporting.verifier_figures import (
    ASKED_HEAD,
    RELIABILITY_HEAD,
    VerifierFigures,
    ask_command,
    asked_rows,
    contradiction_line,
    explain_command,
    missing_words,
    reliability_rows,
    verifier_sentence,
)
from mmpr.run import RunFolder
from mmpr.run.json_records import JsonObject
from mmpr.types import TableRow

if TYPE_CHECKING:
    from jinja2 import Environment

# limits for one text, tried until the budget holds; the dataset has the whole text
_TEXT_CHARS = (6000, 3000, 1500, 700)
_SHOWN_IMAGES = 6
_SHOWN_RULES = 7
_SHOWN_GROUPS = 12
PAIRS_BYTES = 2_400_000  # with the images' budget and 60 kB of the page itself: under 5 MB
_PLAIN = [
    *("pair_id", "question_id", "source", "source_row", "answer", "chosen_answer", "rejected_answer", "rule"),
    *("rejected_rule", "continued", "chosen_tokens", "rejected_tokens"),
    *("chosen_finish_reason", "rejected_finish_reason", "chosen_score", "rejected_score"),
    *("images", "n_images"),
]


def page(folder: RunFolder, report: Report, picks: list[Pick]) -> str:
    """Render the page of a run.

    Args:
        folder: the run; the sampled pairs are read from it.
        report: the report to show.
        picks: the pairs to show, most important first.

    Raises:
        RunFolderError: a shard is missing or damaged.
    """
    pairs, images = _browsed(folder, picks)
    script = _part("script.html")
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            kinds={kind: kind_label(kind, views_of(report)) for kind in KINDS},
            pocket_line=POCKET_LINE,
            flow=flow_chart(report),
            shares=shares(report),
            accuracy=accuracy_bars(report.accuracy.histogram),
            lengths={kind: length_curves(found.histogram) for kind, found in report.lengths.items()},
            gaps={kind: gap_bars(found.gap_histogram) for kind, found in report.lengths.items()},
            rules=rule_bars(report.outcomes_by_rule, report.abstaining, _SHOWN_RULES),
            judged=_judged(report.abstaining),
            verifier=_verifier(report.verifier),
            rate=rate_curve(report.throughput),
            style=_part("style.html"),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            island=island({"pairs": pairs, "images": images, "kinds": {k: plain(k) for k in KINDS}}),
            n_shown=len(pairs),
        )
    )


def _judged(found: AbstainingFigures | None) -> list[tuple[str, tuple[str, ...]]]:
    """Return the rows of the table of decisions: all, the largest sources, the most frequent kinds of answers."""
    if found is None or not found.all.responses:
        return []
    rows = [("all", abstaining_cells(found.all))]
    for group in ("source", "kind"):
        rows += [(f"{group} {name}", cells) for name, cells in found.cells(group, _SHOWN_GROUPS)]
    return rows


def _verifier(found: VerifierFigures | None) -> JsonObject | None:
    """Return what the page shows about the verifier; the same as the card."""
    if found is None:
        return None
    shown = found.contradictions[:_SHOWN_GROUPS]
    reliability = [(RELIABILITY_HEAD, reliability_rows(found))] if found.agreement.share is not None else []
    return {
        "says": verifier_sentence(found),
        "missing": missing_words(found),
        "asks_again": ask_command("DIR", found),
        "tables": [(ASKED_HEAD, asked_rows(found)), *reliability],
        "contradictions": [(contradiction_line(one), explain_command("DIR", one)) for one in shown],
    }


def island(value: object) -> str:
    """Encode JSON for a script element, so that nothing in it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # "</script>" ends the element and "<!--" starts a comment, also inside a JSON string
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # A lone surrogate cannot be written as UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()


def _browsed(folder: RunFolder, picks: list[Pick]) -> tuple[list[JsonObject], dict[str, JsonObject]]:
    """Return the pairs in the picks' order and their images by hash; originals are not kept in memory."""
    thumbnails = Thumbnails()
    rows: dict[str, TableRow] = {}
    for row in read_picks(folder, picks):
        images, hashes = row.pop("images"), row["image_sha256"] or []
        shown = thumbnails.add(images[:_SHOWN_IMAGES], hashes[:_SHOWN_IMAGES])
        rows[row["pair_id"]] = {**row, "images": shown, "n_images": len(images)}
    pairs = _within(PAIRS_BYTES, [rows[pick.pair_id] for pick in picks])
    wanted = {sha256 for pair in pairs for sha256 in rows[str(pair["pair_id"])]["images"]}
    return pairs, thumbnails.to_json(wanted)


def _within(n_bytes: int, rows: list[TableRow]) -> list[JsonObject]:
    """Return all pairs with texts short enough to fit; if the shortest do not fit, return the first pairs that do."""
    pairs: list[JsonObject] = []
    sizes: list[int] = []
    for limit in _TEXT_CHARS:
        pairs = [_shown(row, limit) for row in rows]
        sizes = [len(island(pair).encode()) for pair in pairs]
        if sum(sizes) <= n_bytes:
            break
    return [pair for pair, total in zip(pairs, accumulate(sizes), strict=True) if total <= n_bytes]


def _shown(row: TableRow, limit: int) -> JsonObject:
    """Return a pair in the form that the page's script reads."""
    chosen, rejected = _clip(row["chosen_text"], limit), _clip(row["rejected_text"], limit)
    # a clipped text may be shorter than the prefix that both sides share
    kept = min(row["prefix_chars"] or 0, len(chosen), len(rejected), limit)
    runs = differing_runs(chosen[kept:], rejected[kept:])
    return {
        **{name: _harmless(row[name]) for name in _PLAIN},
        "kind": row["pair_kind"],
        "accuracy": accuracy_label(row),
        "question": visible(_clip(bare_question(row["question"]), limit)),
        "prefix": visible(chosen[:kept]),
        "cut": cut_label(row.get("rejected_view")),
        "models": [_harmless(row.get(f"{side}_model")) for side in ("chosen", "rejected")],
        "chosen": [(differs, visible(text)) for differs, text in runs[0]],
        "rejected": [(differs, visible(text)) for differs, text in runs[1]],
    }


def bare_question(text: str) -> str:
    """Return a prompt's text without image tags and without the instruction that is the same for all questions."""
    bare = without_tags(text).strip()
    for head, tail in _instructions():
        before, found, rest = bare.partition(head)
        if found and rest.endswith(tail):
            return f"{before}{rest.removesuffix(tail)}".strip()
    return bare


@cache
def _instructions() -> list[tuple[str, str]]:
    """Return the text before and after the question in each version of the instruction."""
    wordings = (wording for version in VERSIONS.values() for wording in version.values())
    halves = (wording.split(QUESTION) for wording in wordings)
    # `given` is the question alone: it has no head, and `partition("")` raises an error
    return [(head, tail) for head, tail in halves if head]


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n[.. {len(text) - limit:,} more characters]"


def _part(name: str) -> str:
    """Return a style or script file without its first and last line: these are the element's tags, for editors."""
    lines = resources.files("mmpr.reporting").joinpath(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[1:-1])


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mmpr.reporting", ""),
        autoescape=True,
        # a misspelt name in the template is an error, not an empty cell
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=_count, share=_share, explain=explain, plain=plain, duration=duration)
    return environment


def _harmless(value: object) -> object:
    """Escape plain text. Numbers, and the page's own markup (a subclass of `str`), are not changed."""
    # jinja's `Markup` is a subclass of `str`
    return visible(value) if type(value) is str else value


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}".replace("-", "−")


def _share(number: float | None) -> str:
    return "–" if number is None else f"{number:.0%}"
