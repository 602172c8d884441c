"""Anyone's rollouts: rows in, verdicts out, bad rows named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judging.case_files import CASES
from mmpr.errors import SourceError
from mmpr.judging import JudgeOptions
from mmpr.judging.rollouts import judge_file, summary_table

ROW = {"id": "a", "question": "What is the height?", "answer": "12", "response": "Final answer: 12"}


def written(path: Path, *rows: object) -> Path:
    file = path / "rollouts.jsonl"
    file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_a_row_becomes_a_verdict(tmp_path: Path) -> None:
    file = written(tmp_path, ROW, "\n", {**ROW, "id": 2, "answer": ["11", 12], "response": "I see 12 of them"})
    assert list(judge_file(file)) == [
        {"id": "a", "outcome": "correct", "answer": "12", "rule": "exact", "kind": "number"},
        {"id": "2", "outcome": "unparsed", "answer": None, "rule": "unparsed-no-answer", "kind": "number"},
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{nonsense\n", "row 2: is not JSON"),
        ("[1]\n", "row 2: is not an object"),
        ({"id": "b"}, 'row 2: "question" must be text, it is missing'),
        ({**ROW, "response": 3}, 'row 2: "response" must be text, it is int'),
        ({**ROW, "answer": {"x": 1}}, 'row 2: "answer" must be text or a list'),
        ({**ROW, "answer": []}, 'row 2: "answer" must be text or a list'),
        ({**ROW, "id": None}, 'row 2: "id" must be text'),
        ({**ROW, "answer_kind": "poem"}, "row 2: \"answer_kind\" 'poem' is not known"),
    ],
)
def test_a_bad_row_names_file_row_and_mend(tmp_path: Path, row: object, said: str) -> None:
    file = written(tmp_path, ROW, row)
    with pytest.raises(SourceError) as caught:
        list(judge_file(file))
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(SourceError, match="cannot be opened"):
        list(judge_file("nowhere.jsonl"))


def test_a_truth_that_is_none_of_its_kind_is_an_error_row(tmp_path: Path) -> None:
    file = written(tmp_path, {**ROW, "answer": "Water", "choices": ["Oxygen", "Hydrogen"], "answer_kind": "choice"})
    (row,) = judge_file(file)
    assert (row["outcome"], row["rule"]) == ("error", "error-truth")


def test_options_reach_the_judge(tmp_path: Path) -> None:
    (row,) = judge_file(written(tmp_path, {**ROW, "answer": "12.1"}), options=JudgeOptions(relative_tolerance=0.05))
    assert row["rule"] == "number-tolerance"


def test_the_summary_counts_every_row() -> None:
    table = summary_table(judge_file(CASES / "long_responses.jsonl", time_limit_s=60))
    kinds, rules = table.split("\n\n")
    assert kinds.splitlines()[0].split() == ["kind", "correct", "incorrect", "ambiguous", "unparsed", "error"]
    total = [line.split()[1:] for line in (kinds.splitlines()[-1], rules.splitlines()[-1])]
    assert total[0] == total[1]
    assert sum(map(int, total[0])) == len((CASES / "long_responses.jsonl").read_text(encoding="utf-8").splitlines())
