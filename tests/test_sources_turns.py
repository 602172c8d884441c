"""Rows written as turns: LLaVA's `conversations` and OpenAI's `messages`."""

from __future__ import annotations

import json
from itertools import product

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpr.prompts import ask
from mmpr.sources import open_source
from mmpr.types import Question, Reason
from tests.source_files import read_all

SHORT = "Answer the question using a single word or phrase."


def read(tmp_path, row, **options):
    (tmp_path / "a.json").write_text(json.dumps([row]))
    [found] = read_all(open_source(tmp_path / "a.json", **options))
    return found


def llava(*values, **columns):
    turns = [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]
    return {"id": "000000033471", "image": "coco/a.jpg", "conversations": turns, **columns}


def openai(*contents, **columns):
    turns = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return {"messages": turns, **columns}


def test_a_row_of_llava(tmp_path):
    row = llava("<image>\nWhat are the colors of the bus?", "White and red.", "What is behind it?", "A tall building.")
    found = read(tmp_path, row)
    assert (found.id, found.images) == ("000000033471", (str(tmp_path / "coco/a.jpg"),))
    assert found.text == "What is behind it?"
    assert found.history == (("<image>\nWhat are the colors of the bus?", "White and red."),)
    assert (found.answer, found.draft) == (None, "A tall building.")
    assert [m.role for m in ask(found)] == ["user", "assistant", "user"]


def test_a_last_human_turn_without_a_reply_has_no_draft(tmp_path):
    for row in (llava("<image>\nWhat?"), llava("<image>\nWhat?", ""), llava("<image>\nWhat?", None)):
        found = read(tmp_path, row)
        assert (found.text, found.history, found.draft) == ("<image>\nWhat?", (), None)


def test_a_reply_to_a_turn_that_asks_for_a_few_words_is_the_answer(tmp_path):
    found = read(tmp_path, llava(f"<image>\nWhat color is the bus?\n{SHORT}", "Red"))
    assert (found.answer, found.draft) == (("Red",), None)
    assert ask(found)[-1].text.endswith("<image>\nWhat color is the bus?")


def test_a_column_goes_before_what_the_turns_say(tmp_path):
    found = read(tmp_path, llava("<image>\nHow many?", "Two of them.", answer="2"))
    assert (found.answer, found.draft) == (("2",), None)
    found = read(tmp_path, llava("<image>\nDescribe it.", "A bus.", chosen="A red bus.", system="Be brief."))
    assert (found.draft, found.system) == ("A red bus.", "Be brief.")
    found = read(tmp_path, llava("not this one", "nor this", question="How many?"))
    assert (found.text, found.draft) == ("How many?", None)


def test_system_turns(tmp_path):
    row = llava("<image>\nWhat?", "A bus.")
    row["conversations"].insert(0, {"from": "system", "value": "Be brief."})
    assert read(tmp_path, row).system == "Be brief."
    row = openai("What?")
    row["messages"].insert(0, {"role": "developer", "content": "Be brief."})
    assert read(tmp_path, row).system == "Be brief."


def test_a_row_of_openai(tmp_path):
    parts = [
        {"type": "text", "text": "Compare"},
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "text", "text": "them."},
    ]
    found = read(tmp_path, openai("Hello?", "Hello.", parts, "They differ."))
    assert found.text == "Compare\n<image>\n<image>\nthem."
    assert found.images == (str(tmp_path / "a.png"), "data:image/png;base64,AA==")
    assert (found.history, found.draft) == ((("Hello?", "Hello."),), "They differ.")


def test_images_that_a_message_only_points_at_are_the_rows_own(tmp_path):
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
    found = read(tmp_path, openai(parts, images=["a.png"]), columns={"image": "images"})
    assert (found.text, found.images) == ("<image>\nWhat?", (str(tmp_path / "a.png"),))


@pytest.mark.parametrize("name", ["conversations", "messages"])
def test_turns_of_a_foreign_name(tmp_path, name):
    row = {"dialogue": [{"from": "human", "value": "What?"}, {"role": "assistant", "content": "A bus."}]}
    found = read(tmp_path, row, columns={name: "dialogue"})
    assert (found.text, found.draft) == ("What?", "A bus.")


def test_turns_in_parquet_and_csv_are_those_of_json(tmp_path):
    row = llava("<image>\nWhat?", "A bus.", "Where?", "In town.")
    expected = read(tmp_path, row)
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    cells = json.dumps(row["conversations"]).replace('"', '""')
    (tmp_path / "a.csv").write_text(f'id,image,conversations\n{row["id"]},{row["image"]},"{cells}"\n')
    for name in ("a.parquet", "a.csv"):
        [found] = read_all(open_source(tmp_path / name))
        for column in ("id", "text", "history", "images", "draft"):
            assert getattr(found, column) == getattr(expected, column)


