"""Check a source before anything is paid for: answers that do not compile, lines and columns that are not read."""

from __future__ import annotations

from collections.abc import Sequence

from mmpr.errors import JudgeError, SourceError
from mmpr.image_tags import IMAGE_TAG
from mmpr.judging import JudgeOptions, Reference, compile_reference
from mmpr.judging.choice import Choice
from mmpr.sources import Index, Row, Source, ranges, read_range
from mmpr.sources.column_report import ColumnReport, column_report
from mmpr.sources.layouts import AnswerRule
from mmpr.sources.rollout_signs import rollout_note
from mmpr.types import Question, Reason, Skip, Stage

_RULES = {
    AnswerRule.LETTER: "letter",
    AnswerRule.TEXT: "text",
    AnswerRule.EITHER: "letter or text",
    AnswerRule.INDEX0: "index, counted from 0",
    AnswerRule.INDEX1: "index, counted from 1",
}


def source_notes(sources: Sequence[Source], counted: Sequence[Index]) -> list[str]:
    """Return notes, one line each: columns that perhaps should be read, rows with responses, unfinished last lines."""
    notes = []
    for source, rows in zip(sources, counted, strict=True):
        name = f"{source.name}: " if len(sources) > 1 else ""
        notes += _notes(source, rows, column_report(source), name)
    return notes


def _notes(source: Source, rows: Index, columns: ColumnReport, name: str = "") -> list[str]:
    notes = [f"{source.place(row)}: the file ends inside it: left for the next start" for row in rows.unfinished]
    if columns.suspects:
        notes.insert(0, f"{name}not read: {', '.join(columns.suspects)}; map what is needed with columns")
    if note := rollout_note(source, rows, columns):
        notes.insert(0, f"{name}{note}")
    return notes


def described(source: Source, rows: Index) -> list[tuple[str, str]]:
    """Describe how a source is read as (heading, text): its layout, the columns read, and the columns not read."""
    columns = column_report(source)
    found = [("layout", source.layout), ("read", ", ".join(columns.read) or "nothing")]
    if rules := sorted({part.answers for part in source.parts or (source,) if part.answers}):
        found.append(("answers", f"name an option by {', '.join(map(_RULES.__getitem__, rules))}"))
    if columns.unread:
        found.append(("unread", ", ".join(columns.unread)))
    return [*found, *(("note", note) for note in _notes(source, rows, columns))]


def compiled(question: Question, source: Source, options: JudgeOptions) -> Reference | Skip | None:
    """Return the compiled reference answer, a skip that explains why it cannot be used, or None without an answer."""
    if question.answer is None:
        return None
    why: str | None
    try:
        reference = compile_reference(question, options=options)
        why = _twice(question, reference)
    except JudgeError as error:
        why = " ".join(str(error).removeprefix(f"{question.id}: ").split())
    return (
        Skip(question.id, Stage.READ, Reason.BAD_ANSWER, f"{source.place(question.row)}: {why}") if why else reference
    )


def _twice(question: Question, reference: Reference) -> str | None:
    """Explain why the correct option is not unique: another option has the same text. None if it is unique."""
    texts = [" ".join(choice.split()).casefold() for choice in question.choices]
    for form in reference.forms:
        if isinstance(form.inner, Choice) and texts:
            for place in form.inner.reference:
                # options that are images all have the text `<image>`
                if texts.count(texts[place]) > 1 and texts[place] != IMAGE_TAG:
                    return f"the answer's option {question.choices[place][:40]!r} occurs twice: two letters are right"
    return None


def judgeable(rows: Sequence[Row], source: Source, options: JudgeOptions) -> list[Row]:
    """Return the rows; a row whose reference answer cannot be used gets a skip and is not asked."""
    checked = []
    for question, skipped in rows:
        found = skipped or compiled(question, source, options)
        checked.append((question, found if isinstance(found, Skip) else None))
    return checked


def refuse_bad_rows(sources: Sequence[Source], counted: Sequence[Index], options: Sequence[JudgeOptions]) -> None:
    """Read every row and compile every reference answer before anything is paid for.

    Args:
        sources: the sources; `counted` has the index, `options` the judge options of each.

    Raises:
        SourceError: names the first row that is no question or has an unusable answer, and the remedy.
    """
    for source, rows, how in zip(sources, counted, options, strict=True):
        for lease in ranges(rows):
            for row in read_range(source, lease):
                found = row if isinstance(row, Skip) else compiled(row, source, how)
                if isinstance(found, Skip):
                    raise SourceError(f"{found.detail} ({found.reason}; --strict)")
