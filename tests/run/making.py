"""Small runs to test with: real images, both kinds of question, a skip, and two filesystems that misbehave."""

from __future__ import annotations

import errno
import hashlib
import io
import random
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from mmpr.pairing import PairOptions, pair_responses
from mmpr.prompts import ask
from mmpr.run import (
    ChunkAccount,
    DatasetRecipe,
    FileRecord,
    RunColumns,
    RunFolder,
    RunLayout,
    RunRecord,
    Splice,
    StoredImage,
    StoredQuestion,
    StoredResponse,
    cut_dataset,
    new_attempt,
    write_manifest,
)
from mmpr.types import (
    Certainty,
    Finish,
    Message,
    Outcome,
    Pair,
    PairKind,
    Question,
    Reason,
    Response,
    Skip,
    Stage,
    Verdict,
)

DRAFT = "The image shows a red circle above two green squares."


def image(seed: int, side: int = 24) -> StoredImage:
    """Noise, which no compression makes smaller."""
    pixels = random.Random(seed).randbytes(3 * side * side)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(file, "PNG")
    encoded = file.getvalue()
    sha256 = hashlib.sha256(encoded).hexdigest()
    return StoredImage(sha256, sha256, side, side, "PNG", len(encoded), encoded)


def sampled(row: int, shown: Sequence[StoredImage] = (), *, right: int = 2, wrong: int = 2) -> StoredQuestion:
    """A question with a reference answer and these numbers of right and wrong responses."""
    name = f"q{row}"
    question = Question(name, "vqa", row, f"How many are there in {row}?", images=_references(shown), answer=("3",))
    verdicts = [Verdict(Outcome.CORRECT, "3", "integer", "3")] * right
    verdicts += [Verdict(Outcome.INCORRECT, str(10 + i), "integer", "3", Certainty.PROVEN) for i in range(wrong)]
    responses = (
        StoredResponse(Response(name, Stage.SAMPLE, i, f"I count {i}. Final Answer: {v.answer}", (), 6, Finish.STOP), v)
        for i, v in enumerate(verdicts)
    )
    return StoredQuestion(question, tuple(shown), tuple(responses))


def drafted(row: int, shown: Sequence[StoredImage]) -> StoredQuestion:
    """An open question with its draft and a blind completion."""
    name = f"q{row}"
    question = Question(name, "vqa", row, "Describe the image.", images=_references(shown))
    draft = Response(name, Stage.DRAFT, 0, DRAFT, tuple(range(11)), 11, Finish.STOP)
    completion = Response(name, Stage.COMPLETION, 0, " blue cat on a sofa.", (7, 8, 9, 10), 4, Finish.STOP)
    splice = Splice(0, DRAFT.index(" red"), 4, "exact", (-0.5, -1.25))
    return StoredQuestion(question, tuple(shown), (StoredResponse(draft), StoredResponse(completion, None, splice)))


def skipped(row: int) -> StoredQuestion:
    """A row that could not be read."""
    name = f"vqa:{row}"
    skip = Skip(name, Stage.READ, Reason.BAD_ROW, "line 7 is not JSON")
    return StoredQuestion(Question(name, "vqa", row, ""), skip=skip)


def mixed(n_rows: int) -> list[StoredQuestion]:
    """Every kind in turn: sampled with an image, drafted, skipped, without an image, all right."""
    shown = [image(seed) for seed in range(3)]
    makers = (
        lambda row: sampled(row, [shown[row % 3]]),
        lambda row: drafted(row, [shown[row % 3], shown[(row + 1) % 3]]),
        skipped,
        sampled,
        lambda row: sampled(row, [shown[0]], wrong=0),
    )
    return [makers[row % len(makers)](row) for row in range(n_rows)]


def make_pairs(committed: StoredQuestion, *, pairs: int) -> list[Pair] | Skip:
    """The rule of these tests, close to the build's own."""
    if committed.skip is not None:
        return committed.skip
    if committed.question.answer is None:
        return [Pair(committed.question.id, (Stage.DRAFT, 0), (Stage.COMPLETION, 0), PairKind.DROPOUT_NTP, 0)]
    return pair_responses(committed.question, committed.judged, PairOptions(pairs_per_question=pairs, max_uses=None))


