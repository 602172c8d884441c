"""Scheduled builds: budgets, the same command again, several sources in one job, logs for programs."""

import functools
import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import ray
from conftest import script, scripted_engine
from ray import cloudpickle

from mmpr.builder.budget import Budget, moment
from mmpr.builder.build_flow import build
from mmpr.builder.jobs import read_job, run_job
from mmpr.engines.scripted import ScriptedEngine
from mmpr.errors import ConfigError, RunStopped
from mmpr.pool import Beat
from mmpr.run import RunFolder
from mmpr.settings.config import BuildConfig, load
from mmpr.status import read_status

pytestmark = pytest.mark.usefixtures("cluster")  # all builds of this file join one Ray

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module
NOW = datetime(2027, 1, 15, 22, 30, tzinfo=UTC)


SETTINGS = {"model": "pocket", "n": 4, "max_tokens": 256, "chunk_questions": 8, "chunks_in_flight": 1}


def run(source, out, *, make_engine=scripted_engine, **settings):
    return build(BuildConfig(source=str(source), **{**SETTINGS, **settings}), str(out), make_engine)


# -- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("06:00", datetime(2027, 1, 16, 6, tzinfo=UTC)),
        ("23:00", datetime(2027, 1, 15, 23, tzinfo=UTC)),
        ("+8h", NOW + timedelta(hours=8)),
        ("+1h30m", NOW + timedelta(minutes=90)),
        ("+45m", NOW + timedelta(minutes=45)),
        ("2027-01-31T06:00", datetime(2027, 1, 31, 6, tzinfo=UTC)),
        ("2027-01-31 06:00:00+02:00", datetime(2027, 1, 31, 4, tzinfo=UTC)),
    ],
)
def test_a_deadline_is_a_clock_time_a_length_or_a_moment(text, expected):
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["tomorrow", "+", "+h", "25:00", "6", "+8"])
def test_what_is_no_deadline_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match=r"deadline: .* is not a time; give 06:00, \+8h"):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("yaml", "kept"),
    [
        ("12:30", "12:30"),
        ("06:00", "06:00"),
        ("2027-01-31 06:00:00", "2027-01-31T06:00:00"),
        ("2027-01-31", "2027-01-31"),
    ],
)
def test_a_deadline_in_a_yaml_file_stays_what_was_written(tmp_path, yaml, kept):
    (tmp_path / "c.yaml").write_text(f"deadline: {yaml}\n")
    assert load(tmp_path / "c.yaml", [], pocket=True).cluster.deadline == kept


def test_gpu_hours_add_up_over_all_pools_of_a_command():
    budget = Budget(max_gpu_hours=1.0)
    for _ in range(3):
        budget.see(Beat((), 0, held_s=1000.0))
    assert budget.spent() is None
    budget.see(Beat((), 0, held_s=600.0))
    assert budget.spent() == "max_gpu_hours 1 are used"


def test_a_deadline_that_has_passed_stops_before_an_engine_is_paid_for(write_source, tmp_path):
    with pytest.raises(RunStopped, match="deadline 2020-01-01 has passed"):
        run(write_source(9), tmp_path / "run", deadline="2020-01-01", make_engine=None)
    status = read_status(str(tmp_path / "run"))
    assert status.state == "stopped" and status.ended["words"] == "deadline 2020-01-01 has passed"
    assert run(write_source(9), tmp_path / "run", deadline="+8h").report.questions == 9


async def slow_engine():
    return ScriptedEngine(script, seconds_per_token=0.01)


def test_used_up_gpu_hours_stop_gently_and_the_same_command_goes_on(write_source, tmp_path):
    source, out = write_source(40), tmp_path / "run"
    outcome = run(source, out, make_engine=slow_engine, max_gpu_hours=1e-6)
    assert outcome.stopped == "max_gpu_hours 1e-06 are used" and outcome.report is None
    committed = RunFolder(str(out)).committed()
    assert len(committed) < 5
    report = run(source, out).report
    after = RunFolder(str(out)).committed()
    assert report.questions == 40 and {chunk: after[chunk] for chunk in committed} == committed


