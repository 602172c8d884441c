"""Finish a build, or pair a run again: cut the dataset from the commits, then write the reports and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from mmpr.builder.run_recipes import own_judges, run_recipe
from mmpr.errors import ConfigError, RunFolderError
from mmpr.judging import VERSION
from mmpr.pool import map_tasks
from mmpr.reporting.abstaining import abstaining_figures
from mmpr.reporting.evaluation_report import EvaluationReport, read_evaluation
from mmpr.reporting.report_files import write_reports
from mmpr.reporting.report_record import CARD, PAGE, REPORT, PairingPreview, Report, read_report
from mmpr.reporting.tally import ranked
from mmpr.reporting.verifier_figures import verifier_figures
from mmpr.run import (
    FileRecord,
    RunFolder,
    RunRecord,
    count_dataset,
    cut_dataset,
    read_manifest,
    write_manifest,
)
from mmpr.run.exclusion import list_name
from mmpr.run.folder import DATA, EXCLUDE
from mmpr.run.verifier_files import answers_record, asked_chunks
from mmpr.settings.config import BuildConfig, Mark, of_sources, part, unused_settings
from mmpr.verification import lost_answers
from mmpr.verifier.opinions import UseVerifier
from mmpr.verifier.verifier_options import VerifierOptions

Waiting = Callable[[str], AbstractContextManager[object]]  # shows inside the block what the build is waiting for
REPORTS = (CARD, PAGE, REPORT)


def finish(
    folder: RunFolder,
    config: BuildConfig,
    *,
    usage: Mapping[str, float] | None = None,
    run: RunRecord | None = None,
    waiting: Waiting = nullcontext,
) -> Report:
    """Write `data/`, the reports and the manifest. Needs a connected pool; opens neither source nor engine.

    Args:
        folder: a run with all chunks committed.
        config: the settings; members of a merged run keep their own identity settings.
        usage: what the engines did in this start, for the report.
        run: the future content of `run.json`, if it is not written yet.
        waiting: shows what the build is waiting for.

    Raises:
        RunFolderError: a committed file is missing or damaged, or the folder cannot be written.
        LawBroken: `questions = paired + skipped` does not hold.
    """
    refuse_lost_answers(folder, config)
    run, answers = run or folder.load_run(), answers_record(folder)
    with waiting("pairing"):
        totals, files = cut_dataset(
            folder,
            run_recipe(config, run.members, folder.commits()),
            options=config.dataset,
            map_tasks=map_tasks,
        )
    with waiting("writing the card and the page"):
        report = write_reports(folder, totals, files, usage=usage, run=run)
    others = REPORTS if config.dataset.exclude is None else (*REPORTS, EXCLUDE)
    write_manifest(folder, files, others, own_judges=own_judges(config), answers=answers)
    folder.sweep()
    return report


def preview(folder: RunFolder, config: BuildConfig) -> PairingPreview:
    """Return what pairing under these settings would give. Needs a connected pool; writes nothing.

    Raises:
        ConfigError: `exclude` names a list that is not stored in the run.
        RunFolderError, LawBroken: as for `finish`.
    """
    if config.dataset.exclude is not None and list_name(folder) != config.dataset.exclude:
        raise ConfigError(
            f"exclude: {config.dataset.exclude} is not in {folder.url} yet: pair with it once, or leave it out"
        )
    run = folder.load_run()
    recipe = run_recipe(config, run.members, folder.commits())
    totals = count_dataset(folder, recipe, options=config.dataset, map_tasks=map_tasks)
    return PairingPreview(
        questions=totals.questions,
        paired=totals.paired,
        skipped=totals.skipped,
        pairs=totals.pairs,
        skips_by_reason=ranked(totals.skips_by_reason),
        pairs_by_kind=ranked(totals.pairs_by_kind),
        abstaining=abstaining_figures(totals.verdicts),
        verifier=verifier_figures(folder, totals.verdicts, part(config, Mark.SELECTION)),
    )


def finished_report(folder: RunFolder, config: BuildConfig) -> Report | EvaluationReport | None:
    """Return the report of a finished run if all its files exist and this judge's verdicts are current, else None."""
    try:
        manifest = read_manifest(folder)
        if manifest is None or manifest.n_chunks != len(folder.committed_chunks()):
            return None
        # a verifier was asked, and the dataset was not cut again
        if manifest.answers is not None and manifest.answers != answers_record(folder):
            return None
        # a custom judge has changed its version: its verdicts are given again
        if manifest.own_judges != own_judges(config):
            return None
        if not all(_is_there(folder, file) for file in manifest.files):
            return None
        report = read_evaluation(folder) if config.sampling.evaluate else read_report(folder)
    except RunFolderError:  # finishing the run again repairs all of these
        return None
    # after an update of mmpr the dataset is cut again, with new verdicts
    return report if report.judge_version == VERSION else None


def refuse_lost_answers(folder: RunFolder, config: BuildConfig) -> None:
    """Refuse to cut a dataset again if answers of a verifier that the present one was cut with are gone, and count.

    Raises:
        RunFolderError: names the number of commits, and what to do.
    """
    counts = any(one.config.pairs.use_verifier is not UseVerifier.NONE for one in of_sources(config))
    if counts and (lost := lost_answers(folder, had_some=_reports_a_verifier(folder))):
        raise RunFolderError(f"{lost}; use_verifier=none pairs without them")


def unused_by(folder: RunFolder, config: BuildConfig) -> list[str]:
    """Return one line for each setting of pairing, of a verifier or of operation that has no effect on this run."""
    notes = unused_settings(config, (Mark.SELECTION, Mark.OPERATION))
    if not config.verifier.asks and not asked_chunks(folder):
        each = [one.config for one in of_sources(config)]
        uses = any(one.pairs.use_verifier is not UseVerifier.NONE for one in each)
        margin = any(one.verifier.min_margin != VerifierOptions().min_margin for one in each)
        names = [name for name, given in (("use_verifier", uses), ("min_margin", margin)) if given]
        why = f"because no verifier was asked about this run: mmpr ask-verifier {folder.url}"
        notes += [f"{name}: has no effect, {why}" for name in names]
    return notes


def _reports_a_verifier(folder: RunFolder) -> bool:
    try:
        return read_report(folder).verifier is not None
    except RunFolderError:  # without a report nothing is known
        return False


def _is_there(folder: RunFolder, file: FileRecord) -> bool:
    """Whether a file has its full length, and, outside `data/`, its content. The card may be edited by the user."""
    if file.path == CARD:
        return folder.store.exists(file.path)
    if not folder.store.exists(file.path) or folder.store.size(file.path) != file.n_bytes:
        return False
    # data/ may have hundreds of gigabytes: only its lengths are compared
    return file.path.startswith(f"{DATA}/") or folder.record(file.path).sha256 == file.sha256
