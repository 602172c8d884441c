"""The folder of an export.

`unfinished.json` is written first and describes the export; when all is written, `export.json` with the counts
replaces it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpr.errors import ConfigError
from mmpr.exporting.export_records import Counts, Format, LeftOut, reason_named
from mmpr.run.commit_records import FileRecord
from mmpr.run.json_records import JsonObject, record_of, to_json

EXPORT, UNFINISHED = "export.json", "unfinished.json"
_WRITTEN_AS = 1
_CONTENTS = ("pairs_sha256", "responses_sha256")  # fields of a request that identify the run's contents


@dataclass(frozen=True, slots=True)
class _StoredLeftOut:
    reason: str
    pairs: int
    first: str


@dataclass(frozen=True, slots=True)
class _StoredCounts:
    """`pairs` counts rows of any kind; the first exports had only pairs. An older mmpr did not write `loads`."""

    pairs: int
    pictures: int
    left_out: tuple[_StoredLeftOut, ...]
    loads: bool | None = None


@dataclass(frozen=True, slots=True)
class _RequestAlone:
    request: JsonObject


@dataclass(frozen=True, slots=True)
class _ExportMark:
    """The content of `export.json` or `unfinished.json`; `counts` is present when the export is complete."""

    request: JsonObject
    counts: _StoredCounts | None = None


def request_of(format: Format, shards: Sequence[FileRecord], *, max_chars: int | None) -> JsonObject:
    """Return what identifies an export.

    The run's place is not part of it, so a copy of the run counts as the same run.
    """
    files = [[file.path, file.sha256] for file in shards]
    pairs_sha256 = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {"written_as": _WRITTEN_AS, "format": format.value, "max_chars": max_chars, "pairs_sha256": pairs_sha256}


def claim(root: Path, request: JsonObject, load: str) -> Counts | None:
    """Claim the folder for this export; return the counts if it is complete already, otherwise None.

    Args:
        root: the folder.
        request: from `request_of`.
        load: how to point the trainer at the export.

    Raises:
        ConfigError: the folder has other files or another export.
    """
    # `Path` turns s3://bucket into s3:/bucket
    if re.match("[a-z0-9+.-]+:/", str(root)):
        raise ConfigError(f"--to {root}: trainers read files; give a folder of this machine")
    if root.exists() and not root.is_dir():
        raise ConfigError(f"--to {root} is a file; give a folder")
    if (root / EXPORT).exists():
        counts = _counts(root, _read(root, EXPORT, request), load)
        # `finish` may have been killed between its two steps
        (root / UNFINISHED).unlink(missing_ok=True)
        return counts
    if (root / UNFINISHED).exists():
        _read(root, UNFINISHED, request)
        return None
    # a process that was killed while it claimed the folder leaves only this file
    if root.is_dir() and any(path.name != f"{UNFINISHED}.tmp" for path in root.iterdir()):
        raise ConfigError(f"--to {root} has files already; give a new or an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    _write(root, UNFINISHED, {"request": request})
    return None


def finish(root: Path, request: JsonObject, counts: Counts) -> None:
    """Mark the export as complete."""
    left_out = [{"reason": one.reason, "pairs": one.rows, "first": one.first} for one in counts.left_out]
    loads = bool(counts.load)  # not the line itself: folders move
    stored = {"pairs": counts.rows, "pictures": counts.images, "left_out": left_out, "loads": loads}
    _write(root, EXPORT, {"request": request, "counts": stored})
    (root / UNFINISHED).unlink(missing_ok=True)


def _read(root: Path, name: str, request: JsonObject) -> _StoredCounts | None:
    """Return the counts of the export in the folder; None if it is unfinished. It must be the requested export."""
    content = (root / name).read_bytes()
    try:
        before = record_of(_RequestAlone, content, unknown="ignore").request
    except ValueError:  # cut off or foreign
        before = {}
    if before != request:
        differing = next((key for key in request if before.get(key) != request[key]), "request")
        reasons = dict.fromkeys(_CONTENTS, "another run, or this one before it was paired again")
        what = reasons.get(differing, f"{differing} {before.get(differing)!r}, not {request.get(differing)!r}")
        raise ConfigError(f"--to {root} holds another export ({what}); delete it or give another folder")
    try:
        return record_of(_ExportMark, content).counts
    except ValueError as error:
        raise ConfigError(f"{root / name} is damaged ({error}); delete {root} and export again") from error


def _counts(root: Path, stored: _StoredCounts | None, load: str) -> Counts:
    try:
        if stored is None:
            raise ValueError("counts is missing")
        left_out = tuple(LeftOut(reason_named(one.reason), one.pairs, one.first) for one in stored.left_out)
    except ValueError as error:
        raise ConfigError(f"{root / EXPORT} is damaged ({error}); delete {root} and export again") from error
    # an older mmpr did not store `loads`
    loads = stored.pairs > 0 if stored.loads is None else stored.loads
    return Counts(stored.pairs, stored.pictures, left_out, load if loads else "")


def _write(root: Path, name: str, content: JsonObject) -> None:
    temporary = root / f"{name}.tmp"
    temporary.write_bytes(to_json(content))
    # in one step: a kill leaves the old file or the whole new one
    temporary.replace(root / name)
