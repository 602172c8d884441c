"""A folder on any fsspec filesystem, with the few operations that a run folder needs.

A file appears whole or not at all. On a local disk or NFS it is written to a temporary file and renamed. On an object
store it is one PUT; no rename is ever called there.
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, cast

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from mmpr.errors import RunFolderError
from mmpr.extras import missing_extra

TEMPORARY = ".tmp"
# Errors of a filesystem without hard links (FAT, most FUSE mounts of object stores).
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EMLINK}
# A file for an object store is kept in memory up to this size, then in a local temporary file.
_SPOOL_BYTES = 64 * 2**20
_BLOCK_BYTES = 2**20
# Threads that read small files.
_READERS = 16


class HashingFile:
    """A write-only file that counts and hashes what it writes; it does not close the file below."""

    closed = False

    def __init__(self, below: IO[bytes]) -> None:
        self._below = below
        self._digest = hashlib.sha256()
        self.n_bytes = 0

    def write(self, content: bytes) -> int:
        self._below.write(content)
        self._digest.update(content)
        self.n_bytes += len(content)
        return len(content)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._below.flush()

    def close(self) -> None:
        self.flush()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Store:
    """A root folder; names are relative POSIX paths. Its pickle holds the address and connects again when loaded.

    Args:
        url: a local path or any fsspec URL (`s3://bucket/runs/1`, `memory://run`).
        options: arguments of fsspec's filesystem (endpoint, profile); avoid secrets here.

    Raises:
        RunFolderError: the address is empty; fsspec would take the working directory.
    """

    def __init__(self, url: str, options: Mapping[str, object] | None = None) -> None:
        self.url = str(url)
        if not self.url.strip():
            raise RunFolderError("a folder's name is empty: give a path or a URL")
        self.options = dict(options or {})
        self._fs, root = _connect(self.url, self.options)
        self._root = root.rstrip("/")
        self.is_local = isinstance(self._fs, LocalFileSystem)

    def __reduce__(self) -> tuple[type[Store], tuple[str, dict[str, object]]]:
        url = self._root if self.is_local else self.url  # a relative path names another folder in another process
        return Store, (url, self.options)

    def path(self, name: str) -> str:
        """Return the full path of a name on its filesystem."""
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self.path(name)))

    def is_file(self) -> bool:
        """Whether a file is in the place of this folder."""
        return self.is_local and Path(self._root).is_file()

    def size(self, name: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            FileNotFoundError: there is no such file.
            RunFolderError: it cannot be read, for example because it is a directory.
        """
        with _named_errors(self.path(name), "read"):
            found = self._fs.info(self.path(name))
            if found["type"] != "file":
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            return int(found["size"])

    def read_bytes(self, name: str) -> bytes:
        """Read all bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
            RunFolderError: it cannot be read, for example because it is a directory.
        """
        with _named_errors(self.path(name), "read"):
            return cast(bytes, self._fs.cat_file(self.path(name)))

    def read_many(self, names: list[str]) -> dict[str, bytes]:
        """Read many small files, in one request if the filesystem can."""
        if self.is_local:
            return self._read_slices(names)
        if not names:
            return {}
        found = self._fs.cat([self.path(name) for name in names])
        found = {"/" + path.lstrip("/"): content for path, content in found.items()}
        return {name: found["/" + self.path(name).lstrip("/")] for name in names}

    def _read_slices(self, names: list[str]) -> dict[str, bytes]:
        """Read with several threads: on a network disk, 1,000 small files cost 1,000 round trips one after another."""
        slices = [names[first::_READERS] for first in range(_READERS)]
        with ThreadPoolExecutor(_READERS) as readers:
            parts = readers.map(lambda part: {name: self.read_bytes(name) for name in part}, slices)
            found = {name: content for part in parts for name, content in part.items()}
        return {name: found[name] for name in names}

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading at any position."""
        with _named_errors(self.path(name), "read"):
            return cast("IO[bytes]", self._fs.open(self.path(name), "rb"))

    def sha256(self, name: str) -> tuple[int, str]:
        """Return the size and the hash of a file as it is now; read it in blocks."""
        digest, n_bytes = hashlib.sha256(), 0
        with _named_errors(self.path(name), "read"), self.open(name) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                n_bytes += len(block)
        return n_bytes, digest.hexdigest()

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of the files directly in a folder; empty if the folder does not exist."""
        return [f"{folder}/{name}" if folder else name for name in self._inside(folder, "file")]

    def folders(self) -> list[str]:
        """Return the sorted names of the folders directly in this one."""
        return self._inside("", "directory")

    def _inside(self, folder: str, kind: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            with _named_errors(self.path(folder), "read"):
                found = self._fs.ls(self.path(folder).rstrip("/"), detail=True)
        except FileNotFoundError:
            return []
        root = self.path(folder).rstrip("/")  # if the path is a file, `ls` returns that file
        inside = [entry["name"] for entry in found if entry["type"] == kind and entry["name"].rstrip("/") != root]
        return sorted(PurePosixPath(name).name for name in inside)

    def try_writing(self) -> None:
        """Write and delete a small file; a node does this before it gets work.

        Raises:
            RunFolderError: this process cannot write here; the message names the path.
        """
        name = f"{secrets.token_hex(4)}{TEMPORARY}"
        self.write_bytes(name, b"can this node write here?")
        self.delete(name)

    def delete(self, name: str) -> None:
        """Delete a file; a missing file is no error."""
        with suppress(FileNotFoundError), _named_errors(self.path(name), "delete"):
            self._fs.rm_file(self.path(name))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a whole file and replace an earlier one."""
        with self.writer(name) as file:
            file.write(content)

    def append_line(self, name: str, line: str) -> None:
        """Append one line to a text file. Object stores cannot append, so the file is written again there."""
        content = line.encode() + b"\n"
        if not self.is_local:
            before = self.read_bytes(name) if self.exists(name) else b""
            self.write_bytes(name, before + content)
            return
        path = self._local(name)
        with _named_errors(str(path), "write"), path.open("ab+") as file:
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                content = b"\n" + content  # a crash cut off the line before
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def copy_from(self, other: Store, name: str, *, to: str | None = None) -> None:
        """Copy a file from another folder under the same name or `to`; on one local disk it becomes a hard link."""
        to = to or name
        # committed files are never changed in place, so a link is as good as a copy
        if self.is_local and other.is_local and not self.exists(to):
            with suppress(OSError):
                os.link(other.path(name), self._local(to))
                return
        try:
            with other.open(name) as file, self.writer(to) as copy:
                shutil.copyfileobj(file, cast("IO[bytes]", copy), _BLOCK_BYTES)
        except FileNotFoundError as error:
            raise RunFolderError(f"{other.path(name)} is missing; `mmpr verify` says what to do") from error

    @contextmanager
    def writer(self, name: str) -> Iterator[HashingFile]:
        """Write a file that appears if the block succeeds, and does not if it raises."""
        with self._local_writer(name) if self.is_local else self._remote_writer(name) as file:
            yield file

    def write_exclusive(self, name: str, content: bytes) -> None:
        """Create a file that must not exist yet; of many writers exactly one succeeds.

        Give each writer different content. A store may answer ambiguously (a lost reply, no conditional PUT); then this
        method reads the file back, and the writer whose content it finds has won.

        Raises:
            FileExistsError: another writer was first.
            RunFolderError: the file cannot be written.
        """
        with _named_errors(self.path(name), "write"):
            if self.is_local:
                self._link(name, content)
            else:
                self._put(name, content)

    def _local(self, name: str) -> Path:
        path = Path(self.path(name))
        with _named_errors(str(path.parent), "create", answers=()):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def _local_writer(self, name: str) -> Iterator[HashingFile]:
        path = self._local(name)
        temporary = _temporary(path)
        try:
            with _named_errors(str(path), "write"):
                with temporary.open("wb") as below:
                    yield (file := HashingFile(below))
                    file.flush()
                    os.fsync(below.fileno())
                temporary.replace(path)
                _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _remote_writer(self, name: str) -> Iterator[HashingFile]:
        # Spool locally first: a stream to an object store that breaks off may leave half a file under the final name.
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as below:
            yield HashingFile(cast("IO[bytes]", below))
            below.seek(0)
            with _named_errors(self.path(name), "write"), self._fs.open(self.path(name), "wb") as final:
                shutil.copyfileobj(below, final, _BLOCK_BYTES)

    def _link(self, name: str, content: bytes) -> None:
        path = self._local(name)
        temporary = _temporary(path)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if path.is_dir():  # `link` would raise FileExistsError, as for another writer's file
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _link_or_replace(temporary, path, content)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def _put(self, name: str, content: bytes) -> None:
        path = self.path(name)
        if self.exists(name):
            raise FileExistsError(path)
        try:
            if "mode" in inspect.signature(getattr(self._fs, "_pipe_file", self._fs.pipe_file)).parameters:
                # a conditional PUT, where the filesystem has one
                self._fs.pipe_file(path, content, mode="create")
            else:
                self._fs.pipe_file(path, content)
        except OSError as error:  # s3fs reports a lost race as EINVAL; a retried PUT finds the file of its first try
            if not self.exists(name):
                raise
            if self.read_bytes(name) != content:
                raise FileExistsError(path) from error
        if self.read_bytes(name) != content:
            raise FileExistsError(path)


def _connect(url: str, options: Mapping[str, object]) -> tuple[AbstractFileSystem, str]:
    try:
        filesystem, root = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        if isinstance(error, ImportError) and (missing := missing_extra(error)):
            raise missing from None
        raise RunFolderError(f"cannot open {url}: {str(error).splitlines()[0]}") from error
    return filesystem, str(root)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")


def _link_or_replace(temporary: Path, path: Path, content: bytes) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        # NFS: the link was made but its reply was lost, and the retry found the link
        if temporary.stat().st_nlink != 2:
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(str(path)) from error
        temporary.replace(path)
        if path.read_bytes() != content:
            raise FileExistsError(str(path)) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network filesystems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


_READ, _WRITE = "restore it from a copy, or the rights to it", "check its disk space and permissions, then start again"
_ANSWERS = (FileExistsError, FileNotFoundError)  # the caller asked whether the file exists: that is no fault


@contextmanager
def _named_errors(path: str, verb: str, *, answers: tuple[type[OSError], ...] = _ANSWERS) -> Iterator[None]:
    """An operating system's error as one line that names the file."""
    try:
        yield
    except answers:
        raise
    except NotADirectoryError as error:
        if verb == "read":  # something above it is a file: it is not there
            raise FileNotFoundError(error.errno, error.strerror, path) from error
        raise RunFolderError(
            f"cannot {verb} {path}: there is a file where a folder should be; choose another path"
        ) from error
    except IsADirectoryError as error:
        raise RunFolderError(f"cannot {verb} {path}: there is a folder where a file should be; remove it") from error
    except OSError as error:
        cause = error.strerror or str(error)
        # `/proc/x`, a file or a link to nothing in the folder's place, a link to itself
        misplaced = error.errno == errno.ELOOP or (verb == "create" and error.errno in (errno.ENOENT, errno.EEXIST))
        remedy = "choose another folder" if misplaced else _READ if verb == "read" else _WRITE
        raise RunFolderError(f"cannot {verb} {path}: {cause}; {remedy}") from error
