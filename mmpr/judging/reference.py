"""Compile a question's accepted answers once, each under its kind."""

from __future__ import annotations

import re
from collections.abc import Callable
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
from mmpr.judging.periods import compile_period
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

# A longer reference is a passage, which no rule of this package can judge.
MAX_REFERENCE_CHARS = 2_000
# Limits for all accepted answers and all options of a question; no real question exceeds them.
_MAX_ALL_CHARS = 200_000


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
    """Compile each accepted answer under the kind that the row, the source or its own grammar determines.

    Raises:
        JudgeError: there is no answer, or one does not parse under its kind: an error in the source's data.
    """
    if not question.answer:
        raise JudgeError(f"{question.id}: the question has no answer to judge by")
    if sum(map(len, question.answer)) > _MAX_ALL_CHARS:
        raise JudgeError(f"{question.id}: its answers hold more than {_MAX_ALL_CHARS} characters together")
    hint = question.answer_kind or options.answer_kind
    kind = None if hint is None else kind_named(hint)
    if hint is not None and kind is None:
        raise JudgeError(f"{question.id}: answer_kind {hint!r} is not known")
    plain = tuple(clean(unwrapped(answer)) or answer.strip() for answer in question.answer)  # `**` is only markup
    choices = question.choices or _listed_options(question, plain)
    for raw, text in zip(question.answer, plain, strict=True):
        if not text or len(text) > MAX_REFERENCE_CHARS:
            raise JudgeError(
                f"{question.id}: the answer {raw[:40]!r} is empty or longer than {MAX_REFERENCE_CHARS} characters"
            )
    if kind is None and question.choices:
        kind = "choice"  # with options, the answer is one of them, never a free text
    reader = AnswerReader(read_cues(question.text), options)
    forms = tuple(_compile(text, kind, reader, choices, question.id) for text in plain)
    written = tuple(answer.strip() for answer in question.answer)
    return Reference(forms, plain, written, options.format, _minority(question, options))


def _minority(question: Question, options: JudgeOptions) -> Reference | None:
    """Compile the answers that too few annotators gave; leave out those that cannot be compiled."""
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
    """Remove what data sets write around an answer: `#### 72`, `The answer is 12.`."""
    if _WRAPPED.search(answer) is None:
        return answer
    return extract(answer, form="any").answer or answer


_LETTER_REFERENCE = re.compile(r"^\(?[A-Z]\)?[.:)]?$")


def _listed_options(question: Question, plain: tuple[str, ...]) -> tuple[str, ...]:
    """Use the options in the question's text, if the reference is a letter."""
    if not all(_LETTER_REFERENCE.match(answer) for answer in plain):
        return ()
    return tuple(text for _, text in labelled_options(question.text))


@dataclass(frozen=True)
class AnswerReader:
    """Reads texts like the answers of one question: its cues and the source's options decide.

    What was read is remembered, because responses to one question share their answers and parts of answers.
    """

    cues: Cues
    options: JudgeOptions
    _read: dict[str, Form | None] = field(default_factory=dict, repr=False, compare=False)

    def gated(self, form: Form, text: str) -> Gated:
        """Return the form behind the gate, which no INCORRECT passes without proof."""
        return Gated(form, text, self.cues.low, self.known_as, form.kind)

    def known_as(self, text: str, kind: str) -> Form | None:
        """The same as `known`, or None at once where the text cannot be of that kind."""
        try:
            if kind in _ALONE and all(self.under(one, text) is None for one in _ALONE[kind]):
                return None
        except JudgeError:
            return None
        return self.known(text)

    def known(self, text: str) -> Form | None:
        """Return the first kind whose grammar the text fits; None if it is too large for one."""
        if text not in self._read:
            if len(self._read) >= _MAX_READ:
                self._read.clear()
            try:
                self._read[text] = self.free(text)
            except JudgeError:
                self._read[text] = None
        return self._read[text]

    def free(self, text: str) -> Form:
        """Return the first kind whose grammar the text fits; narrow kinds come first.

        Raises:
            JudgeError: the text is too large for its kind.
        """
        if text in ("0", "1") and (said := compile_yes_no(text, self.cues, forced=False)) is not None:
            return said
        for kind in _kinds_of(text):
            if kind == "number" and _DIGIT_CODE.match(text) is not None and self.cues.code():
                return compile_code(text, self.cues)  # `00125` and a telephone number are strings, not quantities
            if (form := self.under(kind, text)) is not None:
                return form
        return compile_text(text, self.cues)

    def under(self, kind: str, text: str, *, forced: bool = False) -> Form | None:
        """Compile the text under one kind; None if it does not fit. `forced`: the source says that it has this kind.

        Raises:
            JudgeError: the text is too large for the kind.
        """
        try:
            return _COMPILERS[kind](self, text, forced)
        except Unbounded as err:
            raise JudgeError(f"the answer {text[:40]!r} is too large: {err}") from err

    def part_of(self, whole: str) -> Callable[[str], Form]:
        """Read a part of the text under its own kind, or as text if the part is the whole text."""

        def element(part: str) -> Form:
            form = self.free(part) if part != whole else compile_text(part, self.cues)
            return self.gated(form, part)

        return element

    def collection(self, text: str, *, forced: bool, ordered: bool | None) -> Form | None:
        return compile_collection(text, self.cues, self.part_of(text), ordered=ordered, forced=forced)

    def maths(self, text: str, *, forced: bool) -> Form | None:
        if self.cues.code() and not forced:
            return None
        return compile_maths(text, forced=forced, question=self.cues.text)

    def code(self, text: str, *, forced: bool) -> Form | None:
        return compile_code(text, self.cues) if forced or _reads_as_code(text, self.cues) else None

    def box(self, text: str, *, forced: bool) -> Form | None:
        said = self.options
        return compile_box(
            text, self.cues, form=said.box_format, threshold=said.box_iou, band=said.box_band, forced=forced
        )