def test_messages_with_parts_in_parquet(tmp_path):
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]
    rows = [{"image": "a.png", "messages": [{"role": "user", "content": parts}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    [found] = read_all(open_source(tmp_path / "a.parquet"))
    assert (found.text, len(found.images)) == ("<image>\nWhat?", 1)


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ("What?", "`conversations` is 'What?': give a list of turns"),
        (["What?"], "give turns like {from, value}"),
        ([{"from": "human", "value": 7}], "give turns like {from, value}"),
        ([{"from": "tool", "value": "x"}], "`conversations` is 'tool': give turns of human, gpt or system"),
        ([{"value": "x"}], "`conversations` is None: give turns of human"),
        ([{"from": "gpt", "value": "x"}], "turn 1 is of 'assistant': give turns that alternate"),
        ([{"from": "human", "value": "x"}] * 2, "turn 2 is of 'user': give turns that alternate"),
        ([{"from": "human", "value": [{"type": "audio", "audio": "a.mp3"}]}], "give parts of type text, image"),
    ],
)
def test_turns_of_another_shape(tmp_path, turns, says):
    skip = read(tmp_path, {"id": "q9", "conversations": turns})
    assert (skip.question_id, skip.reason) == ("q9", Reason.BAD_ROW)
    assert says in skip.detail and skip.detail.startswith("a.json row 0: ")


@pytest.mark.parametrize("turns", [[], [{"from": "system", "value": "x"}], [{"from": "human", "value": " "}]])
def test_turns_without_a_question(tmp_path, turns):
    assert read(tmp_path, {"conversations": turns}).reason is Reason.EMPTY_QUESTION


def test_images_in_two_places(tmp_path):
    parts = [{"type": "image_url", "image_url": "a.png"}, {"type": "text", "text": "What?"}]
    skip = read(tmp_path, openai(parts, image="b.png"))
    assert "addresses both in `image` and in `messages`" in skip.detail


def test_tags_that_do_not_fit_the_images(tmp_path):
    assert read(tmp_path, llava("<image><image>\nWhat?")).reason is Reason.IMAGE_TAGS


def test_a_row_of_text_alone(tmp_path):
    found = read(tmp_path, {"conversations": [{"from": "human", "value": "Who wrote Faust?"}]})
    assert isinstance(found, Question) and found.images == ()


@pytest.mark.parametrize(
    "suffix", [SHORT, "Answer with the option’s letter from the given choices directly.", "用单个词或短语回答问题。"]
)
def test_every_known_instruction_for_a_few_words_makes_the_reply_the_answer(tmp_path, suffix):
    found = read(tmp_path, llava(f"<image>\nWhich?\n{suffix}", "B"))
    assert (found.answer, found.draft) == (("B",), None)


@pytest.mark.parametrize(("who", "what"), [*product(("from", "role"), ("value", "content", "text"))])
def test_turns_by_any_of_their_names(tmp_path, who, what):
    names = (("human", "gpt"), ("User", "Assistant"), ("user", "assistant"))
    for user, model in names:
        turns = [{who: user, what: "What?"}, {who: model, what: "A bus."}, {who: user, what: "Where?"}]
        found = read(tmp_path, {"image": "a.png", "conversations": [*turns, {who: model, what: "There."}]})
        assert (found.text, found.draft, found.history) == ("Where?", "There.", (("What?", "A bus."),))


@pytest.mark.parametrize(
    "turns",
    [
        [{"user": "What?", "assistant": "A bus."}],
        [["What?", "A bus."]],
        '[{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A bus."}]',
        {"from": ["human", "gpt"], "value": ["What?", "A bus."]},
        {"role": ["user", "assistant"], "content": ["What?", "A bus."]},
        [{"role": "user", "content": [{"text": "What?"}]}, {"role": "assistant", "content": {"text": "A bus."}}],
        [{"role": "user", "content": ["What?"]}, {"role": "assistant", "content": "A bus."}],
    ],
)
def test_turns_in_other_shapes(tmp_path, turns):
    found = read(tmp_path, {"image": "a.png", "conversations": turns})
    assert (found.text, found.draft, found.history) == ("What?", "A bus.", ())


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        {"image": "data:image/png;base64,AA=="},
        {"type": "image", "path": "data:image/png;base64,AA=="},
        {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
    ],
)
def test_images_in_turns_by_any_of_their_names(tmp_path, part):
    found = read(tmp_path, {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]})
    assert (found.text, found.images) == ("<image>\nWhat?", ("data:image/png;base64,AA==",))


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ([{"from": "human", "value": "What?"}, {"from": "gpt"}, {"from": "human", "value": "So?"}], "its text as"),
        (
            [{"from": "human", "value": "What?"}, {"from": "gpt", "value": ""}, {"from": "human", "value": "So?"}],
            "turn 2",
        ),
        ([{"from": "human", "value": "What?"}, {"from": "gpt"}], "its text as"),
        ([{"from": "human", "value": "What?"}, {"from": "tool", "value": "3"}], "turns of human"),
        (
            [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [{}]}],
            "calls a tool",
        ),
        (["What?", "A bus."], "turns like"),
        ("What? A bus.", "a list of turns"),
    ],
)
def test_a_turn_that_is_not_understood_is_a_named_skip(tmp_path, turns, says):
    found = read(tmp_path, {"image": "a.png", "conversations": turns})
    assert found.reason is Reason.BAD_ROW and says in found.detail and "a.json row 0" in found.detail


def test_a_chosen_reply_may_be_written_as_turns(tmp_path):
    for chosen in ({"from": "gpt", "value": "A bus."}, [{"role": "assistant", "content": "A bus."}]):
        assert read(tmp_path, llava("<image>\nWhat?", chosen=chosen)).draft == "A bus."
    assert read(tmp_path, llava("<image>\nWhat?", chosen=[{"role": "user", "content": "?"}])).reason is Reason.BAD_ROW
