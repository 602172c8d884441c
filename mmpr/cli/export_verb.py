"""`mmpr export`: a run's pairs, or a training set of its questions and responses, in a trainer's own format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmpr.cli.messages import say
from mmpr.cli.verb_options import Folder


# The values of `mmpr.exporting.Format`, which needs pyarrow: too heavy for --help. A test compares them.
class _Format(StrEnum):
    internvl = "internvl"
    llamafactory = "llamafactory"
    swift = "swift"
    trl = "trl"
    jsonl = "jsonl"
    verl = "verl"
    grpo = "grpo"
    easyr1 = "easyr1"
    swift_grpo = "swift-grpo"
    openrlhf = "openrlhf"
    kto = "kto"
    sft = "sft"
    orm = "orm"
    rollouts = "rollouts"


def _window(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    try:
        return float(low), float(high if colon else low)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not LOW:HIGH, such as 0.2:0.8") from None


def export(
    folder: Folder,
    format: Annotated[_Format, typer.Option("--format", help="Whose format.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="A new or empty folder on this machine.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="The first unfit pair or question ends the export.")] = False,
    max_chars: Annotated[
        int | None, typer.Option(min=1, help="Characters of prompt and answer that the trainer keeps.")
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(help="Training sets: keep questions whose share of right responses is in LOW:HIGH (0.2:0.8)."),
    ] = None,
    per_question: Annotated[
        int | None, typer.Option(min=1, help="kto, sft, orm: most responses of a question with one label.")
    ] = None,
) -> None:
    """Write a finished run in a trainer's own format; what the trainer would not survive is left out and named.

    internvl, llamafactory, swift, trl and jsonl hold the pairs. verl, grpo, easyr1, swift-grpo and openrlhf hold
    prompts with reference answers for reinforcement learning (mmpr.rewards), kto, sft and orm judged responses.
    rollouts holds every response, as `mmpr import` reads it.
    """
    from mmpr.exporting import Format, export_run

    window = None if accuracy is None else _window(accuracy)
    counts = export_run(
        folder, format, to, strict=strict, max_chars=max_chars, accuracy=window, per_question=per_question
    )
    images = f" and {counts.images:,} images" if counts.images else ""
    say("\n".join((f"{counts.rows:,} {Format(format.value).unit}{images} in {to}", *map(str, counts.left_out))))
    if counts.load:
        say(f"load: {counts.load}")
    else:
        say("nothing to load: no row to train on was written", err=True)
