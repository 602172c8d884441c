"""`mmpr status`: what it reads from a run folder during a build, after a stop, and at the end."""

import dataclasses
import json
import os
import time

import pytest
from run import making
from typer.testing import CliRunner

from mmpr.cli.verbs import app
from mmpr.errors import RunFolderError
from mmpr.run import ChunkAccount, ChunkCommit, FileRecord, RowSpan, RunFolder, RunLayout, RunRecord, claim_driver
from mmpr.run.folder import sidecar_name
from mmpr.run.heartbeat import claimed
from mmpr.status import QuestionCounts, WorkRate, duration, read_status, runs_below, status_lines, table_lines

NOW = 1_800_000_000.0


def start_run(url, *, rows=40, limit=None):
    folder = RunFolder(str(url))
    folder.create_run(
        RunRecord(
            format=1,
            source="vqa.jsonl",
            layout=RunLayout(10, (rows,)),
            identity={"model": "pocket", "limit": limit},
            selection={},
            versions={},
        )
    )
    return folder


def add_chunk(folder, chunk, *, began, seconds=10.0, host="node-a", questions=10):
    """A commit without its two files: status must not open them."""
    account = ChunkAccount(
        lease={},
        rows_sha256="0" * 64,
        counts={"paired": questions - 2, "correctness": 2 * questions, "dropout_ntp": 3},
        skips_by_reason={"all_correct": 1, "all_wrong": 1},
        tokens={"generated": 100 * questions},
        seconds=seconds,
        host=host,
        engine="pocket",
        began=began,
    )
    names = [f"{kind}/{chunk:05d}-0a1b2c3d.parquet" for kind in ("questions", "responses")]
    files = [FileRecord(name, 1, "0" * 64, questions) for name in names]
    span = RowSpan("vqa", 10 * chunk, 10 * chunk + questions - 1)
    commit = ChunkCommit(chunk, "0a1b2c3d", account, (span,), *files)
    folder.store.write_bytes(sidecar_name(chunk), commit.to_json())


def test_a_run_that_was_just_started_is_at_nothing(tmp_path):
    start_run(tmp_path)
    status = read_status(str(tmp_path))
    assert status.questions == QuestionCounts(done=0, total=40, paired=0, skipped=0)
    assert status.state == "stopped" and status.rate.eta_s is None
    assert "none yet" in "\n".join(status_lines(status))


def test_a_running_build_has_a_rate_what_is_left_and_who_drives_it(tmp_path):
    folder = start_run(tmp_path)
    folder.add_start({"at": "2027-01-15T08:00:00Z", "host": "head"})  # = NOW
    for chunk, host in enumerate(["node-a", "node-b", "node-a"]):
        add_chunk(folder, chunk, began=NOW + 10 * chunk, host=host)
    claim = claim_driver(folder)
    claim.beat({"phase": "building", "engines": 2, "running": 1500, "busy_share": 0.934})
    status = read_status(str(tmp_path))
    assert status.state == "running"
    assert status.driver.pid == os.getpid()
    assert status.rate == WorkRate(1.0, 100.0, 10.0)
    assert status.hosts["node-a"].questions == 20
    assert status.pairs_by_kind == {"correctness": 60, "dropout_ntp": 9}
    assert status.skips_by_reason == {"all_correct": 3, "all_wrong": 3}
    found = "\n".join(status_lines(status))
    assert "30 of 40 (75.0%): 24 paired + 6 skipped" in found
    assert "building, 2 up, 1,500 requests running, busy 93%" in found and "about 10 s left" in found
    claim.release()


def test_the_rate_is_of_the_last_minutes_and_of_this_start_alone(tmp_path):
    folder = start_run(tmp_path, rows=1000)
    folder.add_start({"at": "2027-01-15T07:00:00Z"})
    add_chunk(folder, 0, began=NOW - 3600, seconds=10)
    folder.add_start({"at": "2027-01-15T08:00:00Z"})
    for chunk in range(1, 21):  # slow for 1000 s, then ten times as fast
        add_chunk(folder, chunk, began=NOW + 100 * chunk, seconds=100)
    claim = claim_driver(folder)
    assert read_status(str(tmp_path)).rate.questions_per_s == 0.1
    claim.release()


def test_a_run_that_is_over_tells_its_mean_over_the_time_at_work(tmp_path):
    folder = start_run(tmp_path)
    add_chunk(folder, 0, began=NOW, seconds=10)
    add_chunk(folder, 1, began=NOW + 86_400, seconds=10)  # a day later
    rate = read_status(str(tmp_path)).rate
    assert rate == WorkRate(1.0, 100.0, None)


