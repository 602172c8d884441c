"""A source's bytes, unpacked: gzip and zstd files read like the file that was packed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from mmpr.errors import SourceError
from mmpr.sources.source_records import Compression, Source

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BOM = b"\xef\xbb\xbf"
_MAGIC: tuple[tuple[bytes, Compression], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_BUFFER_BYTES = 1_000_000


class _Unpacked(io.RawIOBase):
    """What a packed file holds, forward; going back unpacks it again from its beginning."""

    def __init__(self, path: str, compression: Compression) -> None:
        self._path, self._compression = path, compression
        self._open()

    def _open(self) -> None:
        self._at = 0
        if self._compression == "gzip":  # needs no pyarrow, so that `mmpr judge` reads it as it is installed
            self._packed = Path(self._path).open("rb")  # noqa: SIM115  `close` closes it
            self._stream = gzip.GzipFile(fileobj=self._packed)
            return
        import pyarrow as pa

        self._packed = pa.OSFile(self._path)
        self._stream = pa.CompressedInputStream(self._packed, self._compression)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            n = int(self._stream.readinto(buffer))
        except (EOFError, zlib.error) as error:
            raise OSError(str(error)) from error
        self._at += n
        return n

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("an unpacked file is entered from its beginning only")
        if offset < self._at:
            self._release()
            self._open()
        passed = bytearray(_BUFFER_BYTES)
        while self._at < offset and self.readinto(memoryview(passed)[: offset - self._at]):
            pass
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._release()
        super().close()

    def _release(self) -> None:
        self._stream.close()
        self._packed.close()


def compression_of(head: bytes) -> Compression | None:
    """How a file that begins so is packed."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


@contextmanager
def unpacked(source: Source) -> Iterator[BinaryIO]:
    """The source's bytes, from the first that is no byte order mark.

    Raises:
        SourceError: it cannot be read; or, while it is read, is cut off or damaged.
    """
    try:
        with _opened(source.path, source.compression) as file:
            file.seek(len(BOM) if file.read(len(BOM)) == BOM else 0)
            yield file
    except OSError as error:
        raise unreadable(source.path, source.compression, error) from error


def head(path: str, compression: Compression | None, size: int) -> bytes:
    """The first bytes, unpacked; raises `SourceError` as `unpacked` does."""
    try:
        with _opened(path, compression) as file:
            return file.read(size)
    except OSError as error:
        raise unreadable(path, compression, error) from error


def behind_blanks(path: str, compression: Compression | None, size: int) -> tuple[int, bytes]:
    """The first bytes that are neither a byte order mark nor blank, however many of these there are.

    Returns:
        Where they begin, and at most `size` of them.

    Raises:
        SourceError: as `unpacked` does.
    """
    try:
        with _opened(path, compression) as file:
            file.seek(len(BOM) if file.read(len(BOM)) == BOM else 0)
            pass_blanks(file)
            return file.tell(), file.read(size)
    except OSError as error:
        raise unreadable(path, compression, error) from error


def pass_blanks(file: BinaryIO) -> None:
    """Go to the next byte that is not blank, or to the end."""
    while block := cast("io.BufferedReader", file).peek():
        solid = block.lstrip()
        file.read(len(block) - len(solid))
        if solid:
            return


def unreadable(path: str, compression: Compression | None, error: OSError) -> SourceError:
    """Why a file cannot be read, in one line; what pyarrow says of packed bytes has no number."""
    if compression and error.errno is None:
        return SourceError(f"{path}: its {compression} is cut off or damaged ({error}): copy or pack it again")
    return SourceError(f"{path}: cannot be read ({error.strerror or error})")


def _opened(path: str, compression: Compression | None) -> BinaryIO:
    if compression is None:
        return Path(path).open("rb")
    return cast("BinaryIO", io.BufferedReader(_Unpacked(path, compression), _BUFFER_BYTES))
