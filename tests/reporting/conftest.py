"""A small finished run in memory or on a disk, made only with `mmpr.run`."""

from __future__ import annotations

import functools
import hashlib
import io
import random

import pytest
from PIL import Image, ImageDraw

from mmpr.dropout import pair_completions
from mmpr.pairing import PairOptions, pair_responses
from mmpr.prompts import ask
from mmpr.run import (
    ChunkAccount,
    DatasetOptions,
    DatasetRecipe,
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
from mmpr.types import Certainty, Finish, Outcome, Question, Reason, Response, Skip, Stage, Verdict

COLOURS = ["crimson", "royalblue", "seagreen", "goldenrod", "purple", "darkorange"]
SHAPES = ["circle", "square", "triangle"]
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'> [x](javascript:1) \u2028 <!--"
# Colours, a window's title, a cleared screen, CSI in one character, a bell, a line written over, an order turned round.
TERMINAL = (
    "\x1b[31mred\x1b]0;owned\x07\x1b[2J\x9b5n\rover\u202eright to left\u2066 [bold]no markup[/bold] `$(id)` | cell"
)
CHUNK = 20
REPORTS = ("README.md", "report.html", "report.json")


def image(seed: int) -> tuple[StoredImage, list[tuple[str, str]]]:
    """Coloured shapes on a grid, and what they are."""
    rng = random.Random(seed)
    canvas = Image.new("RGB", (448, 336), "#f4f1ea")
    draw, shown = ImageDraw.Draw(canvas), []
    for cell in rng.sample(range(12), rng.randint(3, 7)):
        x, y = 24 + 106 * (cell % 4), 24 + 100 * (cell // 4)
        colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
        box = (x, y, x + 80, y + 80)
        if shape == "circle":
            draw.ellipse(box, fill=colour)
        elif shape == "square":
            draw.rectangle(box, fill=colour)
        else:
            draw.polygon([(x, y + 80), (x + 40, y), (x + 80, y + 80)], fill=colour)
        shown.append((colour, shape))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    encoded = file.getvalue()
    digest = hashlib.sha256(encoded).hexdigest()
    return StoredImage(digest, digest, 448, 336, "PNG", len(encoded), encoded), shown


def counted(row: int, text: str | None = None) -> StoredQuestion:
    """A question with an answer, eight responses of which some are right, one without an answer."""
    shot, shown = image(row)
    rng = random.Random(row)
    reference = str(len(shown))
    question = Question(
        f"q{row}", "shapes", row, text or "How many shapes are there?", answer=(reference,), images=("p",)
    )
    responses = []
    for index in range(8):
        right = rng.random() < 0.6
        found = reference if right else str(len(shown) + rng.choice([-1, 1, 2]))
        listed = ", ".join(f"a {c} {s}" for c, s in rng.sample(shown, len(shown)))
        body = f"I look at the image row by row. I see {listed}. Counting them one after another gives {found}."
        body += f" {TERMINAL} {HOSTILE}" if row == 0 else ""
        body += f"\n\nFinal Answer: {found}" if index != 5 else " So there are quite a few of them."
        verdict = Verdict(Outcome.CORRECT, found, "number", reference)
        if not right:
            verdict = Verdict(Outcome.INCORRECT, found, "number", reference, Certainty.PROVEN)
        if index == 5:
            verdict = Verdict(Outcome.UNPARSED, None, "no final answer", reference)
        response = Response(question.id, Stage.SAMPLE, index, body, (), len(body) // 4, Finish.STOP)
        responses.append(StoredResponse(response, verdict))
    return StoredQuestion(question, (shot,), tuple(responses))


def described(row: int) -> StoredQuestion:
    """An open question: a draft and its blind completion."""
    shot, shown = image(row)
    found = [f"There is a {c} {s} in the image." for c, s in shown]
    text, blind = " ".join(found), "There is a grey dog beside it. The dog looks at a red ball."
    prefix = " ".join(found[: len(found) // 2]) + " "
    question = Question(f"d{row}", "open <b>scenes</b>", row, "Describe the image in detail.", images=("p",))
    draft = Response(question.id, Stage.DRAFT, 0, text, (1,) * 30, len(text) // 4, Finish.STOP)
    completion = Response(question.id, Stage.COMPLETION, 0, blind, (2,) * 20, len(blind) // 4, Finish.STOP)
    splice = Splice(0, len(prefix), len(prefix) // 4)
    return StoredQuestion(question, (shot,), (StoredResponse(draft), StoredResponse(completion, splice=splice)))


def broken(row: int) -> StoredQuestion:
    """A row that reading skipped; every second one has the id "same"."""
    question = Question("same" if row % 16 == 4 else f"b{row}", "shapes", row, "What is this?", images=("gone.png",))
    return StoredQuestion(question, skip=Skip(question.id, Stage.READ, Reason.IMAGE_MISSING, "gone.png: no such file"))


def committed_rows(n: int) -> list[StoredQuestion]:
    """Two in three with an answer, one in five open, the rest broken; the very first is hostile."""
    makers = [counted, described, counted, counted, broken, counted, described, counted]
    rows = [makers[row % len(makers)](row) for row in range(1, n)]
    return [counted(0, f"How many?\n{HOSTILE}\n{TERMINAL}"), *rows]


def pair(committed: StoredQuestion, rule: PairOptions):
    if committed.skip:
        return committed.skip
    if committed.question.answer is None:
        completions = [(completion, None) for completion in committed.of_stage(Stage.COMPLETION)]
        return pair_completions(committed.of_stage(Stage.DRAFT)[0], completions)
    return pair_responses(committed.question, committed.judged, rule)


def messages(committed: StoredQuestion):
    return ask(committed.question)


RECIPE = DatasetRecipe(
    functools.partial(pair, rule=PairOptions()), messages, RunColumns("pocket", None, "final", 1.0, 0.5)
)


def make_run(url: str, n: int = 60, model: str = "pocket", rows=None, selection=None):
    """A run folder whose dataset is cut: (folder, totals, files)."""
    folder = RunFolder(url)
    identity = {"source": "/secret/place/vqa.jsonl", "image_root": "/secret/place", "model": model, "revision": None}
    identity |= {"prompt_version": "final", "n": 8, "temperature": 1.0, "top_k": 50, "keep_fraction": 0.5}
    folder.create_run(
        RunRecord(
            format=1,
            source="/secret/place/vqa.jsonl",
            layout=RunLayout(chunk_questions=CHUNK),
            identity=identity,
            selection={"pairs_per_question": 4, "max_uses": 2, **(selection or {})},
            versions={"mmpr": "0.1.0", "vllm": "0.32.0"},
        )
    )
    folder.add_start({"at": "2026-11-22T22:00:00Z", "host": "node-1", "engines": 2})
    rows = committed_rows(n) if rows is None else rows
    for chunk, first in enumerate(range(0, len(rows), CHUNK)):
        part = rows[first : first + CHUNK]
        folder.commit_chunk(chunk, new_attempt(), part, account(part))
    totals, files = cut_dataset(folder, RECIPE, options=DatasetOptions(shard_bytes=2_000_000))
    return folder, totals, files


def account(rows: list[StoredQuestion]) -> ChunkAccount:
    skips: dict[str, int] = {}
    for row in rows:
        if isinstance(found := RECIPE.pair(row), Skip):
            skips[found.reason.value] = skips.get(found.reason.value, 0) + 1
    generated = sum(r.response.n_tokens for row in rows for r in row.responses)
    counts = {"paired": len(rows) - sum(skips.values())}
    return ChunkAccount({}, "0" * 64, counts, skips, {"generated": generated}, 1.5, "node-1", "pocket bfloat16")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run on a disk with its reports written; (folder, totals, files, report)."""
    from mmpr.reporting.report_files import write_reports

    folder, totals, files = make_run(str(tmp_path_factory.mktemp("run") / "out"))
    usage = {"busy_s": 90.0, "preparing_s": 6.0, "alive_s": 100.0, "generated_tokens": 5000.0, "wall_s": 50.0}
    report = write_reports(folder, totals, files, usage=usage)
    write_manifest(folder, files, REPORTS)
    return folder, totals, files, report
