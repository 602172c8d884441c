"""Faults of images and videos, each in one line that names the reference."""

from __future__ import annotations

import re

from mmpr.errors import ImageError
from mmpr.types import Reason

_GIVE = "give JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, JPEG 2000 or PNM"
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1"))
_LFS = b"version https://git-lfs"
# First bytes of files that users give as images by mistake, and what they are.
_FOREIGN = (
    (b"%PDF", "a PDF: convert its pages to images"),
    (b"\x00\x00\x00\x0cJXL ", f"JPEG XL: {_GIVE}"),
    (b"\xff\x0a", f"JPEG XL: {_GIVE}"),
    (b"8BPS", f"a Photoshop file: {_GIVE}"),
    (b"%!PS", f"PostScript: {_GIVE}"),
    (b"\x00\x00\x01\x00", f"an icon (ICO): {_GIVE}"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"\x1f\x8b", "packed with gzip: unpack it first"),
    (b"\x1a\x45\xdf\xa3", "a video: name it in `video`"),
)


def brands(original: bytes) -> frozenset[bytes]:
    """Return the brands of an ISO media file (AVIF, HEIC, MP4); empty for other files.

    The first brand proves little: an AVIF file may start with `mif1`, the mark of the container, and name `avif` later.
    """
    if original[4:8] != b"ftyp":
        return frozenset()
    stop = min(int.from_bytes(original[:4], "big"), len(original), 1000)
    return frozenset(original[at : at + 4] for at in (8, *range(16, stop - 3, 4)))


def what_it_is(original: bytes) -> str:
    """Say what a file is that is no supported image, with the remedy."""
    start = original[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_LFS):
        return "a Git LFS pointer and no image: fetch the file itself (git lfs pull)"
    if found := brands(original):
        return f"HEIC: {_GIVE}" if found & _HEIC else "a video: name it in `video`"
    if re.match(rb"<(?:!doctype html|html|head|body)\b", start, re.IGNORECASE):
        return "an HTML page and no image: was it downloaded without a login, or is the address wrong?"
    if re.search(rb"<svg[\s>]", start, re.IGNORECASE):
        return f"an SVG drawing: {_GIVE}"
    known = next((what for magic, what in _FOREIGN if original.startswith(magic)), None)
    return known or f"no image in a known format: {_GIVE}"


def shown(reference: str) -> str:
    """Shorten a reference for a message: a data URI is long, and a row's name may contain a line feed."""
    short = reference if len(reference) <= 200 else f"{reference[:60]}.. ({len(reference):,} characters)"
    return short if short.isprintable() else ascii(short)


def unreadable(name: str, why: str) -> ImageError:
    """Return the error of a file that is no usable image."""
    return ImageError(Reason.IMAGE_UNREADABLE, f"{name}: {' '.join(why.split())}")


def too_large(name: str, size: int, unit: str, limit: int) -> ImageError:
    """Return the error of an exceeded limit."""
    return ImageError(Reason.IMAGE_TOO_LARGE, f"{name}: {size:,} {unit}, the limit is {limit:,}")
