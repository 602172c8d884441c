"""The records of training sets: what was chosen, a question with all fields that trainers read, labelled responses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mmpr.errors import ConfigError
from mmpr.exporting.export_records import OF_RESPONSES, Format
from mmpr.pairing import FirstRound
from mmpr.run import StoredImage
from mmpr.types import Message, Question, Response, Verdict


class Difficulty(StrEnum):
    """How often a question was answered right in the first round, whatever the undecided responses are.

    UNSOLVED: never; HARD: less than 0.2; MEDIUM: 0.2 to 0.8, as MMPR-Tiny keeps them; EASY: more; SOLVED: always.
    UNCLEAR: the undecided responses decide which of these it is.
    """

    UNSOLVED = "unsolved"
    HARD = "hard"
    MEDIUM = "medium"
    EASY = "easy"
    SOLVED = "solved"
    UNCLEAR = "unclear"


def difficulty(first: FirstRound) -> Difficulty:
    """Return the bucket that both ends of the first round's interval are in."""
    low, high = (_bucket(share) for share in first.interval)
    return low if low is high else Difficulty.UNCLEAR


def _bucket(share: float) -> Difficulty:
    if share in (0.0, 1.0):
        return Difficulty.SOLVED if share else Difficulty.UNSOLVED
    if share < 0.2:
        return Difficulty.HARD
    return Difficulty.MEDIUM if share <= 0.8 else Difficulty.EASY


@dataclass(frozen=True, slots=True)
class TrainingChoice:
    """Which rows of a run are exported.

    Args:
        accuracy: smallest and largest fraction of right responses to a question, both included; None: any.
        per_question: most responses to a question with one label; None: all.
        max_chars: most characters of prompt and response together; None: any.
        strict: stop at the first unfit question.
    """

    accuracy: tuple[float, float] | None = None
    per_question: int | None = None
    max_chars: int | None = None
    strict: bool = False

    def require_fit(self, format: Format) -> None:
        """Refuse options that a format does not use.

        Raises:
            ConfigError: names the option and the remedy.
        """
        if self.accuracy is not None and format is Format.ROLLOUTS:
            raise ConfigError("--accuracy works only with training sets; rollouts has all responses of a run")
        if self.accuracy is not None:
            low, high = self.accuracy
            if not 0 <= low <= high <= 1:
                raise ConfigError(f"--accuracy {low:g}:{high:g} is not a range of fractions; give for example 0.2:0.8")
            if format.unit == "pairs":
                remedy = f"`mmpr pair DIR accuracy_window=[{low:g},{high:g}]`, then export"
                raise ConfigError(f"--accuracy works only with training sets, and {format.value} has pairs: {remedy}")
        if self.per_question is not None:
            if self.per_question < 1:
                raise ConfigError(f"--per-question {self.per_question} keeps nothing; give 1 or more")
            if format not in OF_RESPONSES:
                known = ", ".join(one.value for one in Format if one in OF_RESPONSES)
                raise ConfigError(f"--per-question works only with {known}; {format.value} has no responses")


@dataclass(frozen=True, slots=True)
class LabelledResponse:
    """One response that becomes a row.

    Args:
        text: the whole text; for a completion, with its prefix.
        label: whether the response is right; without a reference answer, whether it is the preferred one.
        response: the stored response.
        verdict: None for Dropout-NTP, which is not judged.
    """

    text: str
    label: bool
    response: Response
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One question with everything that the rows of any training set are made of.

    Args:
        question: the question as it was read.
        turns: the prompt, with one `<image>` tag per image.
        images: in the order of the tags; without bytes.
        reference: the reference answer in the form that `mmpr.rewards` reads; empty if there is none.
        kind: kind of the reference answer.
        first: figures of the first round.
        model: the model that answered; None if unknown.
        split: `train` or `validation`.
        asked: version of the instruction, and the requested form of answers.
        responses: in the order of the rows; empty for formats of prompts.
    """

    question: Question
    turns: tuple[Message, ...]
    images: tuple[StoredImage, ...]
    reference: str
    kind: str | None
    first: FirstRound
    model: str | None
    split: str
    asked: tuple[str, str] = ("", "")
    responses: tuple[LabelledResponse, ...] = ()
