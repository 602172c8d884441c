"""Pairs that a trainer would not survive: left out, each for a named reason, or the end of a strict export."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from run import making

from exporting import runs
from mmpr.errors import RunFolderError
from mmpr.exporting import Unfit, export_run
from mmpr.exporting.export_records import EXPLAINED
from mmpr.exporting.fitness import text_fault, turns_of
from mmpr.prompts import ask
from mmpr.run.columns import content_parts
from mmpr.types import Message, Question


def cut(content):
    return content[: len(content) // 2]


def gif():
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "GIF")
    return file.getvalue()


# What is done to a sound row, and why it is then left out.
DAMAGE = {
    "no chosen": ({"chosen_text": None}, Unfit.EMPTY_TEXT),
    "no rejected": ({"rejected_text": None}, Unfit.EMPTY_TEXT),
    "blank rejected": ({"rejected_text": " \n"}, Unfit.EMPTY_TEXT),
    "no question": ({"question": None}, Unfit.EMPTY_TEXT),
    "no prompt": ({"prompt": None}, Unfit.EMPTY_TEXT),
    "no turns": ({"prompt": []}, Unfit.EMPTY_TEXT),
    "equal": ({"chosen_text": "a", "rejected_text": "a"}, Unfit.SAME_TEXT),
    "equal but for a line's end": ({"chosen_text": "a", "rejected_text": "a\n"}, Unfit.SAME_TEXT),
    "image in chosen": ({"chosen_text": "see <image>"}, Unfit.MEDIA_TAG),
    "video in rejected": ({"rejected_text": "see <video>"}, Unfit.MEDIA_TAG),
    "sound in chosen": ({"chosen_text": "hear <audio>"}, Unfit.MEDIA_TAG),
    "InternVL's own": ({"chosen_text": "<IMG_CONTEXT>"}, Unfit.MEDIA_TAG),
    "video in the question": ({"question": "<image>\nWhat does <video> mean?"}, Unfit.MEDIA_TAG),
    "a tag too many": ({"question": "<image><image>\nHow many?"}, Unfit.IMAGE_TAGS),
    "a tag too few": ({"question": "How many?"}, Unfit.IMAGE_TAGS),
    "images gone": ({"images": []}, Unfit.IMAGE_TAGS),
    "no images at all": ({"images": None}, Unfit.IMAGE_TAGS),
    "a path alone": ({"images": [{"bytes": None, "path": "a.png"}]}, Unfit.IMAGE_UNREADABLE),
    "no image": ({"images": [{"bytes": b"x" * 99, "path": None}]}, Unfit.IMAGE_UNREADABLE),
    "a format that is never embedded": ({"images": [{"bytes": gif(), "path": None}]}, Unfit.IMAGE_UNREADABLE),
    "cut": ({"images": [{"bytes": cut(making.image(9).encoded), "path": None}]}, Unfit.IMAGE_UNREADABLE),
}


def with_images(rows):
    return next(row for row in rows if len(row["images"]) == 1 and len(row["prompt"]) == 1)


@pytest.mark.parametrize("format", runs.FORMATS)
def test_every_kind_of_damage_is_left_out_under_its_name(run, tmp_path, format):
    rows = runs.rows_of(run)
    bad = [{**with_images(rows), **change, "pair_id": name} for name, (change, _) in DAMAGE.items()]
    mixed = [row for pair in zip(rows[: len(bad)], bad, strict=True) for row in pair] + rows[len(bad) :]
    runs.forge(run, mixed, group_rows=7)
    counts = export_run(run.url, format, tmp_path / "damaged")
    assert counts.rows == len(rows)
    reasons = [why for _, why in DAMAGE.values()]
    assert {one.reason: one.rows for one in counts.left_out} == {why: reasons.count(why) for why in set(reasons)}
    runs.forge(run, rows, group_rows=7)
    export_run(run.url, format, tmp_path / "sound")
    damaged, sound = runs.files_in(tmp_path / "damaged"), runs.files_in(tmp_path / "sound")
    assert {name for name in damaged if name.startswith("images/")} == {n for n in sound if n.startswith("images/")}
    for name in damaged:
        if name.endswith(".jsonl"):
            assert damaged[name] == sound[name]


@pytest.mark.parametrize("name", DAMAGE)
def test_a_strict_export_ends_at_the_first_one_and_says_where_and_why(run, tmp_path, name):
    rows = runs.rows_of(run)
    change, why = DAMAGE[name]
    runs.forge(run, [*rows, {**with_images(rows), **change, "pair_id": "the-bad-one"}])
    with pytest.raises(RunFolderError) as found:
        export_run(run.url, "swift", tmp_path / "to", strict=True)
    assert "the-bad-one" in str(found.value) and why.value in str(found.value) and "\n" not in str(found.value)
    assert not (tmp_path / "to/export.json").exists()
    counts = export_run(run.url, "swift", tmp_path / "to")  # without strict it goes on
    assert counts.rows == len(rows) and [one.reason for one in counts.left_out] == [why]
    with pytest.raises(RunFolderError, match="the-bad-one"):  # complete, but not what strict asks for
        export_run(run.url, "swift", tmp_path / "to", strict=True)


def test_a_left_out_pair_of_several_images_leaves_none_behind(run, tmp_path):
    row = next(row for row in runs.rows_of(run) if len(row["images"]) == 3)
    broken = {**row, "images": [*row["images"][:2], {"bytes": b"no", "path": None}]}
    runs.forge(run, [broken])
    assert export_run(run.url, "jsonl", tmp_path / "to").rows == 0
    assert runs.images_in(tmp_path / "to") == []


def test_pairs_that_differ_only_behind_the_trainers_length_are_left_out(run, tmp_path):
    rows = runs.rows_of(run)
    row = {**with_images(rows), "chosen_text": "the same start, then A", "rejected_text": "the same start, then B"}
    runs.forge(run, [row])
    enough = len(row["question"]) + len("the same start, then A")
    assert export_run(run.url, "trl", tmp_path / "a", max_chars=enough).rows == 1
    counts = export_run(run.url, "trl", tmp_path / "b", max_chars=enough - 1)
    assert counts.rows == 0 and counts.left_out[0].reason is Unfit.SAME_WITHIN_MAX_CHARS


def test_every_reason_is_explained():
    assert set(EXPLAINED) == set(Unfit)


answers = st.text(max_size=30)


@given(answers, answers, st.integers(0, 60))
def test_a_fit_pair_differs_within_the_limit_and_has_no_tag(chosen, rejected, max_chars):
    row = {"chosen_text": chosen, "rejected_text": rejected, "images": []}
    if text_fault(row, [Message("user", "Which?")], max_chars=max_chars) is None:
        assert chosen.strip() != rejected.strip() and chosen.strip() and rejected.strip()
        assert "Which?" + chosen != "Which?" + rejected
        assert ("Which?" + chosen)[:max_chars] != ("Which?" + rejected)[:max_chars]


lines = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


@given(lines, st.lists(st.tuples(lines, lines), max_size=3), st.integers(0, 3), st.none() | lines)
def test_turns_come_back_from_a_row_as_they_were_asked(text, history, n_images, system):
    question = Question("q", "s", 0, text, system, tuple(history), ("p.png",) * n_images)
    messages = ask(question)
    row = {
        "prompt": [{"role": m.role, "content": content_parts(m.text)} for m in messages],
        "question": "\n\n".join(m.text for m in messages if m.role != "system"),
    }
    assert turns_of(row) == messages
