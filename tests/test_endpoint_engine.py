"""The engine on a server: what it sends, what it takes back, how it continues; every fault over a real connection."""

import asyncio
import base64
import io
import re
import time
from collections import deque
from contextlib import asynccontextmanager

import pytest
from endpoint_standin import ANSWER, DESCRIBED, Standin, serving
from PIL import Image

from mmpr.builder.answer import answer
from mmpr.engines.endpoint import EndpointOptions, start_endpoint
from mmpr.engines.endpoint.wire import read_reply, share_out
from mmpr.engines.protocol import Sampling
from mmpr.errors import EngineDead, EngineError, EngineStartError, RequestRefused
from mmpr.types import Continues, DecodedImage, Finish, Message, Prefix, Prompt, Question, Reason, Stage
from tests.recipes import make_recipe

KEY = "not-a-real-key-0123456789"
LMDEPLOY = {"owner": "lmdeploy", "tokenizer": False, "continues": "turn"}


@asynccontextmanager
async def started(standin=None, **settings):
    with serving(standin or Standin()) as server:
        given = {"model": "m", "patience_s": 5.0, "timeout_s": 5.0, "pause_s": 0.002, **settings}
        engine = await start_endpoint(EndpointOptions(server.url, **given))
        server.requests.clear()
        try:
            yield server, engine
        finally:
            await engine.close()


def encoded(colour="red", kind="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(file, kind)
    return file.getvalue()


def image(colour="red", kind="PNG"):
    return DecodedImage("a" * 64, "b" * 64, encoded(colour, kind), 8, 6, kind, Image.new("RGB", (8, 6), colour))


def prompt(text="How many?", *images, stage=Stage.SAMPLE, prefix=None):
    return Prompt("q", stage, (Message("user", text),), tuple(images), prefix)


def recipe(**changed):
    values = {"n": 2, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_tokens": 200, "draft_max_tokens": 200}
    return make_recipe(**{"min_side_tokens": 8, **values, **changed})


OPEN = Question("q", "s", 1, "Describe the image.", images=("x",))


def answered(engine, question=OPEN, **changed):
    return answer(question, engine, recipe(**changed), lambda _: (image(),))


# -- what is sent -------------------------------------------------------------------------------------------------


async def test_an_image_goes_as_the_bytes_that_the_dataset_embeds():
    async with started() as (server, engine):
        for kind in ("PNG", "JPEG", "WEBP"):
            await engine.generate(prompt("<image>\nHow many?", image(kind=kind)), Sampling())
            (sent,) = server.of("/v1/chat/completions")[-1]["messages"]
            shown, asked = sent["content"]
            header, _, body = shown["image_url"]["url"].partition(",")
            assert header == f"data:image/{kind.lower()};base64"
            assert base64.b64decode(body) == encoded(kind=kind)
            assert asked == {"type": "text", "text": "How many?"}


async def test_every_sampling_field_is_sent_and_responses_count_on_from_the_first():
    async with started(max_tiles=6, body={"repetition_penalty": 1.1}) as (server, engine):
        sampling = Sampling(n=3, temperature=0.7, top_k=20, top_p=0.9, max_tokens=100, seed=40, first=4)
        responses = await engine.generate(prompt("<image>\nHow many?", image()), sampling)
        (body,) = server.of("/v1/chat/completions")
        wanted = {"model": "m", "n": 3, "temperature": 0.7, "top_p": 0.9, "top_k": 20, "max_tokens": 100, "seed": 44}
        wanted |= {"mm_processor_kwargs": {"max_dynamic_patch": 6}, "repetition_penalty": 1.1}
        assert {name: body[name] for name in wanted} == wanted
        assert [r.index for r in responses] == [4, 5, 6] and [r.seed for r in responses] == [44, 45, 46]


@pytest.mark.parametrize(("owner", "sent"), [("vllm", 0), ("lmdeploy", 0), ("someone", None)])
async def test_no_limit_of_top_k_is_said_where_zero_means_that(owner, sent):
    async with started(Standin(owner=owner), continues="none") as (server, engine):
        await engine.generate(prompt(), Sampling(top_k=0))
        assert server.of("/v1/chat/completions")[0].get("top_k") == sent


async def test_tiles_are_told_to_lmdeploy_with_the_image():
    async with started(Standin(**LMDEPLOY), max_tiles=4) as (server, engine):
        await engine.generate(prompt("<image>\nHow many?", image()), Sampling())
        content = server.of("/v1/chat/completions")[0]["messages"][0]["content"]
        assert content[0]["image_url"]["max_dynamic_patch"] == 4


LABELLED = "Image-1: <image>\nImage-2: <image>\nHow many?"


@pytest.mark.parametrize(
    ("standin", "settings", "tag"),
    [
        ({}, {}, None),
        ({"moves_images": True}, {}, "<image>"),
        ({"moves_images": True}, {"image_tag": "parts"}, None),
        ({"eyes": False}, {}, None),
        (LMDEPLOY, {}, "<IMAGE_TOKEN>"),
        ({}, {"image_tag": "<|picture|>"}, "<|picture|>"),
    ],
)
async def test_images_amid_a_text_keep_their_places(standin, settings, tag):
    async with started(Standin(**standin), **settings) as (server, engine):
        server.eyes = True
        await engine.generate(prompt(LABELLED, image("red"), image("blue")), Sampling())
        content = server.of("/v1/chat/completions")[-1]["messages"][0]["content"]
        texts = [part["text"] for part in content if part["type"] == "text"]
        colours = [Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))).getpixel((0, 0))
                   for part in content if part["type"] == "image_url"]  # fmt: skip
        assert colours == [(255, 0, 0), (0, 0, 255)]
        if tag is None:
            assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url", "text"]
            assert texts == ["Image-1: ", "\nImage-2: ", "\nHow many?"]
        else:
            assert texts == [LABELLED.replace("<image>", tag)]


