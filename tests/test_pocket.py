import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from mmpr.demo.pocket_language import (
    KINDS,
    SEEN,
    THINK_FIRST,
    UNCLEAR,
    Claim,
    Habit,
    as_question,
    describe,
    draw_question,
    respond,
)
from mmpr.demo.pocket_world import (
    COLOURS,
    EASY,
    FULL,
    Look,
    PlacedShape,
    Scene,
    draw_looks,
    draw_pixels,
    draw_scene,
    is_clear,
)
from mmpr.judging import Outcome, judge
from mmpr.pocket import checkpoint_path
from pipelines.pocket import train as training
from pipelines.pocket.checker import Statements, count_statements, statement_spans
from pipelines.pocket.checkpoint import fuse, read_checkpoint, write_checkpoint, write_random_checkpoint
from pipelines.pocket.examples import Candour, Talk, draw_batches, draw_talk, encode_talk, train_tokenizer
from pipelines.pocket.model import Shape, Vision, make_language, pixel_shuffle
from pipelines.pocket.questions import read_scenes, write_questions
from pipelines.pocket.train import Lesson, difficulties, language_loss, train_language, train_vision

SCENE = Scene(
    1, 1, (PlacedShape(1, 2, "red", "circle"), PlacedShape(1, 4, "blue", "cross"), PlacedShape(3, 1, "red", "cross"))
)
TINY = Shape(
    vision_width=64, vision_layers=1, vision_heads=1, vision_ffn=64, width=64, layers=1, heads=1, kv_heads=1, ffn=64
)


def scenes(n, seed=0):
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        yield draw_scene(rng), rng


def count_by_hand(scene, asked):
    """The answer found another way: by looking at the marks with the question's own words."""
    words = re.findall(r"[a-z]+|\d+", asked.text.lower())
    marks = [(m.colour, m.shape, m.row, m.column) for m in scene.marks]
    if asked.kind == "count":
        key = words[2].removesuffix("es") if words[2] == "crosses" else words[2].removesuffix("s")
        return str(sum(key in mark[:2] for mark in marks))
    if asked.kind in ("colour", "shape", "multiple_choice"):
        place = [int(word) for word in words if word.isdigit()]
        (look,) = [mark[:2] for mark in marks if list(mark[2:]) == place]
        wanted = look[0] if "colour" in words else look[1]
        return "ABCD"[asked.choices.index(wanted)] if asked.choices else wanted
    if asked.kind == "yes_no":
        return "yes" if (words[-2], words[-1]) in [mark[:2] for mark in marks] else "no"
    if asked.kind == "position":
        (place,) = [mark[2:] for mark in marks if mark[:2] == (words[-2], words[-1])]
        return str(place[0] if "row" in words else place[1])
    names = {f"{s}es" if s == "cross" else f"{s}s": s for _, s, _, _ in marks}
    asked_for = [word for word in words if word in names or word.endswith("s")]
    return max(asked_for, key=lambda word: sum(mark[1] == names.get(word) for mark in marks))


def test_every_answer_is_right_by_an_independent_look():
    seen = set()
    for scene, rng in scenes(300):
        asked = draw_question(scene, rng, "en")
        seen.add(asked.kind)
        assert asked.answer == count_by_hand(scene, asked), asked
    assert seen == set(KINDS)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("version", ["final", "boxed", "think"])
@pytest.mark.parametrize("habit", Habit)
def test_the_judge_finds_every_true_response_right(version, language, habit):
    for scene, rng in scenes(40, seed=1):
        asked = draw_question(scene, rng, language)
        said = respond(scene, asked, version, language, habit)
        verdict = judge(as_question(asked, language), said)
        assert verdict.outcome is Outcome.CORRECT, (asked, verdict)


def test_a_glance_says_the_answer_in_one_sentence():
    for scene, rng in scenes(40, seed=5):
        asked = draw_question(scene, rng, "en")
        said = respond(scene, asked, "final", "en", Habit.GLANCE)
        assert said == f"{asked.glance}\nFinal Answer: {asked.answer}" and "Row" not in said


