"""Declare the options of a part: each is a field with a default, a description and bounds.

Each part keeps a frozen record of its options next to its code; `mmpr.settings` is composed of these records.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

DESCRIPTION, NEEDS = "description", "needs"

_SERVER_URL = re.compile(r"https?://[^\s/@?#]+(?:/[^\s?#@]*)?")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Needs:
    """What an option has no effect without.

    Args:
        place: `section.name` of an option or a property that must be set; or `section.name!=value`.
        otherwise: the end of the sentence "it has no effect ..".
    """

    place: str
    otherwise: str

    def are_met(self, settings: object) -> bool:
        """Whether the option has an effect under these settings, a record of sections."""
        place, _, excluded = self.place.partition("!=")
        section, _, name = place.partition(".")
        value = getattr(getattr(settings, section), name)
        return str(value) != excluded if excluded else bool(value)


def option(
    default: Any,  # noqa: ANN401 as `dataclasses.field`
    description: str,
    *,
    needs: Needs | None = None,
    **bounds: float,
) -> Any:  # noqa: ANN401 as `dataclasses.field`
    """Return a field of an options record.

    Args:
        default: copied for each record if it is a mapping or a list.
        description: one sentence or less, as `mmpr settings` prints it; with units.
        needs: what it has no effect without.
        bounds: `ge`, `gt`, `le`, `lt`, checked when settings are read.
    """
    metadata = {DESCRIPTION: description, NEEDS: needs, **bounds}
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
