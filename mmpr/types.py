"""The records on the way from a source's row to a preference pair; all are frozen, slotted and picklable.

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

TableRow = dict[str, Any]  # one row of a Parquet file by column names; the schema defines the types


class Stage(StrEnum):
    """A step of the flow; the first five are requests to an engine."""

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
    """The result of judging. ERROR means "could not judge" and never counts as wrong."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    AMBIGUOUS = "ambiguous"
    UNPARSED = "unparsed"
    ERROR = "error"


class Certainty(StrEnum):
    """How certain an INCORRECT verdict is.

    PROVEN: both sides were understood as one kind, and they differ. LIKELY: open text that no test relates to the
    reference answer.
    """

    PROVEN = "proven"
    LIKELY = "likely"


class JudgedBy(StrEnum):
    """What gave a verdict: the rules of `mmpr.judging`, or a verifier model that was asked about it."""

    RULE = "rule"
    VERIFIER = "verifier"


class PairKind(StrEnum):
    """The rule that made a pair: arXiv 2411.10442, section 3."""

    CORRECTNESS = "correctness"
    FORMAT = "format"
    DROPOUT_NTP = "dropout_ntp"


class Finish(StrEnum):
    """Why a response ended. A request that ends with `abort` or `error` gives no response."""

    STOP = "stop"
    LENGTH = "length"
    REPETITION = "repetition"  # vLLM stopped a text that repeated itself


class Continues(StrEnum):
    """How an engine continues a prefix: from its token ids, or from its text, which the engine tokenizes itself."""

    EXACT = "exact"
    TEXT = "text"


class Thinking(StrEnum):
    """Whether a model is asked to think before it answers.

    AUTO: nothing is requested; the model's chat template decides.
    """

    OFF = "off"
    ON = "on"
    AUTO = "auto"


class View(StrEnum):
    """What the model sees while it writes a rejected completion; the draft was written with the image.

    BLIND: no image (Dropout-NTP, arXiv 2411.10442). IMAGE_KEPT: the same image, to measure the effect of removing it.
    SHUFFLED_TILES: the image with its tiles in another order, a corruption like that of POVID (arXiv 2402.11411, which
    adds noise). OTHER_IMAGE: an image of another question.
    """

    BLIND = "blind"
    IMAGE_KEPT = "image_kept"
    SHUFFLED_TILES = "shuffled_tiles"
    OTHER_IMAGE = "other_picture"


class Reason(StrEnum):
    """Why a question has no pair."""

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
    """One turn. The role is `system`, `user` or `assistant`; each `<image>` in the text stands for one image."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One decoded image as the engine sees it.

    `encoded` has the bytes that the dataset embeds: the original file if it is upright, 8-bit, single-frame RGB or grey
    within the pixel limit, otherwise a PNG of what the engine saw. `sha256` is their hash, `original_sha256` that of
    the file.
    """

    sha256: str
    original_sha256: str
    encoded: bytes = field(repr=False)
    width: int
    height: int
    format: str  # PIL's name: PNG, JPEG, WEBP
    pixels: Image | None = field(repr=False, compare=False)  # upright RGB; None after the engine has seen it


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a source. Its identity is its place, (source, row); `id` is the row's own or `<source>:<row>`.

    `images` are references that the source has resolved (absolute path, URI or data URI), never pixels. `history` has
    earlier (question, answer) turns. `answer` has every accepted reference answer; None means Dropout-NTP.
    `minority_answers` were given by too few annotators: a response with one of them is neither right nor wrong.
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
    """The start of an assistant turn; the engine must continue exactly after these tokens.

    `thoughts` are closed and come before `text`, which does not contain them; None: there are none. The engine adds the
    model's own marks, unless `thought_ids` has their tokens with the marks.
    """

    text: str
    token_ids: tuple[int, ...]
    thoughts: str | None = None
    thought_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to an engine. Blind means `images == ()` and no image tag in any message.

    `max_tiles`: most tiles of an image; None: as the engine was started. `priority`: an engine that can choose among
    waiting prompts takes the lowest one first. `thinking`: None means that thoughts are a part of the text, as an
    instruction may request; otherwise the engine keeps them apart.
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
    """A response of an engine. The `text` of a completion follows the prefix in `decode(prefix ids + its ids)`.

    `token_ids` are stored only for drafts and completions. `logprobs`: their natural log-probabilities by the model
    itself, before temperature and top-k; empty unless the request asked for them, and not stored. `seed`: None if
    the request had none. `round` counts the requests of one question and stage, from 0. `gain`: nats per token by
    which the image makes the response likelier, if scored. `thoughts` are kept apart from `text` for a thinking
    model, without their marks; thoughts that were never closed have no text after them. `thought_ids` are their
    tokens with the marks and the following blanks; only drafts have them, and they are not stored. `n_tokens`
    counts all tokens. `model`: None means the run's own. For imported responses, `n_tokens` and `finish_reason` are
    None if the file does not have them.
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
    logprobs: tuple[float, ...] = ()

    @property
    def tokens(self) -> int:
        """`n_tokens` for sums: 0 if unknown."""
        return self.n_tokens or 0

    @property
    def text_tokens(self) -> int:
        """The tokens of `text` only: all without thoughts, otherwise its ids, or its share by characters."""
        if self.thoughts is None:
            return self.tokens
        if self.token_ids:
            return len(self.token_ids)
        return round(self.tokens * len(self.text) / max(1, len(self.text) + len(self.thoughts)))

    @property
    def only_thinks(self) -> bool:
        """Whether there is no answer after the thoughts: they were not closed, or nothing followed."""
        return self.thoughts is not None and not self.text.strip()

    @property
    def whole_text(self) -> str:
        """`text` after its thoughts in `<think>` marks; only `text` without thoughts."""
        return self.text if self.thoughts is None else f"<think>\n{self.thoughts}\n</think>\n\n{self.text}"

    @property
    def is_cut(self) -> bool:
        """Whether the response is known to have been cut."""
        return self.finish_reason not in (None, Finish.STOP)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's verdict on one response.

    Args:
        outcome: the result.
        answer: the text that was extracted as the final answer.
        rule: name of the rule that decided.
        reference: the compiled reference answer.
        certainty: of an INCORRECT verdict; otherwise None.
        off_format: the answer is clear, but has not the requested form.
        judged_by: rules or verifier.
        verifier_margin: nats between a verifier's decision and the next one; otherwise None.
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
    """Two responses to one question by (stage, index); `rank` orders the pairs of a question, best first."""

    question_id: str
    chosen: tuple[Stage, int]
    rejected: tuple[Stage, int]
    kind: PairKind
    rank: int


@dataclass(frozen=True, slots=True)
class Skip:
    """A question without a pair, and the reason; `detail` is one line for people."""

    question_id: str
    stage: Stage
    reason: Reason
    detail: str
