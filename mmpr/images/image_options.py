"""The options of images and videos: limits, frames and tiles, and what may be fetched."""

from __future__ import annotations

from dataclasses import dataclass

from mmpr.options import Needs, option

_HOSTS = Needs("images.allowed_hosts", "without allowed_hosts")


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How images and videos are read. Tiles are 448x448 pixels, as InternVL cuts images.

    `allowed_hosts`: `example.org` (by https), `*.example.org` (its subdomains), `http://example.org:8080`,
    `s3://bucket`, and own addresses or networks (`10.0.0.0/8`) that an allowed name may resolve to. `fetch_timeout_s`
    covers one attempt, from the connection to the last byte. `fetch_retries` counts further attempts, with growing
    pauses, after temporary faults: time-outs, broken connections, 429, 5xx.
    """

    max_tiles: int | None = option(
        6, "most tiles for one image, without the thumbnail; None: the model uses no tiles", ge=1
    )
    max_pixels: int = option(100_000_000, "pixels above which an image is skipped", ge=1)
    max_image_bytes: int = option(100_000_000, "bytes above which an image file is skipped", ge=1)
    video_frames: int = option(8, "frames taken from a video, evenly spread", ge=1)
    video_tiles: int = option(1, "most tiles for one frame of a video", ge=1)
    max_video_bytes: int = option(2_000_000_000, "bytes above which a video is skipped", ge=1)
    allowed_hosts: tuple[str, ...] = option(
        (),
        "where images may be fetched from, such as example.org, *.example.org, s3://bucket; empty: nowhere",
    )
    fetch_timeout_s: float = option(60.0, "seconds to fetch one image or video", gt=0, needs=_HOSTS)
    fetch_retries: int = option(3, "how often a fetch is retried after a temporary fault", ge=0, needs=_HOSTS)
