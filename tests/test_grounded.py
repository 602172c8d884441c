"""`strategy: grounded`: the right responses that gain most from the image come first."""

import asyncio
import hashlib
import io
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray import cloudpickle
from rich.console import Console

from mmpr.builder.answer import Rounds, answer
from mmpr.builder.build_flow import _first_round, build, pair_again
from mmpr.errors import ConfigError, RequestRefused
from mmpr.images import Loader
from mmpr.judging import Judge
from mmpr.pairing import PairOptions, Strategy, pair_responses, sides
from mmpr.reporting.pair_story import read_story
from mmpr.reporting.story_view import print_story
from mmpr.run import RunFolder, read_chunk
from mmpr.settings.config import BuildConfig, merge
from mmpr.types import Certainty, Finish, Outcome, Question, Reason, Response, Stage, Verdict
from mmpr.verification import verify
from tests.recipes import changed_recipe, make_recipe
from tests.seeing_engines import Forgetful, Reader

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module
RECIPE = make_recipe(n=4, max_tokens=200, draft_max_tokens=60, grounding=True)
GUESS, SEEN = "At a glance there are two.\nFinal Answer: 2", "A red circle, and a red one below.\nFinal Answer: 2"
TEXTS = (GUESS, "Many, I think.\nFinal Answer: 3", SEEN, "Few, I think.\nFinal Answer: 1")


class Refusing(Reader):
    async def score(self, prompt, token_ids):
        raise RequestRefused(Reason.ENGINE_REFUSED, "no scores here")


def script(prompt, index):
    return TEXTS[index % len(TEXTS)]


async def reader():
    return Reader(script)


@pytest.fixture
def question(tmp_path):
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "a.png")
    return Question("q", "s", 0, "How many?", images=(str(tmp_path / "a.png"),), answer=("2",))


def asked(question, engine, recipe=RECIPE, first=4):
    async def judged(question, responses):
        return Judge().judge_all(question, [response.text for response in responses])

    rounds = Rounds(PairOptions(), first, judged, lambda _: None)
    load = Loader(None, allow_outside_root=True)
    return asyncio.run(answer(question, engine, recipe, load, rounds))


def scored(engine):
    return [prompt for prompt in engine.prompts if prompt.stage is Stage.SCORE]


both = pytest.mark.parametrize("make", [Reader, Forgetful])


@both
def test_right_responses_are_scored_with_the_image_and_without(question, make):
    engine = make(script)
    answered = asked(question, engine)
    assert [response.gain for response in answered.responses] == [0.0, None, 1.5, None]
    # with the image, the engine knows the log-probabilities from sampling
    sees = [bool(prompt.images) for prompt in scored(engine)]
    assert (sees.count(True), sees.count(False)) == (2 if make is Forgetful else 0, 2)
    assert not any("<image>" in prompt.messages[0].text for prompt in scored(engine) if not prompt.images)
    assert not any(response.token_ids or response.logprobs for response in answered.responses)


@both
def test_a_text_that_came_twice_is_scored_once_and_both_have_its_gain(question, make):
    engine = make(script)
    answered = asked(question, engine, changed_recipe(RECIPE, n=8), first=8)
    assert [response.gain for response in answered.responses] == [0.0, None, 1.5, None] * 2
    assert len(scored(engine)) == (4 if make is Forgetful else 2)


@pytest.mark.parametrize(
    ("texts", "images", "grounding"),
    [
        (TEXTS, False, True),  # nothing to see
        ((GUESS, SEEN), True, True),  # all right: no pairs
        ((GUESS, TEXTS[1]), True, True),  # one right text: no choice
        ((TEXTS[1], TEXTS[3]), True, True),
        (TEXTS, True, False),
    ],
)
def test_nothing_is_scored_where_there_is_nothing_to_choose(question, texts, images, grounding):
    engine = Reader(lambda prompt, index: texts[index % len(texts)])
    question = question if images else replace(question, images=())
    answered = asked(question, engine, changed_recipe(RECIPE, grounding=grounding))
    assert answered.skip is None and not scored(engine) and {one.gain for one in answered.responses} == {None}


def test_a_refused_score_keeps_the_responses_and_their_verdicts_beside_the_skip(question):
    answered = asked(question, Refusing(script))
    assert (answered.skip.stage, answered.skip.reason) == (Stage.SCORE, Reason.ENGINE_REFUSED)
    assert len(answered.responses) == len(answered.verdicts) == 4


