"""What the command line does, for Python programs; `import mmpr` has every function of this module."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from mmpr.errors import ConfigError, RunFailing, RunStopped
from mmpr.extras import named_extras
from mmpr.judging.own_judge import place_of
from mmpr.opened_run import Evaluation, Run

if TYPE_CHECKING:
    from mmpr.builder.build_flow import BuildOutcome
    from mmpr.exporting import Counts, Format
    from mmpr.pool import MakeEngine
    from mmpr.reporting.evaluation_report import ComparisonReport
    from mmpr.types import Question, Skip

PathOrUrl = str | PathLike[str]
RunOrUrl = Run | PathOrUrl
OwnJudgeOrPlace = Callable[..., object] | str  # of `mmpr.judging.JudgesResponses`, or where one is


@named_extras()
def build(
    source: PathOrUrl | None = None,
    out: PathOrUrl = "",
    *,
    config: PathOrUrl | None = None,
    judge: OwnJudgeOrPlace | None = None,
    make_engine: MakeEngine | None = None,
    **settings: object,
) -> Run:
    """Build preference pairs, or go on with a build that was stopped, as `mmpr build` does.

    Args:
        source: the questions: a file, a folder, `hf://owner/name:split`; or `sources=[..]` among the settings.
        out: the run folder: local, or an fsspec URL.
        config: a YAML file of settings, or a preset's name; by default those of whatever this machine can run.
        judge: a judge of your own: a callable with `name` and `version` from a module that Ray's workers can import,
            or `module:name`. None: the rules.
        make_engine: starts an engine of your own in each engine's actor; picklable. None: as the settings say.
        settings: any setting by its name (`mmpr settings`), over the file's.

    Raises:
        ConfigError: a setting is wrong.
        MmprError: a foreseeable fault, in one line; what was committed stays.
        RunFailing: too many questions failed (`max_failure_fraction`).
        RunStopped: SIGTERM, `deadline` or `max_gpu_hours`; the same call goes on. A `KeyboardInterrupt`.
    """
    return _finished(_built(source, out, config, judge, make_engine, settings))


@named_extras()
def evaluate(
    source: PathOrUrl | None = None,
    out: PathOrUrl | None = None,
    *,
    run: RunOrUrl | None = None,
    config: PathOrUrl | None = None,
    judge: OwnJudgeOrPlace | None = None,
    make_engine: MakeEngine | None = None,
    **settings: object,
) -> Evaluation:
    """Say how right a model is: ask a source's questions with answers, or look at a finished run.

    Args:
        source, out, config, judge, make_engine, settings: as of `build`.
        run: a finished run, built or evaluated, instead of all of them.

    Raises:
        ConfigError: neither a run nor a source with a folder is given, or both are; or a setting is wrong.
        MmprError, RunFailing, RunStopped: as of `build`.
    """
    from mmpr.reporting.evaluation_report import EvaluationReport

    if run is not None:
        if source is not None or out is not None or config is not None or settings:
            raise ConfigError("evaluate: give a run, or source= and out=, not both")
        from mmpr.builder.evaluation_flow import evaluate_run

        return Evaluation(evaluate_run(_url(run)))
    if out is None:
        raise ConfigError("evaluate: give run=, or source= and out=")
    asking = {**settings, "evaluate": True, "adaptive": False}
    report = _finished(_built(source, out, config, judge, make_engine, asking)).report
    assert isinstance(report, EvaluationReport), "an evaluation without one"
    return Evaluation(report)


@named_extras()
def compare(first: RunOrUrl, second: RunOrUrl) -> ComparisonReport:
    """Two finished runs on the questions that both asked, as `mmpr eval --compare --json` prints it.

    Raises:
        ConfigError: they were judged in different ways.
        RunFolderError: one is no finished run, or they have no question in common.
    """
    from mmpr.builder.evaluation_flow import compare_runs

    return compare_runs(_url(first), _url(second))


@named_extras()
def open_run(path: RunOrUrl) -> Run:
    """A run folder, finished or not.

    Raises:
        RunFolderError: the folder holds no run.
    """
    from mmpr.run import RunFolder

    url = _url(path)
    RunFolder(url).load_run()
    return Run(url)


@named_extras()
def pair(
    run: RunOrUrl, *, to: PathOrUrl | None = None, judge: OwnJudgeOrPlace | None = None, **settings: object
) -> Run:
    """Pair a run's responses again under other settings of selection; needs no engine and no source.

    Args:
        run: a run with pairs.
        to: a new folder for the result; None changes the run's own dataset.
        judge: as of `build`.
        settings: of selection alone.

    Raises:
        ConfigError: a setting is wrong, or is none of selection.
        RunFolderError: the folder holds no run or an evaluation, is in use, or is damaged; or `to` holds one.
    """
    from mmpr.builder.build_flow import pair_again

    target = None if to is None else fspath(to)
    pair_again(_url(run), _overrides(_with_judge(settings, judge)), to=target)
    return Run(target or _url(run))


@named_extras()
def ask_verifier(
    run: RunOrUrl,
    verifier: str,
    *,
    url: str | None = None,
    anew: bool = False,
    make_verifier: MakeEngine | None = None,
    **settings: object,
) -> Run:
    """Ask a model about the verdicts that the rules left open in a finished run, and pair the run again.

    Args:
        run: a finished run with pairs.
        verifier: who is asked: `self` (the run's own model), a checkpoint folder, a Hub repository, or the name that
            the server at `url` serves.
        url: base URL of an OpenAI-compatible server.
        anew: replace the answers of a verifier that was asked before.
        make_verifier: starts an engine of your own in each engine's actor; picklable. None: as the settings say.
        settings: of the verifier, of selection (`use_verifier`, `min_margin`) and of operation.

    Raises:
        ConfigError: another verifier was asked before, or a setting is wrong.
        RunFolderError: the folder holds no finished run with pairs, is in use, or is damaged.
        RunStopped: SIGTERM, `deadline` or `max_gpu_hours`; the same call goes on. A `KeyboardInterrupt`.
    """
    from mmpr.builder.ask_flow import ask_about_run

    given = {"verifier": verifier, **({} if url is None else {"verifier_url": url}), **settings}
    outcome = ask_about_run(_url(run), _overrides(given), anew=anew, make_verifier=make_verifier)
    if outcome.stopped is not None:
        raise RunStopped(outcome.stopped)
    return Run(outcome.folder.url)


@named_extras()
def import_rollouts(
    file: PathOrUrl,
    out: PathOrUrl,
    *,
    model: str | None = None,
    config: PathOrUrl | None = None,
    judge: OwnJudgeOrPlace | None = None,
    **settings: object,
) -> Run:
    """Make a run folder of responses that were made elsewhere, or go on with an import, as `mmpr import` does.

    Args:
        file: questions with responses, one a row or a list: any file that a source may be (docs/rollouts.md).
        out: the run folder: local, or an fsspec URL.
        model: who answered, where rows do not say.
        config: a YAML file of settings; those of asking a model are left aside.
        judge: as of `build`.
        settings: of reading rows and images, judging and pairing; `columns={"response": "prediction"}`.

    Raises:
        ConfigError: a setting is wrong, or has no effect on an import.
        SourceError: the file cannot be read, or has no response.
        ResumeError, RunFolderError: the file has changed since, or the folder holds something else or is in use.
        RunStopped: SIGTERM; the same call goes on. A `KeyboardInterrupt`.
    """
    from mmpr.importing.import_flow import import_file

    given = settings if model is None else {**settings, "model": model}
    chosen = None if config is None else Path(config)
    return Run(
        import_file(fspath(file), fspath(out), _overrides(_with_judge(given, judge)), settings=chosen).folder.url
    )


@named_extras()
def merge(*runs: RunOrUrl, out: PathOrUrl, pair_across: bool = False, **settings: object) -> Run:
    """Join finished runs into one run folder, and pair it as a whole; the runs stay as they are.

    Args:
        runs: two or more, in the order that their rows shall have.
        out: a new or empty folder.
        pair_across: take a question that several runs answered once, and pair responses of different models; the first
            run's is the policy that rejected sides are of (`policy`, `chosen_from`, `max_across`).
        settings: of selection, over those of the first run.

    Raises:
        ConfigError: fewer than two runs, one twice, or a setting that is none of selection.
        RunFolderError: a run is unfinished, damaged or in use, or `out` holds something else.
    """
    from mmpr.builder.merge_flow import merge_runs

    merge_runs([_url(run) for run in runs], fspath(out), _overrides(settings), pair_across=pair_across)
    return Run(fspath(out))


@named_extras()
def export(
    run: RunOrUrl,
    format: Format | str,
    to: PathOrUrl,
    *,
    strict: bool = False,
    max_chars: int | None = None,
    accuracy: tuple[float, float] | None = None,
    per_question: int | None = None,
) -> Counts:
    """Write a finished run in a trainer's own format: its pairs, or a training set of its questions and responses.

    Args:
        run: a finished run.
        format: whose format, as `mmpr export --help` lists them.
        to: a new or empty folder on this machine.
        strict: the first pair or question that is unfit ends the export.
        max_chars: characters of prompt and answer that the trainer keeps.
        accuracy: of training sets: least and greatest share of right responses of a question, both included.
        per_question: of sets of responses: most of a question with one label.

    Returns:
        How many rows and images were written, and what was left out, with the reason.

    Raises:
        ConfigError: no such format, or it has no use for an argument; `to` has other files or cannot be written.
        RunFolderError: the run is not finished or damaged; with `strict`, something is unfit.
    """
    from mmpr.exporting import export_run

    return export_run(
        _url(run),
        format,
        Path(to),
        strict=strict,
        max_chars=max_chars,
        accuracy=accuracy,
        per_question=per_question,
    )


@named_extras()
def verify(run: RunOrUrl) -> list[str]:
    """Every problem of a run folder, one line each; none where nothing is damaged."""
    from mmpr.verification import verify as problems_of

    return problems_of(_url(run))


def read_source(source: PathOrUrl, **settings: object) -> Iterator[Question | Skip]:
    """A source's rows in order as a build would read them: a `Question`, or the `Skip` that says what is wrong.

    Args:
        source: a file, a folder, `hf://owner/name:split`.
        settings: those of reading: `image_root`, `columns`, `language`, `limit`, ..

    Raises:
        ConfigError: a setting is wrong.
        SourceError: the source cannot be read at all.
    """
    with named_extras():
        from mmpr.builder.layout import read_rows
        from mmpr.settings.config import load

        yield from read_rows(load(None, _overrides({"source": fspath(source), **settings}), pocket=True))


# -- from arguments to settings ---------------------------------------------------------------------------------------


def _built(
    source: PathOrUrl | None,
    out: PathOrUrl,
    config: PathOrUrl | None,
    judge: OwnJudgeOrPlace | None,
    make_engine: MakeEngine | None,
    settings: Mapping[str, object],
) -> BuildOutcome:
    from mmpr.builder.build_flow import build as build_folder
    from mmpr.builder.engine_choice import default_is_pocket, engine_maker
    from mmpr.settings.config import load

    given = _with_judge(settings if source is None else {"source": fspath(source), **settings}, judge)
    overrides = _overrides(given)
    chosen = load(None if config is None else Path(config), overrides, pocket=default_is_pocket(overrides))
    if not fspath(out) or not (chosen.source.path or chosen.sources):
        raise ConfigError("build: give source= (or sources=) and out=")
    return build_folder(chosen, fspath(out), make_engine or engine_maker(chosen))


def _finished(outcome: BuildOutcome) -> Run:
    if outcome.failing:
        raise RunFailing(f"{outcome.failing}; what was done is kept in {outcome.folder.url}")
    if outcome.stopped is not None:
        raise RunStopped(outcome.stopped)
    return Run(outcome.folder.url)


def _with_judge(settings: Mapping[str, object], judge: OwnJudgeOrPlace | None) -> dict[str, object]:
    if judge is None:
        return dict(settings)
    return {**settings, "judge": judge if isinstance(judge, str) else place_of(judge)}


def _overrides(settings: Mapping[str, object]) -> list[str]:
    """Settings as `key=value`, so that one way of merging them does for Python and the command line."""
    return [f"{name}={json.dumps(value, ensure_ascii=False, default=_plain)}" for name, value in settings.items()]


def _plain(value: object) -> str:
    if isinstance(value, PathLike):
        return str(fspath(value))
    raise ConfigError(f"a setting may not hold {type(value).__name__} {value!r}: give numbers, texts, lists, mappings")


def _url(run: RunOrUrl) -> str:
    return run.url if isinstance(run, Run) else fspath(run)
