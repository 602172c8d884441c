"""Which columns a file must have, asked of those whose columns are known before a row is read."""

from __future__ import annotations

from collections.abc import Sequence

from mmpr.errors import SourceError
from mmpr.sources.file_columns import FileColumns, columns_of_row
from mmpr.sources.layouts import RowLayout, layout_named
from mmpr.sources.source_records import ASKING, Source


def check_columns(source: Source, names: Sequence[str]) -> None:
    """Raises `SourceError` where a mapped column is missing, or there is none that could hold a question."""
    found, layout = columns_of_row(source, names), layout_named(source.layout)
    mapped = [theirs for _, theirs in source.columns if theirs]
    missing = [theirs for theirs in mapped if theirs not in names and theirs.partition(".")[0] not in names]
    asking = any(found.places[ours] for ours in ASKING) or layout.asked or layout.turns
    if not missing and not asking:
        missing = [source.column("question")]
    if not missing:
        _refuse_unread(source, found, layout)
    if missing:
        have = ", ".join(names)
        raise SourceError(f"{source.path}: has no column {missing[0]!r} but {have[:300]}: map it with columns")


def _refuse_unread(source: Source, found: FileColumns, layout: RowLayout) -> None:
    """Raises `SourceError` where a file without images, options or answers has a column that is called like theirs."""
    has = {
        "image": found.places["image"] or found.places["video"],
        "options": found.places["options"],
        "answer": any(found.places[name] for name in ("answer", "chosen", "conversations", "messages"))
        or not layout.open
        or layout.turns,
    }
    for role, there in has.items():
        ours = "choices" if role == "options" else role
        suspects = found.suspects(role)
        if not there and suspects and dict(source.columns).get(ours) != "":
            remedy = f"columns.{ours}={suspects[0]} reads it, columns.{ours}='' says that there is none"
            raise SourceError(f"{source.path}: {suspects[0]!r} looks like its {role} and is not read: {remedy}")
