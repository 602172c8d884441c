"""Options and their letters: what counts as a list, which letters are removed, and what is refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.option_letters import bare, letter, lettered, lists_options, lists_otherwise
from mmpr.prompts import with_choices
from mmpr.sources.row_faults import RowFault
from mmpr.sources.row_tags import TaggedRow, placed
from mmpr.types import Question

OPTION = st.text(string.ascii_letters + string.digits + " .,-+°é猫", min_size=1, max_size=12).filter(
    lambda text: text.strip()[:1].isalnum()
)
FORMS = ("{}. {}", "({}) {}", "{}) {}", "{}: {}", "[{}] {}", "{}、{}", "（{}）{}", "**{}.** {}", "{} . {}")


def prompt(text, *choices):
    return with_choices(Question("q", "s", 0, text, choices=choices))


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("A path is 12 m long and 34 m wide. How many times does it turn?", ("1", "2", "3", "4")),
        ("Which one is 10 times larger, the 5 cm or the 1 cm line?", ("5", "1")),
        ("In the figure ABCD, which corner is marked?", ("D", "C", "B", "A")),
        ("Is the cart on top of the carton or is it art?", ("art", "cart")),
        ("Is it red or blue?", ("red", "blue")),
        ("A. 12\nB. 34", ("1", "3")),
        ("Choose: red, blue", ("red", "blue")),
        ("A. red", ("red", "blue")),
    ],
)
def test_texts_that_occur_are_no_list(text, choices):
    assert prompt(text, *choices) == f"{text}\n{lettered(choices)}"


@given(st.lists(OPTION, min_size=2, max_size=6), st.sampled_from(FORMS), st.sampled_from(["\n", "  ", ", "]))
def test_options_that_are_listed_are_not_listed_again(choices, form, between):
    listed = between.join(form.format(letter(i), choice.strip()) for i, choice in enumerate(choices))
    assert prompt(f"Which?{' ' if between != chr(10) else between}{listed}", *choices).count(listed) == 1
    assert lists_options(f"Which?\n{listed}", choices)


@given(st.lists(OPTION, min_size=2, max_size=6), st.sampled_from(FORMS[:3] + FORMS[4:7]))
def test_letters_that_options_bring_are_written_once(choices, form):
    plain = tuple(choice.strip() for choice in choices)
    if bare(plain) != plain:
        return
    assert bare([form.format(letter(i), choice) for i, choice in enumerate(plain)]) == plain
    assert (
        prompt("Which?", *(form.format(letter(i), one) for i, one in enumerate(plain))) == f"Which?\n{lettered(plain)}"
    )


@pytest.mark.parametrize(
    "choices", [("A:B", "B:C"), ("A", "B"), ("A. red",), ("A. red", "blue"), ("B. x", "A. y"), ("", "")]
)
def test_what_is_no_letter_stays(choices):
    assert bare(choices) == choices


def test_a_list_under_other_letters_is_seen():
    assert lists_otherwise("Which? A. blue B. red", ("red", "blue"))
    assert not lists_otherwise("Which? A. red B. blue", ("red", "blue"))
    assert not lists_otherwise("Is it red or blue?", ("red", "blue"))


def test_a_row_whose_text_and_options_disagree_about_letters_is_refused():
    row = TaggedRow("Which?\nA. blue\nB. red", (), ("red", "blue"), ())
    with pytest.raises(RowFault, match="other letters"):
        placed(row)
