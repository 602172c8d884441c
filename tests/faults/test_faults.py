"""A short run of the fault harness; `benchmarks/bench_faults.py` is the long one."""

import json

import pytest

from mmpr.verification import verify
from tests.faults.harness import Fault, FaultyBuild, dataset, questions, strays

N = 72
SETTINGS = ("n=4", "max_tokens=256", "chunk_questions=8", "chunks_in_flight=1", "engines=2")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    from PIL import Image

    lines = []
    for i in range(N):
        Image.new("RGB", (20, 20), (i, 80, 160)).save(folder / f"{i}.png")
        row = {"id": f"q{i}", "image": f"{i}.png", "question": "How many?" if i % 3 else "Describe the image."}
        lines.append(json.dumps({**row, "answer": 2} if i % 3 else row))
    (folder / "vqa.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "vqa.jsonl"


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    FaultyBuild(source, out, out.parent / "plans", settings=SETTINGS).run([])
    assert strays(out) == set()
    return out


def assert_whole(out, undisturbed):
    assert verify(str(out)) == []
    assert dataset(out) == dataset(undisturbed)
    assert strays(out) == set()
    assert sorted(questions(out).values()) == [1] * N
    report = json.loads((out / "report.json").read_text())
    assert report["questions"] == N == report["paired"] + report["skipped"]


def test_workers_and_engines_that_are_killed_lose_and_double_nothing(source, undisturbed, tmp_path):
    faults = [
        Fault("open", "/questions/", 1, "kill"),
        Fault("open", "/responses/", 2, "kill"),
        Fault("os.link", "/chunks/", 3, "kill"),
        Fault("os.remove", "/chunks/", 4, "kill"),
        Fault("engine", "q", 20, "kill"),
        Fault("engine", "q", 40, "dead"),
    ]
    ledger = FaultyBuild(source, tmp_path / "run", tmp_path / "plans", settings=SETTINGS).run([faults])
    assert (ledger.fired, ledger.exits) == (len(faults), (0,))
    assert_whole(tmp_path / "run", undisturbed)


def test_a_run_that_is_ended_in_every_way_goes_on_each_time(source, undisturbed, tmp_path):
    ends = {
        Fault("os.rename", "/responses/", 1, "kill-driver"): (-9, ""),
        Fault("os.link", "/chunks/", 1, "SIGINT"): (130, "mmpr: interrupted; run the same command again"),
        Fault("os.link", "/chunks/", 1, "SIGTERM"): (75, "mmpr: stopped (SIGTERM); run the same command again"),
        Fault("os.rename", "/data/", 1, "kill-driver"): (-9, ""),
        Fault("os.rename", "/manifest.json", 1, "SIGTERM"): (75, "mmpr: stopped (SIGTERM)"),
    }
    build = FaultyBuild(source, tmp_path / "run", tmp_path / "plans", settings=SETTINGS)
    ledger = build.run([[fault] for fault in ends])
    assert ledger.fired == len(ends), ledger
    assert ledger.exits == (*(code for code, _ in ends.values()), 0), ledger
    for words, (_, expected) in zip(ledger.words, ends.values(), strict=False):
        assert words.startswith(expected)
    assert_whole(tmp_path / "run", undisturbed)


def test_a_disk_that_is_full_for_a_moment_costs_nothing_and_one_that_stays_full_ends_in_a_line(
    source, undisturbed, tmp_path
):
    moment = [Fault("open", ".parquet.", 1, "full") for _ in range(3)]  # the temporary files of three tries
    ever = [Fault("open", ".parquet.", 0, "full")]
    build = FaultyBuild(source, tmp_path / "run", tmp_path / "plans", settings=SETTINGS)
    assert build.start(ever) == 1
    assert build.ledger.words[-1].startswith("mmpr: cannot write")
    assert ".parquet" in build.ledger.words[-1] and "No space left" in build.ledger.words[-1]
    assert build.start(moment) == 0
    assert_whole(tmp_path / "run", undisturbed)
