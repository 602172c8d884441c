"""`mmpr export`: a run's pairs, or a training set of its questions and responses, in a trainer's own format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmpr.cli.messages import say
from mmpr.cli.verb_options import Folder


# The values of `mmpr.exporting.Format`. Importing that needs pyarrow, which is too slow for --help; a test compares.
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
        # 0.5 means 0.5:0.5
        return float(low), float(high if colon else low)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not LOW:HIGH, such as 0.2:0.8") from None


def export(
    folder: Folder,
    format: Annotated[
        _Format, typer.Option("--format", metavar="NAME", help="The trainer's format, see above.", show_default=False)
    ],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new or empty local folder.", show_default=False)],
    strict: Annotated[
        bool, typer.Option("--strict", help="End at the first pair or question that the trainer cannot use.")
    ] = False,
    max_chars: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Characters of prompt and answer that the trainer reads; what is longer is left out.",
        ),
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            help="Training sets: keep questions whose fraction of correct responses is in LOW:HIGH, such as 0.2:0.8.",
        ),
    ] = None,
    per_question: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="kto, sft, orm: most responses of one label for each question."),
    ] = None,
) -> None:
    """Write a finished run in a trainer's own format, with a file or command that starts the training.

    \b
    Pairs:      internvl, llamafactory, swift, trl, jsonl
    Prompts:    verl, grpo, easyr1, swift-grpo, openrlhf
    Responses:  kto, sft, orm; all of them: rollouts

    Prompts have reference answers, for reinforcement learning with `mmpr.rewards`. Responses are judged ones; `mmpr
    import` reads rollouts. Rows that would break the trainer are left out, counted and named.
    """
    from mmpr.exporting import Format, export_run
    from mmpr.exporting.start_files import start_command

    window = None if accuracy is None else _window(accuracy)
    counts = export_run(
        folder, format, to, strict=strict, max_chars=max_chars, accuracy=window, per_question=per_question
    )
    images = f" and {counts.images:,} images" if counts.images else ""
    say("\n".join((f"{counts.rows:,} {Format(format.value).unit}{images} in {to}", *map(str, counts.left_out))))
    if counts.load:
        say(f"load: {counts.load}")
        if command := start_command(Format(format.value), to):
            say(f"train: {command}")
    else:
        say("nothing to load: no row to train on was written", err=True)
