"""From settings to what loads images."""

from __future__ import annotations

from pathlib import Path

from mmpr.images import Loader, Remote
from mmpr.settings.config import BuildConfig


def remote_of(config: BuildConfig) -> Remote:
    """What may be fetched."""
    return Remote(tuple(config.allowed_hosts), config.fetch_timeout_s, config.fetch_retries)


def image_loader(config: BuildConfig, image_root: str) -> Loader:
    """What loads the images of a source that keeps them under `image_root`."""
    return Loader(
        root=Path(image_root),
        max_pixels=config.max_pixels,
        max_bytes=config.max_image_bytes,
        max_video_bytes=config.max_video_bytes,
        remote=remote_of(config),
    )
