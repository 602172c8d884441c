"""What rejected completions are written with, by `rejected_view`: in parts, then in whole builds."""

import io
import json
import sys
from dataclasses import replace
from functools import partial

import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray import cloudpickle
from rich.console import Console

from mmpr.builder.answer import answer
from mmpr.builder.build_flow import build
from mmpr.builder.rejected_images import shown_images, shuffle_tiles
from mmpr.engines.scripted import ScriptedEngine
from mmpr.images import Loader
from mmpr.reporting.pair_story import read_story
from mmpr.reporting.peek import side_title
from mmpr.reporting.story_view import print_story
from mmpr.run import RunFolder, read_chunk
from mmpr.settings.config import BuildConfig
from mmpr.types import Continues, Question, Reason, Skip, Stage, View
from mmpr.verification import verify
from tests.recipes import changed_recipe, make_recipe

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module
RECIPE = make_recipe(n=1, max_tokens=200, draft_max_tokens=200)
DRAFT = "There is a red circle and a blue square on a white wall."
COMPLETIONS = ("a cat", "a dog", "a  cat", "I cannot see the image", "a fox")


def script(prompt, index):
    """A completion tells what was seen."""
    if prompt.stage is Stage.DRAFT:
        return DRAFT
    seen = "+".join(image.sha256[:12] for image in prompt.images) or "nothing"
    return f" {COMPLETIONS[index]} beside {seen}."


async def scripted_engine():
    return ScriptedEngine(script)


def gradient(path, shift, size=(40, 30)):
    """Every pixel another one."""
    image = Image.new("RGB", size)
    image.putdata([(x * 6, y * 8, shift) for y in range(size[1]) for x in range(size[0])])
    image.save(path)
    return str(path)


@pytest.fixture
def questions(tmp_path):
    """Three open questions with images of their own and one with a copy of the first's."""
    paths = [gradient(tmp_path / f"{i}.png", 40 * i) for i in (0, 1, 2)] + [gradient(tmp_path / "copy.png", 0)]
    return [Question(f"q{i}", "s", i, "Describe.", images=(path,)) for i, path in enumerate(paths)]


def load(references):
    return Loader(None, allow_outside_root=True)(references)


def seen(question, view, others=(), seed=0):
    return shown_images(question, load(question.images), view, seed=seed, others=others, load=load)


# -- in parts -----------------------------------------------------------------------------------------------------


def test_shuffled_tiles_are_the_same_pixels_in_another_order(tmp_path):
    (own,) = load([gradient(tmp_path / "a.png", 3, (43, 31))])
    shuffled = shuffle_tiles(own, "key")
    assert sorted(shuffled.pixels.get_flattened_data()) == sorted(own.pixels.get_flattened_data())
    assert shuffled.pixels.tobytes() != own.pixels.tobytes() and shuffled.sha256 != own.sha256
    assert shuffled.pixels.crop((40, 0, 43, 31)).tobytes() == own.pixels.crop((40, 0, 43, 31)).tobytes()  # over
    tile = shuffled.pixels.crop((0, 0, 10, 7)).tobytes()
    assert tile in {own.pixels.crop((x, y, x + 10, y + 7)).tobytes() for x in range(0, 40, 10) for y in range(0, 28, 7)}
    assert shuffle_tiles(own, "key") == shuffled != shuffle_tiles(own, "other key")


@pytest.mark.parametrize("size", [(1, 1), (64, 64)])
def test_an_image_that_looks_the_same_shuffled_is_a_named_skip(tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path / "red.png")
    skip = seen(Question("q", "s", 1, "?", images=(str(tmp_path / "red.png"),)), View.SHUFFLED_TILES)
    assert isinstance(skip, Skip) and skip.reason is Reason.NO_CORRUPTED_IMAGE and "shuffled" in skip.detail


def test_a_two_pixel_image_can_be_shuffled(tmp_path):
    path = gradient(tmp_path / "two.png", 0, (2, 1))
    (shuffled,) = seen(Question("q", "s", 1, "?", images=(path,)), View.SHUFFLED_TILES)
    assert list(shuffled.pixels.get_flattened_data()) == list(reversed(load([path])[0].pixels.get_flattened_data()))


