"""The records that flow from a source's row to a preference pair. All frozen, slotted and picklable.

    row -> Question -> Prompt -> Response -> Verdict -> Pair
                 \\________\\_________\\__________\\___-> Skip

`Message`, `Image` and `Prefix` are parts of a `Prompt`, not steps of the flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

TableRow = dict[str, Any]  # one row of a Parquet file, by the names of its columns, which have types of their own


class Stage(StrEnum):
    """Where in the flow something happened; the first five are what an engine is asked."""

    SAMPLE = "sample"
    DRAFT = "draft"
    COMPLETION = "ending"
    SCORE = "score"
    VERIFY = "verify"
    READ = "read"
    JUDGE = "judge"
    PAIR = "pair"
    SELECT = "select"


class Outcome(StrEnum):
    """What the judge says. ERROR is "could not judge", and never counts as wrong."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    AMBIGUOUS = "ambiguous"
    UNPARSED = "unparsed"
    ERROR = "error"


class Certainty(StrEnum):
    """How sure an INCORRECT is.

    PROVEN: both sides were understood under one kind, and they differ. LIKELY: open text that shows no kinship with
    the reference by any test we have.
    """

    PROVEN = "proven"
    LIKELY = "likely"


class JudgedBy(StrEnum):
    """Who gave a verdict: the rules of `mmpr.judging`, or a verifier model that was asked about what they left open."""

    RULE = "rule"
    VERIFIER = "verifier"


class PairKind(StrEnum):
    """Which rule made the pair: arXiv 2411.10442, section 3."""

    CORRECTNESS = "correctness"
    FORMAT = "format"
    DROPOUT_NTP = "dropout_ntp"


class Finish(StrEnum):
    """Why a response ended. An engine's `abort` and `error` are never responses."""

    STOP = "stop"
    LENGTH = "length"
    REPETITION = "repetition"  # vLLM ended a text that went round in circles


class Continues(StrEnum):
    """How an engine continues a prefix: from its very token ids, or from its text, which it makes tokens of itself."""

    EXACT = "exact"
    TEXT = "text"


class Thinking(StrEnum):
    """Whether a model is asked to think before it answers.

    AUTO: nothing is said about it, and the model does as its chat template has it.
    """

    OFF = "off"
    ON = "on"
    AUTO = "auto"


class View(StrEnum):
    """What the engine sees while it writes the rejected completion of a draft; the draft was written with the image.

    BLIND: no image (Dropout-NTP, arXiv 2411.10442). IMAGE_KEPT: the same image, for measuring what taking it away
    brings. SHUFFLED_TILES: the image with its parts in another order, a corrupted image as in POVID (arXiv
    2402.11411, which adds noise). OTHER_PICTURE: another question's image.
    """

    BLIND = "blind"
    IMAGE_KEPT = "image_kept"
    SHUFFLED_TILES = "shuffled_tiles"
    OTHER_IMAGE = "other_picture"


