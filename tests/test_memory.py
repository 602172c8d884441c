"""A worker's memory with many large images is bounded, whatever their sizes and the form of the rows."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time

import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.bench_memory import quick_engine
from mmpr.builder.build_flow import build
from mmpr.images import Loader, Spool, SpoolGone, decode_budget, stored_reference
from mmpr.images.decode_budget import HOLDER, ByteBudget
from mmpr.images.spool import LEAST_BYTES
from mmpr.settings.config import load as load_settings
from mmpr.types import Question
from mmpr.verification import verify

N, SIZE = 96, 6_000_000  # 576 MB as files, 768 MB as base64, and 1.5 GB of pixels

WORK = """
import asyncio, sys
from pathlib import Path
from benchmarks.bench_memory import work_on
asyncio.run(work_on(Path(sys.argv[1])))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def write(folder, how):
    """Rows whose images are large files, or have the same bytes inline."""
    rows = []
    for i in range(N):
        packed = io.BytesIO()
        Image.new("RGB", (2000, 2000), (i, 80, 160)).save(packed, "JPEG")
        content = packed.getvalue().ljust(SIZE - 2, b"\0") + i.to_bytes(
            2, "big"
        )  # what stands behind a JPEG's end, no reader looks at
        image = f"{i}.jpg"
        if how == "inline":
            image = "data:image/jpeg;base64," + base64.b64encode(content).decode()
        else:
            (folder / image).write_bytes(content)
        rows.append({"question": "How many?", "answer": "2", "image": image})
    (folder / "vqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "vqa.jsonl"


def peak_mib(*words):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1]) // 1024


@pytest.mark.slow
@pytest.mark.parametrize("how", ["files", "inline"])
def test_chunks_of_large_images_take_less_than_a_gibibyte_and_are_all_stored(tmp_path, how):
    source = write(tmp_path, how)
    assert peak_mib("-c", WORK, source) < 1024 + 100  # a worker with nothing to do takes as much
    (stored,) = (tmp_path / "vqa.jsonl-run" / "questions").iterdir()
    images = [image for row in pq.read_table(stored)["pictures"].to_pylist() for image in row]
    assert len({image["sha256"] for image in images}) == N
    assert {len(image["encoded"]) for image in images} == {SIZE}


def test_inline_images_are_kept_outside_of_memory_and_are_the_same_images(tmp_path):
    noise = Image.frombytes("RGB", (200, 200), os.urandom(120_000))
    packed = io.BytesIO()
    noise.save(packed, "PNG")
    long = "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()
    question = Question("a", "s", 1, "How many?", images=(long, "b.png", long))
    load, spool = Loader(tmp_path), Spool()
    kept = spool.without_bytes(question)
    assert kept.images[0] == kept.images[2] != long and len(kept.images[0]) < 200 and kept.images[1] == "b.png"
    assert load(kept.images[:1]) == load([long])
    assert stored_reference(kept.images[0]).startswith("sha256:") and stored_reference("b.png") == "b.png"
    spool.close()
    with pytest.raises(SpoolGone):
        load(kept.images[:1])


def test_no_row_can_name_what_another_process_keeps(tmp_path):
    from mmpr.sources import index, open_source, ranges, read_range

    row = {"question": "How many?", "answer": "2", "image": f"spooled:{'0' * 64}:1:2:0:9"}
    (tmp_path / "vqa.jsonl").write_text(json.dumps(row) + "\n")
    source = open_source(tmp_path / "vqa.jsonl")
    (question,) = read_range(source, next(ranges(index(source))))
    assert not question.images[0].startswith("spooled:")


def test_kept_bytes_are_read_by_other_processes_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool, content = Spool(), os.urandom(LEAST_BYTES)
    at = spool.put(content, "a")
    assert spool.put(content, "a") == at and spool.put(b"few", "b") is None
    assert list(tmp_path.iterdir()) == []
    code = f"import sys\nfrom mmpr.images import SpooledBytes\nsys.stdout.buffer.write({at!r}.read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == content
    spool.close()


def test_many_questions_that_hold_one_image_each_do_not_wait_for_each_others_second(monkeypatch):
    """The first goes on, and gives back; the patience of a minute is not needed."""
    budget = ByteBudget(100)
    monkeypatch.setattr(decode_budget, "DECODING", budget)
    monkeypatch.setattr(decode_budget, "KEPT_BYTES", 1)
    all_hold, done, holding = threading.Event(), [], []

    class Pixels:
        pass

    def question():
        HOLDER.set(object())
        first, second = Pixels(), Pixels()
        with budget.held(50) as charge:
            charge.keep(first, 50)
        holding.append(1)
        if len(holding) == 2:
            all_hold.set()
        all_hold.wait(30)
        with budget.held(50) as charge:
            charge.keep(second, 50)
        done.append(1)

    threads = [threading.Thread(target=question) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(done) == 2


def test_who_waits_for_images_at_work_waits_longer_than_for_a_fault_and_one_after_another(monkeypatch):
    """A decode that takes longer than the patience is no deadlock; pixels that are never freed let one more in."""
    budget = ByteBudget(100)
    monkeypatch.setattr(decode_budget, "KEPT_BYTES", 1)
    monkeypatch.setattr(decode_budget, "_PATIENCE_S", 0.3)
    admitted, end = [], threading.Event()

    class Pixels:
        pass

    forgotten = Pixels()

    def waiter():
        with budget.held(80):
            admitted.append(len(admitted))
            end.wait(30)

    threads = [threading.Thread(target=waiter) for _ in range(4)]
    with budget.held(80) as charge:
        for thread in threads:
            thread.start()
        time.sleep(1.5)  # five times the patience
        assert admitted == []
        charge.keep(forgotten, 80)
    while not admitted:
        time.sleep(0.01)
    time.sleep(1.5)
    assert admitted == [0]  # it is at work, so the others wait for it
    end.set()
    for thread in threads:
        thread.join(30)
    assert admitted == [0, 1, 2, 3]


def test_a_build_stores_images_that_its_engines_kept_outside_of_memory(cluster, tmp_path):
    rows, hashes = [], set()
    for i in range(8):
        Image.frombytes("RGB", (200, 200), os.urandom(120_000)).save(tmp_path / f"{i}.png")
        content = (tmp_path / f"{i}.png").read_bytes()
        hashes.add(hashlib.sha256(content).hexdigest())
        image = f"{i}.png" if i % 2 else "data:image/png;base64," + base64.b64encode(content).decode()
        rows.append({"question": "How many?", "answer": "2", "image": image})
    (tmp_path / "vqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load_settings(
        None, [f"source={tmp_path / 'vqa.jsonl'}", "n=2", "adaptive=false", "engines=1"], pocket=True
    )
    assert build(config, str(tmp_path / "run"), quick_engine).report.paired == 8
    assert verify(str(tmp_path / "run")) == []
    (stored,) = (tmp_path / "run" / "questions").iterdir()
    images = [image for row in pq.read_table(stored)["pictures"].to_pylist() for image in row]
    assert {image["sha256"] for image in images} == hashes
