"""The functions of the command line for Python programs; `import mmpr` offers all of them."""

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
OwnJudgeOrPlace = Callable[..., object] | str  # of `mmpr.judging.JudgesResponses`, or its place


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
    """Build preference pairs, or continue a stopped build, like `mmpr build`.

    Args:
        source: the questions: a file, a folder, `hf://owner/name:split`; or give `sources=[..]` as a setting.
        out: the run folder: a local path or an fsspec URL.
        config: a YAML file of settings, or the name of a preset; by default the one that this machine can run.
        judge: your own judge: a callable with `name` and `version` from a module that Ray's workers can import, or
            `module:name`. None: the rules.
        make_engine: starts your own engine inside each actor; picklable. None: as the settings say.
        settings: any setting by its name (`mmpr settings`); it takes precedence over the file.

    Raises:
        ConfigError: a setting is invalid.
        MmprError: a foreseeable fault, in one line; committed chunks stay.
        RunFailing: too many questions failed (`max_failure_fraction`).
        RunStopped: SIGTERM, `deadline` or `max_gpu_hours`; the same call continues. It is a `KeyboardInterrupt`.
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
    """Measure how often a model is right: ask a source's questions, or read a finished run.

    Args:
        source, out, config, judge, make_engine, settings: as for `build`.
        run: a finished run, built or evaluated, instead of the other arguments.

    Raises:
        ConfigError: give either a run, or a source and a folder; or a setting is invalid.
        MmprError, RunFailing, RunStopped: as for `build`.
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
    """Compare two finished runs on the questions that both asked, like `mmpr eval --compare --json`.

    Raises:
        ConfigError: the runs were judged under different settings.
        RunFolderError: a run is not finished, or the runs have no question in common.
    """
    from mmpr.builder.evaluation_flow import compare_runs

    return compare_runs(_url(first), _url(second))


@named_extras()
def open_run(path: RunOrUrl) -> Run:
    """Open a run folder, finished or not.

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
    """Pair a run's responses again under other selection settings; needs neither an engine nor the source.

    Args:
        run: a run with pairs.
        to: a new folder for the result; None: change the run's own dataset.
        judge: as for `build`.
        settings: selection settings only.

    Raises:
        ConfigError: a setting is invalid, or is no selection setting.
        RunFolderError: the folder holds no run or an evaluation, is in use or damaged; or `to` holds a run.
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
    """Ask a model about the undecided verdicts of a finished run, and pair the run again.

    Args:
        run: a finished run with pairs.
        verifier: the model to ask: `self` (the run's own model), a checkpoint folder, a Hub repository, or the name
            that the server at `url` serves.
        url: base URL of an OpenAI-compatible server.
        anew: replace the answers of a verifier that was asked before.
        make_verifier: starts your own engine inside each actor; picklable. None: as the settings say.
        settings: of verifier, selection (`use_verifier`, `min_margin`) and operation.

    Raises:
        ConfigError: another verifier was asked before, or a setting is invalid.
        RunFolderError: the folder holds no finished run with pairs, is in use or damaged.
        RunFailing: too many requests failed (`max_failure_fraction`); the same call asks again.
        RunStopped: SIGTERM, `deadline` or `max_gpu_hours`; the same call continues. It is a `KeyboardInterrupt`.
    """
    from mmpr.builder.ask_flow import ask_about_run

    given = {"verifier": verifier, **({} if url is None else {"verifier_url": url}), **settings}
    outcome = ask_about_run(_url(run), _overrides(given), anew=anew, make_verifier=make_verifier)
    if outcome.stopped is not None:
        raise RunStopped(outcome.stopped)
    if outcome.failing is not None:
        raise RunFailing(outcome.failing)
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
    """Make a run folder of existing responses, or continue an import, like `mmpr import`.

    Args:
        file: questions with responses, one per row or a list; any source file (docs/rollouts.md).
        out: the run folder: a local path or an fsspec URL.
        model: the model that answered, for rows that name none.
        config: a YAML file of settings; those about asking a model are ignored.
        judge: as for `build`.
        settings: of reading rows and images, judging and pairing; `columns={"response": "prediction"}`.

    Raises:
        ConfigError: a setting is invalid, or has no effect on an import.
        SourceError: the file cannot be read, or has no response.
        ResumeError, RunFolderError: the file has changed, or the folder holds something else or is in use.
        RunStopped: SIGTERM; the same call continues. It is a `KeyboardInterrupt`.
    """
    from mmpr.importing.import_flow import import_file

    given = settings if model is None else {**settings, "model": model}
    chosen = None if config is None else Path(config)
    return Run(
        import_file(fspath(file), fspath(out), _overrides(_with_judge(given, judge)), settings=chosen).folder.url
    )


@named_extras()
def merge(*runs: RunOrUrl, out: PathOrUrl, pair_across: bool = False, **settings: object) -> Run:
    """Merge finished runs into one run folder and pair it as a whole; the runs are not changed.

    Args:
        runs: two or more, in the order in which their rows should follow.
        out: a new or empty folder.
        pair_across: join a question that several runs answered, and pair responses of different models; the first run's
            model is the policy, whose responses are the rejected sides (`policy`, `chosen_from`, `max_across`).
        settings: selection settings that replace those of the first run.

    Raises:
        ConfigError: fewer than two runs, a run twice, or a setting that is no selection setting.
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
        format: name of the format; `mmpr export --help` lists them.
        to: a new or empty folder on this machine.
        strict: stop at the first unfit pair or question.
        max_chars: characters of prompt and answer that the trainer keeps.
        accuracy: for training sets: smallest and largest fraction of right responses to a question, both included.
        per_question: for sets of responses: most responses to a question with one label.

    Returns:
        The number of written rows and images, and what was left out with the reason.

    Raises:
        ConfigError: the format is unknown or does not use an argument; `to` has other files or cannot be written.
        RunFolderError: the run is unfinished or damaged; with `strict`, a row is unfit.
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
    """Return every problem of a run folder, one line each; empty if nothing is damaged."""
    from mmpr.verification import verify as problems_of

    return problems_of(_url(run))


def read_source(source: PathOrUrl, **settings: object) -> Iterator[Question | Skip]:
    """Yield a source's rows as a build would read them: a `Question`, or a `Skip` that explains the fault.

    Args:
        source: a file, a folder, `hf://owner/name:split`.
        settings: settings of reading: `image_root`, `columns`, `language`, `limit`, ..

    Raises:
        ConfigError: a setting is invalid.
        SourceError: the source cannot be read.
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
    if outcome.failing is not None:
        raise RunFailing(outcome.failing)
    return Run(outcome.folder.url)


def _with_judge(settings: Mapping[str, object], judge: OwnJudgeOrPlace | None) -> dict[str, object]:
    if judge is None:
        return dict(settings)
    return {**settings, "judge": judge if isinstance(judge, str) else place_of(judge)}


def _overrides(settings: Mapping[str, object]) -> list[str]:
    """Return settings as `key=value` texts, so that Python and the command line use the same code to merge them."""
    return [f"{name}={json.dumps(value, ensure_ascii=False, default=_plain)}" for name, value in settings.items()]


def _plain(value: object) -> str:
    if isinstance(value, PathLike):
        return str(fspath(value))
    raise ConfigError(f"a setting may not hold {type(value).__name__} {value!r}: give numbers, texts, lists, mappings")


def _url(run: RunOrUrl) -> str:
    return run.url if isinstance(run, Run) else fspath(run)