# -- the same command again -------------------------------------------------------------------------------------------


def counted(folder):
    """Starts an engine and leaves a mark."""

    async def make():
        (Path(folder) / secrets.token_hex(4)).touch()
        return ScriptedEngine(script)

    return make


def test_a_complete_run_is_left_alone_and_no_engine_starts(write_source, tmp_path):
    source, out, marks = write_source(20), tmp_path / "run", tmp_path / "marks"
    marks.mkdir()
    first = run(source, out, make_engine=counted(marks))
    before = {path: path.stat().st_mtime_ns for path in (out / "data").iterdir()}
    again = run(source, out, make_engine=counted(marks))
    assert again.idle and not first.idle and again.report.pairs == first.report.pairs
    assert {path: path.stat().st_mtime_ns for path in (out / "data").iterdir()} == before
    assert len(list(marks.iterdir())) == 1
    assert read_status(str(out)).ended["words"] == "nothing was left to do"


def test_a_changed_setting_of_selection_a_lost_file_or_a_damaged_manifest_is_work(write_source, tmp_path):
    source, out = write_source(20), tmp_path / "run"
    run(source, out)
    assert not run(source, out, pairs_per_question=1).idle
    assert run(source, out, pairs_per_question=1).idle
    (out / "data" / "train-00000-of-00001.parquet").unlink()
    assert not run(source, out, pairs_per_question=1).idle
    (out / "manifest.json").write_text("{")
    assert not run(source, out, pairs_per_question=1).idle


def test_appended_rows_are_new_chunks_and_only_they_are_asked(write_source, tmp_path):
    source, out = write_source(20), tmp_path / "run"
    run(source, out)
    before = RunFolder(str(out)).committed()
    grown = source.read_text()
    source.write_text(grown + write_source(5, first=20, name="more.jsonl").read_text())
    report = run(source, out).report
    after = RunFolder(str(out)).committed()
    assert report.questions == 25 and len(after) == len(before) + 1
    assert {chunk: after[chunk] for chunk in before} == before


# -- jobs -------------------------------------------------------------------------------------------------------------


def write_job(tmp_path, sources, **more):
    job = {"root": "out", "settings": SETTINGS, "sources": sources, **more}
    (tmp_path / "jobs.yaml").write_text(json.dumps(job))  # JSON is YAML
    return tmp_path / "jobs.yaml"


def test_the_sources_of_a_job_share_their_engines_and_have_folders_of_their_own(write_source, tmp_path):
    write_source(20, name="a.jsonl"), write_source(12, name="b.jsonl"), write_source(9, name="c.jsonl")
    marks = tmp_path / "marks"
    marks.mkdir()
    sources = {"a": {"source": "a.jsonl"}, "b": {"source": "b.jsonl"}, "c": {"source": "c.jsonl", "n": 8}}
    job = write_job(tmp_path, sources)
    make = functools.partial(_make, marks)
    ended = list(run_job(read_job(job, []), maker=lambda _: make))
    assert [one.outcome.report.questions for one in ended] == [20, 12, 9]
    assert len(list(marks.iterdir())) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b", "c"]
    again = list(run_job(read_job(job, []), maker=lambda _: make))
    assert all(one.outcome.idle for one in again) and len(list(marks.iterdir())) == 1


async def _make(marks):
    return await counted(marks)()


def test_a_source_that_cannot_be_read_ends_no_other(write_source, tmp_path):
    write_source(9, name="a.jsonl")
    job = write_job(tmp_path, {"gone": {"source": "gone.jsonl"}, "a": {"source": "a.jsonl"}})
    gone, done = run_job(read_job(job, []), maker=lambda _: scripted_engine)
    assert "gone.jsonl" in str(gone.error) and done.outcome.report.questions == 9


