"""A question's accepted answers, compiled once to typed truths."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property

from mmpr.errors import JudgeError
from mmpr.judging import guards
from mmpr.judging.algebra import Unbounded
from mmpr.judging.boxes import compile_box
from mmpr.judging.chemistry import compile_formula
from mmpr.judging.choice import Choice, built, labelled_options, reference_indices
from mmpr.judging.clean import clean
from mmpr.judging.codes import compile_code
from mmpr.judging.cues import Cues, read_cues
from mmpr.judging.extract import extract
from mmpr.judging.forms import Form, Unread
from mmpr.judging.intervals import compile_interval
from mmpr.judging.maths import compile_maths
from mmpr.judging.matrices import compile_matrix
from mmpr.judging.multipart import compile_multipart
from mmpr.judging.option_lists import DEFAULTS, JudgeOptions, kind_named
from mmpr.judging.proof import Gated
from mmpr.judging.prose import compile_text
from mmpr.judging.quantity import compile_number
from mmpr.judging.roman import compile_roman
from mmpr.judging.rules import Ruling
from mmpr.judging.sequences import compile_collection, compile_ratio, compile_slots, compile_tuple
from mmpr.judging.temporal import compile_date, compile_time
from mmpr.judging.value_ranges import compile_range
from mmpr.judging.years import compile_year
from mmpr.judging.yes_no import compile_yes_no
from mmpr.option_letters import bare
from mmpr.types import Question

# A longer truth is a passage, which no rule of this package judges.
MAX_REFERENCE_CHARS = 2_000


@dataclass(frozen=True)
class Reference:
    """Every accepted answer of a question, compiled; `plain` are their cleaned texts, `written` the source's own.

    `minority` are answers of too few annotators to be accepted. `rulings` remembers what was said of an answer: many
    responses to one question end in the same one.
    """

    forms: tuple[Gated, ...]
    plain: tuple[str, ...]
    written: tuple[str, ...]
    format: str
    minority: Reference | None = None
    rulings: dict[tuple[str, bool], Ruling] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kind(self) -> str:
        return self.forms[0].kind

    def show(self) -> str:
        return self._shown

    @cached_property
    def _shown(self) -> str:
        return " | ".join(form.show() for form in self.forms)


def compile_reference(question: Question, *, options: JudgeOptions = DEFAULTS) -> Reference:
    """The question's accepted answers, each under the kind that the row, the source or its own grammar says.

    Raises:
        JudgeError: there is no answer, or one does not parse under its kind: an error in the source's data.
    """
    if not question.answer:
        raise JudgeError(f"{question.id}: the question has no answer to judge by")
    hint = question.answer_kind or options.answer_kind
    kind = None if hint is None else kind_named(hint)
    if hint is not None and kind is None:
        raise JudgeError(f"{question.id}: answer_kind {hint!r} is not known")
    cues = read_cues(question.text)
    plain = tuple(clean(unwrapped(answer)) or answer.strip() for answer in question.answer)  # `**` is all dress
    choices = question.choices or _listed_options(question, plain)
    for raw, text in zip(question.answer, plain, strict=True):
        if not text or len(text) > MAX_REFERENCE_CHARS:
            raise JudgeError(
                f"{question.id}: the answer {raw[:40]!r} is empty or longer than {MAX_REFERENCE_CHARS} characters"
            )
    if kind is None and question.choices:
        kind = "choice"  # an answer beside options is one of them, never a free text
    forms = tuple(_compile(text, kind, cues, choices, options, question.id) for text in plain)
    written = tuple(answer.strip() for answer in question.answer)
    return Reference(forms, plain, written, options.format, _minority(question, options))


def _minority(question: Question, options: JudgeOptions) -> Reference | None:
    """What too few annotators said, compiled; what of it cannot be is left out."""
    found: list[Reference] = []
    for answer in question.minority_answers:
        try:
            found.append(compile_reference(replace(question, answer=(answer,), minority_answers=()), options=options))
        except JudgeError:
            continue
    if not found:
        return None
    forms = tuple(form for one in found for form in one.forms)
    return Reference(forms, tuple(p for one in found for p in one.plain), (), options.format)


_WRAPPED = re.compile(r"\\boxed|\\fbox|####|<answer>|</think>|\banswer(?: is|:)|答案(?:是|为|:|：|】)", re.I)


def unwrapped(answer: str) -> str:
    """A reference as data sets write it (`#### 72`, `The answer is 12.`) without what is around the answer."""
    if _WRAPPED.search(answer) is None:
        return answer
    return extract(answer, form="any").answer or answer


_LETTER_REFERENCE = re.compile(r"^\(?[A-Z]\)?[.:)]?$")


def _listed_options(question: Question, plain: tuple[str, ...]) -> tuple[str, ...]:
    """Options that stand in the question's text count where the reference is a letter."""
    if not all(_LETTER_REFERENCE.match(answer) for answer in plain):
        return ()
    return tuple(text for _, text in labelled_options(question.text))


