"""Find local images and videos: paths under a root, `file://` addresses, `data:` URIs."""

from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from mmpr.errors import ImageError
from mmpr.images.image_faults import too_large, unreadable
from mmpr.types import Reason

_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def path_of(address: str, name: str) -> str:
    """Return the path of a `file://` address; raises `ImageError` if it names another machine."""
    machine, slash, path = address.removeprefix("file://").partition("/")
    if machine not in ("", "localhost"):
        raise unreadable(name, f"is a file of another machine, {machine!r}: write file:///path")
    return unquote(slash + path)


def inside(reference: str, name: str, root: Path | None, allow_outside_root: bool) -> Path:
    """Return the real path. It is checked before the file is touched, so that a refusal does not reveal what exists."""
    try:
        path = Path(root or "", reference).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long, a NUL
        raise ImageError(Reason.IMAGE_MISSING, f"{name}: no such file ({error})") from error
    if root is not None and not allow_outside_root and not path.is_relative_to(root.resolve()):
        remedy = f"leaves the image root {root}: move the image, or set --image-root to a folder above both"
        raise ImageError(Reason.IMAGE_OUTSIDE_ROOT, f"{name}: {remedy}")
    return path


def opened(path: Path, name: str, max_bytes: int) -> BinaryIO:
    """Open a regular file of at most `max_bytes`.

    Raises:
        ImageError: it does not exist, is too large, or is no regular file.
    """
    try:
        _check(path.stat(), name, max_bytes)  # before opening: opening a FIFO would wait for a writer
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")  # it may have become a FIFO since
    except OSError as error:
        raise _unreadable(name, error) from error


def size_of(path: Path, name: str, max_bytes: int) -> int:
    """Return the bytes of a regular file; raises like `opened`."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(name, error) from error
    _check(status, name, max_bytes)
    return status.st_size


def _check(status: os.stat_result, name: str, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(name, "is a folder" if stat.S_ISDIR(status.st_mode) else "is no regular file")
    if status.st_size > max_bytes:
        raise too_large(name, status.st_size, "bytes", max_bytes)


def read_file(path: Path, name: str, max_bytes: int) -> bytes:
    """Read a whole image file; raises like `opened`."""
    with opened(path, name, max_bytes) as file:
        try:
            original = file.read(max_bytes + 1)
        except OSError as error:
            raise _unreadable(name, error) from error
    if len(original) > max_bytes:
        raise too_large(name, len(original), "bytes or more", max_bytes)
    return original


def read_inline(uri: str, name: str, max_bytes: int) -> bytes:
    """Decode the bytes of a `data:image/...;base64,` URI."""
    header, comma, body = uri.partition(",")
    if not comma or not header.lower().startswith("data:image/") or not header.lower().endswith(";base64"):
        raise unreadable(name, "a data URI must begin with data:image/<format>;base64,")
    if len(body) // 4 * 3 > max_bytes + 2:
        raise too_large(name, len(body) // 4 * 3, "bytes", max_bytes)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise unreadable(name, f"its base64 is damaged ({error})") from error


def _unreadable(name: str, error: OSError) -> ImageError:
    if error.errno in _NO_SUCH_FILE:
        return ImageError(Reason.IMAGE_MISSING, f"{name}: no such file")
    return unreadable(name, error.strerror or str(error))
