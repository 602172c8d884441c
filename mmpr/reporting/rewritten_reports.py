"""The reports of a finished run made again from its folder alone: no engine, no Ray, no source."""

from __future__ import annotations

from collections.abc import Mapping

from mmpr.errors import RunFolderError
from mmpr.reporting.report_files import make_report, render
from mmpr.reporting.report_record import Report, read_report
from mmpr.reporting.safe_text import visible_json
from mmpr.reporting.sample import Pick
from mmpr.run import FinishedRun, RunFolder, finished_pairs, write_manifest
from mmpr.run.folder import MANIFEST
from mmpr.run.heartbeat import claimed


def report_again(url: str, options: Mapping[str, object] | None = None) -> Report:
    """Write `report.json`, `README.md` and `report.html` anew, and the manifest that names them.

    Everything is read and made before the first file changes, so that a damaged folder stays as it is.

    Args:
        url: local path or fsspec URL of the run folder.
        options: what fsspec's filesystem takes.

    Raises:
        RunFolderError: the folder holds no finished run, is damaged, in use, or cannot be written.
        LawBroken: `questions = paired + skipped` does not hold.
    """
    folder = RunFolder(url, options)
    run = finished_pairs(folder)
    with claimed(folder):
        report, picks = _report(run)
        made = render(folder, report, picks)
        folder.store.delete(MANIFEST)
        for name, content in made.items():
            folder.store.write_bytes(name, content)
        write_manifest(folder, [file for file in run.manifest.files if file.path not in made], sorted(made))
    return report


def report_json(url: str, options: Mapping[str, object] | None = None) -> str:
    """What `report.json` would be now, as text that a terminal can show; writes nothing.

    Raises:
        RunFolderError, LawBroken: as for `report_again`.
    """
    report, _ = _report(finished_pairs(RunFolder(url, options)))
    return visible_json(report.to_json().decode().removesuffix("\n"))


def _report(run: FinishedRun) -> tuple[Report, list[Pick]]:
    """What the engines did is told once, at the end of a build: the last report has it, if it can be read."""
    try:
        usage = read_report(run.folder).engine_usage
    except RunFolderError:
        usage = None
    return make_report(run.folder, run.manifest.files, usage=usage, run=run.record)
