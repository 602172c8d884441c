"""`report.json`: the counts, the law, and what never changes."""

from __future__ import annotations

import json
import secrets
from collections import Counter

import pytest

from mmpr.errors import LawBroken, RunFolderError
from mmpr.reporting.lengths import SideLengths, quantile
from mmpr.reporting.plain_names import KINDS, REASONS
from mmpr.reporting.report_files import write_reports
from mmpr.reporting.report_record import read_report
from mmpr.reporting.verdict_figures import accuracy_bin
from mmpr.run.json_records import plain
from mmpr.types import PairKind, Reason

from .conftest import broken, make_run


def memory() -> str:
    return f"memory://{secrets.token_hex(4)}"


def test_the_report_balances_and_is_what_stands_in_the_file(run):
    folder, totals, _, report = run
    content = folder.store.read_bytes("report.json")
    assert plain(report) == json.loads(content) and read_report(folder) == report
    assert report.questions == report.paired + report.skipped == 60
    assert report.pairs == totals.pairs == sum(report.pairs_by_kind.values())
    assert sum(report.skips_by_reason.values()) == report.skipped
    assert report.pocket_model is True


def test_the_names_that_others_rely_on_come_first(run):
    names = ["questions", "paired", "skipped", "pairs", "skips_by_reason", "pocket_model", "pairs_by_kind"]
    assert list(plain(run[3]))[: len(names)] == names


def test_sources_add_up(run):
    report = run[3]
    for name in ("questions", "paired", "skipped", "pairs"):
        assert sum(getattr(counts, name) for counts in report.by_source.values()) == getattr(report, name)


def test_every_judged_question_stands_in_the_accuracy_histogram(run):
    accuracy = run[3].accuracy
    assert sum(accuracy.histogram.values()) == accuracy.questions > 0
    assert list(accuracy.histogram)[:2] == ["0", "(0, 0.1]"]
    assert list(accuracy.histogram)[-2:] == ["(0.9, 1)", "1"]


def test_responses_without_a_pair_are_counted_too(run):
    report = run[3]
    assert sum(report.outcomes.values()) == report.responses["sample"]
    assert report.outcomes_by_rule["no final answer"] == {"unparsed": report.outcomes["unparsed"]}


def test_repeated_ids_are_counted_and_never_fatal(run):
    assert run[3].repeated_question_ids == 3  # rows 4, 20, 36 and 52 are all called "same"


def test_shares_are_made_of_the_usage(run):
    usage = run[3].engine_usage
    assert (usage["busy_share"], usage["generated_tokens_per_s"]) == (0.9, 100.0)
    assert (usage["waiting_for_pictures_share"], usage["waiting_for_work_share"]) == (0.06, 0.04)
    page = run[0].store.read_bytes("report.html").decode()
    assert "busy for 90%, waited for images for 6% and for work for 4%" in page


def test_what_an_older_report_does_not_tell_of_its_engines_is_not_made_up():
    folder, totals, files = make_run(memory(), n=16)
    found = write_reports(folder, totals, files, usage={"busy_s": 90.0, "alive_s": 100.0}).engine_usage
    assert found["busy_share"] == 0.9 and "waiting_for_work_share" not in found
    assert "waited for images" not in folder.store.read_bytes("report.html").decode()


@pytest.mark.parametrize("name", ["questions", "paired", "skipped", "pairs"])
def test_a_sum_that_does_not_hold_stops_the_run(name):
    folder, totals, files = make_run(memory(), n=16)
    setattr(totals, name, getattr(totals, name) + 1)
    with pytest.raises(LawBroken):
        write_reports(folder, totals, files)
    assert not folder.store.exists("report.json")


def test_a_missing_shard_is_named():
    folder, totals, files = make_run(memory(), n=16)
    folder.store.delete(files[0].path)
    with pytest.raises(RunFolderError, match="train-00000"):
        write_reports(folder, totals, files)


def test_a_damaged_image_page_is_named():
    folder, totals, files = make_run(memory(), n=16)
    content = bytearray(folder.store.read_bytes(files[0].path))
    content[5000:9000] = bytes(4000)
    folder.store.write_bytes(files[0].path, bytes(content))
    with pytest.raises(RunFolderError, match="train-00000"):
        write_reports(folder, totals, files)


def test_equal_responses_give_equal_reports_whatever_the_attempts():
    written = []
    for _ in range(2):
        folder, totals, files = make_run(memory(), n=24)
        write_reports(folder, totals, files)
        written.append([folder.store.read_bytes(name) for name in ("report.json", "README.md", "report.html")])
    assert written[0] == written[1]


def test_no_report_tells_where_the_machine_keeps_its_files(run):
    for name in ("report.json", "README.md", "report.html"):
        assert b"/secret" not in run[0].store.read_bytes(name)


def test_a_run_without_a_pair_is_reported():
    folder, totals, files = make_run(memory(), rows=[broken(row) for row in range(3)])
    report = write_reports(folder, totals, files)
    assert (report.pairs, report.skipped) == (0, 3)
    assert report.tokens.generated_per_pair is None
    assert b"This run made no pair" in folder.store.read_bytes("report.html")


def test_a_run_without_a_question_is_reported():
    folder, totals, files = make_run(memory(), rows=[])
    assert write_reports(folder, totals, files).questions == 0


@pytest.mark.parametrize(
    ("right", "judged", "place"),
    [(0, 8, 0), (1, 10, 1), (1, 32, 1), (2, 10, 2), (3, 10, 3), (4, 8, 5), (31, 32, 10), (9, 10, 9), (8, 8, 11)],
)
def test_an_accuracy_falls_into_the_bin_that_its_label_says(right, judged, place):
    assert accuracy_bin(right, judged) == place


def test_quantiles_are_values_that_occur():
    counter = Counter({1: 9, 100: 1})
    assert (quantile(counter, 0.5), quantile(counter, 0.9), quantile(counter, 0.99)) == (1, 1, 100)
    assert quantile(Counter(), 0.5) == 0


def test_the_length_report_tells_the_shortcut():
    import numpy as np

    lengths = SideLengths()
    lengths.add(np.array([5, 9, 4, 4]), np.array([4, 3, 4, 8]))
    found = lengths.figures()
    assert (found.chosen_longer_share, found.equal_share, found.rejected_longer_share) == (0.5, 0.25, 0.25)
    assert found.gap_tokens.mean_absolute == 2.75
    assert sum(found.histogram.chosen) == sum(found.histogram.rejected) == found.pairs == 4


def test_every_reason_and_kind_has_its_words():
    assert set(REASONS) == set(Reason)
    assert set(KINDS) == set(PairKind)
