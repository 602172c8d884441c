"""The command line: all verbs, and the one place where an error becomes a message. Only results go to stdout.

Exit codes: 0 complete; 1 known error; 2 usage error or invalid setting; 3 complete, but too many questions failed; 75
stopped, run it again; 130 Ctrl-C.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mmpr import __version__, termination
from mmpr.cli.ask_verb import ask_verifier
from mmpr.cli.eval_verb import evaluate
from mmpr.cli.export_verb import export
from mmpr.cli.import_verb import import_rollouts
from mmpr.cli.messages import (
    EXIT_ERROR,
    EXIT_FAILING,
    EXIT_USAGE,
    LOG_FORMAT,
    POCKET,
    end_part,
    error_message,
    print_event,
    print_model,
    print_preview,
    print_summary,
    say,
)
from mmpr.cli.settings_verb import list_settings
from mmpr.cli.verb_options import (
    ConfigOption,
    Folder,
    LimitOption,
    LogOption,
    RootOption,
    Settings,
    SourceOption,
    StrictOption,
    UsageError,
    build_folder,
    debugging,
    examples,
    given,
    settings_of,
    sorted_words,
)
from mmpr.errors import EngineError, MmprError, RunFolderError, SourceError
from mmpr.extras import missing_extra
from mmpr.log import LogFormat
from mmpr.termination import EXIT_AGAIN
from mmpr.text_table import terminal_width
from mmpr.types import PairKind

if TYPE_CHECKING:
    from mmpr.builder.verifier_session import Verifier
    from mmpr.judging.rollouts import Judged


def _setting_hint(option: str, words: list[str], *, misspelt: bool) -> str:
    """Return a hint for an unknown option such as `--temperature 0.5`: how that setting is given, if it is one.

    Args:
        option: the option as it was given.
        words: the command line.
        misspelt: also name the setting whose name is most like the option's.
    """
    try:
        from mmpr.settings.config import name_fault, nearest_name, short_name
    except ImportError:
        return ""  # without settings installed (mmpr[data])
    name, said = option.lstrip("-").replace("-", "_"), "it is a setting: {}"
    if name_fault([short_name(".".join(name.split(".")[:2])).partition(".")[0]]):
        near = nearest_name(name) if misspelt else None
        if near is None:
            return ""
        name, said = near, "did you mean the setting {}?"
    place = next((i for i, word in enumerate(words) if word.partition("=")[0] == option), len(words))
    _, equals, value = words[place].partition("=") if place < len(words) else ("", "", "")
    value = value if equals else next(iter(words[place + 1 : place + 2]), "..")
    return f"; {said.format(f'{name}={value}')}"


def _engines_extra(verb: str, words: list[str]) -> str | None:
    """Return the extra that a command needs for its engine or server; it includes everything else."""
    named = {word.partition("=")[0] for word in words}
    starts = verb in ("build", "demo", "ask-verifier") or named & {"--engine", "--verifier"}
    if not starts and not (verb == "eval" and "--out" in named):
        return None
    served = {"engine=endpoint", "engine.kind=endpoint"} & {*words} or "--url" in named
    if "--verifier" in named:  # its address is the next word, or in the same one
        served = served or any(_is_url(word.removeprefix("--verifier=")) for word in words)
    return "endpoint" if served else "cpu"


class _Verbs(TyperGroup):
    """Turns what ends a verb into one line on stderr and an exit code; typer alone would print nothing for Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  whatever a verb returns
        # from here on a signal may raise: the imports that could swallow an exception are done
        termination.rise()
        words = list(getattr(ctx, "args", ()))
        try:
            return super().invoke(ctx)
        except UsageError as error:
            if option := getattr(error, "option_name", None):
                alike = getattr(error, "possibilities", None)  # options of the verb
                if hint := _setting_hint(option, words, misspelt=not alike):
                    error.message, error.possibilities = error.message + hint, None
            text = io.StringIO()
            # Captured, because the message may quote a file: `say` escapes its control characters.
            error.show(text)
            # removes pydantic's prefix from a message
            say(text.getvalue().replace("Value error, ", "").rstrip(), err=True)
            sys.exit(error.exit_code)
        except (MmprError, ImportError, KeyboardInterrupt, OSError) as raised:
            wanted = _engines_extra(str(ctx.invoked_subcommand), words)
            end = missing_extra(raised, wanted=wanted) or raised if isinstance(raised, ImportError) else raised
            if isinstance(end, OSError) and end.errno == errno.ENAMETOOLONG:  # `Path.exists` raises this too
                end = MmprError(f"{str(end.filename)[:60]}..: {os.strerror(end.errno)}; give a shorter path")
            # an error that mmpr does not know keeps its traceback
            if debugging() or not isinstance(end, MmprError | KeyboardInterrupt):
                raise
            code, line = error_message(end)
            failed = code in (EXIT_ERROR, EXIT_USAGE)
            print_event(ctx, "ended", f"mmpr: {line}", level="error" if failed else "info", exit_code=code)
            sys.exit(code)
        finally:
            # the verb has ended: a signal during Python's own cleanup must not change its exit code
            termination.ignore()


