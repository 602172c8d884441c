"""The end of a build, and all of pairing again: cut the dataset from the commits, then report and manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from mmpr.builder.run_recipes import limits, run_recipe
from mmpr.errors import ConfigError, RunFolderError
from mmpr.judging import VERSION
from mmpr.pool import map_tasks
from mmpr.reporting.report_files import previewed, write_reports
from mmpr.run import (
    FileRecord,
    RunFolder,
    count_dataset,
    cut_dataset,
    members_of,
    read_manifest,
    write_manifest,
)
from mmpr.run.exclusion import list_name
from mmpr.run.folder import DATA, EXCLUDE
from mmpr.run.json_records import unsealed
from mmpr.settings.config import BuildConfig

Waiting = Callable[[str], AbstractContextManager[object]]  # within, what is waited for is shown
CARD = "README.md"
REPORTS = (CARD, "report.html", "report.json")


def finish(
    folder: RunFolder,
    config: BuildConfig,
    *,
    usage: Mapping[str, float] | None = None,
    run: Mapping[str, Any] | None = None,
    waiting: Waiting = nullcontext,
) -> dict[str, Any]:
    """Write `data/`, the reports and the manifest; needs a connected pool, opens neither source nor engine.

    Args:
        folder: the run, every chunk of it committed.
        config: the settings; of a merged run's members each has its own identity.
        usage: of this start's engines, for the report.
        run: what `run.json` will be, where it is not written yet.
        waiting: shows what is waited for.

    Returns:
        The report, as `report.json` has it.

    Raises:
        RunFolderError: a committed file is missing or damaged, or the folder cannot be written.
        LawBroken: `questions = paired + skipped` does not hold.
    """
    run = run or folder.load_run()
    with waiting("pairing"):
        totals, files = cut_dataset(
            folder,
            run_recipe(config, members_of(run), folder.commits()),
            limits=limits(config),
            shard_bytes=config.shard_bytes,
            map_tasks=map_tasks,
        )
    with waiting("writing the card and the page"):
        report = write_reports(folder, totals, files, usage=usage, run=run)
    write_manifest(folder, files, REPORTS if config.exclude is None else (*REPORTS, EXCLUDE))
    folder.sweep()
    return report


def preview(folder: RunFolder, config: BuildConfig) -> dict[str, Any]:
    """What pairing under these settings would give, as the first parts of a report; needs a connected pool, and writes
    nothing.

    Raises:
        ConfigError: `exclude` names a list that the run does not have yet.
        RunFolderError, LawBroken: as for `finish`.
    """
    if config.exclude is not None and list_name(folder) != config.exclude:
        raise ConfigError(f"exclude: {config.exclude} is not in {folder.url} yet: pair with it once, or leave it out")
    run = folder.load_run()
    recipe = run_recipe(config, members_of(run), folder.commits())
    totals = count_dataset(folder, recipe, limits=limits(config), map_tasks=map_tasks)
    return previewed(totals, run)


def finished_report(folder: RunFolder, name: str = REPORTS[-1]) -> dict[str, Any] | None:
    """The report of a run that was finished from all that is committed, by this judge, no file gone; else None."""
    try:
        manifest = read_manifest(folder)
        if manifest is None or manifest.n_chunks != len(folder.committed_chunks()):
            return None
        if not all(_is_there(folder, file) for file in manifest.files):
            return None
        report: dict[str, Any] = unsealed(folder.store.read_bytes(name))
    except (RunFolderError, FileNotFoundError, ValueError):  # finishing it again mends all of these
        return None
    return report if report.get("judge_version", 1) == VERSION else None


def _is_there(folder: RunFolder, file: FileRecord) -> bool:
    """In full length; what is small, or read by every start, also with the same content. A card may be edited."""
    if file.path == CARD:
        return folder.store.exists(file.path)
    if not folder.store.exists(file.path) or folder.store.size(file.path) != file.n_bytes:
        return False
    return file.path.startswith(f"{DATA}/") or folder.record(file.path).sha256 == file.sha256
