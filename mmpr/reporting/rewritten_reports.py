"""The reports of a finished run made again from its folder alone: no engine, no Ray, no source."""

from __future__ import annotations

import json
from typing import Any

from mmpr.reporting.finished_run import finished_files
from mmpr.reporting.report_files import REPORT, make_report, render
from mmpr.reporting.safe_text import visible_json
from mmpr.reporting.sample import Pick
from mmpr.run import FileRecord, RunFolder, write_manifest
from mmpr.run.folder import MANIFEST
from mmpr.run.heartbeat import claimed
from mmpr.run.json_records import unsealed


def report_again(url: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write `report.json`, `README.md` and `report.html` anew, and the manifest that names them.

    Everything is read and made before the first file changes, so that a damaged folder stays as it is.

    Args:
        url: local path or fsspec URL of the run folder.
        options: what fsspec's filesystem takes.

    Returns:
        The report, as `report.json` has it.

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


def report_json(url: str, options: dict[str, Any] | None = None) -> str:
    """What `report.json` would be now, as text that a terminal can show; writes nothing.

    Raises:
        RunFolderError, LawBroken: as for `report_again`.
    """
    folder = RunFolder(url, options)
    report, _ = _report(folder, finished_files(folder))
    return visible_json(json.dumps(report, ensure_ascii=False, indent=1))


def _report(folder: RunFolder, files: list[FileRecord]) -> tuple[dict[str, Any], list[Pick]]:
    return make_report(folder, files, usage=_known_usage(folder))


def _known_usage(folder: RunFolder) -> dict[str, float] | None:
    """What the engines did is told once, at the end of a build: the last report has it."""
    try:
        usage = unsealed(folder.store.read_bytes(REPORT))["engine_usage"]
        return {str(name): value for name, value in usage.items() if isinstance(value, int | float)}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
