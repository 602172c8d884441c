"""Show a few pairs of a run in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpr.reporting.page import bare_question
from mmpr.reporting.plain_names import accuracy_label, plain, view_label
from mmpr.reporting.safe_text import visible_line
from mmpr.reporting.sample import Sampler, read_picks
from mmpr.reporting.terminal import heading, labelled, sides, styled
from mmpr.run import RunFolder, finished_pairs
from mmpr.run.parquet_reader import batches
from mmpr.types import JudgedBy, PairKind, TableRow

if TYPE_CHECKING:
    from rich.console import Console


def sample_pairs(url: str, *, n_pairs: int, kind: str | None = None, seed: int = 0) -> list[TableRow]:
    """Sample pairs of the whole dataset with a seed, the kinds in turn, without image bytes.

    Args:
        url: local path or fsspec URL of the run folder.
        n_pairs: most pairs to return.
        kind: return only pairs of this kind.
        seed: another seed returns other pairs.

    Raises:
        RunFolderError: the folder holds no finished run, or is damaged.
    """
    folder = RunFolder(url)
    sampler = Sampler(n_pairs, kind=kind, seed=seed)
    for file in finished_pairs(folder).shards():
        first = 0
        for batch in batches(folder, file.path, ["pair_id", "pair_kind"]):
            sampler.offer(batch, file.path, first)
            first += batch.num_rows
    picks = sampler.picks()
    rows = {row["pair_id"]: row for row in read_picks(folder, picks, images=False)}
    # `read_picks` gives the order of the files; the kinds are shown in turn
    return [rows[pick.pair_id] for pick in picks]


def show_pairs(console: Console, rows: Sequence[TableRow]) -> None:
    """Print question, chosen and rejected side of each pair."""
    for row in rows:
        heading(console, pair_line(row))
        labelled(console, "Question", bare_question(row["question"]))
        _show_known(console, row)
        titles = (side_title(row, "chosen"), side_title(row, "rejected"))
        texts, view = (row["chosen_text"], row["rejected_text"]), row.get("rejected_view")
        sides(console, titles, texts, kept_chars=row["prefix_chars"], view=view)
        console.print()


def pair_line(row: TableRow) -> str:
    """Format a pair's id, kind and place as one line."""
    return visible_line(f"{row['pair_id']} · {plain(row['pair_kind'])} · {row['source']}, row {row['source_row']}")


def side_title(row: TableRow, side: str) -> str:
    """Format the title of a side: `Chosen: cyan (60 tokens, exact)`."""
    answer, rule = row[f"{side}_answer"], row["rule" if side == "chosen" else "rejected_rule"]
    tokens, model, margin = row[f"{side}_tokens"], row.get(f"{side}_model"), row.get("verifier_margin")
    details = [
        *([] if tokens is None else [f"{tokens:,} tokens"]),
        *([rule] if rule else []),
        *([f"margin {margin:.1f}"] if margin is not None and row.get(f"{side}_by") == JudgedBy.VERIFIER else []),
        *([f"by {model}"] if model else []),
    ]
    if side == "rejected" and row["pair_kind"] == PairKind.DROPOUT_NTP:
        details.append(view_label(row.get("rejected_view")))
    words = f"{side.capitalize()}{'' if answer is None else f': {answer}'}"
    return visible_line(f"{words} ({', '.join(details)})" if details else words)


def _show_known(console: Console, row: TableRow) -> None:
    images = len(row["image_sha256"] or [])
    details = ["no image" if not images else "1 image" if images == 1 else f"{images} images"]
    if row["answer"] is not None:
        details.append(f"reference answer: {visible_line(row['answer'])}")
    if accuracy := accuracy_label(row):
        details.append(accuracy)
    console.print(styled((" · ".join(details), "dim")))
