"""`open_source`: check that a source can be read, before an engine starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mmpr.errors import SourceError
from mmpr.sources import arrow, csv_file, parquet, xlsx_file
from mmpr.sources.hub import fetched, hub_name
from mmpr.sources.json_object import annotations_beside, rows_inside
from mmpr.sources.kinds import kind_of
from mmpr.sources.recognition import recognise
from mmpr.sources.source_parts import file_stem, files_of, is_recipe, recipe_parts, shared_root
from mmpr.sources.source_records import COLUMNS, Source


def open_source(
    path: str | Path,
    *,
    name: str | None = None,
    image_root: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    language: str = "auto",
    answer_kind: str | None = None,
    answer_agreement: float = 0.3,
    max_row_bytes: int = 10_000_000,
    video_frames: int = 8,
    among_others: bool = False,
) -> Source:
    """Describe where questions are: a file, a folder of files, an MMPR `meta.json`, or a data set on the Hub.

    Args:
        path: JSON lines, a JSON array, CSV, TSV (each plain, .gz or .zst), Parquet, Arrow or an Excel workbook; a
            folder of files of one of these kinds except the last, or written by `datasets.save_to_disk`; a `meta.json`
            of an MMPR release; or `hf://owner/name:split`, `hf://owner/name/config:split`, which is downloaded here.
        name: part of ids; by default the name of the file (without its suffix), the folder or the data set.
        image_root: the folder that relative image paths start from; by default the source's own folder. Roots in a
            `meta.json` start from there; by default, from the folder of the `meta.json` or the one above it.
        columns: our column name -> the file's, where they differ.
        language: `en`, `zh`, or `auto`: decided by the question's script; a row's own `language` takes precedence.
        answer_kind: for rows that name none.
        answer_agreement: smallest fraction of annotators that must give an answer, from 0 to 1.
        max_row_bytes: a longer line, element or record is skipped without reading it.
        video_frames: number of images that a row's `video` becomes.
        among_others: whether the build has other sources too; then a row's own `source` is appended to the name.

    Raises:
        SourceError: nothing is there, it cannot be read, its kind is unknown, or a column is missing; a folder has no
            file of questions, or files of several kinds; or `columns` or `language` has an invalid value.
    """
    on_hub = hub_name(str(path)) if str(path).startswith("hf://") else None
    place = Path(path).expanduser().absolute()
    source = Source(
        name=_checked_name(name if name is not None else default_name(path)),
        path=str(path) if on_hub else str(place),
        format="parts",
        image_root=_root(image_root if image_root is not None else place.parent),
        columns=_checked_columns(columns or {}),
        language=_checked_language(language),
        answer_kind=answer_kind,
        agreement=answer_agreement,
        max_row_bytes=max_row_bytes,
        video_frames=video_frames,
        among_others=among_others,
    )
    if on_hub:
        files = fetched(source.path)
        return _files(source, files, image_root if image_root is not None else files[0].parent)
    if place.is_dir():
        return _files(source, files_of(place), image_root if image_root is not None else place)
    if is_recipe(_regular(place)):
        return _recipe(source, place, image_root)
    return _file(source)


def default_name(path: str | Path) -> str:
    """Return the default name of a source; raises `SourceError` for an invalid `hf://` address."""
    if str(path).startswith("hf://"):
        return hub_name(str(path)).name.rpartition("/")[2]
    return file_stem(Path(path).expanduser().absolute())


def _files(source: Source, files: list[Path], image_root: str | Path) -> Source:
    source = replace(source, image_root=_root(image_root))
    return replace(source, parts=tuple(_file(replace(source, path=str(file), stem=file_stem(file))) for file in files))


def _recipe(source: Source, place: Path, image_root: str | Path | None) -> Source:
    named = recipe_parts(place, Path(source.image_root) if image_root is not None else None)
    parts = [
        _file(replace(source, name=_checked_name(part.name), path=str(part.annotation), image_root=part.root))
        for part in named
    ]
    root = source.image_root if image_root is not None else shared_root([part.root for part in named], place.parent)
    return replace(source, image_root=root, parts=tuple(parts))


def _file(source: Source) -> Source:
    """Describe one file by its content; raises `SourceError` if it is not supported or columns are missing."""
    path = _regular(Path(source.path))
    format, compression = kind_of(path)
    # `vqa.tsv.gz` has two suffixes
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    source = replace(source, format=format, compression=compression, delimiter=delimiter)
    # VQA's questions are one object with the rows under a key
    if format == "jsonl" and ".json" in path.suffixes and (inside := rows_inside(path, compression)):
        source = replace(source, format="json", rows_at=inside.offset, keyed=inside.keyed)
        format = "json"
    if format == "json" and (answers := annotations_beside(path)) is not None:
        source = replace(source, annotations=str(answers))
    names = {"parquet": parquet.names, "arrow": arrow.names, "csv": csv_file.names, "xlsx": xlsx_file.names}.get(format)
    if format == "csv":
        csv_file.check_header(source)
    return recognise(source, None if names is None else list(names(source)))


def _root(image_root: str | Path) -> str:
    """Return an absolute path, or the address of a remote folder."""
    return str(image_root) if "://" in str(image_root) else str(Path(image_root).expanduser().absolute())


def _regular(path: Path) -> Path:
    if path.exists() and not path.is_file():
        raise SourceError(f"{path}: is not a regular file: a build reads its source more than once")
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SourceError(f"{path}: cannot be read ({reason}): check the path") from error


def _checked_name(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise SourceError(f"source name {name!r}: give a name of printable characters")
    return name


def _checked_language(language: str) -> str:
    if language not in ("auto", "en", "zh"):
        raise SourceError(f"language {language!r}: choose auto, en or zh")
    return language


def _checked_columns(columns: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise SourceError(f"columns: {unknown[0]!r} is not a column of mmpr: choose from {', '.join(COLUMNS)}")
    return tuple(sorted(columns.items()))
