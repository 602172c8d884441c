"""Recognise the format of a file by its first bytes; CSV and TSV, which have no mark, by their names."""

from __future__ import annotations

from pathlib import Path

from mmpr.errors import SourceError
from mmpr.sources.source_records import Compression, Format
from mmpr.sources.streams import BOM, behind_blanks, compression_of, head
from mmpr.sources.xlsx_file import is_workbook

_HEAD_BYTES = 4096
_LINES = (".jsonl", ".json", ".ndjson")
_DELIMITED = (".csv", ".tsv")
_PACKED = (".gz", ".zst")
# First bytes of files that users give by mistake, each with the remedy.
_FOREIGN = (
    (b"version https://git-lfs", "is a Git LFS pointer: fetch the file itself (git lfs pull)"),
    (b"<!DOCTYPE", "is an HTML page: was it downloaded without a login, or is the address wrong?"),
    (b"<!doctype", "is an HTML page: was it downloaded without a login, or is the address wrong?"),
    (b"<html", "is an HTML page: was it downloaded without a login, or is the address wrong?"),
    (b"PK\x03\x04", "is a zip archive, or a damaged Excel workbook: unpack it, or save it again"),
    (b"\xd0\xcf\x11\xe0", "is an old or encrypted Excel file: save it as .xlsx without a password"),
    (b"BZh", "is packed with bzip2: unpack it, or pack it with gzip or zstd"),
    (b"\xfd7zXZ", "is packed with xz: unpack it, or pack it with gzip or zstd"),
    (b"\xff\xfe", "is UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "is UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)"),
    (b"\x89PNG", "is an image: a source holds questions, and names its images"),
    (b"\xff\xd8\xff", "is an image: a source holds questions, and names its images"),
    (b"%PDF", "is a PDF: a source is JSONL, JSON, CSV, Parquet or Arrow"),
)
# the file format, and the continuation mark with which a stream starts
_ARROW = (b"ARROW1", b"\xff\xff\xff\xff")


def kind_of(path: Path) -> tuple[Format, Compression | None]:
    """Return the format of a file and its compression.

    Raises:
        SourceError: the format is not supported, or not the one that the name says.
    """
    start = head(str(path), None, _HEAD_BYTES)
    compression = compression_of(start)
    if compression:
        start = head(str(path), compression, _HEAD_BYTES)
    # blanks may fill the first bytes; in a TSV file they are empty cells
    if not start.removeprefix(BOM).strip() and unpacked_name(path).suffix not in _DELIMITED:
        _, start = behind_blanks(str(path), compression, _HEAD_BYTES)
    format = _format(path, start)
    if compression and format in ("parquet", "arrow"):
        raise SourceError(f"{path}: is {format} within {compression}: unpack it, {format} has its own compression")
    return format, compression


def unpacked_name(path: Path) -> Path:
    """Remove the suffix of a compression from a name: `vqa.jsonl.gz` -> `vqa.jsonl`."""
    return path.with_suffix("") if path.suffix in _PACKED else path


def _format(path: Path, start: bytes) -> Format:
    suffix = unpacked_name(path).suffix
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(_ARROW):
        return "arrow"
    text = start.removeprefix(BOM).lstrip()
    # before the foreign formats: a workbook is a zip archive too
    if start.startswith(b"PK\x03\x04") and is_workbook(path):
        return "xlsx"
    for magic, fix in _FOREIGN:
        if text.startswith(magic):
            raise SourceError(f"{path}: {fix}")
    if suffix == ".parquet":
        raise SourceError(f"{path}: is not a Parquet file: it does not begin with PAR1")
    if suffix in _DELIMITED:
        return "csv"
    if text.startswith(b"["):
        return "json"
    if text and suffix not in _LINES and not text.startswith(b"{"):
        raise SourceError(f"{path}: is none of JSONL, JSON, CSV, XLSX, Parquet and Arrow, by its name and first bytes")
    return "jsonl"