def messages(committed: StoredQuestion) -> tuple[Message, ...]:
    return ask(committed.question)


def recipe(*, pairs: int = 4) -> DatasetRecipe:
    return DatasetRecipe(partial(make_pairs, pairs=pairs), messages, RunColumns("pocket", "r1", "final", 1.0, 0.5))


def new_run(url: str) -> RunFolder:
    folder = RunFolder(url)
    folder.create_run(
        RunRecord(
            format=1,
            source="vqa.jsonl",
            layout=RunLayout(chunk_questions=4),
            identity={"model": "pocket", "sampling": {"n": 4}},
            selection={"pairs_per_question": 4},
            versions={"mmpr": "0.1.0"},
        )
    )
    return folder


def account(rows: Sequence[StoredQuestion], **changed: Any) -> ChunkAccount:
    outcomes = [make_pairs(row, pairs=4) for row in rows]
    skips = [outcome.reason.value for outcome in outcomes if isinstance(outcome, Skip)]
    fields = {
        "lease": {"first": 0, "stop": len(rows)},
        "rows_sha256": "0" * 64,
        "counts": {"paired": len(rows) - len(skips)},
        "skips_by_reason": {reason: skips.count(reason) for reason in skips},
        "tokens": {"prompt": 10, "generated": 20},
        "seconds": 1.5,
        "host": "node1",
        "engine": "scripted",
    }
    return ChunkAccount(**{**fields, **changed})


def commit_all(folder: RunFolder, rows: Sequence[StoredQuestion], *, size: int = 4, backwards: bool = False) -> None:
    """Commit the rows as chunks of a size, in one order or the other."""
    chunks = list(range(0, len(rows), size))
    for first in reversed(chunks) if backwards else chunks:
        part = rows[first : first + size]
        folder.commit_chunk(first // size, new_attempt(), part, account(part))


def finished_run(url: str, rows: Sequence[StoredQuestion], **how: Any) -> RunFolder:
    """A whole run with data/ and manifest."""
    folder = new_run(url)
    commit_all(folder, rows, **how)
    finish(folder)
    return folder


def finish(folder: RunFolder, **how: Any) -> list[FileRecord]:
    _, files = cut_dataset(folder, recipe(), **how)
    write_manifest(folder, files)
    return files


def data_bytes(folder: RunFolder) -> dict[str, bytes]:
    return {name: folder.store.read_bytes(name) for name in folder.store.names("data")}


def _references(shown: Sequence[StoredImage]) -> tuple[str, ...]:
    return tuple(f"images/{image.sha256[:8]}.png" for image in shown)


class StrictObjects(MemoryFileSystem):
    """An object store: a rename fails."""

    protocol = "objects"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix(f"{cls.protocol}://").strip("/") if path.strip("/") else ""

    def mv(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("no store needs a rename")

    rename = move = mv_file = mv


class DyingObjects(StrictObjects):
    """A machine that dies at a chosen write: that one and all that follows fail, clearing up included."""

    protocol = "dying"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    writes_left: ClassVar[int | None] = None

    def _write(self) -> None:
        if DyingObjects.writes_left is not None:
            DyingObjects.writes_left -= 1
            if DyingObjects.writes_left < 0:
                raise OSError(errno.EIO, "the machine is gone")

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode != "rb":
            self._write()
        return super().open(path, mode, **kwargs)

    def rm_file(self, path: str) -> None:
        self._write()
        super().rm_file(path)


class VagueObjects(StrictObjects):
    """A store whose PUT arrives and whose reply is lost, so that the retry meets its own first try."""

    protocol = "vague"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        super().pipe_file(path, value, mode=mode, **kwargs)
        raise OSError(errno.EINVAL, "PreconditionFailed")


for filesystem in (StrictObjects, DyingObjects, VagueObjects):
    fsspec.register_implementation(filesystem.protocol, filesystem, clobber=True)
