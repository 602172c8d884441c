"""`Loader`: load every reference of a question as an image."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, cast

from mmpr.images.allowed import place_of
from mmpr.images.decode_budget import READING
from mmpr.images.decoding import decode
from mmpr.images.frames import Frame, frame_of
from mmpr.images.image_faults import shown, unreadable
from mmpr.images.image_options import ImageOptions
from mmpr.images.places import inside, opened, path_of, read_file, read_inline, size_of
from mmpr.images.remote import fetch
from mmpr.images.spool import spooled_reference
from mmpr.images.video import read_frames
from mmpr.types import DecodedImage

# a larger image is written to a temporary file while it is fetched
_HELD_WHILE_FETCHED = 1_000_000  # bytes
_INLINE_COPIES = 3  # copies of a `data:` reference in memory while its base64 is decoded


@dataclass(frozen=True, slots=True)
class Loader:
    """Reads, checks and decodes images. Picklable, because every engine's node gets one.

    Args:
        root: the folder that a path must be in, after links are followed; None: any folder.
        options: limits, which are checked before decoding, and allowed hosts: by default nothing is fetched.
        allow_outside_root: accept paths outside `root`.
    """

    root: Path | None
    options: ImageOptions = ImageOptions()
    allow_outside_root: bool = False

    def __call__(self, references: Sequence[str]) -> tuple[DecodedImage, ...]:
        """Return the images of one question, in order; a video is opened once for all its frames.

        Raises:
            ImageError: the first reference that is no usable image.
        """
        found: list[DecodedImage] = []
        for video, group in groupby(references, key=_video_of):
            if video is None:
                found += [self.load(reference) for reference in group]
            else:
                found += self._frames(video, [cast("Frame", frame_of(reference)) for reference in group])
        return tuple(found)

    def load(self, reference: str) -> DecodedImage:
        """Load one image, or one frame of a video.

        Raises:
            ImageError: IMAGE_MISSING: no such file. IMAGE_OUTSIDE_ROOT: the path, or a link on it, leaves `root`.
                IMAGE_NOT_ALLOWED: its host is not allowed. IMAGE_UNREACHABLE: the host does not answer, or refuses.
                IMAGE_TOO_LARGE: a limit is exceeded. VIDEO_UNREADABLE, VIDEO_TOO_SHORT: for a frame. IMAGE_UNREADABLE:
                everything else: a folder, a FIFO, an empty, cut or damaged file, an unsupported format.
        """
        if (frame := frame_of(reference)) is not None:
            return self._frames(frame.video, [frame])[0]
        if (kept := spooled_reference(reference)) is not None:
            with READING.held(_INLINE_COPIES * kept.size):
                return self._inline(kept.read().decode())
        if reference.startswith("data:"):
            with READING.held(_INLINE_COPIES * len(reference)):
                return self._inline(reference)
        name = _name(reference)
        if _is_remote(reference):
            return self._fetched(reference, name)
        path = self._path(reference, name)
        with READING.held(size_of(path, name, self.options.max_image_bytes)):
            return self._decoded(read_file(path, name, self.options.max_image_bytes), name)

    def _inline(self, reference: str) -> DecodedImage:
        name = _name(reference)
        return self._decoded(read_inline(reference, name, self.options.max_image_bytes), name)

    def _fetched(self, reference: str, name: str) -> DecodedImage:
        """Fetch an image to the disk first: no server has to say how large it is."""
        with tempfile.SpooledTemporaryFile(_HELD_WHILE_FETCHED) as content:
            fetch(reference, name, self.options, self.options.max_image_bytes, cast("BinaryIO", content))
            size = content.tell()
            content.seek(0)
            with READING.held(size):
                return self._decoded(content.read(), name)

    def _decoded(self, original: bytes, name: str) -> DecodedImage:
        if not original:
            raise unreadable(name, "the file is empty")
        return decode(original, name, self.options.max_pixels)

    def _frames(self, video: str, frames: Sequence[Frame]) -> list[DecodedImage]:
        name = _name(video)
        with self._opened_video(video, name) as file:
            encoded = read_frames(file, name, frames, max_pixels=self.options.max_pixels)
        return [decode(one, name, self.options.max_pixels) for one in encoded]

    @contextmanager
    def _opened_video(self, video: str, name: str) -> Iterator[BinaryIO]:
        """Open a video; one from another machine is a temporary file while it is read, and is never in memory."""
        if not _is_remote(video):
            with opened(self._path(video, name), name, self.options.max_video_bytes) as file:
                yield file
            return
        with tempfile.TemporaryFile() as copy:
            fetch(video, name, self.options, self.options.max_video_bytes, cast("BinaryIO", copy))
            copy.seek(0)
            yield cast("BinaryIO", copy)

    def _path(self, reference: str, name: str) -> Path:
        path = path_of(reference, name) if reference.startswith("file://") else reference
        return inside(path, name, self.root, self.allow_outside_root)


def load(
    reference: str, *, root: Path | None, options: ImageOptions = ImageOptions(), allow_outside_root: bool = False
) -> DecodedImage:
    """Load one image with `Loader`; arguments and errors are the same."""
    return Loader(root, options, allow_outside_root).load(reference)


def hosts_of(references: Iterable[str]) -> frozenset[str]:
    """Return the servers and stores of these references; empty for local files."""
    addresses = {_video_of(reference) or reference for reference in references}
    places = [place_of(address) for address in addresses if _is_remote(address)]
    return frozenset(place.host for place in places if not isinstance(place, str))


def _video_of(reference: str) -> str | None:
    frame = frame_of(reference)
    return frame.video if frame else None


def _name(reference: str) -> str:
    """Return a reference for messages, without the query of an address, which may contain a signature."""
    address, query, _ = reference.partition("?")
    return shown(f"{address}?.." if query and _is_remote(address) else reference)


def _is_remote(reference: str) -> bool:
    return "://" in reference and not reference.startswith("file://")