app = typer.Typer(
    name="mmpr",
    cls=_Verbs,
    help="Build multimodal preference pairs from questions about images.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmpr {__version__}")
        raise typer.Exit


@app.callback()
def options_of_all(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Build multimodal preference pairs from questions about images."""


_MISSING = "give --source (or sources in --config) and --out, or give --job"
_Form = StrEnum("_Form", ("final", "boxed", "think", "any"))


@app.command(
    short_help="Build preference pairs, or resume",
    epilog=examples("mmpr build --source vqa.jsonl --out runs/mine n=16", "mmpr build --job jobs.yaml"),
)
def build(
    context: typer.Context,
    source: SourceOption = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The run folder: a local path or any fsspec URL.")
    ] = None,
    job: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file that names several sources, instead of --source and --out."),
    ] = None,
    config: ConfigOption = None,
    limit: LimitOption = None,
    image_root: RootOption = None,
    strict: StrictOption = False,
    log_format: LogOption = LogFormat.TEXT,
    settings: Settings = None,
) -> None:
    """Build preference pairs; run the same command again to resume."""
    context.meta[LOG_FORMAT] = log_format
    options = given(source=source, limit=limit, image_root=image_root, strict=strict or None)
    if job is not None:
        if source is not None or out is not None or config is not None:
            raise typer.BadParameter(
                "leave out --source, --out and --config: the job's file names them", param_hint="--job"
            )
        _build_job(context, job, [*options, *(settings or [])])
    elif out is None:
        raise UsageError(_MISSING)
    else:
        _build_one(context, out, config, [*options, *(settings or [])])


def _build_one(context: typer.Context, out: str, config: Path | None, overrides: list[str]) -> None:
    chosen = settings_of(config, overrides)
    if not chosen.source.path and not chosen.sources:
        raise UsageError(_MISSING)
    build_folder(context, out, chosen)


def _build_job(context: typer.Context, job: Path, overrides: list[str]) -> None:
    from mmpr.builder.jobs import read_job, run_job

    parts = read_job(job, overrides)
    # once per model
    for part in {part.config.engine.model: part for part in parts}.values():
        print_model(context, part.config, part.out)
    ended = []
    for one in run_job(parts, log_format=context.meta[LOG_FORMAT], debug=debugging()):
        ended.append(one)
        end_part(context, one)
    # An error (1) is worse than failed questions (3).
    if any(one.error for one in ended):
        raise typer.Exit(EXIT_ERROR)
    if any(one.outcome is not None and one.outcome.failing for one in ended):
        raise typer.Exit(EXIT_FAILING)


@app.command(short_help="Build pairs from demo questions", epilog=examples("mmpr demo && mmpr peek runs/demo"))
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the questions and the run.")] = Path(
        "runs"
    ),
    n: Annotated[int, typer.Option("--n", metavar="N", min=8, help="How many questions.")] = 200,
    questions_only: Annotated[
        bool, typer.Option("--questions-only", help="Write the questions and build nothing.")
    ] = False,
    settings: Settings = None,
) -> None:
    """Draw demo questions and build pairs from them with the pocket model: two minutes on a laptop's CPU."""
    context.meta[LOG_FORMAT] = LogFormat.TEXT
    source = out / "demo-questions" / "vqa.jsonl"
    # a resumed run refuses changed rows, so the questions of an earlier start stay
    if not source.exists():
        from mmpr.demo.demo_questions import write_questions

        write_questions(source.parent, n=n, open_fraction=0.35, seed=1)
    print_event(context, "source", f"questions: {source}")
    if not questions_only:
        chosen = settings_of(Path("pocket"), [*given(source=str(source)), *(settings or [])])
        build_folder(context, str(out / "demo"), chosen)


app.command(
    name="eval",
    short_help="Measure how often a model is right",
    epilog=examples("mmpr eval --source vqa.jsonl --out evals/mine n=8", "mmpr eval --compare evals/old evals/new"),
)(evaluate)


app.command(
    name="import",
    short_help="Make a run of existing responses",
    epilog=examples(
        "mmpr import rollouts.jsonl --out runs/theirs --model NAME",
        "mmpr import scores.xlsx --out runs/theirs columns.response=prediction",
    ),
)(import_rollouts)


@app.command(
    short_help="Pair the responses of a run again",
    epilog=examples("mmpr pair runs/mine pairs_per_question=8 max_uses=1"),
)
def pair(
    folder: Folder,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DIR", help="Write the result into a new run folder; DIR is not changed."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the result and write nothing.")] = False,
    settings: Settings = None,
) -> None:
    """Pair the responses of a run again under other settings, without an engine or the source."""
    from mmpr.builder.build_flow import pair_again, preview_pairs

    if dry_run:
        if to is not None:
            raise typer.BadParameter("leave out --to: --dry-run writes nothing", param_hint="--to")
        print_preview(preview_pairs(folder, settings or []))
        return
    report = pair_again(folder, settings or [], to=to)
    print_summary(to or folder, report)


