"""The options of images and videos: limits, frames and tiles, and what may be fetched."""

from __future__ import annotations

from dataclasses import dataclass

from mmpr.options import option


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How images and videos are read. Tiles are 448x448 pixels, as InternVL cuts images.

    `allowed_hosts`: `example.org` (by https), `*.example.org` (its subdomains), `http://example.org:8080`,
    `s3://bucket`, and addresses or networks of one's own (`10.0.0.0/8`) that an allowed name may lead to.
    `fetch_timeout_s` is for one attempt, from the connection to the last byte; `fetch_retries` are further attempts,
    after growing pauses, where the fault may pass: time-outs, broken connections, 429, 5xx.
    """

    max_tiles: int | None = option(6, "tiles an image, thumbnail aside; None: the model cuts none", ge=1)
    max_pixels: int = option(100_000_000, "larger images are skipped", ge=1)
    max_image_bytes: int = option(100_000_000, "larger files of images are skipped", ge=1)
    video_frames: int = option(8, "frames a video, spread evenly over it", ge=1)
    video_tiles: int = option(1, "tiles a frame of a video", ge=1)
    max_video_bytes: int = option(2_000_000_000, "larger videos are skipped", ge=1)
    allowed_hosts: tuple[str, ...] = option(
        (), "where images may be fetched: example.org, *.example.org, s3://bucket; none by default"
    )
    fetch_timeout_s: float = option(60.0, "to fetch one image or video", gt=0)
    fetch_retries: int = option(3, "after a fault that may pass", ge=0)
