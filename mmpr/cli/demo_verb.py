"""`mmpr demo`: from nothing to pairs, with the model that ships in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmpr.cli.messages import LOG_FORMAT, end_build, print_event
from mmpr.cli.verb_options import Settings, built, given, settings_of
from mmpr.log import LogFormat

QUESTIONS, RUN = "demo-questions", "demo"


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="A folder for questions and run.")] = Path("runs"),
    n: Annotated[int, typer.Option("--n", min=8, help="How many questions.")] = 200,
    questions_only: Annotated[bool, typer.Option("--questions-only", help="Build nothing.")] = False,
    settings: Settings = None,
) -> None:
    """Draw questions of the pocket model's world and build pairs from them: two minutes on a laptop's CPU."""
    context.meta[LOG_FORMAT] = LogFormat.TEXT
    source = out / QUESTIONS / "vqa.jsonl"
    if not source.exists():
        from mmpr.demo.demo_questions import write_questions

        write_questions(source.parent, n=n, open_fraction=0.35, seed=1)
    print_event(context, "source", f"questions: {source}")
    if not questions_only:
        chosen = settings_of(Path("pocket"), [*given(source=str(source)), *(settings or [])])
        end_build(context, built(context, str(out / RUN), chosen), chosen)
