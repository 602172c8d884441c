"""What every family of answers offers."""

from __future__ import annotations

from typing import Protocol

from mmpr.judging.rules import Ruling


class Form(Protocol):
    """A reference answer under one kind."""

    @property
    def kind(self) -> str: ...

    def compare(self, answer: str) -> Ruling: ...

    def normal(self, answer: str) -> str | None: ...

    def show(self) -> str: ...
