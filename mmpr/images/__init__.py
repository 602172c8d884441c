"""Load images and video frames by reference; a fault is an `ImageError` with the reason of the skip.

A reference may be a path, `file:///path`, `data:image/png;base64,..`, `https://host/path`, `s3://bucket/key` or another
address that fsspec knows. Addresses are fetched only from hosts in `allowed_hosts`. `<video>#frame=3/8` is the third of
eight frames of a video, each from the middle of its eighth.
"""

from mmpr.images.frames import frame_references
from mmpr.images.image_options import ImageOptions
from mmpr.images.loading import Loader, hosts_of, load
from mmpr.images.remote import check_hosts
from mmpr.images.spool import Spool, SpooledBytes, SpoolGone, stored_reference

__all__ = [
    "ImageOptions",
    "Loader",
    "Spool",
    "SpoolGone",
    "SpooledBytes",
    "check_hosts",
    "frame_references",
    "hosts_of",
    "load",
    "stored_reference",
]