def test_a_budget_is_of_the_whole_job_and_what_was_not_begun_waits(write_source, tmp_path):
    write_source(40, name="a.jsonl"), write_source(9, name="b.jsonl")
    job = write_job(tmp_path, {"a": {"source": "a.jsonl"}, "b": {"source": "b.jsonl"}})
    ended = []
    with pytest.raises(RunStopped, match="max_gpu_hours"):
        for one in run_job(read_job(job, ["max_gpu_hours=1e-6"]), maker=lambda _: slow_engine):
            ended.append(one)
    assert [one.part.name for one in ended] == ["a"] and not (tmp_path / "out" / "b").exists()


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("root: out\nsources: {}\n", "sources: Dictionary should have at least 1 item"),
        ("sources: {a: {source: a.jsonl}}\n", "root: Field required"),
        ("root: out\nsources: {../a: {source: a.jsonl}}\n", "cannot name a folder"),
        ("root: out\nsources: {a: {}}\n", "sources: a: source is missing"),
        ("root: out\nsources: {a: {source: x, temprature: 1}}\n", "did you mean 'temperature'"),
        ("root: out\nsources: {a: {source: x, deadline: '06:00'}}\n", "deadline belongs to the whole job"),
        ("root: out\nsource: {}\n", "sources: Field required"),
        ("- a\n", "expected `root:` and `sources:`"),
        ("root: [\n", "not readable as YAML"),
        ("root: out\nsources: {a: {source: 'https://me:pass@host/x.jsonl'}}\n", "source holds a secret"),
    ],
)
def test_a_wrong_job_file_is_one_line_that_names_it_and_shows_no_secret(tmp_path, job, words):
    (tmp_path / "jobs.yaml").write_text(job)
    with pytest.raises(ConfigError) as error:
        read_job(tmp_path / "jobs.yaml", [])
    assert words in str(error.value) and "jobs.yaml" in str(error.value)
    assert "\n" not in str(error.value) and "pass@" not in str(error.value)


def test_paths_of_a_job_are_relative_to_its_file_and_addresses_stay(tmp_path):
    sources = {"a": {"source": "a.jsonl", "image_root": "pictures"}, "b": {"source": "hf://owner/vqa:train"}}
    one, two = read_job(write_job(tmp_path, sources, root="s3://bucket/nightly/"), [])
    asked = one.config.source
    assert (asked.path, asked.image_root) == (str(tmp_path / "a.jsonl"), str(tmp_path / "pictures"))
    in_sections = {"a": {"source": {"path": "a.jsonl", "image_root": "pictures"}, "pairs": {"max_uses": 1}}}
    (other,) = read_job(write_job(tmp_path, in_sections, root="s3://bucket/nightly/"), [])
    assert (other.config.source, other.config.pairs.max_uses) == (asked, 1)
    assert (two.config.source.path, two.out) == ("hf://owner/vqa:train", "s3://bucket/nightly/b")


# -- the command line -------------------------------------------------------------------------------------------------


DRIVE = Path(__file__).parent / "faults" / "drive.py"


def drive(*words):
    """`mmpr build` with scripted engines, as a process of its own that joins the module's Ray."""
    address = ray.get_runtime_context().gcs_address
    environment = {**os.environ, "PYTHONPATH": str(DRIVE.parents[2]), "RAY_ADDRESS": address}
    command = [sys.executable, str(DRIVE), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_job_at_the_command_line_ends_with_a_line_a_source_and_then_with_nothing_to_do(write_source, tmp_path):
    write_source(9, name="a.jsonl")
    job = write_job(tmp_path, {"a": {"source": "a.jsonl"}, "gone": {"source": "gone.jsonl"}})
    done = drive("--job", job)
    assert done.returncode == 1
    assert done.stdout.startswith("a: complete: 9 questions = ") and done.stdout.count("\n") == 1
    assert "mmpr: gone: " in done.stderr and "Traceback" not in done.stderr
    write_source(3, name="gone.jsonl")
    done = drive("--job", job, "--log-format", "json")
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[1].strip() for line in done.stdout.splitlines()] == ["nothing left to do", "complete"]
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    chunks = [line for line in lines if line["event"] == "chunk_committed"]
    assert {line["run"] for line in chunks} == {str(tmp_path / "out" / "gone")}
    assert all(len(line["attempt"]) == 8 and line["chunk"] == 0 for line in chunks)
    ends = [(Path(line["run"]).name, line["words"], line["exit_code"]) for line in lines if line["event"] == "ended"]
    assert ends == [("a", "nothing left to do", 0), ("gone", "complete", 0)]


