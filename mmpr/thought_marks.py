"""The marks that models write around their thoughts: engines separate thoughts by them, and the judge skips these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ThoughtMarks:
    """The marks that a model writes around its thoughts."""

    start: str
    end: str

    def closed(self, thoughts: str) -> str:
        """Return the thoughts between their marks, with the line breaks that models write there."""
        return f"{self.start}\n{thoughts}\n{self.end}\n\n"


THINK = ThoughtMarks("<think>", "</think>")
KIMI = ThoughtMarks("◁think▷", "◁/think▷")
# OpenAI's Harmony format: the thoughts are a message on the channel `analysis`, the answer is a message on `final`.
HARMONY = ThoughtMarks("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>")
ALL_MARKS = (THINK, KIMI, HARMONY)
