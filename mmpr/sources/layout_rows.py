"""Read a row's values under our column names, as the source's layout places them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmpr.image_tags import IMAGE_TAG
from mmpr.judging.reference import unwrapped
from mmpr.option_letters import letter
from mmpr.sources.answer_rules import OptionPlace
from mmpr.sources.answer_texts import literal_list
from mmpr.sources.csv_file import image_of
from mmpr.sources.file_columns import FIELD, FileColumns, columns_of_row, of_row, value_at
from mmpr.sources.layouts import RowLayout, layout_named
from mmpr.sources.row_faults import NumberText, RowFault
from mmpr.sources.row_tags import ImageSlots
from mmpr.sources.source_records import COLUMNS, Source
from mmpr.sources.turns import is_turns, reply_to, turns_of_chat
from mmpr.types import Reason

# 64 characters, or the first ones of a PNG or JPEG: VLMEvalKit reads a shorter cell as an index
_BASE64 = re.compile(r"^(?:[A-Za-z0-9+/]{64}|iVBORw0KGgo|/9j/[A-Za-z0-9+/]{40})[A-Za-z0-9+/]*+={0,2}\s*$")
_SHORT_ANSWER = 60  # characters
# what exporters write for a missing hint
_ABSENT = ("", "nan", "none", "null", "n/a")
_IMAGE_FILE = re.compile(r"[^\n]{1,300}\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif)", re.IGNORECASE)
# The next letter of `A. one; B. two`: at the start, at the start of a line, or after a space.
_LETTERED = re.compile(r"(?<=[\s;,；])[(（\[]?([A-Za-z])\s?[)）\].:、：．]\s*(?=\S)")
_ADDRESSES = ("path", "url", "image_url", "image", "src", "file", "file_name", "filename")


class LabelledOptions(list[object]):
    """Options whose labels are no letters, such as ARC's 1, 2, 3, 4; an answer names an option by its label."""

    labels: list[str]


def ours_of(values: Mapping[str, object], source: Source) -> dict[str, object]:
    """Return the row under the names in `COLUMNS`; the answer is still as the row has it.

    Raises:
        RowFault: images, options or an answer are written in an unknown way.
    """
    source = of_row(source, tuple(values))
    found, layout = columns_of_row(source, values.keys()), layout_named(source.layout)
    ours = {name: first_value(values, found, name) for name in COLUMNS if name != "choices"}
    ours["choices"] = options_of(values, found, comma=layout.comma)
    _refuse_reasoning(ours["answer"], values, found)
    if (place := labelled_place(ours["choices"], ours["answer"])) is not None:
        ours["answer"] = place
    ours["image"] = _images(values, found, source)
    _take_turns(ours, values, layout)
    ours["question"] = _asked(values, ours, found, layout)
    if layout.draft and "chosen" not in values:
        ours.update(_given_reply(ours, source))
    _show_options(ours, values, source)
    if layout.words:
        ours["answer"] = dict(layout.words).get(_scalar_text(ours["answer"]), ours["answer"])
    if layout.kind and ours["answer_kind"] is None:
        ours["answer_kind"] = dict(layout.kinds).get(str(values.get(layout.kind)))
    # a question about a sound cannot be asked; a response to it can be judged
    if not source.rollouts and (heard := next((name for name in ("audio", "audios") if values.get(name)), None)):
        raise RowFault(Reason.BAD_ROW, f"`{heard}` holds sound: only texts, images and videos are read")
    given = any(ours[name] is not None for name in ("answer", "chosen", "conversations", "messages"))
    for role, has in (("image", ours["image"] or ours["video"]), ("options", ours["choices"]), ("answer", given)):
        _refuse_unread(role, has, values, found, source)
    return ours


def _refuse_reasoning(answer: object, values: Mapping[str, object], found: FileColumns) -> None:
    """Refuse a long `solution` as an answer, unless it marks one: `\\boxed{}`, `<answer>`, `#### `, `The answer is`."""
    if not isinstance(answer, str) or len(answer) <= _SHORT_ANSWER or unwrapped(answer) != answer:
        return
    place = next((group[0] for group in found.places["answer"] if value_at(values, group[0]) is answer), "")
    if place.lower().endswith("solution"):
        raise RowFault(
            Reason.BAD_ANSWER, f"its `{place}` marks no final answer: map the column of answers, if it has one"
        )