def test_pairs_take_the_chosen_sides_by_what_the_image_brings_them():
    gains = {0: (0.4, 40), 1: (None, 90), 2: (-0.3, 5), 3: (0.5, 30)}  # nats a token, tokens
    right = [said(index, Outcome.CORRECT, *found) for index, found in gains.items()]
    wrong = [said(index, Outcome.INCORRECT, 9.0, 99) for index in (4, 5)]
    rule = PairOptions(strategy=Strategy.GROUNDED, pairs_per_question=8, max_uses=None)
    pairs = pair_responses(Question("q", "s", 1, "?", answer=("2",)), [*right, *wrong], rule)
    assert [pair.chosen[1] for pair in pairs] == [0, 0, 3, 3, 1, 1, 2, 2]
    assert all({pair.rejected[1] for pair in pairs[k : k + 2]} == {4, 5} for k in (0, 2, 4, 6))


@pytest.mark.parametrize(("strategy", "kept"), [(Strategy.GROUNDED, {1}), (Strategy.RANDOM, {0})])
def test_of_near_equal_responses_the_one_stays_that_goes_first(strategy, kept):
    texts = ("I see two red circles here", "I see two red squares here")
    first, second = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())  # as without a strategy
    found = [said(index, Outcome.CORRECT, gain, 10) for index, gain in enumerate([0.1, 0.9])]
    right = [
        (replace(result, text=text), verdict) for (result, verdict), text in zip(found, (first, second), strict=True)
    ]
    rule = PairOptions(strategy=strategy, near_duplicate=0.8)
    chosen, *_ = sides(right, rule)
    assert {response.index for response, _ in chosen} == kept


def said(index, outcome, gain, tokens):
    found = "2" if outcome is Outcome.CORRECT else str(index)
    response = Response("q", Stage.SAMPLE, index, f"text {index}", (), tokens, Finish.STOP, gain=gain)
    sure = Certainty.PROVEN if outcome is Outcome.INCORRECT else None
    return response, Verdict(outcome, found, "rule", certainty=sure)


# -- a whole run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_run_keeps_the_gains_and_pairs_go_by_them(cluster, write_source, tmp_path, adaptive):
    out, source = tmp_path / "run", str(write_source(3))
    settings = {"n": 4, "pairs_per_question": 1, "adaptive": adaptive, "strategy": "grounded", "min_side_tokens": 4}
    report = build(BuildConfig(source=source, model="pocket", grounding=True, **settings), str(out), reader).report
    assert report.pairs_by_kind["correctness"] == 2 and verify(str(out)) == []
    (commit,) = RunFolder(str(out)).committed().values()
    sampled = [one for one in read_chunk(RunFolder(str(out)), commit) if one.question.answer]
    assert [[stored.response.gain for stored in one.responses] for one in sampled] == [[0.0, None, 1.5, None]] * 2
    rows = [row for row in pq.read_table(out / "data").to_pylist() if row["pair_kind"] == "correctness"]
    assert {row["chosen_text"] for row in rows} == {SEEN}
    console = Console(file=io.StringIO(), width=200)
    print_story(console, read_story(str(out), rows[0]["pair_id"]))
    assert "the right responses that gain most from the image, in nats, go first" in console.file.getvalue()
    assert "Chosen side: +1.500 nats per token likelier with the image than without." in console.file.getvalue()
    assert pair_again(str(out), ["strategy=random", "pairs_per_question=4"]).pairs_by_kind["correctness"] == 8


def test_gains_need_a_run_that_has_them(cluster, write_source, tmp_path):
    with pytest.raises(ConfigError, match="strategy=grounded needs a run that was built with grounding=true"):
        merge({}, ["strategy=grounded"])
    build(BuildConfig(source=str(write_source(2)), model="pocket", n=4), str(tmp_path / "run"), reader)
    with pytest.raises(ConfigError, match="strategy=grounded needs a run that was built with grounding=true"):
        pair_again(str(tmp_path / "run"), ["strategy=grounded"])


def test_an_evaluation_scores_nothing():
    assert _first_round(BuildConfig(evaluate=True, adaptive=False, grounding=True)) is None
    assert _first_round(BuildConfig(adaptive=False, grounding=True, n=7)) == 7
    assert _first_round(BuildConfig(adaptive=False)) is None
