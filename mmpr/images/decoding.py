"""Decode a file's bytes to an image.

The content decides the format, not the name. The header decides whether the image is small enough to decode, and only a
file that decodes completely is an image. Many threads decode at once; PIL's global settings are not changed.
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
from mmpr.images.decode_budget import DECODING
from mmpr.images.image_faults import brands, too_large, unreadable, what_it_is
from mmpr.types import DecodedImage, Reason

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose
    from PIL.ImageFile import ImageFile

# Exceptions of PIL's decoders for damaged files, besides its DecompressionBombError.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError),
    *(EOFError, AssertionError, struct.error, zlib.error),
)
# Bytes per pixel: PIL's RGB, then the decoder's own buffer, then decoders that need more.
_RGB_BYTES, _DECODER_BYTES = 4, 4
_OTHER_BYTES = {"JPEG2000": 16, "AVIF": 6, "WEBP": 12}
_MOST_BYTES_A_PIXEL = 10
_BAND_PIXELS = 1_000_000
_EMBEDDED_AS_IS = ("JPEG", "PNG", "WEBP")
_ORIENTATION = 0x0112
_WARNINGS = threading.Lock()


def decode(original: bytes, name: str, max_pixels: int) -> DecodedImage:
    """Decode a file's bytes to the image that the engine sees.

    Raises:
        ImageError: IMAGE_TOO_LARGE; or IMAGE_UNREADABLE: an empty, cut or damaged file, or an unsupported format.
    """
    from PIL.Image import DecompressionBombError

    try:
        with _quiet():
            image = _open(original, name)
        if image.width * image.height > max_pixels:
            raise too_large(name, image.width * image.height, f"pixels ({image.width}x{image.height})", max_pixels)
        n_pixels = image.width * image.height
        need = n_pixels * (_RGB_BYTES + _OTHER_BYTES.get(image.format or "", _DECODER_BYTES))
        if need > (most := max_pixels * _MOST_BYTES_A_PIXEL):
            raise too_large(name, need, f"bytes to decode {n_pixels:,} pixels of {image.format}", most)
        with DECODING.held(need + len(original)) as charge:
            decoded = _decoded(image, original)
            charge.keep(decoded.pixels, n_pixels * _RGB_BYTES + len(decoded.encoded))
            return decoded
    except DecompressionBombError as error:
        raise ImageError(Reason.IMAGE_TOO_LARGE, f"{name}: {error}") from error
    except _DAMAGE as error:
        raise unreadable(name, f"damaged or cut short ({error or type(error).__name__})") from error


def _decoded(image: ImageFile, original: bytes) -> DecodedImage:
    # TIFF checks the size of its tiles against PIL's limit again
    with _quiet() if image.format == "TIFF" else nullcontext():
        image.load()
    with _quiet():
        turn = image.getexif().get(_ORIENTATION, 1)  # after `load`: a PNG may store it after its pixels
    as_is = turn not in _turns() and _is_plain(image, original)
    format_as_is = image.format if as_is else None
    if as_is and image.mode == "RGB":
        image.info = {}
        return _image(image, format_as_is, original)  # one frame, its file closed; a copy would double the memory
    pixels = _rgb(image)
    image.close()  # frees memory before a turned copy is made
    del image
    return _image(pixels.transpose(_turns()[turn]) if turn in _turns() else pixels, format_as_is, original)


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
    """Suppress PIL's warnings about large headers and damaged EXIF, which this module checks itself.

    The lock is needed because `catch_warnings` is not thread-safe; headers take microseconds.
    """
    with _WARNINGS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _open(original: bytes, name: str) -> ImageFile:
    """Open PIL's reader for the format that the first bytes show; reads the header.

    `Image.open` is not used: it tries about forty formats, among them EPS, which runs Ghostscript, and its size limit
    is global. `JpegImageFile` replaces `MpoImageFile`: phones append a second image, which every trainer ignores.
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
    """Whether every program sees in these bytes what the engine sees: 8 bit, one frame, RGB or grey, no alpha."""
    if image.format not in _EMBEDDED_AS_IS or image.mode not in ("RGB", "L") or image.has_transparency_data:
        return False
    if image.format == "PNG" and original[24] != 8:  # bit depth in IHDR: PIL reports 16-bit colour as RGB too
        return False
    return getattr(image, "n_frames", 1) == 1


def _turns() -> dict[int, Transpose]:
    """Return the transposition that turns each EXIF orientation upright; 1 and unknown values have none."""
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


def _rgb(image: Image) -> Image:
    """Convert an image to RGB in bands of rows, so that intermediate values need little memory."""
    from PIL import Image as images

    deep = image.mode == "F" or image.mode.startswith("I")
    low, high = _range(image) if deep else (0.0, 0.0)
    pixels = images.new("RGB", image.size)
    for band, top in _bands(image):
        if deep:
            band = _grey(band, low, high)
        pixels.paste(_on_white(band) if band.has_transparency_data else band.convert("RGB"), (0, top))
    return pixels


def _bands(image: Image) -> Iterator[tuple[Image, int]]:
    """Yield bands of at most a million pixels, each with the number of its first row."""
    rows = max(1, _BAND_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height))), top


def _on_white(image: Image) -> Image:
    from PIL import Image as images

    rgba = image.convert("RGBA")
    return images.alpha_composite(images.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _range(image: Image) -> tuple[float, float]:
    """Return the values that become black and white: 16-bit values keep their scale, others use their own range."""
    import numpy as np

    low, high = np.inf, -np.inf
    for band, _ in _bands(image):
        values = np.nan_to_num(np.asarray(band, np.float64))
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        return 0.0, 65535.0
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _grey(image: Image, low: float, high: float) -> Image:
    """Convert deep grey to 8 bit; PIL would clip it at 255."""
    import numpy as np
    from PIL import Image as images

    values = np.nan_to_num(np.asarray(image, np.float64))
    scaled = (values - low) * (255 / ((high - low) or 1))
    return images.fromarray(np.rint(scaled).astype(np.uint8))
