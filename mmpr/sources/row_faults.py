"""Faults of single rows, and numbers as a file writes them."""

from __future__ import annotations

from mmpr.errors import MmprError
from mmpr.types import Reason


class NumberText(str):
    """A number in the spelling of the file."""

    __slots__ = ()


class RowFault(MmprError):
    """Why a row is no question; caught inside this package."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text


def wrong(name: str, value: object, expected: str) -> RowFault:
    """Return the fault of a column whose value has another type than expected."""
    shown = value if isinstance(value, NumberText) else ascii(value)
    return RowFault(Reason.BAD_ROW, f"`{name}` is {shown[:60]}: give {expected}")
