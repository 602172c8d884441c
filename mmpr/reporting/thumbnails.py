"""Small images for the page: each distinct one once, and within a budget of bytes."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from mmpr.run.columns import image_bytes
from mmpr.run.json_records import JsonObject
from mmpr.types import TableRow

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SIDE_PX = 384
# (longest side, JPEG quality), tried in this order until all images fit
_SMALLER = [(384, 82), (320, 74), (256, 68), (192, 60), (128, 50)]
BUDGET_BYTES = 2_200_000
_DRAWING_COLOURS = 8192


class Thumbnails:
    """Collects small versions of images by hash; no original is kept."""

    def __init__(self) -> None:
        self._small: dict[str, tuple[Image.Image, int, int]] = {}

    def add(self, images: Sequence[TableRow], hashes: Sequence[str]) -> list[str]:
        """Add a pair's images; return the hashes of those that can be shown."""
        for image, sha256 in zip(images, hashes, strict=False):
            if sha256 not in self._small and (content := image_bytes(image)):
                self._shrink(content, sha256)
        return [sha256 for sha256 in hashes if sha256 in self._small]

    def to_json(self, wanted: Collection[str]) -> dict[str, JsonObject]:
        """Return the wanted images as data URIs with their original sizes; smaller if needed to fit the budget."""
        chosen = {sha256: kept for sha256, kept in self._small.items() if sha256 in wanted}
        for side, quality in _SMALLER:
            coded = {sha256: _encode(small, side, quality) for sha256, (small, _, _) in chosen.items()}
            if sum(len(one) for one in coded.values()) <= BUDGET_BYTES:
                break
        return {
            sha256: {"uri": coded[sha256], "width": width, "height": height}
            for sha256, (_, width, height) in chosen.items()
        }

    def _shrink(self, encoded: bytes, sha256: str) -> None:
        try:
            with Image.open(io.BytesIO(encoded)) as opened:
                width, height = opened.size
                opened.draft("RGB", (SIDE_PX, SIDE_PX))  # JPEG decodes at a smaller scale, which is faster
                small = _on_white(opened)
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
            return  # another Pillow, which could read it, made the run: the page says "cannot be shown"
        small.thumbnail((SIDE_PX, SIDE_PX))
        self._small[sha256] = (small, width, height)


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    # JPEG has no transparency: black lines on a transparent ground would be on black
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _encode(small: Image.Image, side: int, quality: int) -> str:
    """Encode as PNG or JPEG, whichever is smaller.

    Photographs are never smaller as PNG, so it is tried for drawings.
    """
    shown = small.copy()
    shown.thumbnail((side, side))
    forms = [("jpeg", _save(shown, "JPEG", quality=quality))]
    # `getcolors` is None for more colours: a photograph
    if shown.getcolors(_DRAWING_COLOURS):
        forms.append(("png", _save(shown, "PNG", optimize=True)))
    name, content = min(forms, key=lambda form: len(form[1]))
    return f"data:image/{name};base64,{base64.b64encode(content).decode()}"


def _save(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