def _take_turns(ours: dict[str, object], values: Mapping[str, object], layout: RowLayout) -> None:
    """Move turns that are in the place of a question: The Cauldron's `texts`, the `prompt` of verl and TRL."""
    if layout.turns and ours["conversations"] is None:
        ours["conversations"] = value_at(values, layout.turns)
    asked = ours["question"]
    if layout.chat and isinstance(asked, str):
        asked = turns_of_chat(asked) or asked
    if is_turns(asked) and ours["messages"] is None:
        ours.update(messages=asked, question=None)


def _given_reply(ours: Mapping[str, object], source: Source) -> dict[str, object]:
    """Return a reply beside a question as the answer if the question asks for a few words, otherwise as the draft."""
    question, reply = ours["question"], ours["chosen"]
    if source.rollouts or source.beside or not isinstance(question, str) or not isinstance(reply, str):
        return {"chosen": None}
    return {"chosen": None, **reply_to(question, reply, ours)}


def _scalar_text(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _show_options(ours: dict[str, object], values: Mapping[str, object], source: Source) -> None:
    """Move options that are images behind the row's images and put tags in their place; an answer may name a file."""
    options, images = ours["choices"], ours["image"]
    if not isinstance(options, list) or not options or not all(map(_is_image, options)):
        return
    shown = [_reference(option, values, source) for option in options]
    own = list(images) if isinstance(images, list) else []
    question = ours["question"]
    # tags of the row's own images come before those of its options
    if own and isinstance(question, str) and IMAGE_TAG not in question:
        question = f"{IMAGE_TAG}\n" * len(own) + question
    files = [option.get("path") if isinstance(option, Mapping) else option for option in options]
    answer = ours["answer"]
    if isinstance(answer, str) and files.count(answer) == 1:
        answer = OptionPlace(files.index(answer))
    # IconQA's file names
    elif isinstance(answer, str) and (named := re.fullmatch(r"choice_(\d{1,2})\.\w{3,4}", answer)):
        answer = OptionPlace(named[1])
    ours.update(image=[*own, *shown], choices=[IMAGE_TAG] * len(shown), question=question, answer=answer)


def _is_image(option: object) -> bool:
    if isinstance(option, Mapping):
        return bool(option.get("bytes") or option.get("path"))
    if not isinstance(option, str):
        return False
    return option.startswith("data:image/") or _IMAGE_FILE.fullmatch(option) is not None


def first_value(values: Mapping[str, object], found: FileColumns, role: str) -> object:
    """Return the first place of a role that has a value; a group of columns gives a list."""
    empty: object = None
    for group in found.places.get(role, ()):
        value = value_at(values, group[0]) if len(group) == 1 else [value_at(values, column) for column in group]
        if value is not None and value != [] and not (isinstance(value, list) and all(one is None for one in value)):
            return value
        empty = value if value == [] else empty
    return empty


def _asked(values: Mapping[str, object], ours: Mapping[str, object], found: FileColumns, layout: RowLayout) -> object:
    """Return the question with its hint and unit; if the image contains it, return the layout's fixed text."""
    question = ours["question"]
    if (question is None or question == "") and layout.asked:
        question = layout.asked
    if not isinstance(question, str):
        return question
    for group in found.places["hint"]:
        hint = value_at(values, group[0])
        if isinstance(hint, str) and hint.strip().lower() not in _ABSENT:
            word = next((word for word in ("Context", "Table") if word.lower() in group[0].lower()), "Hint")
            question = f"{word}:{chr(10) if chr(10) in hint.strip() else ' '}{hint.strip()}\n{question}"
    for group in found.places["more"]:
        more = value_at(values, group[0])
        if isinstance(more, str) and more.strip():
            question = f"{question}\n{more.strip()}"
    unit = values.get(layout.unit) if layout.unit else None
    # MathVista's `query` contains the unit already
    if unit and not values.get("query"):
        question = f"{question} (Unit: {unit})"
    return question


def options_of(values: Mapping[str, object], found: FileColumns, *, comma: bool = False) -> object:
    """Return the row's options as a list or `{letter: text}`; None if it has none. Raises `RowFault`."""
    for group in found.places["options"]:
        if len(group) > 1:
            options: object = _lettered_columns(group, [value_at(values, column) for column in group])
        else:
            options = _listed_options(group[0], value_at(values, group[0]), comma=comma)
        if options:
            return options
    return None


def labelled_place(options: object, answer: object) -> OptionPlace | None:
    """Return the index of the option whose label an answer names."""
    labels = options.labels if isinstance(options, LabelledOptions) else []
    named = str(answer).strip().upper() if isinstance(answer, str | int) else ""
    # a label that two options share names neither
    return OptionPlace(labels.index(named)) if labels.count(named) == 1 else None


def _lettered_columns(group: tuple[str, ...], cells: list[object]) -> list[object]:
    """Return options with one column each; the last may be empty, because rows differ in their number of options."""
    there = [None if _is_absent(cell) else cell for cell in cells]
    # a question with three options leaves the column D empty
    while there and there[-1] is None:
        there.pop()
    if None in there:
        given = ", ".join(column for column, cell in zip(group, there, strict=False) if cell is not None)
        raise RowFault(Reason.BAD_ROW, f"options {given}: letter them A, B, C .. without a gap")
    return there


def _is_absent(cell: object) -> bool:
    return (
        cell is None
        or (isinstance(cell, float) and cell != cell)
        or (isinstance(cell, str) and cell.strip().lower() in ("", "nan"))
    )


def _listed_options(name: str, value: object, *, comma: bool) -> object:
    """Return options as a list of texts; they may be `{label, text}`, pairs, a struct of lists, or a list as text."""
    if isinstance(value, str) and not isinstance(value, NumberText):
        if _is_absent(value):
            return None
        listed = _listed_in_text(value, comma=comma)
        if listed is None:
            raise RowFault(
                Reason.BAD_ROW,
                f"`{name}` is {value[:60]!a}: give a list of texts, such as ['one', 'two'], or {{letter: text}}",
            )
        return listed
    if isinstance(value, Mapping):
        lists = {name: each for name, each in value.items() if isinstance(each, list)}
        if "text" in lists and len(lists) == len(value):
            return by_label(list(zip(lists.get("label") or lists["text"], lists["text"], strict=False)))
        return value
    if isinstance(value, list) and value and all(isinstance(one, tuple) and len(one) == 2 for one in value):
        # a map of Arrow arrives as a list of (key, value)
        return dict(value)
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        texts = [_first_of(one, ("text", "value", "content", "option", "choice", "answer")) for one in value]
        return by_label(
            [(_first_of(one, ("label", "letter", "key", "id")), text) for one, text in zip(value, texts, strict=True)]
        )
    return value


def _listed_in_text(text: str, *, comma: bool) -> list[object] | None:
    """Parse a list in Python or JSON, `A. one; B. two`, `(a) one (b) two`, or lines; with `comma` also `one,two`."""
    if text.strip().startswith("["):
        return literal_list(text)
    lettered = _LETTERED.split(f"\n{text.strip()}")
    letters, texts = lettered[1::2], [one.strip(" \t\n,;，；") for one in lettered[2::2]]
    if (
        len(texts) > 1
        and not lettered[0].strip()
        and [one.upper() for one in letters] == list(map(letter, range(len(texts))))
    ):
        return list(texts)
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) > 1 and all(lines):
        return list(lines)
    return [one.strip() for one in text.split(",")] if comma else None