def test_a_build_past_its_deadline_ends_with_75_and_one_that_mostly_fails_with_3(write_source, tmp_path):
    words = ["--source", write_source(80), "--out", tmp_path / "run", "model=pocket", "n=4", "chunk_questions=8"]
    late = drive(*words, "deadline=2020-01-01")
    again = "mmpr: stopped (deadline 2020-01-01 has passed); run the same command again to continue"
    assert (late.returncode, late.stdout) == (75, "") and late.stderr.splitlines()[-1] == again
    for image in tmp_path.glob("*.png"):
        image.unlink()
    failing = drive(*words, "max_failure_fraction=0.2", "--log-format", "json")
    *_, last = map(json.loads, failing.stderr.splitlines())
    assert failing.returncode == 3 == last["exit_code"] and "with image_missing (max_failure_fraction)" in last["words"]
    assert RunFolder(str(tmp_path / "run")).committed()


def test_a_secret_reaches_neither_the_run_folder_nor_what_is_told(write_source, tmp_path):
    source, token = write_source(9), f"hf_{'q' * 34}"
    done = drive("--source", source, "--out", tmp_path / "run", f"vllm.hf_token={token}")
    assert done.returncode == 2 and "holds a secret" in done.stderr and token not in done.stderr
    assert not (tmp_path / "run").exists()


def test_json_logs_name_a_death_with_its_chunks_and_attempts(capsys):
    from mmpr.builder.progress import Progress
    from mmpr.builder.progress_views import JsonView
    from mmpr.pool import Died, Lease, UnfitNode

    view = JsonView(Progress(10, 0), "runs/x")
    view.see(Died(3, "CUDA\x1b[2J out of memory", (Lease(7, None, "0a1b2c3d"),), "node-a"))
    view.see(UnfitNode("node-b", "401 for https://me:pass@host"))
    printed = capsys.readouterr().err
    lost, died, unfit = map(json.loads, printed.splitlines())
    assert (lost["event"], lost["chunk"], lost["attempt"], lost["run"]) == ("lease_lost", 7, "0a1b2c3d", "runs/x")
    assert (died["level"], died["engine"], died["host"]) == ("error", 3, "node-a")
    assert "\x1b" not in printed and unfit["words"] == "401 for https://[hidden]@host"


def test_what_a_shared_pool_did_before_a_build_is_not_its_own():
    from mmpr.builder.progress import Progress
    from mmpr.engines.protocol import Pulse

    progress = Progress(10, 0)
    old = Pulse(generated_tokens=900, busy_s=50.0, alive_s=100.0)
    progress.see(Beat((old,), 0, ((0, "a"),)))
    progress.see(Beat((Pulse(generated_tokens=950, busy_s=51.0, alive_s=102.0),), 0, ((0, "a"),)))
    progress.see(Beat((Pulse(generated_tokens=7, busy_s=0.5, alive_s=1.0),), 0, ((0, "a"),)))  # started again
    assert Counter(progress.totals) == Counter(
        generated_tokens=57.0, busy_s=1.5, preparing_s=0.0, alive_s=3.0, prompt_tokens=0.0, cached_tokens=0.0
    )
