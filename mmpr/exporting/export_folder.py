"""The folder that an export goes to. `unfinished.json` comes first and says what is being exported; at the end
`export.json` takes its place, with the counts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpr.errors import ConfigError
from mmpr.exporting.export_records import Counts, Format, LeftOut, reason_named
from mmpr.run.commit_records import FileRecord
from mmpr.run.json_records import to_json

EXPORT, UNFINISHED = "export.json", "unfinished.json"
_WRITTEN_AS = 1
_CONTENTS = ("pairs_sha256", "responses_sha256")  # what a request says of the run's contents


def request_of(format: Format, shards: Sequence[FileRecord], *, max_chars: int | None) -> dict[str, Any]:
    """What makes two exports the same; not where the run lies, so that a copy of it counts as the same run."""
    files = [[file.path, file.sha256] for file in shards]
    pairs_sha256 = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {"written_as": _WRITTEN_AS, "format": format.value, "max_chars": max_chars, "pairs_sha256": pairs_sha256}


def claim(root: Path, request: Mapping[str, Any], load: str) -> Counts | None:
    """Make the folder this export's own; the counts where it stands there complete already.

    Args:
        root: the folder.
        request: as `request_of` gives it.
        load: how the trainer is pointed at it.

    Raises:
        ConfigError: the folder has other files, or another export.
    """
    if re.match("[a-z0-9+.-]+:/", str(root)):
        raise ConfigError(f"--to {root}: trainers read files; give a folder of this machine")
    if root.exists() and not root.is_dir():
        raise ConfigError(f"--to {root} is a file; give a folder")
    if (root / EXPORT).exists():
        stored = _read(root / EXPORT)
        _require_same(root, stored, request)
        (root / UNFINISHED).unlink(missing_ok=True)
        return _counts(root, stored, load)
    if (root / UNFINISHED).exists():
        _require_same(root, _read(root / UNFINISHED), request)
        return None
    if root.is_dir() and any(path.name != _temporary(root / UNFINISHED).name for path in root.iterdir()):
        raise ConfigError(f"--to {root} has files already; give a new or an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    _write(root / UNFINISHED, {"request": request})
    return None


def finish(root: Path, request: Mapping[str, Any], counts: Counts) -> None:
    """Say that the export is complete. `pairs` are its rows, of whatever kind: the name of the first exports."""
    left_out = [{"reason": one.reason, "pairs": one.rows, "first": one.first} for one in counts.left_out]
    loads = bool(counts.load)  # not the line itself: folders move
    stored = {"pairs": counts.rows, "pictures": counts.images, "left_out": left_out, "loads": loads}
    _write(root / EXPORT, {"request": request, "counts": stored})
    (root / UNFINISHED).unlink(missing_ok=True)


def _require_same(root: Path, stored: Any, request: Mapping[str, Any]) -> None:  # noqa: ANN401
    before = stored.get("request") if isinstance(stored, dict) else None
    if before == request:
        return
    before = before if isinstance(before, dict) else {}
    differing = next((name for name in request if before.get(name) != request[name]), "request")
    reasons = dict.fromkeys(_CONTENTS, "another run, or this one before it was paired again")
    what = reasons.get(differing, f"{differing} {before.get(differing)!r}, not {request.get(differing)!r}")
    raise ConfigError(f"--to {root} holds another export ({what}); delete it or give another folder")


def _counts(root: Path, stored: Any, load: str) -> Counts:  # noqa: ANN401
    try:
        counts = stored["counts"]
        left_out = tuple(LeftOut(reason_named(one["reason"]), one["pairs"], one["first"]) for one in counts["left_out"])
        loads = counts.get("loads", counts["pairs"] > 0)  # an older mmpr did not write it
        return Counts(counts["pairs"], counts["pictures"], left_out, load if loads else "")
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{root / EXPORT} is damaged; delete {root} and export again") from error


def _read(path: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None  # cut off or foreign: another export


def _write(path: Path, content: Mapping[str, Any]) -> None:
    _temporary(path).write_bytes(to_json(content))
    _temporary(path).replace(path)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")
