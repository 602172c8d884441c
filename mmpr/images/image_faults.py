"""What is wrong with an image or a video, in one line that names the reference."""

from __future__ import annotations

from mmpr.errors import ImageError
from mmpr.types import Reason


def shown(reference: str) -> str:
    """The reference as a detail shows it: a data URI is long, a name from a row may hold a line feed."""
    short = reference if len(reference) <= 200 else f"{reference[:60]}.. ({len(reference):,} characters)"
    return short if short.isprintable() else ascii(short)


def unreadable(name: str, why: str) -> ImageError:
    """Why a file is no image that we can use."""
    return ImageError(Reason.IMAGE_UNREADABLE, f"{name}: {' '.join(why.split())}")


def too_large(name: str, size: int, unit: str, limit: int) -> ImageError:
    """A limit that was passed."""
    return ImageError(Reason.IMAGE_TOO_LARGE, f"{name}: {size:,} {unit}, the limit is {limit:,}")