def test_another_image_differs_and_depends_on_place_and_seed_alone(questions):
    first, copy = questions[0], questions[3]
    own = load(first.images)[0].sha256
    for seed in range(8):
        (other,) = seen(first, View.OTHER_IMAGE, questions, seed)
        assert other.sha256 != own
        assert seen(first, View.OTHER_IMAGE, questions[::-1], seed) == (other,)
    assert len({seen(first, View.OTHER_IMAGE, questions, seed)[0].sha256 for seed in range(8)}) == 2
    skip = seen(first, View.OTHER_IMAGE, [first, copy])
    assert skip.reason is Reason.NO_CORRUPTED_IMAGE and "no other image" in skip.detail


def test_an_image_that_cannot_be_opened_is_lent_to_nobody(questions, tmp_path):
    gone = Question("gone", "s", 9, "?", images=(str(tmp_path / "gone.png"),))
    text_only = Question("text", "s", 10, "?")
    assert seen(questions[0], View.OTHER_IMAGE, [gone, text_only, questions[1]]) == load(questions[1].images)
    assert isinstance(seen(questions[0], View.OTHER_IMAGE, [gone, text_only]), Skip)


def test_several_images_are_replaced_by_those_of_one_other_question_with_as_many(questions):
    first, *rest = (question.images[0] for question in questions[:3])
    two, three = replace(questions[0], images=(first,) * 2), Question("q3", "s", 7, "?", images=(*rest, first))
    assert seen(two, View.OTHER_IMAGE, [questions[1], three]) == load(rest)
    assert isinstance(seen(two, View.OTHER_IMAGE, questions[1:]), Skip)  # they have one each
    shuffled = seen(three, View.SHUFFLED_TILES)
    assert len({image.sha256 for image in (*shuffled, *load(three.images))}) == 6


def test_only_the_frames_of_a_video_stand_in_for_a_videos():
    frames = {name: tuple(f"{name}.mp4#frame={i}/2" for i in (1, 2)) for name in "ab"}
    made = {reference: Image.new("RGB", (4, 4), (60 * i, 0, 0)) for i, reference in enumerate(sum(frames.values(), ()))}
    asked = [Question(name, "s", i, "?", images=frames[name]) for i, name in enumerate("ab")]
    images = Question("p", "s", 5, "?", images=("x.png", "y.png"))

    def lend(references):
        assert all(reference in made for reference in references)
        return tuple(_Shown(reference) for reference in references)

    view = partial(shown_images, asked[0], lend(frames["a"]), View.OTHER_IMAGE, seed=0, load=lend)
    assert [one.sha256 for one in view(others=[images, *asked])] == list(frames["b"])
    assert isinstance(view(others=[images, asked[0]]), Skip)


class _Shown:
    def __init__(self, sha256):
        self.sha256 = sha256


@pytest.mark.parametrize("view", View)
async def test_an_ending_sees_what_its_view_says_and_the_scores_the_own_image(questions, view):
    engine, (own,) = ScriptedEngine(script), load(questions[0].images)
    recipe = changed_recipe(RECIPE, rejected_view=view, completions=2, grounding=True)
    answered = await answer(questions[0], engine, recipe, load, others=questions)
    drafted, ended, *scored = engine.prompts
    assert [prompt.stage for prompt in engine.prompts] == [Stage.DRAFT, Stage.COMPLETION] + [
        Stage.SCORE
    ] * 2  # of the completions
    assert drafted.images == (own,) and {prompt.images for prompt in scored} == {(own,)}
    assert ended.messages[0].text == ("Describe." if view is View.BLIND else "<image>\nDescribe.")
    assert (ended.images == (own,)) is (view is View.IMAGE_KEPT)
    assert len(ended.images) == (view is not View.BLIND)
    corrupted = view in (View.SHUFFLED_TILES, View.OTHER_IMAGE)
    assert answered.shown_sha256 == (tuple(p.sha256 for p in ended.images) if corrupted else ())
    assert [r.index for r in answered.responses] == [0, 0, 1] and set(answered.scores) == {0, 1}


@pytest.mark.parametrize("continues", Continues)
@pytest.mark.parametrize("language", ["en", "zh"])
async def test_nothing_kept_asks_for_a_whole_answer_of_both_kinds_of_engines(questions, continues, language):
    found = {"en": DRAFT, "zh": "图中有一只红色的圆和一个蓝色的方块,背景是白色的墙壁。"}[language]
    engine = ScriptedEngine(lambda prompt, index: found if prompt.stage is Stage.DRAFT else f"ending {index} of it",
                            continues=continues)  # fmt: skip
    recipe = changed_recipe(RECIPE, keep_fraction=0, completions=3)
    answered = await answer(questions[0], engine, recipe, load)
    assert answered.skip is None and engine.prompts[1].prefix is None and engine.prompts[1].stage is Stage.COMPLETION
    assert (answered.cut.prefix.text, answered.cut.kept_tokens, answered.cut.continues) == ("", 0, continues)
    assert [r.text for r in answered.responses[1:]] == ["ending 0 of it", "ending 1 of it", "ending 2 of it"]


