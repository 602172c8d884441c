"""Measure the memory that the end of a build needs: runs of growing size, each finalised by its own process.

    python -m benchmarks.bench_finalise
    python -m benchmarks.bench_finalise --pairs 10000 100000 --json finalise.json

The committed chunks are made with `RunFolder.commit_chunk`: each question has a small image, ten responses of a hundred
words, and eight pairs. Finalising is the work at the end of a build: a census, the shards as Ray tasks, report, card,
page and manifest. Peaks are the kernel's (VmHWM) for the driver and for the largest of Ray's workers; they include
shared memory.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from mmpr import pool
from mmpr.builder.finish import finish
from mmpr.builder.run_recipes import judge_options
from mmpr.judging import judge_key
from mmpr.run import (
    ChunkAccount,
    RunFolder,
    RunLayout,
    RunRecord,
    StoredImage,
    StoredQuestion,
    StoredResponse,
    new_attempt,
)
from mmpr.settings.config import BuildConfig, Mark, load, part
from mmpr.types import Certainty, Finish, Outcome, Question, Response, Stage, Verdict

PAIRS_A_QUESTION, RESPONSES, QUESTIONS_A_CHUNK = 8, 10, 128
_WORDS = "the image shows a small red round shape left of two green ones so we count again and there are"
_RESPONSE_WORDS = 100


@dataclass(frozen=True)
class Figures:
    """One line of the table; memory in MiB, disk in MB."""

    pairs: int
    questions: int
    chunks: int
    shards: int
    disk_mb: float
    driver_mib: float
    worker_mib: float
    seconds: float


def _config() -> BuildConfig:
    return load(None, ["source=synthetic.jsonl", f"pairs_per_question={PAIRS_A_QUESTION}"], pocket=True)


def make_run(url: str, questions: int) -> None:
    """Make a run in which all chunks are committed."""
    config = _config()
    folder = RunFolder(url)
    folder.create_run(
        RunRecord(
            format=1,
            source=config.source.path,
            layout=RunLayout(QUESTIONS_A_CHUNK),
            identity=part(config, Mark.IDENTITY),
            selection=part(config, Mark.SELECTION),
            versions={},
        )
    )
    with pool.connected(None):
        chunks = range(-(-questions // QUESTIONS_A_CHUNK))
        for _ in pool.map_tasks(functools.partial(_commit, url, questions, judge_key(judge_options(config))), chunks):
            pass


def _commit(url: str, questions: int, judge: str, chunk: int) -> None:
    first = chunk * QUESTIONS_A_CHUNK
    rows = [_asked(row) for row in range(first, min(questions, first + QUESTIONS_A_CHUNK))]
    tokens = {"prompt": 0, "generated": sum(r.response.tokens for row in rows for r in row.responses)}
    counts = {"paired": len(rows), "correctness": PAIRS_A_QUESTION * len(rows)}
    account = ChunkAccount({"chunk": chunk}, "0" * 64, counts, {}, tokens, 1.0, "here", "none", judge)
    RunFolder(url).commit_chunk(chunk, new_attempt(), rows, account)


def _asked(row: int) -> StoredQuestion:
    """Return a question with an image of noise; half of its responses are right."""
    from PIL import Image

    rng = random.Random(row)
    file = io.BytesIO()
    Image.frombytes("RGB", (40, 30), rng.randbytes(3600)).save(file, "JPEG")
    encoded = file.getvalue()
    sha256 = hashlib.sha256(encoded).hexdigest()
    shown = StoredImage(sha256, sha256, 40, 30, "JPEG", len(encoded), encoded)
    asked = Question(f"q{row}", "synthetic", row, "How many shapes are there?", images=(f"{row}.jpg",), answer=("3",))
    responses = []
    for index in range(RESPONSES):
        right = index % 2 == 0
        said = "3" if right else str(4 + index)
        text = f"{' '.join(rng.choices(_WORDS.split(), k=_RESPONSE_WORDS))}\n\nFinal Answer: {said}"
        verdict = Verdict(Outcome.CORRECT, said, "exact", "3")
        if not right:
            verdict = Verdict(Outcome.INCORRECT, said, "number", "3", Certainty.PROVEN)
        response = Response(asked.id, Stage.SAMPLE, index, text, (), _RESPONSE_WORDS + 5, Finish.STOP)
        responses.append(StoredResponse(response, verdict))
    return StoredQuestion(asked, (shown,), tuple(responses))


def finalise(url: str) -> Figures:
    """Finish a run, and measure this process and Ray's workers."""
    folder = RunFolder(url)
    with pool.connected(None), _Watch() as watch:
        began = time.monotonic()
        report = finish(folder, _config())
        seconds = time.monotonic() - began
    return Figures(
        pairs=report.pairs,
        questions=report.questions,
        chunks=len(folder.committed_chunks()),
        shards=report.files.shards,
        disk_mb=round(report.files.bytes / 1e6, 1),
        driver_mib=round(peak_bytes(psutil.Process()) / 2**20, 1),
        worker_mib=round(watch.worker_bytes / 2**20, 1),
        seconds=round(seconds, 1),
    )


class _Watch:
    """The largest memory peak of Ray's worker processes below this one, read five times per second."""

    def __init__(self) -> None:
        self.worker_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error, OSError):
                    if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::"):
                        self.worker_bytes = max(self.worker_bytes, peak_bytes(process))


def peak_bytes(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (kib,) = (int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return kib * 1024


def measure(pairs: int, folder: Path) -> Figures:
    """Measure one size: one process makes the run and another finalises it, so that its peak is of finalising only."""
    url = str(folder / f"run-{pairs}")
    make_run(url, -(-pairs // PAIRS_A_QUESTION))
    command = [sys.executable, "-m", "benchmarks.bench_finalise", "--finalise", url]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def show(line: Figures) -> str:
    return (
        f"{line.pairs:>10,}{line.questions:>11,}{line.chunks:>8,}{line.shards:>8,}{line.disk_mb:>10,.1f}"
        f"{line.driver_mib:>13,.0f}{line.worker_mib:>13,.0f}{line.seconds:>10,.1f}"
    )


def main() -> None:
    """Print one line per size as soon as it is measured, and write all lines as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes of the runs")
    parser.add_argument("--json", type=Path, default=None, help="where to write the figures")
    parser.add_argument("--folder", type=Path, default=None, help="where the runs are made and kept; 2 GB a million")
    parser.add_argument("--finalise", default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.finalise:
        print(json.dumps(asdict(finalise(given.finalise))))
        return
    print(f"{'pairs':>10}{'questions':>11}{'chunks':>8}{'shards':>8}{'data MB':>10}", end="")
    print(f"{'driver MiB':>13}{'worker MiB':>13}{'seconds':>10}")
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        for pairs in given.pairs:
            lines.append(measure(pairs, given.folder or Path(temporary)))
            print(show(lines[-1]), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n")


if __name__ == "__main__":
    main()
