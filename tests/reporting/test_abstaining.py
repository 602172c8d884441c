"""What abstaining costs: sums by source, kind and rule, and a warning where a source loses much."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace

from mmpr.reporting.abstaining import JudgedCounts, abstaining_figures, abstaining_lines, warning_lines
from mmpr.reporting.report_files import report_again, write_reports
from mmpr.run import StoredResponse, VerdictCounts, cut_dataset, read_verdicts, write_manifest
from mmpr.run.json_records import plain
from mmpr.types import Certainty, Outcome, Verdict

from .conftest import RECIPE, REPORTS, committed_rows, counted, make_run


def undecided(row: int, rule: str = "text-near"):
    """A question of its own source with two right and six undecided responses."""
    one = counted(row)
    verdicts = [Verdict(Outcome.CORRECT, "3", "exact", "3")] * 2 + [Verdict(Outcome.AMBIGUOUS, "cup", rule, "3")] * 6
    responses = [replace(stored, verdict=v) for stored, v in zip(one.responses, verdicts, strict=True)]
    return replace(one, question=replace(one.question, source="open: labels"), responses=tuple(responses))


def made(rows):
    folder, totals, files = make_run(f"memory://{secrets.token_hex(4)}", rows=rows)
    recipe = replace(RECIPE, kind=lambda committed: "number" if committed.question.answer else None)
    totals, files = cut_dataset(folder, recipe)
    report = write_reports(folder, totals, files)
    write_manifest(folder, files, REPORTS)
    return folder, report


def test_every_response_is_counted_once_in_each_group_and_balances():
    rows = [*committed_rows(30), undecided(40), undecided(41, "number-rest")]
    found = plain(made(rows)[1].abstaining)
    n = sum(len(row.responses) for row in rows if row.question.answer)
    for group in ("by_source", "by_kind", "by_rule"):
        assert sum(own["responses"] for own in found[group].values()) == found["all"]["responses"] == n
    for own in (found["all"], *found["by_source"].values(), *found["by_rule"].values()):
        parts = ("correct", "proven", "likely", "unparsed", "undecided")
        assert own["responses"] == sum(own[name] for name in parts)
    questions = sum(row.question.answer is not None for row in rows)
    assert found["all"]["paired"] + found["all"]["skipped"] == questions
    assert found["by_kind"].keys() == {"number"}
    assert found["by_rule"]["text-near"] | {"paired": 0, "skipped": 1, "undecided": 6} == found["by_rule"]["text-near"]


def test_a_source_that_loses_much_is_warned_of_on_page_card_and_terminal():
    folder, report = made([*committed_rows(12), undecided(40)])
    (line,) = report.abstaining.warnings
    assert line == "open: labels: the judge left 75% of 8 responses undecided; they are in no pair"
    assert warning_lines(report.abstaining) == [f"warning: {line}"]
    card, page = (folder.store.read_bytes(name).decode() for name in ("README.md", "report.html"))
    assert "**Warning:** open: labels: the judge left 75%" in card and "## Undecided" in card
    assert "the judge left 75% of 8 responses undecided" in page
    cells = next(line for line in abstaining_lines(report.abstaining) if line.startswith("rule text-near")).split()[2:]
    assert cells == ["0", "1", "6", "0", "0", "0", "0", "6", "100%"]


def test_likely_and_proven_are_told_apart_everywhere():
    one = counted(3)
    likely = [
        StoredResponse(s.response, replace(s.verdict, certainty=Certainty.LIKELY))
        if s.verdict.outcome is Outcome.INCORRECT
        else s
        for s in one.responses
    ]
    folder, report = made([one, replace(one, question=replace(one.question, row=4), responses=tuple(likely))])
    figures = report.abstaining.all
    assert figures.proven == figures.likely > 0
    assert report.outcomes["incorrect"] == 2 * figures.proven
    assert "| `number` | " in folder.store.read_bytes("README.md").decode()


def test_accuracy_has_the_first_rounds_counts_and_their_interval_beside_it():
    accuracy = made([undecided(40)])[1].accuracy
    assert (accuracy.n_correct, accuracy.n_wrong, accuracy.n_undecided) == (2, 0, 6)
    assert accuracy.interval == (0.25, 1.0) and accuracy.mean == 1.0


def test_the_sums_travel_in_verdicts_json_and_do_not_depend_on_order():
    folder, report = made([*committed_rows(30), undecided(40)])
    assert abstaining_figures(read_verdicts(folder)) == report.abstaining
    halves = [VerdictCounts(), VerdictCounts()]
    for number, row in enumerate(committed_rows(30)):
        halves[number % 2].count(row, [], "number")
    one, other = VerdictCounts(), VerdictCounts()
    for half in halves:
        one.add(half)
    for half in reversed(halves):
        other.add(half)
    assert one.to_json() == other.to_json()


def test_a_dataset_of_an_older_mmpr_is_reported_without_the_new_figures():
    folder, report = made(committed_rows(12))
    old = {name: json.loads(folder.store.read_bytes("verdicts.json"))[name] for name in ("by_rule", "by_accuracy")}
    folder.store.write_bytes("verdicts.json", json.dumps(old).encode())
    found = report_again(folder.url)
    assert found.judge_version == 1 and found.pairs == report.pairs
    assert found.abstaining.all == JudgedCounts(*[0] * 10, undecided_share=0.0)
    assert found.accuracy.interval is None
    assert "interval" not in json.loads(folder.store.read_bytes("report.json"))["accuracy"]
    card = folder.store.read_bytes("README.md").decode()
    assert "## Undecided" not in card and "| `number` | " in card
