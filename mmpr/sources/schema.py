"""Which columns a file must have, asked of those whose columns are known before a row is read."""

from __future__ import annotations

from collections.abc import Sequence

from mmpr.errors import SourceError
from mmpr.sources.file_columns import columns_of_row
from mmpr.sources.layouts import layout_named
from mmpr.sources.source_records import ASKING, Source


def check_columns(source: Source, names: Sequence[str]) -> None:
    """Raises `SourceError` where a mapped column is missing, or there is none that could hold a question."""
    found, layout = columns_of_row(source, names), layout_named(source.layout)
    mapped = [theirs for _, theirs in source.columns if theirs]
    missing = [theirs for theirs in mapped if theirs not in names and theirs.partition(".")[0] not in names]
    asking = any(found.places[ours] for ours in ASKING) or layout.asked or layout.turns
    if not missing and not asking:
        missing = [source.column("question")]
    for role in ("image", "options"):
        if not missing and not found.places[role] and (suspects := found.suspects(role)):
            ours = "choices" if role == "options" else role
            if dict(source.columns).get(ours) != "" and not (role == "image" and found.places["video"]):
                remedy = f"columns.{ours}={suspects[0]} reads it, columns.{ours}='' says that there is none"
                raise SourceError(f"{source.path}: {suspects[0]!r} looks like its {role} and is not read: {remedy}")
    if missing:
        have = ", ".join(names)
        raise SourceError(f"{source.path}: has no column {missing[0]!r} but {have[:300]}: map it with columns")
