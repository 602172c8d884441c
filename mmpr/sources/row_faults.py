"""What is wrong with one row, and numbers as a file writes them."""

from __future__ import annotations

from mmpr.errors import MmprError
from mmpr.types import Reason


class NumberText(str):
    """A number as the file writes it."""

    __slots__ = ()


class RowFault(MmprError):
    """Why a row is no question; never leaves this package."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text


def wrong(name: str, value: object, expected: str) -> RowFault:
    """A column's value is of another kind than expected."""
    shown = value if isinstance(value, NumberText) else ascii(value)
    return RowFault(Reason.BAD_ROW, f"`{name}` is {shown[:60]}: give {expected}")
