"""What a careful person wants to know of a source before it is paid for: what of it is not read."""

from __future__ import annotations

from collections.abc import Sequence

from mmpr.sources import Index, Source


def source_notes(sources: Sequence[Source], counted: Sequence[Index]) -> list[str]:
    """One line each: the last lines that somebody is still writing."""
    notes = []
    for source, rows in zip(sources, counted, strict=True):
        notes += [f"{source.place(row)}: the file ends inside it: left for the next start" for row in rows.unfinished]
    return notes
