"""`peek` and `explain`: what they print, and that hostile text cannot control the terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmpr.errors import RunFolderError
from mmpr.reporting.pair_story import read_story
from mmpr.reporting.peek import sample_pairs, show_pairs
from mmpr.reporting.safe_text import visible, visible_json
from mmpr.reporting.story_view import print_story
from mmpr.reporting.verdict_figures import judged_as_paired
from mmpr.run import StoredQuestion, StoredResponse
from mmpr.types import Finish, Outcome, Question, Response, Stage, Verdict

from .conftest import HOSTILE, TERMINAL

STYLE = re.compile(r"\x1b\[[0-9;]*m")
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printed(show, *given, terminal=False, width=120, **how):
    """What `show` prints, on a terminal of a width or into a pipe."""
    file = io.StringIO()
    console = Console(
        file=file,
        force_terminal=terminal,
        width=width if terminal else 100_000,
        color_system="truecolor" if terminal else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    show(console, *given, **how)
    return file.getvalue()


@pytest.fixture(scope="module")
def rows(run):
    return {kind: sample_pairs(run[0].url, n_pairs=500, kind=kind) for kind in run[3].pairs_by_kind}


# -- harmless -----------------------------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=60))
def test_nothing_that_steers_is_left(text):
    assert not STEERS.search(visible(text))
    visible(text).encode()


def test_escapes_are_shown_and_scripts_are_left_alone():
    assert visible("\x1b[31m\x9b\u202e\r\ud800\U000e0041") == r"\x1b[31m\x9b\u202e\x0d\ud800\U000e0041"
    assert visible("a\n\tب\u200cا 👩\u200d🔬 红") == "a\n\tب\u200cا 👩\u200d🔬 红"


@given(st.text(max_size=60))
def test_json_says_the_same_and_steers_nothing(text):
    import json

    shown = visible_json(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(shown) == {"a": text}
    assert not STEERS.search(shown)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_hostile_pair_steers_no_terminal(run, rows, terminal):
    hostile = next(row for row in rows["correctness"] if row["source_row"] == 0)
    assert TERMINAL in hostile["chosen_text"] and HOSTILE in hostile["question"]
    peeked = printed(show_pairs, [hostile], terminal=terminal)
    found = printed(print_story, read_story(run[0].url, hostile["pair_id"]), terminal=terminal, texts=True)
    for shown in (peeked, found):
        assert not STEERS.search(STYLE.sub("", shown) if terminal else shown)
        flat = " ".join(STYLE.sub("", shown).split())
        assert r"\x1b]0;owned\x07\x1b[2J" in flat
        assert "[bold]no markup[/bold]" in flat
        assert shown.count(r"\x0d") == shown.count(r"\x07") == shown.count(r"\u2066") >= 3  # question and both sides
        assert "…" not in shown  # nothing is cut off, however long a word is


# -- peek ---------------------------------------------------------------------------------------------------------


def test_a_sample_is_seeded_and_of_all_kinds(run):
    url = run[0].url
    ids = [[row["pair_id"] for row in sample_pairs(url, n_pairs=5, seed=seed)] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    assert {row["pair_kind"] for row in sample_pairs(url, n_pairs=3)} == {"correctness", "format", "dropout_ntp"}


def test_one_kind_only(run, rows):
    assert {row["pair_kind"] for row in rows["format"]} == {"format"}
    assert len(rows["format"]) == run[3].pairs_by_kind["format"]


def test_what_differs_is_marked_on_a_terminal_and_plain_in_a_pipe(rows):
    row = next(row for row in rows["correctness"] if row["source_row"] != 0)
    shown = printed(show_pairs, [row], terminal=True)
    assert f"\x1b[1;32m{row['chosen_answer']}" in shown
    assert f"\x1b[1;31m{row['rejected_answer']}" in shown
    plain = printed(show_pairs, [row])
    assert "\x1b" not in plain
    assert f"\n  Final Answer: {row['rejected_answer']}\n" in plain


@pytest.mark.parametrize("width", [40, 99, 100, 200])
def test_no_line_is_wider_than_the_terminal(rows, width):
    from rich.cells import cell_len

    some = [row for of_kind in rows.values() for row in of_kind[:3]]
    shown = printed(show_pairs, some, terminal=True, width=width)
    assert max(cell_len(STYLE.sub("", line)) for line in shown.split("\n")) <= width


def test_the_cut_of_a_dropout_pair_is_shown_in_both_sides(rows):
    shown = printed(show_pairs, rows["dropout_ntp"][:1])
    assert shown.count("[✂ with the image]") == shown.count("[✂ image taken away]") == 1
    assert "image taken away]There is a grey dog" in shown


# -- explain ------------------------------------------------------------------------------------------------------


def test_a_correctness_pair_is_explained_whole(run, rows):
    row = next(row for row in rows["correctness"] if row["source_row"] != 0)
    shown = printed(print_story, read_story(run[0].url, row["pair_id"]))
    assert row["pair_id"] in shown
    assert row["image_sha256"][0] in shown and "448 × 336 PNG" in shown
    table = [line for line in shown.splitlines() if line.startswith("sample ")]
    assert len(table) == 8
    (chosen,) = [line for line in table if "◀ chosen" in line]
    (rejected,) = [line for line in table if "◀ rejected" in line]
    assert chosen.startswith(f"sample {row['chosen_index']}  ") and " correct " in chosen and " number " in chosen
    assert rejected.startswith(f"sample {row['rejected_index']}  ") and " incorrect " in rejected
    assert "unparsed" in shown and "no final answer" in shown
    assert "Uses: the chosen side is in" in shown and "at most 2 (max_uses)" in shown


def test_uses_are_those_of_the_dataset(run, rows):
    row = rows["correctness"][0]
    story = read_story(run[0].url, row["pair_id"])
    place = (row["source"], row["source_row"])
    pairs = [other for kind in rows.values() for other in kind if (other["source"], other["source_row"]) == place]
    assert {pair["pair_id"] for pair in story.siblings} == {pair["pair_id"] for pair in pairs}
    assert story.uses()[story.sides()[0]] == sum(pair["chosen_index"] == row["chosen_index"] for pair in pairs)


def test_a_dropout_pair_is_explained_with_its_cut(run, rows):
    row = rows["dropout_ntp"][0]
    shown = printed(print_story, read_story(run[0].url, row["pair_id"]))
    assert "none: a draft and another completion of it" in shown
    assert f"({row['prefix_chars']} characters; keep_fraction 0.5)" in shown
    assert "without the image" in shown and "[✂ image taken away]" in shown


def test_the_beginning_of_an_id_is_enough_where_it_is_one_pairs_only(run, rows):
    pair_id = rows["format"][0]["pair_id"]
    assert read_story(run[0].url, pair_id[:12]).row["pair_id"] == pair_id
    with pytest.raises(RunFolderError, match="several that begin so"):
        for digit in "0123456789abcdef":
            read_story(run[0].url, digit)


def test_an_unknown_id_gives_the_nearest_one(run, rows):
    pair_id = rows["format"][0]["pair_id"]
    wrong = pair_id[:7] + ("0" if pair_id[7] != "0" else "1") + pair_id[8:]
    with pytest.raises(RunFolderError, match=f"has no pair '{wrong}'; did you mean {pair_id}\\?"):
        read_story(run[0].url, wrong)


def test_a_questions_id_gives_its_pairs_or_its_skip(run, rows):
    row = rows["dropout_ntp"][0]
    with pytest.raises(RunFolderError, match=f"the pairs of which are {row['pair_id']}"):
        read_story(run[0].url, row["question_id"])
    with pytest.raises(RunFolderError, match=r"was skipped: image_missing, gone\.png: no such file"):
        read_story(run[0].url, "same")


def test_a_hostile_id_is_shown_harmless(run):
    with pytest.raises(RunFolderError) as error:
        read_story(run[0].url, "\x1b[31m\u202e")
    assert not STEERS.search(str(error.value))


def test_verdicts_are_those_of_the_settings_the_pairs_were_made_with():
    question = Question("m", "charts", 0, "What is the height of the red bar?", answer=("200",))
    response = Response("m", Stage.SAMPLE, 0, "Final Answer: 205", (), 5, Finish.STOP)
    committed = StoredQuestion(
        question, (), (StoredResponse(response, Verdict(Outcome.INCORRECT, "205", "number", "200")),)
    )
    judge = '{"relative_tolerance": null, "format": "final"}'

    def paired(judge, tolerance, version):
        (found,) = judged_as_paired([committed], judge, {"relative_tolerance": tolerance}, version=version)
        return found

    assert paired("", 0.05, 2) is committed and paired(judge, 0.0, 1) is committed
    assert paired(judge, 0.0, 2) is not committed
    assert [stored.verdict.outcome for stored in paired(judge, 0.05, 1).responses] == [Outcome.CORRECT]


# -- the command line ---------------------------------------------------------------------------------------------


def mmpr(*words, **how):
    return subprocess.run(
        [sys.executable, "-m", "mmpr", *words], capture_output=True, text=True, check=False, timeout=120, **how
    )


def test_the_verbs_need_neither_engine_nor_ray_and_print_results_to_stdout(run):
    url = run[0].url
    program = (
        "import sys, mmpr.cli.verbs\n"
        "try: mmpr.cli.main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('ray', 'vllm', 'torch') if name in sys.modules], file=sys.stderr)"
    )
    pair_id = sample_pairs(url, n_pairs=1)[0]["pair_id"]
    for words in (("report", url, "--json"), ("explain", url, pair_id), ("peek", url, "--n", "1")):
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]", words
        assert done.stdout.strip()


def test_an_unknown_pair_is_one_line_and_exit_1(run):
    done = mmpr("explain", run[0].url, "ffff")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("mmpr: ") and "did you mean" in line


def test_on_a_real_terminal_there_are_colours_and_nothing_else(run):
    read_end, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    words = [sys.executable, "-m", "mmpr", "peek", run[0].url, "--n", "40"]
    process = subprocess.Popen(words, stdout=terminal, stderr=subprocess.DEVNULL, env=environment)
    os.close(terminal)
    shown = b""
    while block := _block(read_end):
        shown += block
    assert process.wait() == 0
    os.close(read_end)
    text = shown.decode().replace("\r\n", "\n")
    assert STYLE.search(text) and not STEERS.search(STYLE.sub("", text))


def _block(read_end: int) -> bytes:
    try:
        return os.read(read_end, 65_536)
    except OSError:  # Linux says so where the other end is closed
        return b""