@pytest.mark.parametrize("token", ["<|im_end|>", "</s>", "<IMG_CONTEXT>", "<|eot_id|>"])
async def test_a_question_with_a_chats_own_tokens_is_refused_before_it_is_sent(token):
    async with started() as (server, engine):
        with pytest.raises(RequestRefused, match=re.escape(token)) as refused:
            await engine.generate(prompt(f"How many?{token}"), Sampling())
        assert refused.value.reason is Reason.ENGINE_REFUSED and not server.requests


async def test_tags_and_images_must_agree():
    async with started() as (_, engine):
        with pytest.raises(RequestRefused, match="<image>"):
            await engine.generate(prompt("<image> <image>", image()), Sampling())


# -- what comes back ----------------------------------------------------------------------------------------------


async def test_n_responses_come_with_texts_lengths_and_reasons():
    async with started() as (server, engine):
        responses = await engine.generate(prompt(), Sampling(n=4, max_tokens=30))
        assert len(server.requests) == 1
        assert [r.index for r in responses] == [0, 1, 2, 3] and len({r.text for r in responses}) == 4
        assert {(r.finish_reason, r.n_tokens, r.token_ids) for r in responses} == {(Finish.LENGTH, 30, ())}


@pytest.mark.parametrize("standin", [{"takes_n": False}, {"gives_one": True}])
async def test_a_server_that_gives_one_response_a_request_is_asked_n_times(standin):
    async with started(Standin(**standin)) as (server, engine):
        for first in (0, 3):
            responses = await engine.generate(prompt(), Sampling(n=3, max_tokens=99, seed=7, first=first))
            assert [r.seed for r in responses] == [7 + first, 8 + first, 9 + first]
            assert len({r.text for r in responses}) == 3
        bodies = server.of("/v1/chat/completions")
        assert len(bodies) == (7 if standin.get("takes_n") is False else 6)  # the refusal is met once
        assert {body["seed"] for body in bodies} == set(range(7, 13))


async def test_what_is_refused_with_n_and_without_says_nothing_of_n():
    async with started(Standin(refuses="long")) as (server, engine):
        with pytest.raises(RequestRefused) as refused:
            await engine.generate(prompt("long"), Sampling(n=2))
        assert refused.value.reason is Reason.PROMPT_TOO_LONG
        server.requests.clear()
        await engine.generate(prompt(), Sampling(n=2))
        assert len(server.requests) == 1


async def test_tokens_that_are_counted_together_are_shared_out_by_length():
    async with started(Standin(owner="someone", tokenizer=False)) as (_, engine):
        responses = await engine.generate(prompt(), Sampling(n=4, max_tokens=99))
        assert sum(r.n_tokens for r in responses) == sum(len(r.text) + 1 for r in responses)
        assert engine.pulse().generated_tokens >= sum(r.n_tokens for r in responses)
    assert share_out(10, [3, 3, 3]) == [3, 4, 3] and share_out(4, [0, 0]) == [2, 2]