def test_a_driver_on_another_host_that_fell_silent_is_said_to_be_so(tmp_path):
    folder = start_run(tmp_path)
    claim = claim_driver(folder)
    claim = dataclasses.replace(claim, driver=dataclasses.replace(claim.driver, host="gone", heartbeat_s=0.001))
    claim.beat()
    time.sleep(0.05)
    status = read_status(str(tmp_path))
    assert status.state == "silent" and status.live is None
    assert "silent: pid" in status_lines(status)[0] and "on gone" in status_lines(status)[0]


def test_how_the_last_start_ended_and_what_befell_it_is_told(tmp_path):
    folder = start_run(tmp_path)
    folder.add_event({"at": "t1", "host": "a", "event": "died", "words": "CUDA out of memory", "chunks": [3, 4]})
    folder.add_event({"at": "t2", "host": "a", "event": "stopped", "words": "deadline 06:00"})
    status = read_status(str(tmp_path))
    assert [event["event"] for event in status.events] == ["died"]
    assert status.ended["words"] == "deadline 06:00"
    found = "\n".join(status_lines(status))
    assert "t1 a died: CUDA out of memory; chunks leased again: 3, 4" in found and "t2 a stopped: deadline" in found


def test_secrets_in_what_befell_a_run_are_not_kept(tmp_path):
    folder = start_run(tmp_path)
    folder.add_event({"event": "failed", "words": f"401 for https://me:pass@hub/x?token=abc with hf_{'a' * 34}"})
    kept = (tmp_path / "events.jsonl").read_text()
    assert "pass" not in kept and "abc" not in kept and "aaaa" not in kept and "[hidden]" in kept


def test_nothing_that_a_model_or_a_host_is_called_steers_the_terminal(tmp_path):
    folder = start_run(tmp_path)
    add_chunk(folder, 0, began=NOW, host="node\x1b[2J\nrate        9,999 questions/s")
    folder.add_event({"event": "died", "words": "\x1b]0;owned\x07\u202edlrow"})
    lines = status_lines(read_status(str(tmp_path)))
    assert not [line for line in lines if set(line) & set("\x1b\x07\n\u202e")]
    assert sum(line.startswith("rate") for line in lines) == 1
    done = mmpr("status", tmp_path, "--json")
    assert "\x1b" not in done.stdout and json.loads(done.stdout)["hosts"]


def test_a_sample_counts_as_the_whole(tmp_path):
    start_run(tmp_path, rows=1000, limit=20)
    assert read_status(str(tmp_path)).questions.total == 20


def test_a_folder_of_several_runs_is_a_table_with_a_line_each(tmp_path):
    for name in ("charts", "photos"):
        add_chunk(start_run(tmp_path / name), 0, began=NOW)
    (tmp_path / "notes").mkdir()
    found = [read_status(run) for run in runs_below(str(tmp_path))]
    lines = table_lines(found)
    assert len(lines) == 3 and "charts" in lines[1] and "photos" in lines[2]
    assert lines[0].split()[:3] == ["run", "state", "done"]


def test_a_folder_without_a_run_is_one_line(tmp_path):
    with pytest.raises(RunFolderError, match=r"holds none: it has no run\.json"):
        runs_below(str(tmp_path))
    done = mmpr("status", tmp_path)
    assert done.exit_code == 1 and done.stderr.count("\n") == 1


def test_the_verb_prints_lines_for_people_and_json_for_programs(tmp_path):
    folder = start_run(tmp_path)
    add_chunk(folder, 0, began=NOW)
    with claimed(folder) as heartbeat:
        heartbeat.update({"phase": "building"})
        found = mmpr("status", tmp_path)
    assert found.exit_code == 0 and "10 of 40 (25.0%)" in found.stdout and found.stderr == ""
    status = json.loads(mmpr("status", tmp_path, "--json").stdout)
    assert status["questions"]["done"] == 10 and status["state"] == "stopped"


def test_a_finished_run_is_complete_until_its_source_has_grown_on_any_filesystem():
    folder = making.finished_run("memory://status/run", making.mixed(12))
    folder.change_layout(RunLayout(4, (12,)))
    assert read_status(folder.url).state == "complete"
    assert runs_below("memory://status") == ["memory://status/run"]
    folder.change_layout(RunLayout(4, (12, 20)))
    assert read_status(folder.url).state == "stopped"


def test_durations_are_told_as_people_say_them():
    assert [duration(s) for s in (5, 300, 9000)] == ["5 s", "5 min", "2.5 h"]


def mmpr(*words):
    return CliRunner().invoke(app, [str(word) for word in words])
