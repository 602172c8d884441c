"""Convert the two Parquet tables of a chunk to and from records. Their schemas are the run folder's format.

`questions` has one row per question in source order, with its skip and its images. The bytes of an image are stored
once, with the first question of the chunk that shows it. `responses` has one row per response, in the order of the
questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from mmpr.run.commit_records import Splice, StoredImage, StoredQuestion, StoredResponse
from mmpr.types import (
    Certainty,
    Finish,
    JudgedBy,
    Outcome,
    Question,
    Reason,
    Response,
    Skip,
    Stage,
    TableRow,
    Verdict,
)

# A row group of questions ends when its images exceed this size; a reader holds one group at a time.
GROUP_BYTES = 32 * 2**20
# Longer references than any path or URL are data URIs.
_LONG_REFERENCE_CHARS = 4096

_IMAGE = pa.struct(
    [
        ("sha256", pa.string()),
        ("original_sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("n_bytes", pa.int64()),
        ("encoded", pa.binary()),
    ]
)
QUESTIONS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("system", pa.string()),
        ("history", pa.list_(pa.list_(pa.string()))),
        ("text", pa.string()),
        ("images", pa.list_(pa.string())),
        ("choices", pa.list_(pa.string())),
        ("answer", pa.list_(pa.string())),
        ("minority_answers", pa.list_(pa.string())),
        ("answer_kind", pa.string()),
        ("draft", pa.string()),
        ("language", pa.string()),
        ("skip_stage", pa.string()),
        ("skip_reason", pa.string()),
        ("skip_detail", pa.string()),
        ("pictures", pa.list_(_IMAGE)),
    ]
)
RESPONSES = pa.schema(
    [
        ("place", pa.int32()),  # which question of the chunk, from 0
        ("question_id", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("stage", pa.string()),
        ("index", pa.int32()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("n_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("seed", pa.int64()),
        ("round", pa.int32()),
        ("outcome", pa.string()),
        ("answer", pa.string()),
        ("rule", pa.string()),
        ("truth", pa.string()),
        ("draft_index", pa.int32()),
        ("prefix_chars", pa.int32()),
        ("prefix_tokens", pa.int32()),
        ("continued", pa.string()),
        ("chosen_score", pa.float64()),
        ("rejected_score", pa.float64()),
        ("view", pa.string()),
        ("shown_sha256", pa.list_(pa.string())),
        ("gain", pa.float64()),
        # Schema 2: null where nothing sets a value; files of an older mmpr do not have these columns.
        ("off_format", pa.bool_()),
        ("certainty", pa.string()),
        ("judged_by", pa.string()),
        ("judge_version", pa.int32()),
        ("verifier_margin", pa.float64()),
        ("thoughts", pa.string()),
        ("model", pa.string()),
    ]
)
WITHOUT_BYTES = [
    *(name for name in QUESTIONS.names if name != "pictures"),
    *(f"pictures.list.element.{child.name}" for child in _IMAGE if child.name != "encoded"),
]

BYTES_ONLY = ["pictures.list.element.sha256", "pictures.list.element.encoded"]

QuestionRow = tuple[Question, tuple[StoredImage, ...], Skip | None]


def question_groups(chunk: Sequence[StoredQuestion]) -> Iterator[pa.Table]:
    """Split the chunk's questions into row groups of bounded size; write each distinct image's bytes once."""
    written: set[str] = set()
    rows: list[TableRow] = []
    n_bytes = 0
    for committed in chunk:
        rows.append(_question_row(committed, written))
        n_bytes += sum(len(p["encoded"] or b"") for p in rows[-1]["pictures"])
        # checked after the row: a single row may be larger, and belongs to one group
        if n_bytes >= GROUP_BYTES:
            yield pa.Table.from_pylist(rows, schema=QUESTIONS)
            rows, n_bytes = [], 0
    if rows:
        yield pa.Table.from_pylist(rows, schema=QUESTIONS)


def response_table(chunk: Sequence[StoredQuestion]) -> pa.Table:
    """Return the table of all responses of a chunk; `place` is the index of a response's question."""
    rows = [_response_row(place, c.question, r) for place, c in enumerate(chunk) for r in c.responses]
    return pa.Table.from_pylist(rows, schema=RESPONSES)


def read_questions(tables: Iterable[pa.Table]) -> Iterator[QuestionRow]:
    """Yield rows as records; an image has bytes only if its row stores them."""
    for table in tables:
        for row in table.to_pylist():
            images = tuple(StoredImage(**{"encoded": None, **child}) for child in row.pop("pictures") or ())
            stage, reason, detail = (row.pop(f"skip_{name}") for name in ("stage", "reason", "detail"))
            skip = Skip(row["id"], Stage(stage), Reason(reason), detail) if stage else None
            yield _question(row), images, skip


