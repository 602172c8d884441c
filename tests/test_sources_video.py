"""Rows with a video: its frames become images with InternVL's lines, and blind prompts have nothing of them left."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpr.builder.answer import answer
from mmpr.engines.scripted import ScriptedEngine
from mmpr.images import Loader, frame_references
from mmpr.prompts import ask, blind, count_tags, with_frames
from mmpr.sources import open_source
from mmpr.types import Question, Reason, Skip, Stage
from tests.recipes import make_recipe
from tests.source_files import read_all
from tests.test_images_video import film

LINES = "Frame1: <image>\nFrame2: <image>\nFrame3: <image>\n"


def read(tmp_path, *rows, **options):
    (tmp_path / "vqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_all(open_source(tmp_path / "vqa.jsonl", video_frames=3, **options))


def test_a_video_becomes_frames_with_their_lines_in_front(tmp_path):
    (row,) = read(tmp_path, {"video": "a.mp4", "question": "What happens?"})
    assert [m.text for m in ask(row)] == [f"{LINES}What happens?"]
    assert row.images == tuple(f"{tmp_path}/a.mp4#frame={i}/3" for i in (1, 2, 3))
    assert row.language == "en"


def test_the_lines_stand_where_the_row_has_its_tag(tmp_path):
    (row,) = read(tmp_path, {"video": "a.mp4", "question": "Watch.\n<video>\nWhat happens?"})
    assert row.text == f"Watch.\n{LINES}What happens?"


def test_the_video_belongs_to_the_first_turn_of_a_talk(tmp_path):
    (row,) = read(tmp_path, {"video": "a.mp4", "question": "And then?", "history": [["What happens?", "A cat jumps."]]})
    texts = [m.text for m in ask(row)]
    assert texts == [f"{LINES}What happens?", "A cat jumps.", "And then?"]


def test_llavas_and_openais_rows_have_videos_too(tmp_path):
    llava = {"video": ["a.mp4"], "conversations": [{"from": "human", "value": "<video>\nWhat?"}]}
    parts = [{"type": "video_url", "video_url": {"url": "a.mp4"}}, {"type": "text", "text": "What?"}]
    openai = {"messages": [{"role": "user", "content": parts}]}
    first, second = read(tmp_path, llava, openai)
    assert first.text == second.text == f"{LINES}What?"
    assert first.images == second.images


def test_a_video_elsewhere_keeps_its_address(tmp_path):
    (row,) = read(tmp_path, {"video": "s3://bucket/a.mp4", "question": "What?"})
    assert row.images[0] == "s3://bucket/a.mp4#frame=1/3"
    (row,) = read(tmp_path, {"video": "a.mp4", "question": "What?"}, image_root="s3://bucket/videos")
    assert row.images[0] == "s3://bucket/videos/a.mp4#frame=1/3"


@pytest.mark.parametrize(
    ("row", "reason", "says"),
    [
        ({"video": "a.mp4", "image": "a.png", "question": "What?"}, Reason.BAD_ROW, "both `image` and `video`"),
        ({"video": 3, "question": "What?"}, Reason.BAD_ROW, "path or address of one video"),
        ({"video": ["a.mp4", "b.mp4"], "question": "What?"}, Reason.BAD_ROW, "path or address of one video"),
        ({"video": "data:video/mp4;base64,AA", "question": "What?"}, Reason.BAD_ROW, "path or address of one video"),
        ({"video": "a.mp4", "question": "<video>"}, Reason.EMPTY_QUESTION, "no question"),
        ({"video": "a.mp4", "question": "<video><video>x"}, Reason.IMAGE_TAGS, "2 <video> tags for 1 videos"),
        ({"question": "<video>\nWhat?"}, Reason.IMAGE_TAGS, "name its file in `video`"),
        ({"video": "a.mp4", "question": "<image>\nWhat?"}, Reason.IMAGE_TAGS, "1 <image> tags for 0 images"),
    ],
)
def test_a_row_whose_video_cannot_be_meant_is_a_named_skip(tmp_path, row, reason, says):
    (found,) = read(tmp_path, row)
    assert isinstance(found, Skip)
    assert found.reason is reason and says in found.detail and "vqa.jsonl line 1" in found.detail


@given(st.text(), st.integers(1, 40), st.booleans())
def test_a_blind_prompt_has_no_frame_nor_label_left_and_nothing_else_is_changed(text, n_frames, tagged):
    text = text.replace("<image>", "").replace("<video>", "").replace("\r", "")
    if text.startswith(("\n", " ", "\t")):
        text = "x" + text
    images = frame_references("a.mp4", n_frames)
    shown = with_frames(f"<video>\n{text}", n_frames) if tagged else text
    seen = ask(Question("q", "s", 1, shown, images=images))
    assert count_tags(m.text for m in seen) == n_frames
    assert blind(seen) == ask(Question("q", "s", 1, text))


def script(prompt, index):
    return " there is a green cat beside a tree." if prompt.prefix else "In the film there is a red ball on a table."


def test_a_video_question_goes_from_its_file_to_a_blind_ending(tmp_path):
    film(tmp_path / "a.mp4")
    (row,) = read(tmp_path, {"video": "a.mp4", "question": "Describe the video."})
    engine = ScriptedEngine(script)
    recipe = make_recipe(n=1, max_tokens=200, draft_max_tokens=200, video_tiles=1)
    answered = asyncio.run(answer(row, engine, recipe, Loader(tmp_path)))
    draft, completion = engine.prompts
    assert answered.skip is None
    assert (draft.stage, len(draft.images), draft.max_tiles) == (Stage.DRAFT, 3, 1)
    assert draft.messages[0].text == f"{LINES}Describe the video."
    assert (completion.stage, completion.images, completion.messages[0].text) == (
        Stage.COMPLETION,
        (),
        "Describe the video.",
    )
    assert len({image.sha256 for image in answered.images}) == 3


def test_a_video_that_cannot_be_used_is_a_named_skip_of_its_question(tmp_path):
    film(tmp_path / "short.mp4", 2)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    recipe = make_recipe(n=1, max_tokens=200, draft_max_tokens=200)
    names = ("short.mp4", "broken.mp4", "gone.mp4")
    rows = read(tmp_path, *({"video": name, "question": "What?", "answer": "x"} for name in names))
    skips = [asyncio.run(answer(row, ScriptedEngine(), recipe, Loader(tmp_path))).skip for row in rows]
    assert [s.reason for s in skips] == [Reason.VIDEO_TOO_SHORT, Reason.VIDEO_UNREADABLE, Reason.IMAGE_MISSING]
    assert all(name in s.detail for name, s in zip(names, skips, strict=True))


def test_the_frames_stand_before_the_instruction_of_a_question_with_an_answer(tmp_path):
    (row,) = read(tmp_path, {"video": "a.mp4", "question": "How many?", "answer": 2})
    (message,) = ask(row)
    assert message.text.startswith(f"{LINES}Your task is")
    assert message.text.endswith("How many?")
