"""The dataset card: front matter that `datasets` and the Hub read, and a text for people."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmpr.reporting.abstaining import abstaining_cells
from mmpr.reporting.card_figures import SHOWN_RULES, accuracy_rows, code, how_made, rule_rows, views_of
from mmpr.reporting.card_text import COLUMNS, LOADING, licence, license_fields, recipe
from mmpr.reporting.plain_names import POCKET_LINE, explain, kind_label, plain
from mmpr.reporting.report_record import Report, SplitFigures
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.verifier_figures import (
    ASKED_HEAD,
    RELIABILITY_HEAD,
    ask_command,
    asked_rows,
    contradiction_line,
    cost_words,
    explain_command,
    missing_words,
    reliability_rows,
    verifier_sentence,
)
from mmpr.run import dataset_features
from mmpr.run.json_records import JsonObject

# `raw`: of decoded images, LLaMA-Factory and ms-swift compress JPEGs again (61,780 bytes became 34,290)
_CONFIGS = {"default": True, "raw": False}  # name: whether images are decoded
_SIZES = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()!|~$])")


def card(report: Report) -> str:
    """Return the content of `README.md` in a run folder."""
    parts = [
        POCKET_LINE if report.pocket_model else "",
        f"# {escape(_title(report))}",
        _opening(report),
        _merged(report),
        _numbers(report),
        _how(report),
        _skips(report),
        _answers(report),
        _undecided(report),
        _verifier(report),
        _lengths(report),
        LOADING,
        _columns(report),
        recipe(report),
        licence(escape(report.source), escape(report.model), _given_license(report)),
    ]
    body = "\n\n".join(part for part in parts if part)
    return f"---\n{front_matter(report)}---\n\n{body}\n"


def front_matter(report: Report) -> str:
    """Return the front matter as YAML: two configs of the same files. `raw` has undecoded images for some trainers."""
    import yaml

    kinds = list(report.pairs_by_kind)
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in _splits(report)]
    fields = {
        **license_fields(_given_license(report)),
        "pretty_name": visible_line(_title(report)),
        # the Hub refuses a card with a language that is no ISO 639 code
        "language": [name for name in report.languages if re.fullmatch("[a-z]{2,3}", name)] or ["en"],
        "task_categories": ["image-text-to-text", "visual-question-answering"],
        "tags": ["preference", "dpo", "mpo", "multimodal", "mmpr", *(kind.replace("_", "-") for kind in kinds)],
        # the Hub filters datasets by these tags
        "size_categories": [next((name for top, name in _SIZES if report.pairs < top), "1M<n<10M")],
        "configs": [
            {"config_name": name, **({"default": True} if name == "default" else {}), "data_files": files}
            for name in _CONFIGS
        ],
        "dataset_info": [_described(name, report, decode=decode) for name, decode in _CONFIGS.items()],
    }
    # width: PyYAML breaks a text over several lines at 80 characters
    return str(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=1000))


def _title(report: Report) -> str:
    return str(report.selection.get("pretty_name") or f"Preference pairs from {report.source}")


def _given_license(report: Report) -> str | None:
    given = report.selection.get("license")
    return visible_line(given).strip() or None if given else None


def escape(text: object) -> str:
    """Escape text of a source or model as one line of plain Markdown, so that nothing in it acts as markup."""
    return _MARKDOWN.sub(r"\\\1", visible_line(text))


def _splits(report: Report) -> dict[str, SplitFigures]:
    """Return pairs and bytes of each split; a run without a validation split has only `train`."""
    return report.files.splits or {"train": SplitFigures(report.pairs, report.files.uncompressed_bytes)}


def _described(name: str, report: Report, *, decode: bool) -> JsonObject:
    """Describe the columns that the files have: a dataset of an older mmpr has fewer."""
    return {
        "config_name": name,
        "features": [one for one in dataset_features(decode=decode) if one["name"] in report.files.columns],
        "splits": [
            {"name": split, "num_bytes": counts.uncompressed_bytes, "num_examples": counts.pairs}
            for split, counts in _splits(report).items()
        ],
        "download_size": report.files.bytes,
        "dataset_size": report.files.uncompressed_bytes,
    }


def _opening(report: Report) -> str:
    views, counts = views_of(report), report.pairs_by_kind.items()
    kinds = "\n".join(f"- **{n:,} {plain(kind)}** pairs: {kind_label(kind, views)}." for kind, n in counts)
    images = "Images are embedded."
    if not report.selection.get("embed_images", True):
        # readers on another machine need to know that these paths will not open there
        images = "Images are paths of the machine where it was made, or embedded where no file is what was seen."
    return (
        f"{report.pairs:,} preference pairs for multimodal models, made by `mmpr` from "
        f"{report.questions:,} questions with {escape(report.model)}. {images}\n\n{kinds}\n\n"
        "The kinds follow Mixed Preference Optimization ([arXiv 2411.10442](https://arxiv.org/abs/2411.10442)). "
        "Open `report.html` to browse pairs; `report.json` has every figure below."
    )


def _merged(report: Report) -> str:
    """Describe the members of a merged run; each row keeps the column values of its own run."""
    if not report.members:
        return ""
    rows = [
        (
            code(member.name),
            escape(member.model),
            code((member.model_revision or "none")[:12]),
            escape(member.source),
            ", ".join(f"{code(name)} is {code(here)} here" for name, here in member.renamed.items()) or "as it was",
        )
        for member in report.members
    ]
    words = "Every row has the `model`, `prompt_version`, `temperature` (and so on) of the run it is from.\n\n"
    return "## Merged from\n\n" + words + table(("run", "model", "revision", "questions", "`source`"), rows)


def _token_rows(report: Report) -> list[tuple[str, str]]:
    tokens = report.tokens
    if tokens.generated is None:
        return [("tokens generated", "not known: the responses were made elsewhere")]
    return [
        ("tokens generated", f"{tokens.generated:,}"),
        ("tokens generated per pair", f"{tokens.generated_per_pair or 0:,}"),
    ]


def _numbers(report: Report) -> str:
    rows = [
        ("questions", f"{report.questions:,}"),
        ("with pairs", f"{report.paired:,}"),
        ("skipped, each with a reason", f"{report.skipped:,}"),
        ("pairs", f"{report.pairs:,}"),
        *_token_rows(report),
        ("repeated question ids", f"{report.repeated_question_ids:,}"),
    ]
    if len(splits := _splits(report)) > 1:
        rows += [
            (f"pairs in `{split}`, no image of which is in the other", f"{n.pairs:,}") for split, n in splits.items()
        ]
    if report.accuracy.mean is not None:
        rows.append(("mean accuracy of a question's first responses", f"{report.accuracy.mean:.1%}"))
    sources = [(f"from {escape(name)}", f"{counts.pairs:,}") for name, counts in report.by_source.items()]
    if len(sources) > 1:
        rows += sources[:20]
    return "## Numbers\n\n" + table(("", "count"), rows)


def _skips(report: Report) -> str:
    if not report.skips_by_reason:
        return ""
    rows = [(f"`{reason}`", explain(reason), f"{n:,}") for reason, n in report.skips_by_reason.items()]
    words = "Every question leaves as pairs or as one named skip. `skips.parquet` names each with its reason.\n\n"
    return "## Skips\n\n" + words + table(("reason", "meaning", "questions"), rows)


def _how(report: Report) -> str:
    sentences_of_all = how_made(report)
    return "## How\n\n" + "\n".join(f"- {sentences}" for sentences in sentences_of_all) if sentences_of_all else ""


def _answers(report: Report) -> str:
    rows = accuracy_rows(report)
    if not rows:
        return ""
    words = "Questions by the share of their first responses that are right; all or none leaves nothing to compare."
    histogram = table(("right", "questions", ""), rows)
    head = ("rule of the judge", "right", "wrong, proven", "wrong, likely", "no final answer", "undecided")
    rules = table(head, rule_rows(report))
    return f"## Answers\n\n{words}\n\n{histogram}\n\nResponses by the rule that decided:\n\n{rules}"


def _undecided(report: Report) -> str:
    found = report.abstaining
    if found is None or not found.all.responses:
        return ""
    rows = [("all", *abstaining_cells(found.all))]
    for group in ("source", "kind"):
        rows += [(f"{group} {code(name)}", *cells) for name, cells in found.cells(group, SHOWN_RULES)]
    words = (
        "Questions with a reference answer, and the judge's verdicts on their responses. A response is proven wrong if "
        "its answer and the reference answer were both understood and differ. It is likely wrong if it is an open text "
        "that no test relates to the reference answer. Undecided responses are in no pair."
    )
    if (first := report.accuracy).interval is not None:
        low, high = first.interval
        words += (
            f" Of the first responses {first.n_correct:,} are right, {first.n_wrong:,} wrong and "
            f"{first.n_undecided:,} undecided: between {low:.1%} and {high:.1%} are right."
        )
    head = ("", "paired", "skipped", "responses", "right", "proven", "likely", "no answer", "undecided", "share")
    warnings = [f"**Warning:** {escape(line)}." for line in found.warnings]
    return "\n\n".join(("## Undecided", words, table(head, rows), *warnings))


def _verifier(report: Report) -> str:
    found = report.verifier
    if found is None:
        return ""
    orders = "in both orders of its letters" if any(one.both_orders for one in found.verifiers) else "in one order"
    words = (
        f"{escape(verifier_sentence(found))}. It was asked {orders}, for one letter: correct, incorrect, cannot say. "
        "The margin is the log-probability of its letter minus that of the next. It never overrules a proof. "
        f"{cost_words(found)}."
    )
    parts = ["## Verifier", words, table(ASKED_HEAD, asked_rows(found))]
    if missing := missing_words(found):
        parts.append(f"{escape(missing)}. {code(ask_command('DIR', found))} asks about them alone.")
    if found.agreement.share is not None:
        parts += ["Its decisions about proven verdicts, by margin:", table(RELIABILITY_HEAD, reliability_rows(found))]
    if found.contradictions:
        shown = found.contradictions[:SHOWN_RULES]
        lines = [f"- {escape(contradiction_line(one))}: {code(explain_command('DIR', one))}" for one in shown]
        parts += ["Proofs that it contradicts, the widest margin first:", "\n".join(lines)]
    return "\n\n".join(parts)


def _lengths(report: Report) -> str:
    rows = [
        (
            plain(kind),
            f"{found.chosen_tokens.mean:,.0f}",
            f"{found.rejected_tokens.mean:,.0f}",
            f"{found.gap_tokens.mean_absolute:,.1f}",
            f"{found.chosen_longer_share:.0%}",
        )
        for kind, found in report.lengths.items()
    ]
    if not rows:
        return ""
    words = "If the last column is far from 50 %, length alone tells the sides apart; a model may learn only that.\n\n"
    header = ("kind", "chosen, mean tokens", "rejected, mean tokens", "gap, mean tokens", "chosen is longer")
    return "## Lengths\n\n" + words + table(header, rows)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Format a Markdown table; cells must be escaped."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _columns(report: Report) -> str:
    rows = [(f"`{name}`", COLUMNS.get(name, "")) for name in report.files.columns]
    return "## Columns\n\n" + table(("column", "what it holds"), rows)