def read_responses(table: pa.Table) -> Iterator[tuple[int, StoredResponse]]:
    """Yield (place of the question in its chunk, response) in the order of the file."""
    for row in table.to_pylist():
        yield row["place"], StoredResponse(_response(row), _verdict(row), _splice(row), row.get("judge_version"))


def _question_row(committed: StoredQuestion, written: set[str]) -> TableRow:
    question, skip = committed.question, committed.skip
    return {
        **{name: getattr(question, name) for name in Question.__slots__},
        "images": [_reference(image) for image in question.images],
        "skip_stage": skip.stage.value if skip else None,
        "skip_reason": skip.reason.value if skip else None,
        "skip_detail": skip.detail if skip else None,
        "pictures": [_image_row(stored, written) for stored in committed.images],
    }


def _reference(image: str) -> str:
    """Replace a long data URI by its hash: the image's bytes are stored in the same row already."""
    if len(image) <= _LONG_REFERENCE_CHARS:
        return image
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def _image_row(stored: StoredImage, written: set[str]) -> TableRow:
    row = {child.name: getattr(stored, child.name) for child in _IMAGE}
    if stored.sha256 in written:
        row["encoded"] = None
    elif stored.spooled is not None:
        row["encoded"] = stored.spooled.read()
    elif stored.encoded is None:
        raise ValueError(f"image {stored.sha256} comes without bytes")
    written.add(stored.sha256)
    return row


def _question(row: TableRow) -> Question:
    row["history"] = tuple((asked, answered) for asked, answered in row["history"] or ())
    row["images"], row["choices"] = tuple(row["images"] or ()), tuple(row["choices"] or ())
    row["answer"] = None if row["answer"] is None else tuple(row["answer"])
    row["minority_answers"] = tuple(row.get("minority_answers") or ())  # runs from before 2026-12 have no such column
    return Question(**row)


def _response_row(place: int, question: Question, stored: StoredResponse) -> TableRow:
    response, verdict, splice = stored.response, stored.verdict, stored.splice
    chosen_score, rejected_score = (splice.scores if splice else None) or (None, None)
    return {
        **{name: getattr(response, name) for name in Response.__slots__},
        "place": place,
        "source": question.source,
        "row": question.row,
        "stage": response.stage.value,
        "finish_reason": response.finish_reason.value if response.finish_reason else None,
        "outcome": verdict.outcome.value if verdict else None,
        "answer": verdict.answer if verdict else None,
        "rule": verdict.rule if verdict else None,
        "truth": verdict.reference if verdict else None,
        "off_format": verdict.off_format if verdict else None,
        "certainty": verdict.certainty.value if verdict and verdict.certainty else None,
        "judged_by": verdict.judged_by.value if verdict else None,
        "judge_version": stored.judge_version,
        "verifier_margin": verdict.verifier_margin if verdict else None,
        "draft_index": splice.draft_index if splice else None,
        "prefix_chars": splice.prefix_chars if splice else None,
        "prefix_tokens": splice.prefix_tokens if splice else None,
        "continued": splice.continued if splice else None,
        "chosen_score": chosen_score,
        "rejected_score": rejected_score,
        "view": splice.view if splice else None,
        "shown_sha256": (list(splice.shown_sha256) or None) if splice else None,
    }


def _response(row: TableRow) -> Response:
    return Response(
        row["question_id"],
        Stage(row["stage"]),
        row["index"],
        row["text"],
        tuple(row["token_ids"] or ()),
        row["n_tokens"],
        Finish(row["finish_reason"]) if row["finish_reason"] else None,
        row["seed"],
        row.get("round") or 0,
        row.get("gain"),
        row.get("thoughts"),
        row.get("model"),
    )


def _verdict(row: TableRow) -> Verdict | None:
    if row["outcome"] is None:
        return None
    certainty = row.get("certainty")
    return Verdict(
        Outcome(row["outcome"]),
        row["answer"],
        row["rule"],
        row["truth"],
        Certainty(certainty) if certainty else None,
        bool(row.get("off_format")),
        JudgedBy(row.get("judged_by") or JudgedBy.RULE),
        row.get("verifier_margin"),
    )


def _splice(row: TableRow) -> Splice | None:
    if row["prefix_chars"] is None:
        return None
    scores = None if row["chosen_score"] is None else (row["chosen_score"], row["rejected_score"])
    return Splice(
        row["draft_index"],
        row["prefix_chars"],
        row["prefix_tokens"],
        row["continued"],
        scores,
        row.get("view") or "blind",  # runs from before `view` existed have blind completions only
        tuple(row.get("shown_sha256") or ()),
    )
