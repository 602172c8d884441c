"""What a pair's accuracy is called: the first round's, in counts."""

import pytest

from mmpr.reporting.plain_names import accuracy_label


@pytest.mark.parametrize(
    ("right", "wrong", "undecided", "asked", "label"),
    [
        (3, 1, 0, 6, "3 of the first 4 right, 6 asked"),
        (4, 0, 0, 8, "4 of the first 4 right, 8 asked"),
        (2, 1, 1, 8, "2 of the first 4 right (1 undecided), 8 asked"),
        (3, 5, 0, 8, "3 of 8 right"),
        (0, 0, 4, 4, "0 of 4 right (4 undecided)"),
        (0, 0, 0, 4, None),
    ],
)
def test_accuracy_is_the_first_rounds_in_counts(right, wrong, undecided, asked, label):
    decided = right + wrong
    row = {"accuracy": right / decided if decided else None, "accuracy_n": decided, "n_responses": asked}
    assert accuracy_label({**row, "n_correct": right, "n_wrong": wrong, "n_undecided": undecided}) == label


def test_an_older_mmprs_pair_counts_what_could_be_judged():
    assert accuracy_label({"accuracy": 0.75, "accuracy_n": 4, "n_responses": 6}) == "3 of the first 4 right, 6 asked"
    assert accuracy_label({"accuracy": None, "accuracy_n": None, "n_responses": 1}) is None
