"""`mmpr check`: what will be asked and judged, seen before anything is paid for."""

import json
import threading

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner

from mmpr.builder.progress_views import waiting
from mmpr.cli.verbs import app
from mmpr.sources import open_source
from mmpr.sources.column_report import column_report
from tests.test_work_threads import serving

ROWS = [
    {"id": "a", "question": "Which colour?", "choices": ["A. red", "B. blue"], "answer": "B", "image": "gone.png"},
    {"id": "b", "question": "How many?", "answer": ["2", "two"], "system": "Be brief."},
    {"id": "c", "question": "Describe <image1> and <image2>.", "image": ["x.png", "y.png"]},
    {"id": "d", "question": "Which?", "choices": ["red", "blue"], "answer": "green"},
    {"id": "e", "question": "Which? A. red B. blue", "answer": "A"},
    {"id": "f", "image": "x.png", "question": " "},
]


def check(folder, *words, rows=ROWS):
    (folder / "vqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return CliRunner().invoke(app, ["check", "--source", str(folder / "vqa.jsonl"), *words])


def shown(folder, *words, rows=ROWS, n=50):
    done = check(folder, "--show", str(n), "--json", *words, rows=rows)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rows_are_shown_as_they_will_be_asked_and_judged(tmp_path):
    a, b, c, d, e, f = shown(tmp_path)
    assert set(a) == {"row", "prompt", "options", "images", "reference", "kind", "layout"}
    assert (a["row"], a["options"], a["images"]) == (1, ["red", "blue"], 1)
    assert a["prompt"].startswith("<image>\n") and a["prompt"].endswith("Which colour?\nA. red\nB. blue")
    assert (a["reference"], a["kind"], a["layout"]) == (["blue", "B"], "choice", "plain")
    assert b["prompt"].startswith("[system]\nBe brief.\n\n[user]\n") and b["reference"] == ["2", "two"]
    assert (c["prompt"], c["images"], c["reference"], c["kind"]) == ("Describe <image> and <image>.", 2, [], "open")
    assert d == {"row": 4, "skip": "bad_answer", "detail": d["detail"]}
    assert "vqa.jsonl line 4: the answer 'green' is none of the 2 options" in d["detail"]
    assert (e["reference"], e["options"]) == (["red", "A"], [])
    assert (f["row"], f["skip"]) == (6, "empty_question")


def test_so_many_rows_are_shown_and_the_settings_hold_for_them(tmp_path):
    assert [row["row"] for row in shown(tmp_path, n=2)] == [1, 2]
    (row,) = shown(tmp_path, "prompt_version=boxed", n=1)
    assert "\\boxed" in row["prompt"]
    assert [row["row"] for row in shown(tmp_path, "--limit", "3")] != [1, 2, 3]  # of the sample that would be asked


def test_how_answers_name_options_is_reported(tmp_path):
    row = {"question": "Which?", "choices": ["red", "blue"], "answer": 0}
    assert "answers    name an option by index, counted from 0\n" in check(tmp_path, rows=[row]).stdout
    assert "answers  " not in check(tmp_path, rows=[{"question": "Which?", "answer": "red"}]).stdout


def test_for_people_the_same_is_text(tmp_path):
    done = check(tmp_path, "--show", "4")
    assert done.exit_code == 0 and "-- vqa.jsonl line 1\n" in done.stdout
    assert "    A. red\n" in done.stdout and "reference  blue | B (choice)" in done.stdout
    assert "skipped    bad_answer: the answer 'green'" in done.stdout


def test_answers_that_cannot_be_judged_by_are_counted_and_end_only_a_strict_check(tmp_path):
    rows = [row for row in ROWS if row["id"] in "bd"]
    done = check(tmp_path, rows=rows)
    assert done.exit_code == 0 and "fault      1 bad_answer" in done.stdout and "judged as 1 number" in done.stdout
    assert check(tmp_path, "--strict", rows=rows).exit_code == 1
    assert check(tmp_path, "--strict", rows=rows[:1]).exit_code == 0
    assert check(tmp_path, rows=ROWS[-1:]).exit_code == 1  # a row that is no question is a fault always


def test_json_is_of_what_is_shown(tmp_path):
    done = check(tmp_path, "--json")
    assert done.exit_code == 2 and "--show" in done.stderr


def test_a_shown_row_steers_no_terminal(tmp_path):
    rows = [{"question": "\x1b[31mred\u202e?", "answer": "2"}]
    done = check(tmp_path, "--show", "1", rows=rows)
    assert "\x1b" not in done.stdout and "\\x1b[31mred" in done.stdout
    (row,) = shown(tmp_path, rows=rows)
    assert row["prompt"].endswith("\x1b[31mred\u202e?")


def test_columns_that_are_not_read_are_named(tmp_path):
    rows = [{"question": "How many?", "answer": 2, "pics": ["a.png"], "Hint": "Look.", "lecture_id": 3, "split": "val"}]
    done = check(tmp_path, "--show", "1", rows=rows)
    assert "read       question, answer\n" in done.stdout
    assert "unread     pics, Hint, lecture_id, split\n" in done.stdout
    assert "note       not read: pics, Hint; map what is needed with columns\n" in done.stdout
    done = check(tmp_path, "--show", "1", "--json", rows=rows)
    assert len(done.stdout.splitlines()) == 1 and "not read: pics, Hint" in done.stderr
    assert "not read" not in check(tmp_path, rows=rows[:0] or ROWS[:1]).stdout


def test_columns_of_tables_and_headers_are_named(tmp_path):
    table = pa.table({"question": ["?"], "answer": ["2"], "passage": ["x"], "n": [1]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.csv").write_text("question,answer,passage,n\n?,2,x,1\n")
    for name in ("a.parquet", "a.arrow", "a.csv"):
        found = column_report(open_source(tmp_path / name))
        assert (found.read, found.unread, found.suspects) == (
            ("question", "answer"),
            ("passage", "n"),
            ("passage",),
        )


def test_options_that_are_empty_or_right_twice_are_named(tmp_path):
    row = {"question": "Which?", "answer": "A"}
    rows = [{**row, "choices": choices} for choices in (["red", "Red "], ["red", " "], [" red", "blue", "blue"])]
    twice, empty, good = shown(tmp_path, rows=rows)
    assert twice["skip"] == "bad_answer" and "two letters are right" in twice["detail"]
    assert empty["skip"] == "bad_row" and "option B is empty" in empty["detail"]
    assert (good["reference"], good["options"]) == (["red", "A"], ["red", "blue", "blue"])


def test_no_server_is_asked_for_more_images_at_once_than_the_settings_say(tmp_path):
    with serving("127.0.0.1") as (address, busy):
        rows = [{"question": "How many?", "answer": 2, "image": f"{address}/{i}.png"} for i in range(20)]
        done = check(tmp_path, "fetches_per_host=2", f"allowed_hosts=[{address}]", rows=rows)
    assert done.exit_code == 0 and "20 distinct, 20 opened" in done.stdout
    assert busy[1] <= 2


def test_a_long_wait_is_said_in_lines_where_there_is_no_terminal(capfd):
    said, out = "", threading.Event()
    with waiting("counting", every_s=0.01):
        while said.count("counting: ") < 2:
            out.wait(0.01)
            said += capfd.readouterr().err
    assert set(said.splitlines()) == {"counting: 0 s so far"}


def test_a_setting_without_effect_is_named(tmp_path):
    done = check(tmp_path, "thinking=off", "max_thought_tokens=20", "n=2")
    assert "note       max_thought_tokens: has no effect with thinking=off" in done.stdout.splitlines()