app.command(
    name="ask-verifier",
    short_help="Ask a model about open verdicts",
    epilog=examples(
        "mmpr ask-verifier runs/mine --model self use_verifier=both",
        "mmpr ask-verifier runs/mine --model NAME --url http://host:8000/v1",
    ),
)(ask_verifier)


@app.command(
    short_help="Join finished runs into one",
    epilog=examples("mmpr merge runs/a runs/b --out runs/both max_pairs_per_source=10000"),
)
def merge(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR | KEY=VALUE",
            help="Finished runs, then settings of selection, which take precedence over the first run's.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="DIR", help="New run folder; the given runs are not changed.", show_default=False
        ),
    ],
    pair_across: Annotated[
        bool,
        typer.Option(
            "--pair-across", help="Also pair responses of different models; the first run's model is the policy."
        ),
    ] = False,
) -> None:
    """Join finished runs into one and pair them together, without an engine or the sources."""
    from mmpr.builder.merge_flow import merge_runs

    folders, settings = sorted_words(words)
    merged = merge_runs(folders, out, settings, pair_across=pair_across)
    for note in merged.notes:
        say(note, err=True)
    print_summary(out, merged.report)
    if merged.report.pocket_model:
        say(f"made by {POCKET}", err=True)


@app.command(short_help="Check a run folder for damage", epilog=examples("mmpr verify runs/mine"))
def verify(folder: Folder) -> None:
    """Check a run folder and print what is damaged. Exit code 1: damaged; 75: only unfinished."""
    from mmpr.verification import unfinished
    from mmpr.verification import verify as problems_of

    problems = problems_of(folder)
    for problem in problems:
        # one line per problem, for grep and wc
        say(" ".join(problem.split()))
    if problems:
        raise typer.Exit(EXIT_ERROR)
    if left := unfinished(folder):
        say(f"{folder}: {left}", err=True)
        raise typer.Exit(EXIT_AGAIN)
    say(f"{folder}: sound", err=True)