@pytest.mark.parametrize("view", View)
async def test_a_question_without_an_image_is_a_skip_in_every_view(view):
    recipe = changed_recipe(RECIPE, rejected_view=view)
    answered = await answer(Question("q", "s", 1, "Why?"), ScriptedEngine(script), recipe, load)
    assert answered.skip.reason is Reason.NO_IMAGE and not answered.responses


# -- whole builds -------------------------------------------------------------------------------------------------


def run(folder, out, **settings):
    values = {"model": "pocket", "chunk_questions": 4, "min_side_tokens": 4, **settings}
    build(BuildConfig(source=str(folder / "vqa.jsonl"), **values), str(out), scripted_engine)
    return pq.read_table(out / "data").to_pylist()


@pytest.fixture
def source(tmp_path):
    """Eight open questions, the last with an image of one colour."""
    for i in range(7):
        gradient(tmp_path / f"{i}.png", 30 * i)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "7.png")
    rows = [{"id": f"q{i}", "image": f"{i}.png", "question": "Describe the image."} for i in range(8)]
    (tmp_path / "vqa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ("blind", "without the image"),
        ("image_kept", "with the image once more"),
        ("shuffled_tiles", "with the image's tiles shuffled"),
        ("other_picture", "with another question's image"),
    ],
)
def test_a_build_says_everywhere_what_its_rejected_sides_saw(cluster, source, view, words):
    out = source / "run"
    rows = run(source, out, rejected_view=view, endings=2)
    assert len(rows) == (14 if view == "shuffled_tiles" else 16) and verify(str(out)) == []
    for row in rows:
        found = row["rejected_text"].split(" beside ")[1]
        shown = row["rejected_image_sha256"] or (row["image_sha256"] if view == "image_kept" else [])
        assert found == f"{shown[0][:12] if shown else 'nothing'}."
        assert row["rejected_view"] == view and (view == "image_kept" or row["image_sha256"] != shown)
    card, page = (out / "README.md").read_text(), (out / "report.html").read_text()
    assert words in card and words.replace("'", "&#39;") in page.replace("&#x27;", "&#39;").replace("'", "&#39;")
    assert view == "blind" or ("without the image" not in card and "taken away" not in card)
    assert words in side_title(rows[0], "rejected")
    console = Console(file=io.StringIO(), width=200)
    print_story(console, read_story(str(out), rows[0]["pair_id"]))
    found = " ".join(console.file.getvalue().split())
    assert words in found and (view in ("blind", "image_kept") or rows[0]["rejected_image_sha256"][0] in found)


def test_a_chunk_that_is_built_again_shows_the_same_other_images(cluster, source):
    out = source / "run"
    run(source, out, rejected_view="other_picture")
    before = {path.name: path.read_bytes() for path in (out / "data").iterdir()}
    (out / "chunks" / "00001.json").unlink()
    run(source, out, rejected_view="other_picture", engines=2)
    assert {path.name: path.read_bytes() for path in (out / "data").iterdir()} == before


def test_several_endings_make_pairs_up_to_the_cap_and_all_are_kept(cluster, source):
    out = source / "run"
    rows = run(source, out, endings=5, keep_fraction=0, pairs_per_question=2)
    first = [row for row in rows if row["question_id"] == "q0"]
    assert [(row["rank"], row["chosen_index"], row["rejected_index"]) for row in first] == [(0, 0, 0), (1, 0, 1)]
    assert {(row["prefix_chars"], row["keep_fraction"]) for row in first} == {(0, 0.0)}
    assert first[0]["rejected_text"] == " a cat beside nothing."
    folder = RunFolder(str(out))
    stored = next(iter(read_chunk(folder, folder.load_commit(0), images=False)))
    assert [r.index for r in stored.of_stage(Stage.COMPLETION)] == [0, 1, 2, 3, 4]
    assert "Nothing of that draft was kept" in (out / "README.md").read_text()
