"""Anyone's rollouts: rows in, verdicts out, bad rows named."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from judging.case_files import CASES
from mmpr.errors import SourceError
from mmpr.judging import JudgeOptions
from mmpr.judging.rollouts import judge_rollouts, summary_table
from mmpr.sources.rollout_rows import opened_rollouts

ROW = {"id": "a", "question": "What is the height?", "answer": "12", "response": "Final answer: 12"}
LINE = {"certainty": None, "off_format": False, "answer": None, "kind": "number"}


def written(path: Path, *rows: object) -> Path:
    file = path / "rollouts.jsonl"
    file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def judge_file(file: Path | str, **options: object) -> list[dict]:
    with opened_rollouts(str(file)) as rows:
        return list(judge_rollouts(rows, **options))


def test_a_row_becomes_a_verdict(tmp_path: Path) -> None:
    file = written(tmp_path, ROW, "\n", {**ROW, "id": 2, "answer": ["11", 12], "response": "I see 12 of them"})
    assert list(judge_file(file)) == [
        {**LINE, "id": "a", "outcome": "correct", "answer": "12", "rule": "exact"},
        {**LINE, "id": "2", "outcome": "unparsed", "rule": "unparsed-no-answer"},
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{nonsense\n", "line 2: invalid JSON"),
        ("[1]\n", "line 2: is not a JSON object"),
        ({"id": "b", "response": "12"}, "line 2: no question"),
        ({**ROW, "response": 3}, "line 2: `response` must be a text"),
        ({**ROW, "response": []}, "line 2: `response` must be a text"),
        ({**ROW, "response": None}, "line 2: `response` must be a text"),
        ({**ROW, "answer": {"x": 1}}, "line 2: `answer` is"),
        ({**ROW, "answer": None}, "line 2: no `answer`"),
        ('{"id": "n", "question": "?", "answer": NaN, "response": "1"}\n', "line 2: invalid JSON (NaN"),
        ('{"id": "s", "question": "?", "answer": "1", "response": "\\ud83d"}\n', "line 2: half a surrogate"),
        ('{"id": "c", "question"', "line 2: the file ends inside it"),
    ],
)
def test_an_odd_row_is_an_error_that_names_file_and_row_and_the_others_are_judged(tmp_path: Path, row, said) -> None:
    cut = isinstance(row, str) and not row.endswith("\n")
    rows = judge_file(written(tmp_path, ROW, row, *([] if cut else [ROW])))
    assert [one["outcome"] for one in rows] == ["correct", "error", *([] if cut else ["correct"])]
    assert (rows[1]["rule"], rows[1]["answer"]) == ("error-row", None) and f"rollouts.jsonl {said}" in rows[1]["detail"]


def test_a_kind_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    (row,) = judge_file(written(tmp_path, {**ROW, "answer_kind": "poem"}))
    assert row["outcome"] == "error"


def test_a_file_whose_only_row_cannot_be_read_has_its_verdict(tmp_path: Path) -> None:
    (row,) = judge_file(written(tmp_path, '{"id": "n", "answer": NaN, "response": "1"}\n'))
    assert row["outcome"] == "error" and "NaN" in row["detail"]


def test_a_file_without_responses_or_rows_is_refused_in_one_line(tmp_path: Path) -> None:
    for rows in (({"id": "b"},), (ROW | {"response": 1},), ()):
        file = written(tmp_path, *({k: v for k, v in row.items() if k != "response"} for row in rows))
        with pytest.raises(SourceError, match=r"rollouts\.jsonl.* no row has a response"):
            judge_file(file)
    with pytest.raises(SourceError, match=r"nowhere\.jsonl: cannot be read"):
        judge_file("nowhere.jsonl")


def test_each_of_a_list_of_responses_is_judged(tmp_path: Path) -> None:
    rows = judge_file(written(tmp_path, {**ROW, "response": ["Final answer: 12", "Final answer: 13"]}))
    assert [(one["index"], one["outcome"]) for one in rows] == [(0, "correct"), (1, "incorrect")]


def test_one_entry_that_is_no_text_costs_that_entry(tmp_path: Path) -> None:
    rows = judge_file(written(tmp_path, {**ROW, "responses": [None, "Final answer: 12", 7], "response": None}))
    assert [(one["index"], one["outcome"]) for one in rows] == [(0, "error"), (1, "correct"), (2, "error")]
    assert rows[0]["detail"] == "it is no text" and "detail" not in rows[1]


def test_an_incorrect_says_how_sure_it_is(tmp_path: Path) -> None:
    rows = judge_file(written(tmp_path, {**ROW, "response": "Final answer: 13"}))
    assert [(one["outcome"], one["certainty"]) for one in rows] == [("incorrect", "proven")]


def test_no_form_is_off_unless_one_was_asked_for(tmp_path: Path) -> None:
    file = written(tmp_path, {**ROW, "response": "#### 12"})
    for form, off in (("any", False), ("boxed", True)):
        (one,) = judge_file(file, options=JudgeOptions(format=form))
        assert (one["outcome"], one["off_format"]) == ("correct", off)
    assert judge_file(file)[0]["off_format"] is False


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "json", "csv", "parquet", "arrow"])
def test_rollouts_are_read_in_every_form_that_a_source_has(tmp_path: Path, form: str) -> None:
    row = {"id": "a", "question": "<image>\nWhich?", "choices": ["red", "blue"], "answer": "A"}
    path = tmp_path / f"r.{form}"
    rows = [{**row, "response": f"Final answer: {said}"} for said in ("red", "B")]
    if form == "csv":
        cells = [["id", "question", "choices", "answer", "response"]]
        cells += [[*map(str, ("a", "Which?", json.dumps(one["choices"]), "A", one["response"]))] for one in rows]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(cells)
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif form == "arrow":
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    else:
        text = json.dumps(rows) if form == "json" else "".join(json.dumps(one) + "\n" for one in rows)
        path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    assert [one["outcome"] for one in judge_file(path)] == ["correct", "incorrect"]


def test_rollouts_come_from_standard_input_packed_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(ROW).encode() + b"\n"
    for content in (text, gzip.compress(text)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert [one["outcome"] for one in judge_file("-")] == ["correct"]


def test_a_truth_that_is_none_of_its_kind_is_an_error_row(tmp_path: Path) -> None:
    file = written(tmp_path, {**ROW, "answer": "Water", "choices": ["Oxygen", "Hydrogen"], "answer_kind": "choice"})
    (row,) = judge_file(file)
    assert (row["outcome"], row["rule"]) == ("error", "error-truth")
    assert "'Water' is none of the 2 options" in row["detail"]


def test_options_reach_the_judge(tmp_path: Path) -> None:
    (row,) = judge_file(written(tmp_path, {**ROW, "answer": "12.1"}), options=JudgeOptions(relative_tolerance=0.05))
    assert row["rule"] == "number-tolerance"


def test_the_summary_counts_every_row() -> None:
    table = summary_table(judge_file(CASES / "long_responses.jsonl", time_limit_s=60))
    kinds, rules = table.split("\n\n")
    assert kinds.splitlines()[0].split() == ["kind", "correct", "proven", "likely", "ambiguous", "unparsed", "error"]
    total = [line.split()[1:] for line in (kinds.splitlines()[-1], rules.splitlines()[-1])]
    assert total[0] == total[1]
    assert sum(map(int, total[0])) == len((CASES / "long_responses.jsonl").read_text(encoding="utf-8").splitlines())