def _gated(form: Form, text: str, cues: Cues, options: JudgeOptions) -> Gated:
    """The form behind the gate that no INCORRECT passes without proof."""

    def read(answer: str) -> Form | None:
        try:
            return _compile_free(answer, cues, options)
        except JudgeError:
            return None

    return Gated(form, text, cues.low, read)


def _compile(
    text: str, kind: str | None, cues: Cues, choices: tuple[str, ...], options: JudgeOptions, name: str
) -> Gated:
    if kind in (None, "choice"):
        chosen = _compile_choice(text, cues, choices, options, forced=kind == "choice")
        if chosen is not None:
            return _gated(chosen, text, cues, options)
    if kind == "choice":
        raise JudgeError(f"{name}: the answer {text[:40]!r} is none of the {len(choices)} options")
    try:
        form = _compile_free(text, cues, options) if kind is None else _compile_as(kind, text, cues, options)
    except JudgeError:
        if kind is not None:
            raise
        form = Unread(text)
    if form is None:
        raise JudgeError(f"{name}: the answer {text[:40]!r} is no {kind}")
    return _gated(form, text, cues, options)


_LETTER_ASKED = re.compile(r"\b(?:which|what|option|choice|letter|figure|point|label|select|choose)\b|哪|选")


def _compile_choice(
    text: str, cues: Cues, choices: tuple[str, ...], options: JudgeOptions, *, forced: bool
) -> Choice | None:
    if not choices:
        lettered = (
            _LETTER_REFERENCE.match(text) is not None
            and (text[:1].isupper() or text[:1] == "(")
            and cues.has(_LETTER_ASKED)
        )
        if not (forced or lettered):
            return None
        indices = reference_indices(text, ())
        return None if indices is None else built(indices, (), (), {})
    cleaned = bare([clean(choice[:MAX_REFERENCE_CHARS]) for choice in choices])
    indices = reference_indices(text, cleaned)
    if indices is None:
        indices = _by_value(text, cleaned, cues, options)
    if indices is None:
        return None
    return built(indices, cleaned, tuple(_option(choice, cues, options) for choice in cleaned), _letters(cues, cleaned))


def _letters(cues: Cues, choices: tuple[str, ...]) -> dict[str, int]:
    """What the question's own labels mean, where it lists the same options in another order."""
    listed = [(letter, clean(text)) for letter, text in labelled_options(cues.text)]
    texts = [text for _, text in listed]
    if texts == list(choices) or sorted(texts) != sorted(choices) or len(set(texts)) < len(texts):
        return {}
    return {letter: choices.index(text) for letter, text in listed}


_ONLY_WORDS = re.compile(r"^(?:[A-Za-z]|[A-Za-z]{3}[A-Za-z ,.']*)$")


def _option(choice: str, cues: Cues, options: JudgeOptions) -> Form | None:
    """An option under its own kind where that is not text, which is compared as text anyway."""
    if len(choice) > MAX_REFERENCE_CHARS:
        return None
    if _ONLY_WORDS.match(choice) is not None and choice.casefold() not in ("yes", "no", "true", "false"):
        return _gated(compile_text(choice, cues), choice, cues, options) if len(choice) > 1 else None
    form = _compile_free(choice, cues, options)
    return None if form is None or form.kind in ("ocr", "multipart") else _gated(form, choice, cues, options)


def _by_value(text: str, choices: tuple[str, ...], cues: Cues, options: JudgeOptions) -> frozenset[int] | None:
    form = _compile_free(text, cues, options)
    if form is None:
        return None
    equal = [i for i, choice in enumerate(choices) if form.compare(choice).outcome == "correct"]
    return frozenset(equal) if len(equal) == 1 else None


def _compile_free(text: str, cues: Cues, options: JudgeOptions) -> Form | None:
    """The first kind whose grammar the text fits, narrow kinds first."""
    simple = _SIMPLE.match(text) is not None
    worded = not simple and _PLAIN_WORDS.match(text) is not None
    if text in ("0", "1") and (said := compile_yes_no(text, cues, forced=False)) is not None:
        return said
    if not simple:
        for narrow in _NARROW_OF_WORDS if worded else _NARROW:
            if (form := _grammar(narrow, text, cues, options, forced=False)) is not None:
                return form
    for kind in _WIDE_OF_DIGITS if simple else _WIDE_OF_WORDS if worded else _WIDE:
        if kind == "number" and _is_code(text, cues):
            return compile_code(text, cues)
        if (form := _grammar(kind, text, cues, options, forced=False)) is not None:
            return form
    return compile_text(text, cues)