def _first_of(struct: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((struct[name] for name in names if struct.get(name) is not None), None)


def by_label(pairs: list[tuple[object, object]]) -> list[object]:
    """Order options by their letters; with other labels, keep the order and the labels."""
    labels = [str(label).strip().upper() for label, _ in pairs]
    if labels and sorted(labels) == [letter(place) for place in range(len(labels))]:
        return [text for _, (_, text) in sorted(zip(labels, pairs, strict=True), key=lambda one: one[0])]
    options = LabelledOptions(text for _, text in pairs)
    options.labels = labels
    return options


def _images(values: Mapping[str, object], found: FileColumns, source: Source) -> object:
    """Return the row's images as references; if several places name images, the place with most of them counts."""
    most: list[object] = []
    for group in found.places["image"]:
        cells = [value_at(values, column) for column in group]
        numbered = len(group) > 1 or re.fullmatch(r"image_?1", group[0].lower()) is not None
        images = (
            ImageSlots(_reference(cell, values, source) for cell in cells)
            if numbered
            else _cell(cells[0], values, source)
        )
        if sum(image is not None for image in images) > sum(image is not None for image in most):
            most = images
    return most or None


def _cell(cell: object, values: Mapping[str, object], source: Source) -> list[object]:
    if cell is None:
        return []
    # several images of a CSV or JSON cell are the text of a list
    if isinstance(cell, str) and not isinstance(cell, NumberText) and cell.startswith("["):
        cell = _listed_images(cell)
    if source.format == "csv" and source.layout == "vlmevalkit" and isinstance(cell, str) and _is_index(cell):
        shared = image_of(source, cell)  # the row that it shares the image with
        cell = cell if shared is None else _listed_images(shared) if shared.startswith("[") else shared
    return [_reference(one, values, source) for one in (cell if isinstance(cell, list) else [cell])]


def _listed_images(cell: str) -> list[object]:
    found = literal_list(cell)
    if found is None:
        raise RowFault(Reason.BAD_ROW, f"`image` is {cell[:60]!a}: give a list, such as ['one', 'two']")
    return found


def _is_index(cell: str) -> bool:
    return not _BASE64.match(cell) and "." not in cell


def _reference(image: object, values: Mapping[str, object], source: Source) -> object:
    """Return one image as path, address or data; any other value is returned unchanged and refused later."""
    if isinstance(image, Mapping):
        if image.keys() <= {"bytes", "path"} and not image.get("bytes") and not image.get("path"):
            raise RowFault(Reason.IMAGE_MISSING, "an image without bytes and path: give one of them")
        inner = image.get("bytes") or _first_of(image, _ADDRESSES)
        if isinstance(inner, str) and inner == image.get("bytes") and not _BASE64.match(inner):
            return image
        image = inner.get("url") if isinstance(inner, Mapping) else inner
    if isinstance(image, str) and not isinstance(image, NumberText) and _BASE64.match(image):
        return f"data:image/*;base64,{image.strip()}"
    if source.image_files and isinstance(image, str | int) and "/" not in str(image) and ":" not in str(image):
        return filled(source.image_files, {**values, "image": image})
    return image


def filled(form: str, values: Mapping[str, object]) -> str:
    """Return the path of an image that a row names by its number: `{image_id:012}.jpg`.

    Raises:
        RowFault: the row has no such column.
    """

    def value(match: re.Match[str]) -> str:
        plain = match[1].replace("_", "").lower()
        found = next(
            (own for name, own in values.items() if name.replace("_", "").lower() == plain and own is not None), None
        )
        if found is None:
            raise RowFault(Reason.BAD_ROW, f"its image is {form}, but it has no `{match[1]}`")
        return str(found).zfill(int(match[2] or 0))

    return FIELD.sub(value, form)


def _refuse_unread(role: str, has: object, values: Mapping[str, object], found: FileColumns, source: Source) -> None:
    """Refuse a row with images, options or an answer in an unread column: it must not be asked without them."""
    ours = "choices" if role == "options" else role
    if has or source.rollouts or dict(source.columns).get(ours) == "":
        return
    suspects = found.suspects(role)
    if role == "image":
        suspects += tuple(name for name in found.unread if name not in suspects and _is_image(values.get(name)))
    if role == "answer" and not layout_named(source.layout).open:
        return  # its answer is withheld
    for name in suspects:
        value = values.get(name)
        if value not in (None, "", [], {}) and not isinstance(value, bool) and (role != "image" or _names_image(value)):
            remedy = f"map it with columns.{ours}={name}, or say that there is none with columns.{ours}=''"
            raise RowFault(Reason.BAD_ROW, f"`{name}` looks like its {role} and is not read: {remedy}")


def _names_image(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and _names_image(value[0])
    if isinstance(value, Mapping):
        return "bytes" in value or "path" in value or "url" in value
    return isinstance(value, bytes | str | int)
