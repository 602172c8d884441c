"""Models that think behind a server: by marks in the text, by the server's own parser, or opened by its template."""

from dataclasses import replace

import pytest
from endpoint_standin import THOUGHTS, Standin
from test_endpoint_engine import OPEN, answered, image, prompt, started

from mmpr.engines.protocol import Sampling
from mmpr.errors import EngineStartError
from mmpr.prompts import PromptOptions
from mmpr.types import Continues, Thinking

ON, OFF, AUTO = Thinking.ON, Thinking.OFF, Thinking.AUTO


def thinking(wanted):
    return replace(prompt("<image>\nHow many?", image()), thinking=wanted)


@pytest.mark.parametrize("how", ["marks", "parser"])
async def test_thinking_is_switched_in_the_template_and_thoughts_come_apart(how):
    async with started(Standin(thinks=how), thinking=(ON,)) as (server, engine):
        for wanted, sent in ((ON, {"enable_thinking": True}), (OFF, {"enable_thinking": False}), (AUTO, None)):
            (response,) = await engine.generate(thinking(wanted), Sampling(max_tokens=200))
            assert server.of("/v1/chat/completions")[-1].get("chat_template_kwargs") == sent
            assert response.text.startswith("Response") and response.thoughts == (THOUGHTS if wanted is ON else None)


@pytest.mark.parametrize("how", ["marks", "parser", "opens"])
@pytest.mark.parametrize("continues", ["exact", "text"])
async def test_a_draft_is_cut_behind_its_thoughts_and_continued_behind_them(how, continues):
    wanted = AUTO if how == "opens" else ON
    async with started(Standin(thinks=how), continues=continues) as (server, engine):
        one = await answered(engine, OPEN, prompt=PromptOptions(thinking=wanted))
        draft, completion = one.responses
        assert draft.thoughts == THOUGHTS and "think" not in draft.text and draft.text.startswith("In the image")
        assert one.cut.prefix.thoughts == THOUGHTS and one.cut.prefix.text + completion.text == draft.text
        if engine.continues is Continues.EXACT:
            text = "".join(map(chr, draft.thought_ids + draft.token_ids))
            assert text == ("" if how == "opens" else "<think>\n") + f"{THOUGHTS}\n</think>\n\n{draft.text}"
            ran = "".join(map(chr, server.of("/v1/completions")[-1]["prompt"]))
            assert ran.endswith(f"<think>\n{THOUGHTS}\n</think>\n\n{one.cut.prefix.text}")
        else:
            begun = server.of("/v1/chat/completions")[-1]["messages"][-1]["content"]
            assert begun == f"<think>\n{THOUGHTS}\n</think>\n\n{one.cut.prefix.text}"


async def test_a_draft_that_a_source_gives_stands_behind_closed_thoughts_where_the_template_opens_them():
    async with started(Standin(thinks="opens")) as (server, engine):
        given = replace(OPEN, draft="In the image there is a red circle and a blue square.")
        await answered(engine, given)
        ran = "".join(map(chr, server.of("/v1/completions")[-1]["prompt"]))
        assert "<think>\n\n</think>\n\nIn the image" in ran


async def test_thoughts_are_a_part_of_the_text_where_the_instruction_asks_for_them():
    async with started(Standin(thinks="opens")) as (_, engine):
        (response,) = await engine.generate(thinking(None), Sampling(max_tokens=200))
        assert response.thoughts is None and "</think>" in response.text


async def test_a_limit_of_thoughts_goes_with_each_request():
    async with started(max_thought_tokens=20) as (server, engine):
        await engine.generate(thinking(ON), Sampling(max_thought_tokens=20))
        assert server.of("/v1/chat/completions")[-1]["thinking_token_budget"] == 20


@pytest.mark.parametrize(
    ("standin", "settings", "words"),
    [
        ({}, {"thinking": (ON,)}, "no switch"),
        ({"thinks": "opens"}, {"thinking": (OFF,)}, "always opens thoughts"),
        ({"owner": "someone"}, {"max_thought_tokens": 9, "continues": "none"}, "needs vLLM serve"),
        ({"tile_argument": None}, {"max_tiles": 6}, "the same number of tokens with any limit"),
    ],
)
async def test_what_the_server_would_drop_is_an_error_at_the_start(standin, settings, words):
    with pytest.raises(EngineStartError, match=words):
        async with started(Standin(**standin), **settings):
            pass


async def test_tiles_are_limited_by_the_argument_that_the_servers_image_processor_knows():
    for name in ("max_dynamic_patch", "max_patches"):
        async with started(Standin(tile_argument=name), max_tiles=6) as (server, engine):
            await engine.generate(prompt("<image>\nHow many?", image()), Sampling())
            assert server.of("/v1/chat/completions")[-1]["mm_processor_kwargs"] == {name: 6}
    other = {"mm_processor_kwargs": {"min_dynamic_patch": 2}}
    async with started(Standin(), max_tiles=6, body=other) as (server, engine):
        await engine.generate(prompt("<image>\nHow many?", image()), Sampling())
        sent = server.of("/v1/chat/completions")[-1]["mm_processor_kwargs"]
        assert sent == {"min_dynamic_patch": 2, "max_dynamic_patch": 6}
