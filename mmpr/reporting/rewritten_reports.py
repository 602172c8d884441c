"""The reports of a finished run made again from its folder alone: no engine, no Ray, no source."""

from __future__ import annotations

from collections.abc import Mapping

from mmpr.reporting.finished_run import finished_files
from mmpr.reporting.report_files import REPORT, make_report, render
from mmpr.reporting.report_record import Report
from mmpr.reporting.safe_text import visible_json
from mmpr.reporting.sample import Pick
from mmpr.run import FileRecord, RunFolder, write_manifest
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
    files = finished_files(folder)
    with claimed(folder):
        report, picks = _report(folder, files)
        made = render(folder, report, picks)
        folder.store.delete(MANIFEST)
        for name, content in made.items():
            folder.store.write_bytes(name, content)
        write_manifest(folder, [file for file in files if file.path not in made], sorted(made))
    return report


def report_json(url: str, options: Mapping[str, object] | None = None) -> str:
    """What `report.json` would be now, as text that a terminal can show; writes nothing.

    Raises:
        RunFolderError, LawBroken: as for `report_again`.
    """
    folder = RunFolder(url, options)
    report, _ = _report(folder, finished_files(folder))
    return visible_json(report.to_json().decode().removesuffix("\n"))


def _report(folder: RunFolder, files: list[FileRecord]) -> tuple[Report, list[Pick]]:
    """What the engines did is told once, at the end of a build: the last report has it, if it can be read."""
    try:
        usage = Report.from_json(folder.store.read_bytes(REPORT)).engine_usage
    except (FileNotFoundError, ValueError):
        usage = None
    return make_report(folder, files, usage=usage)