async def test_an_end_that_is_neither_stop_nor_length_refuses_the_question():
    async with started(Standin(), continues="none") as (server, engine):
        server.finish = "content_filter"
        with pytest.raises(RequestRefused, match="content_filter"):
            await engine.generate(prompt(), Sampling())


def test_a_stop_string_leaves_all_token_ids_and_a_stop_token_its_own_out():
    def ids_of(**choice):
        said = {"index": 0, "text": "ab", "token_ids": [97, 98], **choice}
        usage = {"prompt_tokens": 1, "completion_tokens": 2}
        return read_reply({"choices": [said], "usage": usage}).choices[0].ids

    assert ids_of(finish_reason="stop", stop_reason=None) == (97,)
    assert ids_of(finish_reason="stop", stop_reason=98) == (97,)
    assert ids_of(finish_reason="stop", stop_reason="b") == (97, 98)
    assert ids_of(finish_reason="length", stop_reason=None) == (97, 98)


async def test_the_pulse_adds_up():
    async with started() as (_, engine):
        before = engine.pulse()
        responses = await engine.generate(prompt(), Sampling(n=3, max_tokens=20))
        after = engine.pulse()
        assert after.generated_tokens - before.generated_tokens == sum(r.n_tokens for r in responses)
        assert after.prompt_tokens > before.prompt_tokens and after.busy_s > before.busy_s
        assert (after.running, after.waiting) == (0, 0)


async def test_no_more_requests_are_sent_at_once_than_allowed():
    async with started(concurrency=3) as (server, engine):
        server.most_at_once = 0
        server.answer = lambda question, index: time.sleep(0.05) or "Final Answer: 2"
        asked = [asyncio.create_task(engine.generate(prompt(), Sampling())) for _ in range(12)]
        while not server.most_at_once:
            await asyncio.sleep(0.005)
        pulse = engine.pulse()
        assert 0 < pulse.running <= 3 and pulse.waiting >= 6
        await asyncio.gather(*asked)
        assert server.most_at_once == 3 == len(asked) // 4


# -- a prefix -----------------------------------------------------------------------------------------------------


async def test_a_blind_ending_on_vllm_serve_continues_the_drafts_own_token_ids():
    async with started() as (server, engine):
        assert engine.continues is Continues.EXACT
        one = await answered(engine)
        draft, completion = one.responses
        prefix = one.cut.prefix
        assert draft.text == DESCRIBED and prefix.token_ids == draft.token_ids[: len(prefix.token_ids)] != ()
        (body,) = server.of("/v1/completions")
        sent = "".join(map(chr, body["prompt"]))
        assert sent == "\x02Describe the image." + ANSWER + prefix.text  # blind: no image, no tag
        assert prefix.text + completion.text == DESCRIBED and completion.token_ids


@pytest.mark.parametrize(
    ("standin", "flag"),
    [
        ({"tokenizer": False}, True),
        (LMDEPLOY, None),
        ({"owner": "someone", "tokenizer": False, "continues": "turn"}, None),
    ],
)
async def test_elsewhere_the_prefix_goes_as_text_cut_before_a_blank(standin, flag):
    async with started(Standin(**standin)) as (server, engine):
        assert engine.continues is Continues.TEXT
        one = await answered(engine)
        draft, completion = one.responses
        body = server.of("/v1/chat/completions")[-1]
        if standin.get("owner") == "lmdeploy":
            assert "continue_final_message" not in body
        assert body["messages"][-1] == {"role": "assistant", "content": one.cut.prefix.text}
        assert body["messages"][:-1] == [{"role": "user", "content": "Describe the image."}]
        assert one.cut.prefix.token_ids == draft.token_ids == completion.token_ids == ()
        assert completion.text[0] == " " and one.cut.prefix.text + completion.text == DESCRIBED
        assert one.cut.kept_tokens + one.cut.remaining_tokens == draft.n_tokens


async def test_text_may_be_asked_for_where_token_ids_would_do():
    async with started(continues="text") as (server, engine):
        assert engine.continues is Continues.TEXT
        assert (await answered(engine)).skip.reason is Reason.COMPLETION_EQUAL and not server.of("/v1/completions")