_NARROW = ("box", "matrix", "formula", "yes_no", "multipart", "date", "range", "time", "interval")
_WIDE = ("slots", "ratio", "year", "number", "roman", "tuple", "code", "set", "equation", "text")
# What lower-case words and digits alone can be: most answers are one of the two.
_PLAIN_WORDS = re.compile(r"^[A-Za-z]?[a-z]{2,40}(?: [A-Za-z]?[a-z]{2,40}){0,8}$")
_NARROW_OF_WORDS = ("yes_no", "date", "time", "interval")
_WIDE_OF_WORDS = ("number", "roman", "code", "set", "text")
_WIDE_OF_DIGITS = ("year", "number")
_SIMPLE = re.compile(r"[-+]?\d{1,15}(?:\.\d{1,15})?$")
_DIGIT_CODE = re.compile(r"^(?:0\d{1,60}|\d{6,}|[\d\s()+.-]{7,})$")


def _is_code(text: str, cues: Cues) -> bool:
    """`00125` and a telephone number are strings, not quantities."""
    return _DIGIT_CODE.match(text) is not None and cues.code()


def _compile_as(kind: str, text: str, cues: Cues, options: JudgeOptions) -> Form | None:
    return _grammar(kind, text, cues, options, forced=True)


_CODE_SHAPE = re.compile(
    r"^[^\s@]++@[^\s@]+\.[^\s@.]+$|^(?:https?://|www\.)\S+$|^\d{1,60}(?:-\d{1,60})+$|^(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9]+"
    r"(?:[-_/.#:][A-Za-z0-9]+)*$|^[A-Za-z0-9-]+\.(?:com|org|net|edu|io|cn)(?:/\S*)?$"
)


_CLEAR_CODE = re.compile(r"@|://|www\.|\.(?:com|org|net)\b|^\d{1,60}(?:-\d{1,60})+$|^(?=.*[A-Z]{2})(?=.*\d{2})")


def _grammar(kind: str, text: str, cues: Cues, options: JudgeOptions, *, forced: bool) -> Form | None:
    def element(part: str) -> Form:
        form = _compile_free(part, cues, options) if part != text else None
        return _gated(form or compile_text(part, cues), part, cues, options)

    try:
        if kind in ("number", "year", "date", "time", "roman", "ratio", "yes_no"):
            return _single(kind, text, cues, options, forced=forced)
        if kind == "matrix":
            return compile_matrix(text)
        if kind == "formula":
            return compile_formula(text, cues)
        if kind == "box":
            return compile_box(
                text, cues, form=options.box_format, threshold=options.box_iou, band=options.box_band, forced=forced
            )
        if kind == "multipart":
            return compile_multipart(text, cues, element, forced=forced)
        if kind == "range":
            return compile_range(text, cues, forced=forced)
        if kind == "slots":
            return compile_slots(text, element)
        if kind == "interval":
            return compile_interval(text, cues, forced=forced)
        if kind == "tuple":
            return compile_tuple(text, element)
        if kind in ("set", "list"):
            ordered = True if kind == "list" and options.ordered is None else options.ordered
            return compile_collection(text, cues, element, ordered=ordered, forced=forced)
        if kind in ("equation", "expression"):
            return None if cues.code() and not forced else compile_maths(text, forced=forced, question=cues.text)
        if kind in ("code", "ocr"):
            return compile_code(text, cues) if forced or _reads_as_code(text, cues) else None
    except Unbounded as err:
        raise JudgeError(f"the answer {text[:40]!r} is too large: {err}") from err
    return compile_text(text, cues)


def _reads_as_code(text: str, cues: Cues) -> bool:
    clear = cues.code() or _CLEAR_CODE.search(text) is not None  # `2x-1` has the shape of a code, too
    shaped = clear and _CODE_SHAPE.match(text) is not None and not guards.refuses(text)
    return shaped or (cues.code() and any(c.isdigit() for c in text)) or cues.transcribes()


def _single(kind: str, text: str, cues: Cues, options: JudgeOptions, *, forced: bool) -> Form | None:
    if kind == "number":
        return compile_number(text, cues, relative_tolerance=options.relative_tolerance, forced=forced)
    if kind == "year":
        return compile_year(text, cues, forced=forced)
    if kind == "date":
        return compile_date(text, forced=forced)
    if kind == "time":
        return compile_time(text, cues, forced=forced)
    if kind == "roman":
        return compile_roman(text, cues, forced=forced)
    if kind == "ratio":
        return compile_ratio(text, cues, forced=forced)
    return compile_yes_no(text, cues, forced=forced)