@app.command(
    short_help="Print progress, speed and faults", epilog=examples("mmpr status runs/mine", "mmpr status runs --json")
)
def status(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A run folder, or a folder of run folders.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each run.")] = False,
) -> None:
    """Print progress, speed, driver and faults of a run, from its folder, on any machine."""
    from mmpr.reporting.safe_text import visible_json
    from mmpr.run.json_records import plain
    from mmpr.status import read_status, runs_below, status_lines, table_lines

    runs = runs_below(folder)
    found, damaged = [], []
    for run in runs:
        try:
            found.append(read_status(run))
        except RunFolderError as error:  # a damaged run must not hide the others
            if len(runs) == 1:
                raise
            damaged.append(error)
    if as_json:
        typer.echo("\n".join(visible_json(json.dumps(plain(one), ensure_ascii=False)) for one in found))
    else:
        lines = status_lines(found[0]) if len(runs) == 1 else table_lines(found, width=terminal_width())
        say("\n".join(lines))
    for fault in damaged:
        say(f"mmpr: {error_message(fault)[1]}", err=True)
    if damaged:
        raise typer.Exit(EXIT_ERROR)


@app.command(short_help="Write card, page and report.json again", epilog=examples("mmpr report runs/mine"))
def report(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json and write nothing.")] = False,
) -> None:
    """Write README.md, report.html and report.json of a finished run again."""
    from mmpr.reporting.report_files import report_again, report_json

    if as_json:
        typer.echo(report_json(folder))
    else:
        print_summary(folder, report_again(folder), in_full=True)


@app.command(
    short_help="Explain how a pair was made",
    epilog=examples("mmpr explain runs/mine 003a7e31bd5e09c66fb2", "mmpr explain runs/mine vqa:17"),
)
def explain(
    folder: Folder,
    pair_id: Annotated[
        str,
        typer.Argument(
            metavar="PAIR_ID", help="Or the beginning of it; or a question as SOURCE:ROW.", show_default=False
        ),
    ],
    texts: Annotated[bool, typer.Option("--texts", help="Print all responses in full.")] = False,
) -> None:
    """Explain a pair: the question, all responses with verdicts, and why these two became the pair."""
    from mmpr.reporting.pair_story import read_question_story, read_story
    from mmpr.reporting.story_view import print_story
    from mmpr.reporting.terminal import stdout_console

    source, _, row = pair_id.rpartition(":")
    # A pair's id has no colon. A row number fits in 64 bits.
    of_question = source and row.isdecimal() and len(row) < 19
    story = read_question_story(folder, source, int(row)) if of_question else read_story(folder, pair_id)
    print_story(stdout_console(), story, texts=texts)


@app.command(short_help="Print a few pairs of a run", epilog=examples("mmpr peek runs/mine --n 5 --kind dropout_ntp"))
def peek(
    folder: Folder,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="How many pairs.")] = 3,
    kind: Annotated[
        PairKind | None, typer.Option("--kind", metavar="KIND", help="Show only correctness, format or dropout_ntp.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Another seed shows other pairs.")] = 0,
) -> None:
    """Print a few pairs of a finished run, with their differences marked."""
    from mmpr.reporting.peek import sample_pairs, show_pairs
    from mmpr.reporting.terminal import stdout_console

    rows = sample_pairs(folder, n_pairs=n, kind=kind and kind.value, seed=seed)
    show_pairs(stdout_console(), rows)
    if not rows:
        say(f"{folder}: no pair{f' of kind {kind.value}' if kind else ''}", err=True)


app.command(
    short_help="Write a run in a trainer's own format",
    epilog=examples(
        "mmpr export runs/mine --format internvl --to exports/internvl",
        "mmpr export runs/mine --format verl --to exports/verl --accuracy 0.2:0.8",
    ),
)(export)