_MAX_READ = 256
_COMPILERS: dict[str, Callable[[AnswerReader, str, bool], Form | None]] = {
    "number": lambda reader, text, forced: compile_number(
        text, reader.cues, relative_tolerance=reader.options.relative_tolerance, forced=forced
    ),
    "year": lambda reader, text, forced: compile_year(text, reader.cues, forced=forced),
    "period": lambda reader, text, forced: None if reader.cues.code() else compile_period(text),
    "date": lambda reader, text, forced: compile_date(text, forced=forced),
    "time": lambda reader, text, forced: compile_time(text, reader.cues, forced=forced),
    "roman": lambda reader, text, forced: compile_roman(text, reader.cues, forced=forced),
    "ratio": lambda reader, text, forced: compile_ratio(text, reader.cues, forced=forced),
    "yes_no": lambda reader, text, forced: compile_yes_no(text, reader.cues, forced=forced),
    "matrix": lambda reader, text, forced: compile_matrix(text),
    "formula": lambda reader, text, forced: compile_formula(text, reader.cues),
    "box": lambda reader, text, forced: reader.box(text, forced=forced),
    "multipart": lambda reader, text, forced: compile_multipart(text, reader.cues, reader.part_of(text), forced=forced),
    "range": lambda reader, text, forced: compile_range(text, reader.cues, forced=forced),
    "slots": lambda reader, text, forced: compile_slots(text, reader.part_of(text)),
    "interval": lambda reader, text, forced: compile_interval(text, reader.cues, forced=forced),
    "tuple": lambda reader, text, forced: compile_tuple(text, reader.part_of(text)),
    "set": lambda reader, text, forced: reader.collection(text, forced=forced, ordered=reader.options.ordered),
    "list": lambda reader, text, forced: reader.collection(
        text, forced=forced, ordered=True if reader.options.ordered is None else reader.options.ordered
    ),
    "equation": lambda reader, text, forced: reader.maths(text, forced=forced),
    "expression": lambda reader, text, forced: reader.maths(text, forced=forced),
    "code": lambda reader, text, forced: reader.code(text, forced=forced),
    "ocr": lambda reader, text, forced: reader.code(text, forced=forced),
    "text": lambda reader, text, forced: compile_text(text, reader.cues),
}

_ALL = (
    *("box", "matrix", "formula", "yes_no", "multipart", "period", "date", "range", "time", "interval"),
    *("slots", "ratio", "year", "number", "roman", "tuple", "code", "set", "equation"),
)
# Kinds of texts that are only digits, lower-case words, or words with numbers: most answers are one of these.
_SIMPLE = re.compile(r"[-+]?\d{1,15}(?:\.\d{1,15})?$")
_PLAIN_WORDS = re.compile(r"^[A-Za-z]?[a-z]{2,40}(?: [A-Za-z]?[a-z]{2,40}){0,8}$")
_MIXED = re.compile(r"^(?!.*(?:and|then))(?:[A-Za-z0-9 %$°/'-]|\.(?=\d)){1,80}$", re.I)
# Kinds that only these compilers give: if none of them reads a text, the others need not be tried.
_ALONE = {
    **dict.fromkeys(("number", "year", "roman"), ("number", "year", "roman")),
    "date": ("date",),
    "time": ("time",),
    "tuple": ("tuple",),
}
_OF_DIGITS = ("year", "number")
_OF_WORDS = ("yes_no", "period", "date", "time", "interval", "slots", "number", "roman", "code", "set")
_OF_BOTH_TEXT = "box formula yes_no period date range time ratio year number roman code set"
_OF_BOTH = tuple(_OF_BOTH_TEXT.split())
_DIGIT_CODE = re.compile(r"^(?:0\d{1,60}|\d{6,}|[\d\s()+.-]{7,})$")