class Reason(StrEnum):
    """Why a question left without a pair."""

    # reading
    BAD_ROW = "bad_row"
    EMPTY_QUESTION = "empty_question"
    BAD_ANSWER = "bad_answer"
    NO_ANSWER = "no_answer"
    NO_AGREEMENT = "no_agreement"
    ANSWER_WITHHELD = "answer_withheld"
    # images
    IMAGE_MISSING = "image_missing"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_OUTSIDE_ROOT = "image_outside_root"
    IMAGE_TAGS = "image_tags"
    IMAGE_NOT_ALLOWED = "image_not_allowed"
    IMAGE_UNREACHABLE = "image_unreachable"
    VIDEO_UNREADABLE = "video_unreadable"
    VIDEO_TOO_SHORT = "video_too_short"
    # the engine
    PROMPT_TOO_LONG = "prompt_too_long"
    ENGINE_REFUSED = "engine_refused"
    QUARANTINED = "quarantined"
    # Dropout-NTP
    NO_IMAGE = "no_picture"
    NO_CORRUPTED_IMAGE = "no_corrupted_picture"
    DRAFT_UNFINISHED = "draft_unfinished"
    DRAFT_TOO_SHORT = "draft_too_short"
    COMPLETION_UNFINISHED = "ending_unfinished"
    COMPLETION_EQUAL = "ending_equal"
    COMPLETION_REFUSES = "ending_refuses"
    DRAFT_REFUSES = "draft_refuses"
    PREFIX_CHANGED = "prefix_changed"
    # pairing
    ALL_CORRECT = "all_correct"
    ALL_WRONG = "all_wrong"
    NONE_JUDGED = "none_judged"
    NONE_USABLE = "none_usable"
    ACCURACY_WINDOW = "accuracy_window"
    ACCURACY_UNCLEAR = "accuracy_unclear"
    UNDECIDED = "undecided"
    GROUNDING_MARGIN = "grounding_margin"
    # last selection
    EXCLUDED = "excluded"
    SOURCE_CAP = "source_cap"
    FORMAT_FRACTION = "format_fraction"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; role is `system`, `user` or `assistant`; each `<image>` in text stands for one image."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One decoded image as the engine sees it.

    `encoded` are the bytes that the dataset embeds: the original file where it is upright, 8-bit, single-frame RGB or
    grey within the pixel limit, else a PNG of what the engine saw. `sha256` is theirs; `original_sha256` the file's.
    """

    sha256: str
    original_sha256: str
    encoded: bytes = field(repr=False)
    width: int
    height: int
    format: str  # PIL's name: PNG, JPEG, WEBP
    pixels: Image | None = field(repr=False, compare=False)  # upright RGB; None once the engine has seen it


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a source. Identity is the place, (source, row); `id` is the row's own or `<source>:<row>`.

    `images` are references as the source resolved them (absolute path, URI or data URI), never pixels.
    `history` holds earlier (question, answer) turns. `answer` is every accepted reference answer, or None: Dropout-NTP.
    `minority_answers` are those of too few annotators: a response that gives one is neither right nor wrong.
    """

    id: str
    source: str
    row: int
    text: str
    system: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    images: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    answer: tuple[str, ...] | None = None
    answer_kind: str | None = None
    draft: str | None = None
    language: str = "en"
    minority_answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prefix:
    """The start of an assistant turn that the engine must continue from exactly these tokens.

    `thoughts` are closed and stand in front of the text, which does not hold them; None: there are none. An engine
    puts the model's own marks around them, unless `thought_ids` are their tokens, marks included.
    """

    text: str
    token_ids: tuple[int, ...]
    thoughts: str | None = None
    thought_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine is asked. Blind means `images == ()` and no image tag in any message.

    `max_tiles` is the most tiles that its images are cut into; None: as the engine was started. Where an engine
    queues prompts and can choose, the one of the lowest `priority` goes first. `thinking` None: thoughts are a part of
    the text, as an instruction may ask for them; else the engine keeps them apart.
    """

    question_id: str
    stage: Stage
    messages: tuple[Message, ...]
    images: tuple[DecodedImage, ...] = ()
    prefix: Prefix | None = None
    max_tiles: int | None = None
    priority: int = 0
    thinking: Thinking | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What an engine answered. The `text` of a completion is what follows the prefix in `decode(prefix ids + its ids)`.

    `token_ids` are kept for drafts and completions only. `seed` is None where the request carried none. `round` counts
    the requests of one question and stage, from 0. `gain`: nats a token that the image brings it, where it was scored.
    `thoughts` are kept apart from `text` where a model thinks, without the marks around them; thoughts that were never
    closed have no text behind them. `thought_ids` are their tokens with the marks and what blank follows, of drafts
    only, and are not stored. `n_tokens` counts all. `model` wrote it; None: the run's own. Of a response that was made
    elsewhere `n_tokens` and `finish_reason` are None where its file does not say.
    """

    question_id: str
    stage: Stage
    index: int
    text: str
    token_ids: tuple[int, ...]
    n_tokens: int | None
    finish_reason: Finish | None
    seed: int | None = None
    round: int = 0
    gain: float | None = None
    thoughts: str | None = None
    model: str | None = None
    thought_ids: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """`n_tokens` for sums: 0 where unknown."""
        return self.n_tokens or 0

    @property
    def text_tokens(self) -> int:
        """Tokens of `text` alone: all where there are no thoughts, else its ids, or its share by characters."""
        if self.thoughts is None:
            return self.tokens
        if self.token_ids:
            return len(self.token_ids)
        return round(self.tokens * len(self.text) / max(1, len(self.text) + len(self.thoughts)))

    @property
    def only_thinks(self) -> bool:
        """Whether no answer stands behind its thoughts: they were not closed, or nothing followed."""
        return self.thoughts is not None and not self.text.strip()

    @property
    def whole_text(self) -> str:
        """`text` behind its thoughts between `<think>` marks; `text` alone where there are none."""
        return self.text if self.thoughts is None else f"<think>\n{self.thoughts}\n</think>\n\n{self.text}"

    @property
    def is_cut(self) -> bool:
        """Whether it is known not to have ended by itself."""
        return self.finish_reason not in (None, Finish.STOP)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says of one response.

    Args:
        outcome: what it is.
        answer: what was extracted as the final answer.
        rule: the code of the rule that decided.
        reference: the reference answer as it was compiled.
        certainty: of an INCORRECT; else None.
        off_format: the answer is clear, but not in the form that was asked for.
        judged_by: who gave it.
        verifier_margin: of a verifier's verdict, nats between its decision and the next; else None.
    """

    outcome: Outcome
    answer: str | None
    rule: str
    reference: str | None = None
    certainty: Certainty | None = None
    off_format: bool = False
    judged_by: JudgedBy = JudgedBy.RULE
    verifier_margin: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses of one question by (stage, index); `rank` orders a question's pairs, best first."""

    question_id: str
    chosen: tuple[Stage, int]
    rejected: tuple[Stage, int]
    kind: PairKind
    rank: int


@dataclass(frozen=True, slots=True)
class Skip:
    """A question that leaves without a pair, and why; `detail` is one line for a person."""

    question_id: str
    stage: Stage
    reason: Reason
    detail: str
