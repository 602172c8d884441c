"""Which columns a file must have, asked of those whose columns are known before a row is read."""

from __future__ import annotations

from collections.abc import Sequence

from mmpr.errors import SourceError
from mmpr.sources.source_records import ASKING, Source


def check_columns(source: Source, names: Sequence[str]) -> None:
    """Raises `SourceError` where a mapped column is missing, or there is none that could hold a question."""
    mapped = [theirs for _, theirs in source.columns]
    asking = [source.column(ours) for ours in ASKING]
    missing = [theirs for theirs in mapped if theirs not in names]
    if not missing and not set(asking) & set(names):
        missing = asking[:1]
    if missing:
        have = ", ".join(names)
        raise SourceError(f"{source.path}: has no column {missing[0]!r} but {have[:300]}: map it with columns")