def _kinds_of(text: str) -> tuple[str, ...]:
    """Return the kinds that a text may have by its characters; the first that fits counts."""
    if _SIMPLE.match(text) is not None:
        return _OF_DIGITS
    if _PLAIN_WORDS.match(text) is not None:
        return _OF_WORDS
    return (*_OF_BOTH, "equation") if _MIXED.match(text) is not None and " real " not in text else _ALL


def _compile(text: str, kind: str | None, reader: AnswerReader, choices: tuple[str, ...], name: str) -> Gated:
    if kind in (None, "choice"):
        chosen = _compile_choice(text, reader, choices, forced=kind == "choice")
        if chosen is not None:
            return reader.gated(chosen, text)
    if kind == "choice":
        raise JudgeError(f"{name}: the answer {text[:40]!r} is none of the {len(choices)} options")
    form: Form | None
    try:
        form = reader.free(text) if kind is None else reader.under(kind, text, forced=True)
    except JudgeError:
        if kind is not None:
            raise
        form = Unread(text)
    if form is None:
        raise JudgeError(f"{name}: the answer {text[:40]!r} is no {kind}")
    return reader.gated(form, text)


_LETTER_ASKED = re.compile(r"\b(?:which|what|option|choice|letter|figure|point|label|select|choose)\b|哪|选")


def _compile_choice(text: str, reader: AnswerReader, choices: tuple[str, ...], *, forced: bool) -> Choice | None:
    cues = reader.cues
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
        form = reader.free(text)
        equal = [i for i, choice in enumerate(cleaned) if form.compare(choice).outcome == "correct"]
        if len(equal) != 1:
            return None
        indices = frozenset(equal)
    if sum(map(len, cleaned)) > _MAX_ALL_CHARS:  # compared as texts only
        return built(indices, cleaned, (None,) * len(cleaned), {})
    return built(indices, cleaned, tuple(_option(choice, reader) for choice in cleaned), _letters(cues, cleaned))


def _letters(cues: Cues, choices: tuple[str, ...]) -> dict[str, int]:
    """Return the meaning of the question's own labels, if it lists the same options in another order."""
    listed = [(letter, clean(text)) for letter, text in labelled_options(cues.text)]
    texts = [text for _, text in listed]
    if texts == list(choices) or sorted(texts) != sorted(choices) or len(set(texts)) < len(texts):
        return {}
    return {letter: choices.index(text) for letter, text in listed}


_ONLY_WORDS = re.compile(r"^(?:[A-Za-z]|[A-Za-z]{3}[A-Za-z ,.']*)$")


def _option(choice: str, reader: AnswerReader) -> Form | None:
    """Compile an option under its own kind, unless that is text, which is compared as text anyway."""
    if len(choice) > MAX_REFERENCE_CHARS:
        return None
    if _ONLY_WORDS.match(choice) is not None and choice.casefold() not in ("yes", "no", "true", "false"):
        return reader.gated(compile_text(choice, reader.cues), choice) if len(choice) > 1 else None
    form = reader.free(choice)
    return None if form.kind in ("ocr", "multipart") else reader.gated(form, choice)


_CODE_SHAPE = re.compile(
    r"^[^\s@]++@[^\s@]+\.[^\s@.]+$|^(?:https?://|www\.)\S+$|^\d{1,60}(?:-\d{1,60})+$|^(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9]+"
    r"(?:[-_/.#:][A-Za-z0-9]+)*$|^[A-Za-z0-9-]+\.(?:com|org|net|edu|io|cn)(?:/\S*)?$"
)


_CLEAR_CODE = re.compile(r"@|://|www\.|\.(?:com|org|net)\b|^\d{1,60}(?:-\d{1,60})+$|^(?=.*[A-Z]{2})(?=.*\d{2})")


def _reads_as_code(text: str, cues: Cues) -> bool:
    clear = cues.code() or _CLEAR_CODE.search(text) is not None  # `2x-1` also has the shape of a code
    shaped = clear and _CODE_SHAPE.match(text) is not None and not guards.refuses(text)
    return shaped or (cues.code() and any(c.isdigit() for c in text)) or cues.transcribes()
