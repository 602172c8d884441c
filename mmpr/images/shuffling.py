"""A corrupted image: its tiles in another order."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

from mmpr.types import DecodedImage

TILES = 4  # a side: 16 of an image


def shuffle_tiles(image: DecodedImage, key: str) -> DecodedImage | None:
    """The same image cut into 4 x 4 equal tiles that change places; the pixels over at right and bottom stay.

    Args:
        image: with its pixels.
        key: decides the order, by hash and not by `random`, whose draws may change with the Python that resumes a run.

    Returns:
        The image as PNG, or None where it looks as before: of one colour, or too small to be cut.
    """
    from PIL.Image import Image

    assert isinstance(image.pixels, Image), "a picture without its pixels"
    columns, rows = min(TILES, image.width), min(TILES, image.height)
    wide, high = image.width // columns, image.height // rows
    corners = [(x * wide, y * high) for y in range(rows) for x in range(columns)]
    shuffled = image.pixels.copy()
    for corner, (x, y) in zip(corners, _order(corners, key), strict=True):
        shuffled.paste(image.pixels.crop((x, y, x + wide, y + high)), corner)
    if shuffled.tobytes() == image.pixels.tobytes():
        return None
    buffer = io.BytesIO()
    shuffled.save(buffer, "PNG")
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    return replace(
        image, sha256=sha256, original_sha256=sha256, encoded=buffer.getvalue(), format="PNG", pixels=shuffled
    )


def _order(corners: list[tuple[int, int]], key: str) -> list[tuple[int, int]]:
    order = sorted(corners, key=lambda corner: hashlib.sha256(f"{key}\n{corner}".encode()).digest())
    return [*order[1:], order[0]] if order == corners else order