@pytest.mark.parametrize("standin", [{}, {"tokenizer": False}], ids=["exact", "text"])
async def test_a_given_draft_is_cut_and_completed(standin):
    given = Question(
        "q", "s", 1, "Describe the image.", images=("x",), draft="There are two dogs and a very small cat."
    )
    async with started(Standin(**standin)) as (_, engine):
        one = await answered(engine, given)
        draft, completion = one.responses
        assert one.skip is None and (draft.text, draft.n_tokens) == (given.draft, len(given.draft))
        assert given.draft.startswith(one.cut.prefix.text) and completion.text == " there is a green cat."


async def test_where_the_image_stays_the_ids_that_ran_are_checked():
    async with started() as (server, engine):
        ids = tuple(map(ord, DESCRIBED[:29]))
        seeing = prompt("<image>\nDescribe.", image(), stage=Stage.COMPLETION, prefix=Prefix(DESCRIBED[:29], ids))
        (completion,) = await engine.generate(seeing, Sampling(max_tokens=99))
        assert DESCRIBED[:29] + completion.text == DESCRIBED and completion.token_ids
        assert server.of("/v1/chat/completions")[0]["continue_final_message"] is True
        server.alter_ids = True
        with pytest.raises(RequestRefused) as refused:
            await engine.generate(seeing, Sampling())
        assert refused.value.reason is Reason.PREFIX_CHANGED


async def test_a_text_that_does_not_follow_the_prefix_is_a_skip():
    async with started(Standin(tokenizer=False)) as (server, engine):
        server.strips = True
        one = await answered(engine)
        assert one.skip.reason is Reason.PREFIX_CHANGED and "does not follow" in one.skip.detail


async def test_scores_are_means_over_the_given_tokens():
    async with started() as (_, engine):
        asked = prompt("<image>\nDescribe.", image(), stage=Stage.SCORE, prefix=Prefix("In", (73, 110)))
        assert await engine.score(asked, (32, 97, 98)) == pytest.approx(-(32 + 97 + 98) / 300)
    async with started(Standin(tokenizer=False)) as (_, engine):
        with pytest.raises(RequestRefused, match="vLLM serve"):
            await engine.score(prompt(stage=Stage.SCORE), (32,))


# -- the start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standin", "settings", "says"),
    [
        ({"models": ("other", "more")}, {}, r"does not serve the model 'm'; it serves other, more"),
        ({"continues": "no", "tokenizer": False}, {}, r"does not continue .*'In the image .*_continues=none"),
        ({"strips": True, "tokenizer": False}, {}, r"does not continue"),
        ({"owner": "someone", "tokenizer": False}, {"continues": "exact"}, r"has no tokenizer interface"),
        ({"refuses": "Count"}, {}, r"HTTP 400: This model's maximum"),
        ({"takes_tiles": False}, {"max_tiles": 6}, r"max_tiles=6.*--trust-request-mm-kwargs, or .* max_tiles=null"),
        ({"key": KEY}, {}, r"HTTP 401"),
    ],
)
async def test_what_a_server_cannot_do_is_found_out_at_the_start_in_one_line(standin, settings, says):
    with pytest.raises(EngineStartError, match=says) as failed:
        async with started(Standin(**standin), **settings):
            pass
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(("standin", "tiles"), [({"takes_tiles": False}, None), ({"eyes": False}, 6)])
async def test_a_server_that_cuts_images_itself_and_one_without_eyes_can_be_asked(standin, tiles):
    async with started(Standin(**standin), max_tiles=tiles) as (_, engine):
        assert await engine.generate(prompt(), Sampling())


async def test_without_blind_endings_a_server_need_not_continue():
    async with started(Standin(continues="no", tokenizer=False), continues="none") as (server, engine):
        assert len(await engine.generate(prompt(), Sampling(n=2))) == 2
        server.requests.clear()
        one = await answered(engine)
        assert "endpoint_continues=none" in one.skip.detail and not server.requests


async def test_no_server_is_said_at_once():
    with serving(Standin()) as server:
        url = server.url
    with pytest.raises(EngineStartError, match=f"no model server at {url}"):
        await start_endpoint(EndpointOptions(url, "m"))


# -- faults -------------------------------------------------------------------------------------------------------


WAITS = [(429, {"Retry-After": "0.05"}), (503, {"Retry-After": "soon"})]


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 408, "drop", "garbage", "empty", *WAITS])
async def test_faults_that_pass_are_tried_again(fault):
    async with started() as (server, engine):
        server.faults.extend([fault, fault])
        (response,) = await engine.generate(prompt(), Sampling())
        assert response.text and len(server.requests) == 3


