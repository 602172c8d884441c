"""Write images as files, each once: `images/<aa>/<sha256>.<ext>`. The disk itself records which ones exist."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmpr.run.columns import image_bytes
from mmpr.types import TableRow

IMAGES = "images"
# MPO is Pillow's name for a JPEG file with further images inside, as some cameras write it
_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
_REMEMBERED = 4096


class ImageFiles:
    """Checks that images decode, and writes them.

    Args:
        root: the folder of the export; None if images stay embedded and are only checked.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._extensions: dict[str, str | None] = {}  # of recent images, by hash

    def place(self, images: Sequence[TableRow]) -> tuple[str, ...] | None:
        """Write a pair's images and return their names relative to the export; None if one does not decode."""
        contents = [image_bytes(image) or b"" for image in images]
        hashes = [hashlib.sha256(content).hexdigest() for content in contents]
        names = [self._name(sha256, content) for sha256, content in zip(hashes, contents, strict=True)]
        found = tuple(name for name in names if name is not None)
        if len(found) < len(images):
            return None
        if self._root is not None:
            for name, content in zip(found, contents, strict=True):
                _write_once(self._root / name, content)
        return found

    def count(self) -> int:
        """Return the number of image files."""
        return 0 if self._root is None else sum(1 for _ in self._root.glob(f"{IMAGES}/??/*"))

    def _name(self, sha256: str, content: bytes) -> str | None:
        if sha256 not in self._extensions:
            if len(self._extensions) >= _REMEMBERED:
                # forgotten images are only decoded once more
                self._extensions.clear()
            self._extensions[sha256] = _extension(content)
        extension = self._extensions[sha256]
        return extension and f"{IMAGES}/{sha256[:2]}/{sha256}.{extension}"


def _extension(content: bytes) -> str | None:
    """Return the extension for an image's content after decoding it fully, as trainers do; None if that fails."""
    from PIL import Image
    from PIL.Image import DecompressionBombError

    # PIL raises all of these for damaged files
    damage = (OSError, SyntaxError, ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, AttributeError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images: the run has its own limit
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as image:
                image.convert("RGB")
                return _EXTENSIONS[image.format or ""]
    except (*damage, DecompressionBombError):
        return None


def _write_once(path: Path, content: bytes) -> None:
    """Write a file under its final name only when it is complete; a complete file is not written again."""
    # the name is the content's hash: equal length means the same file
    if path.exists() and path.stat().st_size == len(content):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
