"""Probe a node before its engine gets work: it must read the source and its images, and write the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmpr.builder.layout import EnteredRun
from mmpr.errors import ImageError, SourceError
from mmpr.images import Loader
from mmpr.run import RunFolder
from mmpr.sources import LeaseRange, Source, read_range
from mmpr.types import Question, Reason

_LOOKED_AT = 32  # rows that are searched for an image that this machine can read


@dataclass(frozen=True, slots=True)
class NodeProbe:
    """Runs on a node, in the process that will hold its engine; picklable.

    Args:
        lease: one row to read.
        image: an image that the driver could read; None if it found none.
    """

    folder: RunFolder
    source: Source
    lease: LeaseRange
    image: str | None
    loader: Loader

    def __call__(self) -> None:
        """Read the row and the image, and write a small file.

        Raises:
            MmprError: names the path that this node cannot read or write.
        """
        self.folder.store.try_writing()
        # a node without the share fails here, not with every question of its chunks
        next(iter(read_range(self.source, self.lease)), None)
        if self.image is not None:
            _load(self.loader, self.image)


def make_probe(run: EnteredRun, loaders: Sequence[Loader]) -> NodeProbe:
    """Return a probe for the next chunk of the run; `loaders` has one loader per source."""
    rows = next(iter(run.todo.values()))
    source, loader = run.sources[rows.source], loaders[rows.source]
    first = replace(rows, spans=(replace(rows.spans[0], count=1),))
    return NodeProbe(run.folder, source, first, _readable_image(source, rows, loader), loader)


def _readable_image(source: Source, rows: LeaseRange, loader: Loader) -> str | None:
    for _, row in zip(range(_LOOKED_AT), read_range(source, rows), strict=False):
        for image in row.images if isinstance(row, Question) else ():
            try:
                loader.load(image)
            except ImageError as error:
                if error.reason is Reason.IMAGE_UNREACHABLE:
                    return None  # each further try may take as long as this one
                continue
            return image
    return None


def _load(loader: Loader, image: str) -> None:
    try:
        loader.load(image)
    except ImageError as error:
        raise SourceError(f"image {image!r} under {loader.root}: {error.detail}") from error