async def test_a_time_out_is_tried_again():
    async with started(timeout_s=0.5) as (server, engine):
        server.faults.append("slow")
        assert await engine.generate(prompt(), Sampling())
        assert len(server.requests) == 2


async def test_retry_after_is_waited_for_and_too_long_a_wait_ends_the_engine():
    async with started(patience_s=1.0) as (server, engine):
        server.faults.append((429, {"Retry-After": "3600"}))
        with pytest.raises(EngineDead, match="HTTP 429"):
            await engine.generate(prompt(), Sampling())
        assert len(server.requests) == 1
        server.faults.append((503, {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}))
        with pytest.raises(EngineDead, match="HTTP 503"):
            await engine.generate(prompt(), Sampling())


async def test_a_question_that_always_breaks_a_living_server_is_refused():
    async with started(Standin(faults_at={"poison": deque([500] * 5)})) as (server, engine):
        with pytest.raises(RequestRefused, match=r"HTTP 500: on order, to None \(5 times\)"):
            await engine.generate(prompt("poison"), Sampling())
        assert len(server.requests) == 5
        assert await engine.generate(prompt(), Sampling())


async def test_a_server_that_hangs_up_again_and_again_is_an_engines_death():
    async with started(pause_s=0.0005) as (server, engine):
        server.faults.extend(["drop"] * 12)
        with pytest.raises(EngineDead, match="12 times"):
            await engine.generate(prompt(), Sampling())


async def test_a_server_that_is_gone_is_dead_after_the_patience_given():
    with serving(Standin()) as server:
        engine = await start_endpoint(EndpointOptions(server.url, "m", patience_s=0.3, pause_s=0.01))
    with pytest.raises(EngineDead, match="no request was answered"):
        await engine.generate(prompt(), Sampling())
    await engine.close()


async def test_a_closed_engine_is_dead_and_not_an_accident():
    async with started(timeout_s=30.0) as (server, engine):
        server.faults.append("slow")
        asked = asyncio.create_task(engine.generate(prompt(), Sampling()))
        while not server.requests:
            await asyncio.sleep(0.01)
        await engine.close()
        with pytest.raises(EngineDead):
            await asked
        with pytest.raises(EngineDead, match="closed"):
            await engine.generate(prompt(), Sampling())


@pytest.mark.parametrize("status", [401, 404])
async def test_what_holds_for_every_request_ends_the_run(status):
    async with started() as (server, engine):
        server.faults.append(status)
        with pytest.raises(EngineError, match=f"HTTP {status}") as failed:
            await engine.generate(prompt(), Sampling())
        assert type(failed.value) is EngineError  # neither a skip nor a death


# -- the key ------------------------------------------------------------------------------------------------------


async def test_the_key_comes_from_the_environment_and_goes_nowhere_but_into_the_header(monkeypatch):
    monkeypatch.setenv("STANDIN_KEY", f"{KEY}\n")
    async with started(Standin(key=KEY), key_env="STANDIN_KEY") as (server, engine):
        assert await engine.generate(prompt(), Sampling())
        for fault in (400, 401, (429, {"Retry-After": "3600"})):
            server.faults.append(fault)
            with pytest.raises(EngineError) as failed:  # the stand-in says the header back in every error
                await engine.generate(prompt(), Sampling())
            assert KEY not in str(failed.value) and "on order, to Bearer" in str(failed.value)
        server.answer = lambda question, index: f"You said {KEY}."
        with pytest.raises(RequestRefused, match="the reply contains the key"):
            await engine.generate(prompt(), Sampling())


async def test_a_wrong_key_is_said_without_it(monkeypatch):
    monkeypatch.setenv("STANDIN_KEY", "wrong-" + KEY)
    with pytest.raises(EngineStartError, match="HTTP 401: no such key") as failed:
        async with started(Standin(key=KEY), key_env="STANDIN_KEY"):
            pass
    assert KEY not in str(failed.value)


@pytest.mark.parametrize(("value", "says"), [("", "not set"), ("schlüssel-0123456789", "an HTTP header cannot hold")])
async def test_a_key_that_is_none_is_said_without_it(monkeypatch, value, says):
    monkeypatch.setenv("STANDIN_KEY", value)
    with pytest.raises(EngineStartError, match=says) as failed:
        async with started(key_env="STANDIN_KEY"):
            pass
    assert not value or value not in str(failed.value)
