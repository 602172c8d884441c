"""Turn one row's values into a `Question`, or a `Skip` that names the file, the row and the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from sys import getsizeof
from uuid import UUID

from mmpr.image_tags import without_tags
from mmpr.images import frame_references
from mmpr.option_letters import MOST_OPTIONS, bare, letter
from mmpr.prompts import VIDEO_TAG, language_of, with_frames
from mmpr.sources.answer_rules import OptionPlace, as_written, chosen, none_of_them, readings
from mmpr.sources.answer_texts import Answers, agreed, answers_in, repeats, text_of
from mmpr.sources.layout_rows import ours_of
from mmpr.sources.layouts import layout_named
from mmpr.sources.row_faults import NumberText, RowFault, wrong
from mmpr.sources.row_tags import ImageSlots, PlacedRow, TaggedRow, placed
from mmpr.sources.source_records import Source
from mmpr.sources.turns import columns_of, reply_of
from mmpr.types import Question, Reason, Skip, Stage

# About 250,000 tokens of English. A chunk holds the texts of 128 questions, and an engine works on several chunks.
_MOST_TEXT_BYTES = 1_000_000
_URI = re.compile(r"data:|[A-Za-z][A-Za-z0-9+.:-]{0,40}://")  # matches InternVL's `vc-reader:s3://` too


def read_row(values: Mapping[str, object], source: Source, row: int) -> Question | Skip:
    """Return the question of a row (values under the file's names), or the skip that explains why it is none."""
    # a row that cannot be read is still named by its own id
    ours: Mapping[str, object] = {"id": values.get(source.column("id"))}
    try:
        ours = ours_of(values, source)
        return _question(_unfolded(ours, source), source, row)
    except RowFault as fault:
        given = ours["id"]
        return skip(source, row, fault, str(given) if isinstance(given, str | int) else None)


def skip(source: Source, row: int, fault: RowFault, question_id: str | None = None) -> Skip:
    """Return the row's `Skip`; it has the row's own id if that could be read."""
    detail = f"{source.place(row)}: {fault.text}"
    return Skip(question_id or source.row_id(row), Stage.READ, fault.reason, detail)


def _question(ours: Mapping[str, object], source: Source, row: int) -> Question:
    _refuse_long(ours)
    text = _text(ours, "question") or ""
    history = _history(ours["history"])
    language = _language(_text(ours, "language") or source.language, text)
    video = _video(ours["video"])
    if not without_tags(text.replace(VIDEO_TAG, "")).strip():
        raise RowFault(
            Reason.EMPTY_QUESTION, "no question: give `question` a text, or map its column with columns.question"
        )
    numbered = isinstance(ours["image"], ImageSlots)
    given = TaggedRow(text, history, listed_choices(ours["choices"]), _images(ours["image"]), numbered)
    if not source.rollouts:
        _check_tags(given, videos=video is not None)
    tagged = PlacedRow(text, history, given.choices, ()) if source.rollouts else placed(given)
    text, history, images = tagged.text, tagged.history, tuple(_resolve(path, source) for path in tagged.images)
    if video is not None and not source.rollouts:
        images = frame_references(_resolve(video, source), source.video_frames)
        text = with_frames(text, len(images))
        history = tuple((with_frames(asked, len(images)), answer) for asked, answer in history)
    accepted, minority, kind = _accepted(ours, tagged.choices or given.choices, source)
    return Question(
        id=_label(ours, "id") or source.row_id(row),
        source=source.label(_label(ours, "source") or None),
        row=row,
        text=text,
        system=_text(ours, "system") or None,
        history=history,
        images=images,
        choices=tagged.choices,
        answer=accepted,
        answer_kind=kind,
        minority_answers=minority,
        draft=_draft(ours),
        language=language,
    )


def _unfolded(ours: Mapping[str, object], source: Source) -> Mapping[str, object]:
    """Return a row of turns as columns; for an imported file, the reply is a response and no answer."""
    if ours["question"] is not None:
        return ours
    for name in ("conversations", "messages"):  # a question that consists of turns was moved to `messages`
        if ours[name] is not None:
            found = columns_of(name, ours[name], ours)
            replies = ("answer", "chosen") if source.beside else ()
            return {**ours, **{column: own for column, own in found.items() if column not in replies}}
    return ours


def _refuse_long(ours: Mapping[str, object]) -> None:
    """Raise `RowFault` if the texts of a question are longer than any model reads; embedded images do not count."""
    size, left = 0, list(ours.values())
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list | tuple):
            left.extend(value)
        elif isinstance(value, str) and not value.startswith("data:"):
            size += getsizeof(value)
    if size > _MOST_TEXT_BYTES:
        limit = f"the limit is {_MOST_TEXT_BYTES:,}"
        raise RowFault(Reason.PROMPT_TOO_LONG, f"its texts take {size:,} bytes, {limit}: shorten them")


