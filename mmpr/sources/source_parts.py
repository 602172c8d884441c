"""Sources of several files: folders, output of `datasets.save_to_disk`, and the `meta.json` of an MMPR release."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpr.errors import SourceError
from mmpr.sources.json_object import annotations_beside
from mmpr.sources.kinds import unpacked_name

_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
# Files that describe a data set and have no rows.
_ABOUT = ("meta.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json")
_RECIPE_BYTES = 50_000_000  # the `meta.json` of MMPR has 50 kB


@dataclass(frozen=True, slots=True)
class RecipePart:
    """One entry of a `meta.json`; `root` is an absolute path or an address."""

    name: str
    annotation: Path
    root: str


def file_stem(path: Path) -> str:
    """Return a file's name in ids: `vqa.jsonl.gz` -> `vqa`."""
    return path.name if path.is_dir() else unpacked_name(path).stem


def files_of(folder: Path) -> list[Path]:
    """Return a folder's files of questions, by name, or in the order that `save_to_disk` stored.

    Raises:
        SourceError: there are none, or of several kinds.
    """
    if (folder / "dataset_dict.json").is_file():
        return files_of(_only_split(folder))
    if (folder / "state.json").is_file():
        listed = _object(folder / "state.json").get("_data_files")
        if isinstance(listed, list):
            return [folder / str(entry["filename"]) for entry in listed]
    return _by_name(folder)


def _by_name(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.iterdir() if _kind(file) in _ENDINGS and file.name not in _ABOUT)
    found = [file for file in found if not file.name.startswith((".", "_")) and not file.is_dir()]
    # a file of answers is read with its questions and is no source of its own
    answers = {annotations_beside(file) for file in found}
    found = [file for file in found if file not in answers]
    if not found:
        inner = "; name its meta.json" if (folder / "meta.json").is_file() else ""
        raise SourceError(
            f"{folder}: is a folder without files of questions ({', '.join(_ENDINGS)}; an .xlsx is named itself){inner}"
        )
    kinds = sorted({_kind(file) + (file.suffix if _kind(file) != file.suffix else "") for file in found})
    if len(kinds) > 1:
        raise SourceError(f"{folder}: holds {' and '.join(kinds)} files: keep one kind, or name one file")
    return found


def _kind(file: Path) -> str:
    return unpacked_name(file).suffix


def _only_split(folder: Path) -> Path:
    splits = _object(folder / "dataset_dict.json").get("splits")
    names = [str(split) for split in splits] if isinstance(splits, list) else []
    if len(names) != 1:
        remedy = f"name one, as {folder}/{names[0]}" if names else "save it again"
        raise SourceError(f"{folder}: has the splits {', '.join(names)}: {remedy}")
    return folder / names[0]


def is_recipe(path: Path) -> bool:
    """Whether a JSON file is a `meta.json`: one object in which every value names an annotation."""
    if path.suffix != ".json" or path.stat().st_size > _RECIPE_BYTES:
        return False
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
    if not content.startswith(b"{"):
        return False
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return False  # JSON lines
    return bool(whole) and all(isinstance(entry, dict) and "annotation" in entry for entry in whole.values())


def recipe_parts(path: Path, image_root: Path | None) -> list[RecipePart]:
    """Return the entries of a `meta.json`.

    `repeat_time` is ignored: it says how often a training draws from a set, but a build asks each question once.

    Raises:
        SourceError: an annotation is missing; names the entry and the paths that were tried.
    """
    parts = []
    for name, entry in _object(path).items():
        named = entry if isinstance(entry, dict) else {}
        annotation, root = named.get("annotation"), named.get("root") or ""
        if not isinstance(annotation, str) or not isinstance(root, str):
            raise SourceError(f"{path}: {name}: `annotation` and `root` must each be one path")
        # the release writes its paths from its root; the `meta.json` may lie there or one folder below
        places = [path.parent / annotation, path.parent.parent / annotation]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            tried = " nor ".join(dict.fromkeys(map(str, places)))
            raise SourceError(f"{path}: {name}: its annotation does not exist: neither {tried}")
        parts.append(RecipePart(name, found, _root(root, path, image_root)))
    return parts


def _root(root: str, path: Path, image_root: Path | None) -> str:
    """Return the folder of an entry's images: paths of a release start in its folder, or in the parent folder."""
    if "://" in root:
        return root
    if image_root is not None:
        return str(image_root / root)
    above = path.parent.parent / root
    return str(above if not (path.parent / root).exists() and above.exists() else path.parent / root)


def shared_root(roots: Sequence[str], folder: Path) -> str:
    """Return the common parent folder of all images; no image may be outside it."""
    local = [root for root in roots if "://" not in root]
    return os.path.commonpath(local) if local else str(folder)


def _object(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(found, dict):
        raise SourceError(f"{path}: is not a JSON object")
    return found