@app.command(short_help="Upload a run to the Hugging Face Hub", epilog=examples("mmpr push runs/mine owner/name"))
def push(
    folder: Folder,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A dataset repository.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="Make the repository public. Default: private.")] = False,
    with_responses: Annotated[
        bool, typer.Option("--with-responses", help="Upload questions (with image paths), responses and commits too.")
    ] = False,
    allow_pocket: Annotated[bool, typer.Option("--allow-pocket", help="Allow a run of the pocket model.")] = False,
) -> None:
    """Upload a finished run to the Hugging Face Hub, or upload what has changed. Log in with `hf auth login`."""
    from mmpr.exporting.push import push_run

    pushed = push_run(folder, repo, public=public, with_responses=with_responses, allow_pocket=allow_pocket)
    for note in pushed.notes:
        say(note, err=True)
    seen = "private" if pushed.private else "public"
    state = f"{pushed.n_files:,} files, {pushed.n_bytes / 1e6:,.1f} MB" if pushed.changed else "nothing has changed"
    say(f"{pushed.url} ({seen}): {state}")
    say(f'load: load_dataset("{pushed.repo}", split="train")')


@app.command(
    short_help="Check questions, images and settings",
    epilog=examples("mmpr check --source vqa.jsonl --show 5", "mmpr check --source vqa.jsonl --engine"),
)
def check(
    source: SourceOption = None,
    config: ConfigOption = None,
    limit: LimitOption = None,
    image_root: RootOption = None,
    show: Annotated[
        int | None,
        typer.Option(
            "--show",
            metavar="N",
            min=1,
            help="Print this many rows as they will be asked and judged, and do nothing else.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --show: print one JSON object for each row.")] = False,
    all_images: Annotated[bool, typer.Option("--all", help="Open all images. Default: a sample.")] = False,
    engine: Annotated[bool, typer.Option("--engine", help="Also start the engine and ask it two questions.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 also for reference answers that the judge cannot use.")
    ] = False,
    settings: Settings = None,
) -> None:
    """Check rows, reference answers, images and settings, and estimate the cost of a build. Builds nothing."""
    from mmpr import checking

    if as_json and show is None:
        raise typer.BadParameter("works only with --show N", param_hint="--json")
    overrides = [*given(source=source, limit=limit, image_root=image_root), *(settings or [])]
    chosen = settings_of(config, overrides)
    # with --json, stdout has only objects
    note = partial(say, err=as_json)
    if show is not None:
        # `say` wraps lines to the terminal, which would break JSON
        checking.show(chosen, show, as_json=as_json, say=typer.echo if as_json else say, note=note)
        if not strict:
            return
    sound = checking.check(
        chosen, every_image=all_images, with_engine=engine, say=note, strict=strict, debug=debugging()
    )
    if not sound:
        raise typer.Exit(EXIT_ERROR)


_VerifierName = Annotated[
    str | None,
    typer.Option(
        "--verifier",
        metavar="URL|MODEL",
        help="Ask about open verdicts: a server's URL, or a model that vLLM runs on this machine.",
    ),
]
_VerifierModel = Annotated[
    str | None, typer.Option(metavar="NAME", help="The model at --verifier URL. Default: the one that it serves.")
]
_MinMargin = Annotated[
    float | None,
    typer.Option(
        metavar="NATS",
        min=0,
        help="Nats between the verifier's letter and the next, below which a verdict is open. Default: 2.",
    ),
]
_VerifierTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="S", min=0.1, help="Seconds to wait for a server at --verifier that answers nothing. Default: 60."
    ),
]


