"""The shapes of training sets: what was chosen, a question with what trainers read of it, and its judged responses."""

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
    """The bucket that both ends of the first round's interval lie in."""
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
    """What of a run is exported.

    Args:
        accuracy: least and greatest share of right responses of a question, both included; None for any.
        per_question: most responses of a question with one label; None for all.
        max_chars: most characters of prompt and response together; None for any.
        strict: the first question that is unfit ends the export.
    """

    accuracy: tuple[float, float] | None = None
    per_question: int | None = None
    max_chars: int | None = None
    strict: bool = False

    def require_fit(self, format: Format) -> None:
        """Refuse what a format has no use for.

        Raises:
            ConfigError: names the option and the remedy.
        """
        if self.accuracy is not None and format is Format.ROLLOUTS:
            raise ConfigError("--accuracy works only with training sets; rollouts has all responses of a run")
        if self.accuracy is not None:
            low, high = self.accuracy
            if not 0 <= low <= high <= 1:
                raise ConfigError(f"--accuracy {low:g}:{high:g} is no share of responses; give 0.2:0.8 or the like")
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
    """One response that is a row.

    Args:
        text: the whole text, a completion behind its prefix.
        label: whether it is right, or of a question without a reference answer the preferred one.
        response: as it was stored.
        verdict: None where nobody judges, in Dropout-NTP.
    """

    text: str
    label: bool
    response: Response
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One question with all that a row of any training set is made of.

    Args:
        question: as it was read.
        turns: what is asked, with as many `<image>` tags as images.
        images: in the order of the tags; without their bytes.
        reference: the reference answer as `mmpr.rewards` reads it; empty where there is none.
        kind: of the reference answer.
        first: the first round of its responses.
        model: that answered; None where unknown.
        split: `train` or `validation`.
        asked: the wording of the instruction, and the form of answers that was asked for.
        responses: in the order of the rows; none where the prompt is all that is wanted.
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
