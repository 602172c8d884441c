"""The setting `exclude`: read a benchmark's list of images and questions once, and store it in the run as hashes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mmpr import images
from mmpr.errors import ConfigError, ImageError
from mmpr.run import RunFolder
from mmpr.run.exclusion import Listed, image_print, list_name, opened, question_print, write_list
from mmpr.types import TableRow

_IMAGES, _QUESTIONS = ("image", "images"), ("question", "text")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2")
_BATCH_ROWS = 256


def keep_list(folder: RunFolder, file: str | None) -> None:
    """Read a list into the run folder; if the file no longer exists, use what an earlier start stored.

    Args:
        file: None for no list. Formats: JSONL (`image`, `images`, `question`, `text`); Parquet with these columns,
            images by path or embedded; or plain text with one question, or one path with an image suffix, per line.
            Paths are relative to the file.

    Raises:
        ConfigError: the file is missing and was never stored here, or a line cannot be read or names no image.
    """
    if file is None:
        return
    path = Path(file).expanduser()
    if path.exists():
        write_list(folder, _listed(path), name=file)
    elif list_name(folder) != file:
        raise ConfigError(f"exclude: {file}: no such file; correct the path, or give exclude=null")


def _listed(path: Path) -> Iterator[Listed]:
    readers = {".parquet": _parquet, ".txt": _text, ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _jsonl}
    if path.suffix not in readers:
        raise ConfigError(f"exclude: {path}: give a .jsonl, .parquet or .txt file")
    try:
        for place, row in readers[path.suffix](path):
            yield from _entries(place, row, path.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"exclude: {path}: cannot be read ({' '.join(str(error).split())})") from None


def _entries(place: str, row: TableRow, root: Path) -> Iterator[Listed]:
    shown = [image for name in _IMAGES for image in _flat(row.get(name))]
    asked = [row[name] for name in _QUESTIONS if isinstance(row.get(name), str)]
    if not shown and not asked:
        raise ConfigError(f"exclude: {place}: has neither of {', '.join(_IMAGES + _QUESTIONS)}")
    for image in shown:
        yield _image(place, image, root)
    for text in asked:
        yield Listed(place, question=question_print(text))


def _flat(value: object) -> list[object]:
    if isinstance(value, list):
        return [image for one in value for image in _flat(one)]
    return [] if value is None or value == "" else [value]


def _image(place: str, image: object, root: Path) -> Listed:
    """Read an image from a path, or an embedded one as `datasets` writes it."""
    import base64

    embedded = image.get("bytes") if isinstance(image, dict) else None
    reference = image.get("path") if isinstance(image, dict) else image
    if embedded:
        # the type does not matter: the decoder looks at the content
        reference = f"data:image/png;base64,{base64.b64encode(embedded).decode()}"
    elif isinstance(reference, str) and reference:
        place = f"{place}, {reference}"
    else:
        raise ConfigError(f"exclude: {place}: an image is a path, or bytes")
    try:
        found = images.load(reference, root=root, allow_outside_root=True)
    except ImageError as error:
        raise ConfigError(f"exclude: {place}: {error.detail}") from None
    # Print the image as it is stored, after the same conversions, so that the same file has the same print.
    return Listed(place, found.original_sha256, image_print(opened(found.encoded)))


def _jsonl(path: Path) -> Iterator[tuple[str, TableRow]]:
    for place, line in _lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"exclude: {place}: is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise ConfigError(f"exclude: {place}: is not a JSON object")
        yield place, row


def _text(path: Path) -> Iterator[tuple[str, TableRow]]:
    for place, line in _lines(path):
        yield place, {"image" if line.lower().endswith(_IMAGE_SUFFIXES) else "question": line}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    # editors on Windows begin a file with a byte order mark, which would belong to the first question
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield f"{path.name} line {number}", line.strip()


def _parquet(path: Path) -> Iterator[tuple[str, TableRow]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in (*_IMAGES, *_QUESTIONS)]
            batches = file.iter_batches(_BATCH_ROWS, columns=names)
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
                yield f"{path.name} row {number}", row
    except pa.ArrowException as error:
        raise ConfigError(f"exclude: {path}: cannot be read ({str(error).splitlines()[0]})") from None
