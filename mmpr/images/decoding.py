"""A file's bytes -> a decoded `Image`.

A file's name proves nothing: content decides what it is, its header decides whether it is small enough to decode, and
only a file that decodes to its end is an image. Many threads decode at once; no setting of PIL's is changed.
"""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from mmpr.errors import ImageError
from mmpr.images.image_faults import brands, too_large, unreadable, what_it_is
from mmpr.types import DecodedImage, Reason

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose
    from PIL.ImageFile import ImageFile

# What PIL's decoders raise at damaged files, besides its own DecompressionBombError.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError),
    *(EOFError, AssertionError, struct.error, zlib.error),
)
_EMBEDDED_AS_IS = ("JPEG", "PNG", "WEBP")
_ORIENTATION = 0x0112
_WARNINGS = threading.Lock()


def decode(original: bytes, name: str, max_pixels: int) -> DecodedImage:
    """A file's bytes as the image that the engine sees.

    Raises:
        ImageError: IMAGE_TOO_LARGE, or IMAGE_UNREADABLE: an empty, cut or damaged file, a format that is none of ours.
    """
    from PIL.Image import DecompressionBombError

    try:
        with _quiet():
            image = _open(original, name)
        if image.width * image.height > max_pixels:
            raise too_large(name, image.width * image.height, f"pixels ({image.width}x{image.height})", max_pixels)
        with _quiet() if image.format == "TIFF" else nullcontext():  # it measures its tiles by PIL's limit again
            image.load()
        with _quiet():
            turn = image.getexif().get(_ORIENTATION, 1)  # after load: a PNG may keep it behind its pixels
        as_is = turn not in _turns() and _is_plain(image, original)
        return _image(_upright_rgb(image, turn), image.format if as_is else None, original)
    except DecompressionBombError as error:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"{name}: {error}") from error
    except _DAMAGE as error:
        raise unreadable(name, f"damaged or cut short ({error or type(error).__name__})") from error


def _image(pixels: Image, format_as_is: str | None, original: bytes) -> DecodedImage:
    encoded = original if format_as_is else _png(pixels)
    original_sha256 = hashlib.sha256(original).hexdigest()
    return DecodedImage(
        sha256=original_sha256 if format_as_is else hashlib.sha256(encoded).hexdigest(),
        original_sha256=original_sha256,
        encoded=encoded,
        width=pixels.width,
        height=pixels.height,
        format=format_as_is or "PNG",
        pixels=pixels,
    )


def _png(pixels: Image) -> bytes:
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings from PIL: it warns of large headers and damaged EXIF, both of which are judged here.

    `catch_warnings` is not thread-safe, hence the lock; headers take microseconds.
    """
    with _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _open(original: bytes, name: str) -> ImageFile:
    """PIL's reader for what the first bytes say, its header read.

    Not `Image.open`: that tries some forty formats, among them EPS, which runs Ghostscript, and it refuses by a size
    limit that is global. And `JpegImageFile` where it would take `MpoImageFile`: phones add a second image behind
    the first, which every trainer ignores.
    """
    from PIL import (
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        Jpeg2KImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    readers: tuple[tuple[bytes, int, type[ImageFile]], ...] = (
        (b"\xff\xd8\xff", 0, JpegImagePlugin.JpegImageFile),
        (b"\x89PNG\r\n\x1a\n", 0, PngImagePlugin.PngImageFile),
        (b"WEBP", 8, WebPImagePlugin.WebPImageFile),
        (b"GIF8", 0, GifImagePlugin.GifImageFile),
        (b"BM", 0, BmpImagePlugin.BmpImageFile),
        (b"II*\0", 0, TiffImagePlugin.TiffImageFile),
        (b"MM\0*", 0, TiffImagePlugin.TiffImageFile),
        (b"\0\0\0\x0cjP  ", 0, Jpeg2KImagePlugin.Jpeg2KImageFile),
        *((b"P%d" % kind, 0, PpmImagePlugin.PpmImageFile) for kind in range(1, 7)),
    )
    for magic, at, reader in readers:
        if original.startswith(magic, at):
            return reader(io.BytesIO(original))
    if brands(original) & {b"avif", b"avis"}:
        return AvifImagePlugin.AvifImageFile(io.BytesIO(original))
    raise unreadable(name, f"is {what_it_is(original)}")


def _is_plain(image: ImageFile, original: bytes) -> bool:
    """Whether every consumer sees in these bytes what the engine sees: 8 bit, one frame, RGB or grey, no alpha."""
    if image.format not in _EMBEDDED_AS_IS or image.mode not in ("RGB", "L") or image.has_transparency_data:
        return False
    if image.format == "PNG" and original[24] != 8:  # IHDR's bit depth: PIL calls 16-bit colour RGB, too
        return False
    return getattr(image, "n_frames", 1) == 1


def _turns() -> dict[int, Transpose]:
    """EXIF orientation -> what makes it upright; 1 and whatever is not listed stays."""
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }


def _upright_rgb(image: Image, turn: int) -> Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _grey(image)
    pixels = _on_white(image) if image.has_transparency_data else image.convert("RGB")
    pixels.info = {}  # else a CMYK profile would be written into an RGB file
    return pixels.transpose(_turns()[turn]) if turn in _turns() else pixels


def _on_white(image: Image) -> Image:
    from PIL import Image as images

    rgba = image.convert("RGBA")
    return images.alpha_composite(images.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _grey(image: Image) -> Image:
    """Deep grey as 8 bit: 16-bit values keep their scale (PIL would clip them at 255), others fill the range."""
    import numpy as np
    from PIL import Image as images

    values = np.nan_to_num(np.asarray(image, np.float64))
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (values - low) * (255 / ((high - low) or 1))
    return images.fromarray(np.rint(scaled).astype(np.uint8))
