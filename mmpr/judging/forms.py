"""The interface of every family of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mmpr.judging.magnitude import beyond
from mmpr.judging.rules import Ruling


class Form(Protocol):
    """A reference answer compiled under one kind."""

    @property
    def kind(self) -> str: ...

    def compare(self, answer: str) -> Ruling: ...

    def normal(self, answer: str) -> str | None: ...

    def show(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Unread:
    """A reference that no reader can read: `2024!`, `1/0`. It equals itself and differs from what is surely smaller."""

    text: str
    kind: str = "unread"

    def compare(self, answer: str) -> Ruling:
        return beyond(self.text, answer)

    def normal(self, answer: str) -> str | None:
        return None

    def show(self) -> str:
        return self.text
