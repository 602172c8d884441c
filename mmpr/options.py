"""Declare the options of a part: each is a field with a default, a description and bounds.

Each part keeps a frozen record of its options next to its code; `mmpr.settings` is composed of these records.
"""

from __future__ import annotations

import copy
import re
from dataclasses import field
from typing import Any

DESCRIPTION = "description"

_SERVER_URL = re.compile(r"https?://[^\s/@?#]+(?:/[^\s?#@]*)?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def option(default: Any, description: str, **bounds: float) -> Any:  # noqa: ANN401 as `dataclasses.field`
    """Return a field of an options record.

    Args:
        default: copied for each record if it is a mapping or a list.
        description: one sentence or less, as `mmpr settings` prints it; with units.
        bounds: `ge`, `gt`, `le`, `lt`, checked when settings are read.
    """
    metadata = {DESCRIPTION: description, **bounds}
    if isinstance(default, dict | list):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def derived(default: Any) -> Any:  # noqa: ANN401 as `dataclasses.field`
    """Return a field of an options record that is not a setting; a flow sets it."""
    return field(default=default, metadata={"exclude": True})


def is_server_url(text: str) -> bool:
    """Return whether a text is `http(s)://host[:port][/path]` without a password or a query, which may hold a key."""
    return text.isprintable() and _SERVER_URL.fullmatch(text) is not None


def is_variable_name(text: str) -> bool:
    """Return whether a text may name an environment variable."""
    return _VARIABLE_NAME.fullmatch(text) is not None
