"""Read a source's bytes unpacked: gzip and zstd files are read like the file inside."""

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
    """The content of a packed file, read forward; going back unpacks it again from the beginning."""

    def __init__(self, path: str, compression: Compression) -> None:
        self._path, self._compression = path, compression
        self._open()

    def _open(self) -> None:
        self._at = 0
        if self._compression == "gzip":  # needs no pyarrow, so that `mmpr judge` works in the smallest installation
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
        # gzip raises these for a damaged file; callers expect an OSError
        except (EOFError, zlib.error) as error:
            raise OSError(str(error)) from error
        self._at += n
        return n

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("an unpacked file is entered from its beginning only")
        # a packed file has no way back: unpack it from its beginning
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
    """Return the compression of a file from its first bytes."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


@contextmanager
def unpacked(source: Source) -> Iterator[BinaryIO]:
    """Open the source's bytes, after a byte order mark.

    Raises:
        SourceError: the file cannot be read, or is found to be cut off or damaged while it is read.
    """
    try:
        with _opened(source.path, source.compression) as file:
            file.seek(len(BOM) if file.read(len(BOM)) == BOM else 0)
            yield file
    except OSError as error:
        raise unreadable(source.path, source.compression, error) from error


def head(path: str, compression: Compression | None, size: int) -> bytes:
    """Return the first bytes, unpacked; raises `SourceError` like `unpacked`."""
    try:
        with _opened(path, compression) as file:
            return file.read(size)
    except OSError as error:
        raise unreadable(path, compression, error) from error


def behind_blanks(path: str, compression: Compression | None, size: int) -> tuple[int, bytes]:
    """Return the first bytes after a byte order mark and blanks, however many blanks there are.

    Returns:
        Their offset, and at most `size` of them.

    Raises:
        SourceError: like `unpacked`.
    """
    try:
        with _opened(path, compression) as file:
            file.seek(len(BOM) if file.read(len(BOM)) == BOM else 0)
            pass_blanks(file)
            return file.tell(), file.read(size)
    except OSError as error:
        raise unreadable(path, compression, error) from error


def pass_blanks(file: BinaryIO) -> None:
    """Skip to the next byte that is not blank, or to the end."""
    while block := cast("io.BufferedReader", file).peek():
        solid = block.lstrip()
        file.read(len(block) - len(solid))
        if solid:
            return


def unreadable(path: str, compression: Compression | None, error: OSError) -> SourceError:
    """Return why a file cannot be read, in one line; pyarrow's errors about packed bytes have no errno."""
    if compression and error.errno is None:
        return SourceError(f"{path}: its {compression} is cut off or damaged ({error}): copy or pack it again")
    return SourceError(f"{path}: cannot be read ({error.strerror or error})")


def _opened(path: str, compression: Compression | None) -> BinaryIO:
    if compression is None:
        return Path(path).open("rb")
    return cast("BinaryIO", io.BufferedReader(_Unpacked(path, compression), _BUFFER_BYTES))