def _check_tags(row: TaggedRow, *, videos: bool) -> None:
    if videos and row.images:
        raise RowFault(Reason.BAD_ROW, "both `image` and `video`: a question has images or a video")
    turns = [row.text, *(turn for pair in row.history for turn in pair)]
    video_tags = sum(turn.count(VIDEO_TAG) for turn in turns)
    if video_tags > videos:
        remedy = f"write one {VIDEO_TAG}, or none" if videos else "name its file in `video`"
        raise RowFault(Reason.IMAGE_TAGS, f"{video_tags} {VIDEO_TAG} tags for {int(videos)} videos: {remedy}")


def _text(ours: Mapping[str, object], name: str) -> str | None:
    value = ours[name]
    if value is None or (isinstance(value, str) and not isinstance(value, NumberText)):
        return value
    raise wrong(name, value, "a text")


def _label(ours: Mapping[str, object], name: str) -> str | None:
    value = ours[name]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, NumberText | int | UUID) and not isinstance(value, bool):
        return str(value)
    return text_of(value, name) if isinstance(value, float) else _text(ours, name)


def _draft(ours: Mapping[str, object]) -> str | None:
    draft = _text({"chosen": reply_of("chosen", ours["chosen"])}, "chosen")
    if draft is not None and not draft.strip():
        raise RowFault(Reason.BAD_ANSWER, "`chosen` is empty: leave it out, and the draft is sampled")
    return draft


def _language(language: str, text: str) -> str:
    if language not in ("auto", "en", "zh"):
        raise wrong("language", language, "en, zh or auto")
    return language_of(text) if language == "auto" else language


def _images(value: object) -> tuple[str | None, ...]:
    """Return the row's images; None marks an empty slot of numbered columns."""
    paths: list[str | None] = []
    for one in value if isinstance(value, list) else [] if value is None else [value]:
        if one is None and isinstance(value, ImageSlots):
            paths.append(None)
        elif isinstance(one, str) and not isinstance(one, NumberText) and one.strip():
            paths.append(one)
        else:
            raise wrong("image", value, "a path, a list of paths, or null")
    return tuple(paths)


def _video(value: object) -> str | None:
    given = value[0] if isinstance(value, list) and len(value) == 1 else value
    if given is None or given == []:
        return None
    if not isinstance(given, str) or isinstance(given, NumberText) or not given.strip() or given.startswith("data:"):
        raise wrong("video", value, "the path or address of one video, or null")
    return given


def _resolve(path: str, source: Source) -> str:
    if _URI.match(path):
        return path
    if _URI.match(source.image_root):
        return f"{source.image_root.rstrip('/')}/{path}"
    return str(Path(source.image_root, path))


def _scalars(name: str, value: list[object], expected: str) -> tuple[str, ...]:
    texts = [None if each is None or isinstance(each, dict | list) else text_of(each, name) for each in value]
    if None in texts:
        raise wrong(name, value, expected)
    return tuple(text for text in texts if text is not None)


Accepted = tuple[tuple[str, ...] | None, tuple[str, ...], str | None]  # answers, answers of a minority, their kind


