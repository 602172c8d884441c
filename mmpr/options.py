"""How a part declares its options: a field with its default, its sentence and its bounds.

Each part keeps a frozen record of its options beside its code; `mmpr.settings` composes these very records.
"""

from __future__ import annotations

import copy
from dataclasses import field
from typing import Any

DESCRIPTION = "description"


def option(default: Any, description: str, **bounds: float) -> Any:  # noqa: ANN401 as `dataclasses.field`
    """A field of an options record.

    Args:
        default: copied for each record where it is a mapping or a list.
        description: one sentence or less, as `mmpr settings` prints it; with units.
        bounds: `ge`, `gt`, `le`, `lt`, checked where settings are read.
    """
    metadata = {DESCRIPTION: description, **bounds}
    if isinstance(default, dict | list):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def derived(default: Any) -> Any:  # noqa: ANN401 as `dataclasses.field`
    """A field of an options record that is no setting: a flow fills it."""
    return field(default=default, metadata={"exclude": True})
