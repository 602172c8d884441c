"""Read frames of a video, evenly spread, with PyAV (FFmpeg's own decoders).

A video is divided into segments of equal length, and the middle frame of each is taken, as InternVL does. Only frames
between a key frame and a wanted frame are decoded. FFmpeg gets an open file and the name of its format, never a path,
because some formats (playlists) would make it open other files.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from mmpr.errors import ImageError
from mmpr.extras import named_extras
from mmpr.images.frames import Frame
from mmpr.images.image_faults import too_large
from mmpr.types import Reason

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from PIL.Image import Image

_QUALITY = 95
_LONG_TICKS = 10_000_000  # in any clock that a video may use
# How to recognise a format: (bytes, offset, FFmpeg's name).
_FORMATS = (
    *((box, 4, "mov") for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (b"\x1a\x45\xdf\xa3", 0, "matroska"),
    (b"AVI ", 8, "avi"),
    (b"FLV", 0, "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, "asf"),
    (b"OggS", 0, "ogg"),
    (b"GIF8", 0, "gif"),
    (b"\x00\x00\x01\xba", 0, "mpeg"),
    (b"G", 188, "mpegts"),
)


@dataclass(frozen=True, slots=True)
class _Times:
    """When frames are shown, in ticks of their stream, sorted; `keys` are the times at which decoding can start."""

    shown: list[int]
    keys: list[int]

    def of(self, frame: Frame) -> int:
        """Return the time of the middle frame of a segment: for 100 frames in 4 segments, frames 12, 37, 62 and 87."""
        return self.shown[int((frame.number - 0.5) * len(self.shown) / frame.of)]

    def starts(self, time: int) -> Iterator[int]:
        """Yield start times for decoding: the key frame, then earlier ones, because some formats seek too far."""
        place, back = max(0, bisect_right(self.keys, time) - 1), 0
        while back <= place:
            yield self.keys[place - back]
            back = 4 * back or 1
        yield min(0, self.keys[0] - _LONG_TICKS)


def read_frames(file: BinaryIO, name: str, frames: Sequence[Frame], *, max_pixels: int) -> list[bytes]:
    """Read frames as JPEG files, upright and in the video's own size.

    Raises:
        ImageError: VIDEO_UNREADABLE: it is no video, or damaged. VIDEO_TOO_SHORT: it has fewer frames than segments.
            IMAGE_TOO_LARGE: its frames have more than `max_pixels`.
    """
    with named_extras():
        import av

    format = _format(file, name)
    try:
        with av.open(file, "r", format=format, metadata_errors="replace") as container:
            _check_size(container, name, max_pixels)
            times = _times(container)
            most = max(frame.of for frame in frames)
            if len(times.shown) < most:
                raise _too_short(name, len(times.shown), most)
            return [_jpeg(frame) for frame in _decoded(container, times, [times.of(frame) for frame in frames])]
    except (av.FFmpegError, OSError, ValueError, LookupError) as error:
        raise _unreadable(name, f"damaged or cut short ({error})") from error


def _format(file: BinaryIO, name: str) -> str:
    head = file.read(200)
    file.seek(0)
    for magic, at, format in _FORMATS:
        if head.startswith(magic, at) and (format != "mpegts" or head.startswith(b"G")):
            return format
    raise _unreadable(name, "is no video in a known format: give MP4, MOV, MKV, WEBM, AVI, FLV, WMV, OGG, GIF or MPEG")


def _check_size(container: InputContainer, name: str, max_pixels: int) -> None:
    if not container.streams.video:
        raise _unreadable(name, "has no image track")
    context = container.streams.video[0].codec_context
    if context is None:
        raise _unreadable(name, "is coded in a way that FFmpeg does not know")
    if context.width * context.height > max_pixels:
        raise too_large(name, context.width * context.height, f"pixels ({context.width}x{context.height})", max_pixels)


def _times(container: InputContainer) -> _Times:
    """Read the times from the packets; nothing is decoded."""
    shown, keys = [], []
    for packet in container.demux(container.streams.video[0]):
        time = packet.dts if packet.pts is None else packet.pts
        if time is None or not packet.size:  # the last packet of a stream is empty
            continue
        shown.append(time)
        if packet.is_keyframe:
            keys.append(time)
    return _Times(sorted(shown), sorted(keys) or shown[:1])


def _decoded(container: InputContainer, times: _Times, wanted: Sequence[int]) -> Iterator[VideoFrame]:
    running: Iterator[VideoFrame] = iter(())
    last: VideoFrame | None = None
    for time in wanted:
        if last is None or last.pts is None or not next(times.starts(time)) <= last.pts <= time:
            last, running = _entered(container, times, time)
        while last.pts is None or last.pts < time:
            following = next(running, None)
            if following is None:
                break
            last = following
        yield last


def _entered(container: InputContainer, times: _Times, time: int) -> tuple[VideoFrame, Iterator[VideoFrame]]:
    """Return a frame that is not later than the wanted one, and the frames that follow it."""
    stream = container.streams.video[0]
    first: VideoFrame | None = None
    running: Iterator[VideoFrame] = iter(())
    for start in times.starts(time):
        container.seek(start, stream=stream)
        running = container.decode(stream)
        first = next(running, None)
        if first is not None and first.pts is not None and first.pts <= time:
            break
    if first is None:
        raise ValueError("no frame can be decoded")
    return first, running


def _jpeg(frame: VideoFrame) -> bytes:
    """Encode a frame as it will be stored: the engine sees these bytes decoded; a PNG would be ten times as large."""
    from PIL import Image

    file = io.BytesIO()
    _upright(Image.fromarray(frame.to_ndarray(format="rgb24")), frame.rotation).save(
        file, "JPEG", quality=_QUALITY, subsampling=0
    )
    return file.getvalue()


def _upright(image: Image, degrees: int) -> Image:
    """Rotate counterclockwise: a phone held upright stores rotated frames, and the angle that shows them upright."""
    from PIL.Image import Transpose

    turns = {90: Transpose.ROTATE_90, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_270}
    turn = turns.get(round(degrees / 90) * 90 % 360)
    return image if turn is None else image.transpose(turn)


def _unreadable(name: str, why: str) -> ImageError:
    return ImageError(Reason.VIDEO_UNREADABLE, f"{name}: {' '.join(why.split())}")


def _too_short(name: str, n_frames: int, wanted: int) -> ImageError:
    detail = f"{name}: {n_frames} frames, {wanted} are asked for (video_frames)"
    return ImageError(Reason.VIDEO_TOO_SHORT, detail)
