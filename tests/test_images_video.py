"""Videos as people have them, made here: frames spread evenly, upright; and every fault with its reason."""

from __future__ import annotations

import struct

import av
import fsspec
import numpy as np
import pytest
from PIL import Image

from mmpr.errors import ImageError
from mmpr.images import ImageOptions, Loader, frame_references
from mmpr.prompts import is_frame
from mmpr.types import Reason

KINDS = {
    "mp4": "mpeg4",
    "mov": "mjpeg",
    "mkv": "ffv1",
    "avi": "mpeg4",
    "webm": "libvpx-vp9",
    "gif": "gif",
    "ts": "mpeg2video",
}


def shade(i):
    return 10 + 5 * i


def film(path, n_frames=40, *, codec="mpeg4", size=(64, 48), gop=12):
    """Frame i is of shade 10 + 5 i, brighter in its left half."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.codec_context.gop_size = gop
        stream.bit_rate = 4_000_000
        for i in range(n_frames):
            pixels = np.full((size[1], size[0], 3), shade(i), np.uint8)
            pixels[:, : size[0] // 2] += 30
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


def right_half(image):
    return float(np.asarray(image.pixels)[:, image.width // 2 + 4 :].mean())


def refused(references, **limits):
    with pytest.raises(ImageError) as caught:
        Loader(None, ImageOptions(**limits))(references)
    assert "\n" not in caught.value.detail
    return caught.value


@pytest.mark.parametrize("suffix", KINDS)
def test_frames_come_from_the_middles_of_equal_segments(tmp_path, suffix):
    video = film(tmp_path / f"a.{suffix}", codec=KINDS[suffix])
    images = Loader(tmp_path)(frame_references(video, 4))
    steps = 16 if suffix == "gif" else 4
    for image, i in zip(images, (5, 15, 25, 35), strict=True):
        assert abs(right_half(image) - shade(i)) < steps
        assert (image.width, image.height, image.format) == (64, 48, "JPEG")


@pytest.mark.parametrize("gop", [1, 12, 100])
def test_every_frame_of_a_short_video_is_found_whatever_lies_between_key_frames(tmp_path, gop):
    video = film(tmp_path / "a.mp4", 30, gop=gop)
    images = Loader(tmp_path)(frame_references(video, 30))
    assert [round((right_half(image) - 10) / 5) for image in images] == list(range(30))


def test_one_frame_is_the_same_as_among_all(tmp_path):
    references = frame_references(film(tmp_path / "a.mp4"), 8)
    loader = Loader(tmp_path)
    assert [loader.load(reference).sha256 for reference in references] == [p.sha256 for p in loader(references)]


def test_what_is_embedded_is_what_the_engine_saw(tmp_path):
    import io

    (image,) = Loader(tmp_path)(frame_references(film(tmp_path / "a.mp4"), 1))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded))), np.asarray(image.pixels))
    assert image.sha256 == image.original_sha256


def test_a_video_that_is_to_be_shown_upright_is_turned(tmp_path):
    path = tmp_path / "a.mp4"
    film(path)
    raw = path.read_bytes()
    lying = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # as phones write: a quarter clockwise
    at = raw.rindex(lying)  # the track's; the one before is the film's
    path.write_bytes(raw[:at] + turned + raw[at + len(lying) :])
    (image,) = Loader(tmp_path)(frame_references(str(path), 1))
    assert (image.width, image.height) == (48, 64)
    pixels = np.asarray(image.pixels, float)
    assert pixels[:20].mean() > pixels[-20:].mean() + 20  # what was left is above


def test_images_and_videos_of_one_question_keep_their_order(tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    video = film(tmp_path / "a.mp4")
    found = Loader(tmp_path)((str(tmp_path / "a.png"), *frame_references(video, 2), str(tmp_path / "a.png")))
    assert [image.width for image in found] == [5, 64, 64, 5]


def test_a_video_shorter_than_its_segments_is_a_named_skip(tmp_path):
    error = refused(frame_references(film(tmp_path / "a.mp4", 5), 8))
    assert error.reason is Reason.VIDEO_TOO_SHORT
    assert "5 frames, 8 are asked for (video_frames)" in error.detail


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.3, 0.95])
def test_a_cut_video_is_a_named_skip_or_what_is_left_of_it(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    raw = (film(path, codec=KINDS[suffix]), path.read_bytes())[1]
    path.write_bytes(raw[: int(len(raw) * share)])
    try:
        assert len(Loader(None)(frame_references(str(path), 4))) == 4
    except ImageError as error:
        assert error.reason in (Reason.VIDEO_UNREADABLE, Reason.VIDEO_TOO_SHORT)


def test_damaged_bytes_give_frames_or_an_image_error_and_nothing_else(tmp_path):
    path = tmp_path / "a.mp4"
    film(path)
    raw, rng = path.read_bytes(), np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(raw)
        for at in rng.integers(0, len(raw), 20):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            Loader(None)(frame_references(str(path), 4))
        except ImageError as error:
            assert error.reason in (Reason.VIDEO_UNREADABLE, Reason.VIDEO_TOO_SHORT, Reason.IMAGE_TOO_LARGE)


def test_a_sound_without_an_image_track_is_a_named_skip(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode()])
    error = refused(frame_references(str(tmp_path / "a.mp4"), 2))
    assert error.reason is Reason.VIDEO_UNREADABLE
    assert "no image track" in error.detail


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "ffconcat version 1.0\nfile /etc/passwd\n", ""])
def test_a_playlist_opens_no_other_file(tmp_path, text):
    (tmp_path / "a.mp4").write_text(text)
    error = refused(frame_references(str(tmp_path / "a.mp4"), 2))
    assert error.reason is Reason.VIDEO_UNREADABLE
    assert "no video in a known format" in error.detail


def test_limits_and_places_are_those_of_images(tmp_path):
    video = film(tmp_path / "a.mp4")
    (tmp_path / "root").mkdir()
    references = frame_references(video, 2)
    assert refused(references, max_pixels=1000).reason is Reason.IMAGE_TOO_LARGE
    assert refused(references, max_video_bytes=1000).reason is Reason.IMAGE_TOO_LARGE
    assert refused(frame_references("no.mp4", 2)).reason is Reason.IMAGE_MISSING
    assert refused(frame_references("https://example.org/a.mp4", 2)).reason is Reason.IMAGE_NOT_ALLOWED
    with pytest.raises(ImageError) as caught:
        Loader(tmp_path / "root")(references)
    assert caught.value.reason is Reason.IMAGE_OUTSIDE_ROOT


def test_a_video_from_elsewhere_is_fetched_once_for_all_its_frames(tmp_path):
    files = fsspec.filesystem("memory")
    film(tmp_path / "a.mp4")
    files.pipe("/videos/a.mp4", (tmp_path / "a.mp4").read_bytes())
    try:
        loader = Loader(None, ImageOptions(allowed_hosts=("memory://videos",)))
        here = Loader(None)(frame_references(str(tmp_path / "a.mp4"), 3))
        assert loader(frame_references("memory://videos/a.mp4", 3)) == here
    finally:
        files.rm("/videos", recursive=True)


def test_references_of_frames_are_told_from_those_of_images():
    assert frame_references("a b.mp4", 2) == ("a b.mp4#frame=1/2", "a b.mp4#frame=2/2")
    assert is_frame("s3://b/a.mp4#frame=12/32")
    for reference in ("a.png", "a#frame=0/2", "a#frame=x/2", "#frame=1/2", "data:image/png;base64,#frame=1/2"):
        assert not is_frame(reference)