def test_a_list_without_remarks_is_the_description():
    for scene, rng in scenes(40, seed=9):
        asked = draw_question(scene, rng, "en")
        said = respond(scene, asked, "final", "en", Habit.LISTED)
        assert said == f"{describe(scene, 'en')}\nFinal Answer: {asked.answer}"


def test_a_true_description_has_only_true_statements():
    for scene, _ in scenes(40, seed=2):
        for language in ("en", "zh"):
            assert count_statements(describe(scene, language), scene) == Statements(len(scene.marks), 0)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_called_unclear_is_no_statement_and_what_is_seen_is_one(language):
    said = describe(SCENE, language, claims=[Claim.UNCLEAR, Claim.SEEN, Claim.STATED])
    assert UNCLEAR[language] in said and SEEN[language] in said
    assert count_statements(said, SCENE) == Statements(2, 0)
    assert len(statement_spans(said)) == 5  # two rows, three cells: seen, if not made out


@pytest.mark.parametrize(
    ("look", "clear"),
    [
        (Look((0, 0), 6.0, COLOURS["red"]), True),
        (Look((0, 0), 2.5, COLOURS["red"]), False),
        (Look((0, 0), 6.0, tuple(np.mean([COLOURS["red"], COLOURS["brown"]], axis=0))), False),
    ],
)
def test_a_mark_is_clear_where_it_is_large_and_of_one_colour(look, clear):
    assert is_clear(look) is clear


def test_what_is_clear_is_named_right_more_often_than_what_is_not():
    colours = np.array(list(COLOURS.values()))
    right = {True: [], False: []}
    for scene, rng in scenes(300, seed=6):
        for mark, look in zip(scene.marks, draw_looks(scene, rng), strict=True):
            nearest = list(COLOURS)[int(((colours - look.colour) ** 2).sum(axis=1).argmin())]
            right[is_clear(look)].append(nearest == mark.colour)
    assert np.mean(right[True]) > 0.9 > 0.8 > np.mean(right[False])