def _accepted(ours: Mapping[str, object], options: tuple[str, ...], source: Source) -> Accepted:
    """Return the accepted answers: with options one of them, from annotators those that enough of them gave.

    Raises:
        RowFault: BAD_ANSWER: it is none of the options. ANSWER_WITHHELD: the data set has answers, but none here.
            NO_AGREEMENT: the annotators agree on none.
    """
    layout, value = layout_named(source.layout), ours["answer"]
    kind = _text(ours, "answer_kind") or source.answer_kind
    if isinstance(value, OptionPlace) and int(value) < len(options):
        return (letter(int(value)),), (), "choice"
    # -1 is no index of an option: the answer is withheld; without options it is a number
    answers = answers_in(value, (*layout.withheld, *(("-1",) if options else ())))
    if answers is None:
        if value is None and layout.open:
            return None, (), kind
        if layout.open and not re.search(
            r"\S", str(value if not isinstance(value, list) else "".join(map(str, value)))
        ):
            raise RowFault(Reason.BAD_ANSWER, "an empty answer: write null where the answer is not known")
        shown = "null" if value is None else repr(value)[:40]
        remedy = "" if not layout.open else "; write null where it is not known"
        if layout.name == "vqa-originals":
            remedy = ": put the file of annotations beside that of the questions" if not source.annotations else ""
        raise RowFault(Reason.ANSWER_WITHHELD, f"its answer is withheld ({shown}){remedy}")
    if options:
        return _option_of(answers, options, source), (), "choice"
    votes = source.votes or (layout.open and repeats(answers.texts))
    if not (answers.annotated or (votes and len(answers.texts) > 1)):
        return answers.texts, (), kind
    texts, minority = agreed(answers, source.agreement)
    if not texts:
        said = ", ".join(minority)[:80]
        raise RowFault(Reason.NO_AGREEMENT, f"no answer has {source.agreement:g} of the votes: {said}")
    return texts, minority, kind


def _option_of(answers: Answers, options: tuple[str, ...], source: Source) -> tuple[str, ...]:
    found: list[str] = []
    for answer in answers.texts:
        meant = chosen(answer, options, source.answers)
        if meant is None and source.rollouts and not readings(answer, options):
            return answers.texts  # the judge reports that it is none of the options
        if meant is None:
            raise none_of_them(answer, options, source.answers)
        found.append(as_written(answer, options, meant))
    # two spellings of one option, such as `A` and its text, are one answer
    if len(set(found)) > 1:
        raise RowFault(Reason.BAD_ANSWER, f"its answers name several options, {', '.join(found)[:60]}: give one")
    return (found[0],)


def listed_choices(value: object) -> tuple[str, ...]:
    """Return options as texts without their own letters; raises `RowFault` for a wrong type."""
    expected = "a list of texts or {letter: text}"
    if isinstance(value, dict):
        value = _in_order(value)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise wrong("choices", value, expected)
    choices = bare(_scalars("choices", value, expected))
    if len(choices) > MOST_OPTIONS:
        raise RowFault(Reason.BAD_ROW, f"{len(choices)} options: give at most {MOST_OPTIONS}, one per letter")
    return choices


def _in_order(choices: Mapping[str, object]) -> list[object]:
    """Return options in the order of their letters, which must run from A without a gap: a letter is an index."""
    lettered = sorted((str(letter).strip().upper(), text) for letter, text in choices.items() if text is not None)
    letters = [letter for letter, _ in lettered]
    if letters != [chr(ord("A") + i) for i in range(len(letters))]:
        raise wrong("choices", list(choices), "lettered A, B, C .. without a gap")
    return [text for _, text in lettered]


def _history(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    expected = "a list of [question, answer]"
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise wrong("history", value, expected)
    turns = [turn for pair in value for turn in pair]
    if not all(isinstance(turn, str) and not isinstance(turn, NumberText) for turn in turns):
        raise wrong("history", value, expected)
    return tuple((question, answer) for question, answer in value)
