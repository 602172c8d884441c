"""Several drafts: the chosen side is the one that gains most from the image."""

import io
import sys

import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray import cloudpickle
from rich.console import Console

from mmpr.builder.answer import answer
from mmpr.builder.build_flow import build
from mmpr.builder.engine_choice import endpoint_options
from mmpr.demo.pocket_language import describe
from mmpr.demo.pocket_world import PlacedShape, Scene
from mmpr.errors import ConfigError, RequestRefused
from mmpr.images import Loader
from mmpr.reporting.pair_story import read_story
from mmpr.reporting.story_view import print_story
from mmpr.run import RunFolder, read_chunk
from mmpr.run.commit_records import Splice, StoredQuestion, StoredResponse
from mmpr.settings.config import BuildConfig
from mmpr.types import Finish, Question, Reason, Response, Stage
from mmpr.verification import verify
from pipelines.pocket.figures import draft_figures
from tests.recipes import changed_recipe, make_recipe
from tests.seeing_engines import Forgetful, Reader

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module
RECIPE = make_recipe(n=1, max_tokens=60, draft_max_tokens=60, drafts=3)
DRAFTS = ("There is a wall with some things on it.", "There is a red circle on a white wall.", "A wall, as so often.")
FAR_TOO_LONG = "There is a red circle " * 20


both = pytest.mark.parametrize("make", [Reader, Forgetful])


def script(prompt, index):
    return DRAFTS[index] if prompt.stage is Stage.DRAFT else " a cat that nobody painted."


def load(references):
    return Loader(None, allow_outside_root=True)(references)


async def reader():
    return Reader(script)


@pytest.fixture
def question(tmp_path):
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "a.png")
    return Question("q", "s", 0, "Describe.", images=(str(tmp_path / "a.png"),))


@both
async def test_the_draft_that_the_image_speaks_for_is_cut_and_the_others_are_kept(question, make):
    engine = make(script)
    answered = await answer(question, engine, RECIPE, load)
    assert (
        answered.draft == 1 and [r.gain for r in answered.responses] == [0.0, 1.5, 0.0, None] and answered.skip is None
    )
    assert [(r.stage, r.index) for r in answered.responses] == [
        *((Stage.DRAFT, i) for i in range(3)),
        (Stage.COMPLETION, 0),
    ]
    assert DRAFTS[1].startswith(answered.cut.prefix.text)
    drafted, *scored, ended = engine.prompts
    assert {prompt.stage for prompt in scored} == {Stage.SCORE} and ended.stage is Stage.COMPLETION
    seeing, unseeing = [[one for one in scored if bool(one.images) is sees] for sees in (True, False)]
    # with the image, the engine knows the log-probabilities from sampling
    assert (len(seeing), len(unseeing)) == (3 if make is Forgetful else 0, 3)
    assert {prompt.messages for prompt in seeing} <= {drafted.messages}
    assert not any("<image>" in prompt.messages[0].text for prompt in unseeing)


@both
async def test_scores_of_the_halves_are_the_chosen_drafts(question, make):
    engine = make(script)
    answered = await answer(question, engine, changed_recipe(RECIPE, grounding=True, keep_fraction=0.2), load)
    assert answered.scores == {0: (-0.5, -2.0)}  # "red" stands behind the cut


@pytest.mark.parametrize("drafts", [1, 2])
async def test_where_one_draft_alone_can_be_chosen_nothing_is_scored(question, drafts):
    texts = [FAR_TOO_LONG, DRAFTS[2]][-drafts:]
    engine = Reader(lambda prompt, index: texts[index] if prompt.stage is Stage.DRAFT else " a cat in a hat.")
    answered = await answer(question, engine, changed_recipe(RECIPE, drafts=drafts), load)
    assert answered.draft == drafts - 1 and {r.gain for r in answered.responses} == {None} and answered.skip is None
    assert Stage.SCORE not in {prompt.stage for prompt in engine.prompts}
    assert (answered.responses[0].finish_reason is Finish.LENGTH) is (drafts == 2)


async def test_no_draft_that_can_be_chosen_is_the_first_ones_fault(question):
    texts = [FAR_TOO_LONG, "I cannot see the image you speak of.", "short"]
    engine = Reader(lambda prompt, index: texts[index])
    answered = await answer(question, engine, RECIPE, load)
    assert answered.skip.reason is Reason.DRAFT_UNFINISHED and len(answered.responses) == 3


async def test_a_refused_score_keeps_the_drafts_beside_the_skip(question):
    class Refusing(Reader):
        async def score(self, prompt, token_ids):
            raise RequestRefused(Reason.ENGINE_REFUSED, "no scores here")

    answered = await answer(question, Refusing(script), RECIPE, load)
    assert (answered.skip.stage, answered.skip.reason) == (Stage.SCORE, Reason.ENGINE_REFUSED) and len(
        answered.responses
    ) == 3


def test_a_run_keeps_what_the_choice_was_made_by(cluster, write_source, tmp_path):
    out = tmp_path / "run"
    config = BuildConfig(source=str(write_source(1)), model="pocket", min_side_tokens=4, drafts=3)
    assert build(config, str(out), reader).report.pairs == 1
    (commit,) = RunFolder(str(out)).committed().values()
    (one,) = read_chunk(RunFolder(str(out)), commit)
    assert [stored.response.gain for stored in one.responses] == [0.0, 1.5, 0.0, None]
    assert one.responses[-1].splice.draft_index == 1 and verify(str(out)) == []
    (row,) = pq.read_table(out / "data").to_pylist()
    assert row["chosen_text"] == DRAFTS[1] and row["chosen_index"] == 1
    console = Console(file=io.StringIO(), width=200)
    print_story(console, read_story(str(out), row["pair_id"]))
    assert (
        "Draft: of 3 the one that gains most from the image: +1.500 nats per token likelier with the image"
        in console.file.getvalue()
    )


def test_what_the_choice_brought_is_counted_from_what_the_world_knows():
    scene = Scene(1, 1, (PlacedShape(1, 2, "red", "circle"), PlacedShape(3, 1, "red", "cross")))
    true, half = describe(scene, "en"), "Row 1: column 2 a red circle. Row 3: column 1 a blue cross."
    drafts = [StoredResponse(said(text, Stage.DRAFT, i)) for i, text in enumerate((half, true, half))]
    completion = StoredResponse(said("no", Stage.COMPLETION, 0), splice=Splice(1, 8, 3))
    asked = Question("q", "s", 0, "Describe.", images=("x",))
    found = draft_figures([StoredQuestion(asked, responses=(*drafts, completion))], {"q": scene})
    assert (found.questions, found.chosen_false, found.others_false, found.others_statements) == (1, 0.0, 1.0, 2.0)
    assert draft_figures([StoredQuestion(asked, responses=(drafts[0], completion))], {"q": scene}) is None


def said(text, stage, index):
    return Response("q", stage, index, text, (), len(text), Finish.STOP)


def test_a_server_that_continues_text_alone_cannot_choose():
    config = BuildConfig(engine="endpoint", endpoint_url="http://host/v1", endpoint_continues="text", drafts=2)
    with pytest.raises(ConfigError, match="drafts: needs token ids"):
        endpoint_options(config)