def test_only_what_is_hard_to_make_out_is_called_unclear_and_only_the_rest_seen_and_neither_by_who_sees_nothing():
    for scene, rng in scenes(300, seed=7):
        n = len(scene.marks)
        talk = draw_talk(scene, rng, clear=[False, *([True] * (n - 1))], kinds=["shape"], candour=Candour(1.0, 1.0))
        described, shown = "Final" not in talk.response and "最终" not in talk.response, "<image>" in talk.prompt
        if described:
            assert sum(map(talk.response.count, UNCLEAR.values())) == shown
            assert sum(map(talk.response.count, SEEN.values())) == shown * (n - 1)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Row 1: column 2 a red circle, column 4 a blue cross.", (2, 0)),
        ("Row 1: column 2 a red square, column 4 a green cross.", (0, 2)),
        ("Row 2: column 2 a red circle.", (0, 1)),
        ("Row 1: column 3 a red circle.", (0, 1)),
        ("第1行:第2列红色圆形,第4列蓝色十字。第3行:第1列绿色十字。", (2, 1)),
        ("Row 1: column 2 a red", (0, 0)),
        ("A red circle and a blue cross.", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_statements_of_a_text_are_counted(text, counts):
    assert count_statements(text, SCENE) == Statements(*counts)


def test_a_half_counts_only_what_is_completed_behind_the_cut():
    text = "Row 1: column 2 a red circle, column 4 a blue cross. Row 3: column 1 a blue cross."
    assert count_statements(text, SCENE, start=text.index("blue")) == Statements(1, 1)
    assert count_statements(text, SCENE, start=text.index(", column 4")) == Statements(1, 1)
    assert count_statements(text, SCENE, start=len(text)) == Statements(0, 0)


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_questions(tmp_path / name, n=12, open_fraction=0.3, seed=seed)
    files = {n: [p.read_bytes() for p in sorted((tmp_path / n).rglob("*.*")) if p.is_file()] for n in "abc"}
    assert files["a"] == files["b"] != files["c"]


def test_the_truth_beside_the_questions_is_the_truth_of_their_images(tmp_path):
    write_questions(tmp_path, n=30, open_fraction=0.3, seed=3)
    references = read_scenes(tmp_path / "scenes.jsonl")
    for line in (tmp_path / "vqa.jsonl").read_text().splitlines():
        row = json.loads(line)
        scene = references[row["id"]]
        if row["source"] == "pocket-count" and "red shapes" in row["question"]:
            assert row["answer"] == str(sum(mark.colour == "red" for mark in scene.marks))
        assert (tmp_path / row["image"]).exists()


def test_wide_scenes_are_wide_images():
    scene = draw_scene(np.random.default_rng(0), (3, 1))
    assert draw_pixels(scene, np.random.default_rng(0)).shape == (64, 192, 3)


def test_pixel_shuffle_gives_each_cell_its_own_four_patches():
    patches = torch.arange(64, dtype=torch.float).reshape(1, 64, 1)  # patch (y, x) is 8 y + x
    cells = pixel_shuffle(patches, 8)
    assert cells.shape == (1, 16, 4)
    assert sorted(cells[0, 5].tolist()) == [18.0, 19.0, 26.0, 27.0]  # cell (1, 1): rows 2-3, columns 2-3


def test_fused_weights_stand_group_by_group():
    query, key, value = torch.arange(4.0).view(4, 1), torch.arange(4.0, 6).view(2, 1), torch.arange(6.0, 8).view(2, 1)
    assert fuse(query, key, value, kv_heads=2).flatten().tolist() == [0, 1, 4, 6, 2, 3, 5, 7]


def test_training_learns_and_writes_a_checkpoint_of_the_right_names(tmp_path):
    torch.manual_seed(0)
    vision = Vision(TINY)
    train_vision(vision, TINY, steps=2, seed=0)
    tokenizer, language = train_tokenizer(TINY, seed=0, n_texts=50), make_language(TINY)
    (batch,) = draw_batches(tokenizer, TINY, size=4, seed=0, difficulties=iter([EASY]))
    optimizer = torch.optim.AdamW(language.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = language_loss(vision, language, batch, learn_to_see=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert Vision(TINY).state_dict().keys() == vision.state_dict().keys()
    write_random_checkpoint(tmp_path, shape=TINY)
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        assert "language_model.model.layers.0.attention.wqkv.weight" in weights.keys()  # noqa: SIM118
        assert weights.get_slice("language_model.model.layers.0.attention.wqkv.weight").get_shape() == [192, 64]


@pytest.mark.parametrize("letters", [0, 2])
def test_training_that_is_ended_goes_on_to_the_same_weights(tmp_path, monkeypatch, letters):
    monkeypatch.setattr(training, "_STEPS_KEPT", 2)
    lesson = Lesson(steps=6, pace=1.0, ramp=0.5, thaw=0.5, reasoning_weight=1.0, thinking=0.5, letters=letters, size=2)
    tokenizer, step = train_tokenizer(TINY, seed=0, n_texts=50), training._step

    def taught(progress, ends_at=None):
        torch.manual_seed(0)
        vision, language = Vision(TINY), make_language(TINY)
        calls = []

        def ended(*given):
            calls.append(1)
            if len(calls) == ends_at:
                raise KeyboardInterrupt
            step(*given)

        monkeypatch.setattr(training, "_step", ended)
        train_language(vision, language, tokenizer, TINY, lesson, seed=0, progress=progress)
        return len(calls), {**vision.state_dict(), **language.state_dict()}

    _, whole = taught(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path / "ended.pt", ends_at=4)
    steps, again = taught(tmp_path / "ended.pt")
    assert steps == 4  # two of the six were kept
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    torch.manual_seed(0)
    write_random_checkpoint(tmp_path / "first", shape=TINY)
    vision, language = Vision(TINY), make_language(TINY)
    tokenizer = read_checkpoint(tmp_path / "first", vision, language, TINY)
    write_checkpoint(tmp_path / "second", vision, language, tokenizer, TINY)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_under_the_system_turn_the_reasoning_is_a_thought_and_the_answer_stands_behind_it(language):
    for scene, rng in scenes(40, seed=12):
        asked = draw_question(scene, rng, language)
        for version in ("final", "boxed", "think"):
            plain = respond(scene, asked, version, language)
            said = respond(scene, asked, version, language, thinks=True)
            thought, visible = re.fullmatch(r"<think>\n(.+)\n</think>\n(.+)", said, re.DOTALL).groups()
            assert thought in plain and plain.endswith(visible)
            assert judge(as_question(asked, language), visible).outcome is Outcome.CORRECT


def test_a_described_image_has_all_its_statements_behind_the_thought():
    talks = [(draw_talk(scene, rng, thinking=1.0), scene) for scene, rng in scenes(120, seed=13)]
    described = [(talk.response, scene) for talk, scene in talks if "Final" not in talk.response]
    described = [(said, scene) for said, scene in described if "最终" not in said]
    assert len(described) > 10 and {talk.system for talk, _ in talks} == {THINK_FIRST}
    for said, scene in described:
        thought, _, visible = said.partition("\n</think>\n")
        assert count_statements(thought, scene).total == 0
        assert count_statements(visible, scene) == count_statements(describe(scene, "en"), scene)


@pytest.mark.parametrize("system", ["", THINK_FIRST])
def test_an_exchange_has_the_tokens_of_the_chat_template(system):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint_path())
    talk = Talk("What do you see?", "", system)
    ours, length = encode_talk(Tokenizer.from_file(str(checkpoint_path() / "tokenizer.json")), talk, 0, Shape())
    turns = [{"role": "user", "content": talk.prompt}]
    shown = tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=True, enable_thinking=bool(system)
    )
    assert tokenizer(shown, add_special_tokens=False).input_ids == ours[:length]


def test_difficulty_rises_to_the_full_one():
    steps = list(difficulties(10, ramp=0.5))
    assert steps[0] == EASY and steps[-1] == FULL


def test_answers_are_come_to_as_often_in_each_way_as_asked():
    habits = {Habit.GLANCE: 0.5, Habit.LISTED: 0.3, Habit.WORKED_OUT: 0.2}
    talks = [draw_talk(scene, rng, habits=habits) for scene, rng in scenes(600, seed=8)]
    answers = [talk.response.removeprefix("<think>") for talk in talks if "Final Answer" in talk.response]
    listed = np.mean([said.startswith("Row") for said in answers])
    worked = np.mean([said.startswith(("Looking", "Counting", "In row")) for said in answers])
    assert abs(listed - 0.3) < 0.08 and abs(worked - 0.2) < 0.08


def test_some_training_texts_are_chinese_boxed_thinking_and_blind():
    talks = [draw_talk(scene, rng) for scene, rng in scenes(300, seed=4)]
    assert any("\\boxed" in t.response for t in talks) and any("<think>" in t.response for t in talks)
    assert any("最终答案" in t.response for t in talks) and any("<image>" not in t.prompt for t in talks)


def test_the_shipped_checkpoint_is_small_bfloat16_and_has_no_unused_layer():
    folder = checkpoint_path()
    assert (folder / "model.safetensors").stat().st_size < 12_000_000
    config = json.loads((folder / "config.json").read_text())
    with safe_open(folder / "model.safetensors", "pt") as weights:
        names = list(weights.keys())
        assert {weights.get_slice(name).get_dtype() for name in names} == {"BF16"}
    layers = {int(n.split(".")[3]) for n in names if n.startswith("language_model.model.layers.")}
    assert layers == set(range(config["llm_config"]["num_hidden_layers"]))
    seen = {int(n.split(".")[3]) for n in names if n.startswith("vision_model.encoder.layers.")}
    assert seen == set(range(config["vision_config"]["num_hidden_layers"]))