@app.command(
    short_help="Judge responses of any model",
    epilog=examples("mmpr judge rollouts.jsonl --summary > verdicts.jsonl", "zcat r.gz | mmpr judge -"),
)
def judge(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Rows with `response` or `responses`; - reads stdin.")],
    summary: Annotated[
        bool, typer.Option("--summary", help="Print a table of outcomes by kind and rule on stderr.")
    ] = False,
    answer_form: Annotated[
        _Form,
        typer.Option(
            metavar="FORM", help="The form of answer that was asked for: final, boxed, think; any accepts all."
        ),
    ] = _Form.any,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Kind of answer for rows without answer_kind: number, choice, ..")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Relative tolerance of numbers, such as 0.05 for charts.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first row that cannot be judged.")] = False,
    time_limit_s: Annotated[
        float, typer.Option(metavar="S", min=0.1, help="Seconds that Math-Verify may take for one response.")
    ] = 1.0,
    verifier: _VerifierName = None,
    verifier_model: _VerifierModel = None,
    min_margin: _MinMargin = None,
    verifier_timeout_s: _VerifierTimeout = None,
) -> None:
    """Judge responses of any model and print one JSON line for each; `detail` explains what cannot be judged."""
    from mmpr.judging import JudgeOptions
    from mmpr.judging.rollouts import judge_rollouts, summary_table
    from mmpr.sources.rollout_rows import opened_rollouts

    options = JudgeOptions(answer_kind=kind, relative_tolerance=tolerance, format=answer_form.value)
    printed = Counter[str]()
    try:
        with ExitStack() as stack:
            asked = stack.enter_context(_verifier(verifier, verifier_model, min_margin, verifier_timeout_s))
            rollouts = stack.enter_context(opened_rollouts(file))
            verdicts = judge_rollouts(rollouts, options=options, time_limit_s=time_limit_s, verifier=asked)
            # One pass: each verdict is printed as soon as it is counted.
            table = summary_table(_printed(verdicts, printed, strict=strict), width=terminal_width(err=True))
    except EngineError as error:  # only a verifier raises it
        rest = f"{printed.total():,} verdicts are printed; judge the other rows when the verifier answers"
        raise EngineError(f"{error}; {rest}, or leave out --verifier") from error
    if asked is not None and asked.faults:
        say(f"mmpr: warning: {asked.faults_line()}", err=True)
    if summary:
        say(table, err=True)


def _refuse_without_verifier(
    named: str | None, model: str | None, min_margin: float | None, timeout_s: float | None
) -> None:
    """Refuse options that have no effect without the --verifier that they need, and an address that is none."""
    from mmpr.verifier.verifier_options import looks_like_url

    if named is not None and looks_like_url(named) and not _is_url(named):
        raise typer.BadParameter("give a server as http://HOST:PORT/v1", param_hint="--verifier")
    for option, value in (("--verifier-model", model), ("--verifier-timeout-s", timeout_s)):
        if value is not None and not _is_url(named):
            raise typer.BadParameter("works only with --verifier URL", param_hint=option)
    if min_margin is not None and named is None:
        raise typer.BadParameter("works only with --verifier", param_hint="--min-margin")


def _verifier(
    named: str | None, model: str | None, min_margin: float | None, timeout_s: float | None
) -> AbstractContextManager[Verifier | None]:
    """Return the verifier that --verifier names: a server, or a model that vLLM runs here; None without --verifier.

    Raises:
        BadParameter: as `_refuse_without_verifier` does.
    """
    _refuse_without_verifier(named, model, min_margin, timeout_s)
    if named is None:
        return nullcontext()
    from mmpr.builder.verifier_session import Verifier

    model, url = (model, named) if _is_url(named) else (named, None)
    return Verifier(
        model,
        url=url,
        min_margin=2.0 if min_margin is None else min_margin,
        timeout_s=60.0 if timeout_s is None else timeout_s,
        waiting=partial(say, err=True),
    )


def _is_url(text: str | None) -> bool:
    return text is not None and text.startswith(("http://", "https://"))


def _printed(verdicts: Iterable[Judged], printed: Counter[str], *, strict: bool) -> Iterator[Judged]:
    """Print each verdict, and count it by its outcome in `printed`."""
    from mmpr.reporting.safe_text import visible_json

    for verdict in verdicts:
        typer.echo(visible_json(json.dumps(verdict, ensure_ascii=False)))
        printed[str(verdict["outcome"])] += 1
        if strict and "detail" in verdict:
            raise SourceError(f"row {verdict['id']!r} cannot be judged: {verdict['detail']} (--strict)")
        yield verdict


app.command(
    name="settings",
    short_help="List all settings",
    epilog=examples("mmpr settings --presets", "mmpr settings --config internvl3-38b --json"),
)(list_settings)
