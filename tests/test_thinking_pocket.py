"""The pocket model thinks: a real engine, its chat template's switch, thoughts of several tokens' marks."""

import asyncio
import gc
from dataclasses import replace

import pytest
import pytest_asyncio

from mmpr.builder.answer import answer
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.protocol import Sampling
from mmpr.engines.vllm import start_vllm
from mmpr.judging import Judge
from mmpr.pocket import checkpoint_path
from mmpr.prompts import PromptOptions, ask
from mmpr.run.stored_verdicts import verdicts_on
from mmpr.types import Finish, Outcome, Prompt, Stage, Thinking
from tests.recipes import make_recipe, pocket_questions

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, and those of what it imports
]
ON, OFF, AUTO = Thinking.ON, Thinking.OFF, Thinking.AUTO
EXTRA = {"block_size": 32, "max_num_seqs": 64, "enforce_eager": True}
RECIPE = make_recipe(prompt=PromptOptions(thinking=ON), n=4, max_tokens=256, draft_max_tokens=256, min_side_tokens=8)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine():
    settings = EngineOptions(str(checkpoint_path()), dtype="float32", max_tiles=4, context_tokens=1024, on_cpu=True)
    settings = replace(settings, trust_remote_code=True, vllm=EXTRA, thinking=(ON, OFF), limits_thoughts=True)
    started = await start_vllm(settings)
    yield started
    await started.close()
    started._llm = None
    del started
    gc.collect()


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Questions of the pocket world, a third of them open, and what loads their images."""
    return pocket_questions(tmp_path_factory.mktemp("questions"), n=60, open_fraction=1 / 3, seed=78)


async def ask_all(engine, questions, load, recipe=RECIPE):
    return await asyncio.gather(*(answer(question, engine, recipe, load) for question in questions))


def prompt_of(question, load, **changed):
    return Prompt("q", Stage.SAMPLE, ask(question), load(question.images), **changed)


async def test_the_template_switches_thinking_and_the_record_says_so(engine, asked):
    questions, load = asked
    assert any("switched by enable_thinking of the chat template" in line for line in engine.describe())
    texts = {how: engine._tokenizer.decode(engine.prompt_ids(prompt_of(questions[0], load, thinking=how)))
             for how in (None, AUTO, OFF, ON)}  # fmt: skip
    assert texts[None] == texts[AUTO] == texts[OFF] != texts[ON]
    assert "<|im_start|>system\nThink first.<|im_end|>" in texts[ON]


async def test_answers_are_judged_without_the_thoughts_before_them(engine, asked):
    questions, load = asked
    with_answer = [question for question in questions if question.answer is not None]
    answered = await ask_all(engine, with_answer, load)
    responses = [response for one in answered for response in one.responses]
    assert sum(response.thoughts is not None for response in responses) > 0.9 * len(responses)
    again = sum("think>" in response.text for response in responses if response.thoughts is not None)
    assert again < 0.05 * len(responses)  # a slip of the weights: a second thought amid the answer
    right = []
    with Judge() as judge:
        for one in answered:
            right += [v.outcome is Outcome.CORRECT for v in verdicts_on(judge, one.question, one.responses)]
    assert 0.15 < sum(right) / len(right) < 0.98
    for how in (AUTO, OFF):
        plain = replace(RECIPE, prompt=PromptOptions(thinking=how))
        untold = [r for one in await ask_all(engine, with_answer[:10], load, plain) for r in one.responses]
        assert sum(response.thoughts is not None for response in untold) < 0.3 * len(untold)  # some slip in


async def test_a_draft_is_cut_behind_its_thoughts_and_completed_behind_them(engine, asked):
    questions, load = asked
    answered = await ask_all(engine, [question for question in questions if question.answer is None], load)
    cut = [one for one in answered if one.cut is not None and one.cut.prefix.thoughts is not None]
    assert len(cut) > len(answered) / 2
    for one in cut:
        draft, completion, prefix = one.responses[one.draft], one.responses[-1], one.cut.prefix
        assert engine.decode(draft.token_ids) == draft.text and draft.text.startswith(prefix.text)
        opening = engine.decode(draft.thought_ids)
        assert opening.startswith("<think>") and opening.rstrip().endswith("</think>")
        assert opening.rstrip() == f"<think>\n{draft.thoughts}\n</think>" and prefix.thought_ids == draft.thought_ids
        blind = Prompt("q", Stage.COMPLETION, ask(one.question), prefix=prefix, thinking=ON)
        ran = tuple(engine.prompt_ids(blind))
        assert ran[-len(prefix.thought_ids + prefix.token_ids) :] == prefix.thought_ids + prefix.token_ids
        assert engine.decode((*prefix.token_ids, *completion.token_ids)) == prefix.text + completion.text
        assert draft.n_tokens >= len(draft.thought_ids) + len(draft.token_ids)


async def test_thoughts_that_do_not_end_are_unfinished(engine, asked):
    questions, load = asked
    short = Sampling(max_tokens=12, temperature=0.0)
    question = next(question for question in questions if question.answer is not None)
    responses = await engine.generate(prompt_of(question, load, thinking=ON), short)
    with Judge() as judge:
        verdicts = verdicts_on(judge, question, responses)
    for response, verdict in zip(responses, verdicts, strict=True):
        assert response.only_thinks and response.finish_reason is Finish.LENGTH
        assert (verdict.outcome, verdict.rule) == (Outcome.UNPARSED, "unparsed-think")


async def test_thoughts_are_closed_after_their_limit_and_an_answer_follows(engine, asked):
    questions, load = asked
    limited = Sampling(n=4, max_tokens=120, max_thought_tokens=10)
    marks = len(engine._raw_ids("<think>")) + len(engine._raw_ids("</think>"))
    thought = []
    for question in [question for question in questions if question.answer is not None][:6]:
        prompt = replace(prompt_of(question, load, thinking=ON), stage=Stage.DRAFT)
        thought += [one for one in await engine.generate(prompt, limited) if one.thoughts is not None]
    assert len(thought) > 12  # of 24
    for response in thought:
        assert len(response.thought_ids) <= 10 + marks + 4 and response.text, response
