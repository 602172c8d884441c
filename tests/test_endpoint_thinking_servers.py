"""Servers that hide, drop, repeat or insist on thoughts, and servers whose limits of images cannot be tried."""

from dataclasses import replace

import pytest
from endpoint_standin import ANSWER, DESCRIBED, THOUGHTS, Standin, answer
from test_endpoint_engine import OPEN, answered, image, prompt, started

from mmpr.engines.protocol import Sampling
from mmpr.errors import EngineError, EngineStartError, RequestRefused
from mmpr.prompts import PromptOptions
from mmpr.thought_marks import KIMI, THINK
from mmpr.types import Continues, Reason, Stage, Thinking, View

ON, OFF, AUTO = Thinking.ON, Thinking.OFF, Thinking.AUTO
ELSEWHERE = {"tokenizer": False, "owner": "someone"}


def thinking(wanted):
    return replace(prompt("<image>\nHow many?", image()), thinking=wanted)


class ByItself(Standin):
    """Thinks unless the switch says no; its template writes no open mark."""

    def is_asked(self, body):
        return (body.get("chat_template_kwargs") or {}).get("enable_thinking", True)

    def begun(self, body):
        return ("" if self.is_asked(body) else "<think>\n\n</think>\n\n") + ANSWER


class Drops(Standin):
    """Its template drops the thoughts of an assistant turn."""

    def chat(self, body):
        *before, last = body["messages"]
        if last["role"] == "assistant" and "</think>" in last["content"]:
            body = {
                **body,
                "messages": [*before, {**last, "content": last["content"].rpartition("</think>")[2].strip()}],
            }
        return super().chat(body)


class Strict(Standin):
    """Refuses each argument that its image processor does not know."""

    def refusal(self, body, question):
        if set(body.get("mm_processor_kwargs") or ()) - {self.tile_argument}:
            return 400, {"error": {"message": "unexpected keyword argument"}}
        return super().refusal(body, question)


class StrictBody(Standin):
    """Refuses requests with `chat_template_kwargs`, as OpenAI does."""

    def refusal(self, body, question):
        refused = 400, {"error": {"message": "Unrecognized request argument: chat_template_kwargs"}}
        return refused if "chat_template_kwargs" in body else super().refusal(body, question)


class Reasons(Standin):
    """Its parser has changed the message of each response by `change`."""

    change = staticmethod(lambda message: {})

    def generated(self, *args, **options):
        status, reply = super().generated(*args, **options)
        for choice in reply.get("choices", ()):
            if "message" in choice:
                choice["message"] |= self.change(choice["message"])
        return status, reply


def reasoning(change, **standin):
    server = Reasons(**standin)
    server.change = change
    return server


def kimi(question, index):
    text = answer(question, index)
    return f"◁think▷I see two.◁/think▷{text}" if "Describe" in question or "How many" in question else text


# -- a verifier ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{}, {"chat_template_kwargs": {"enable_thinking": True, "other": 1}}])
@pytest.mark.parametrize("standin", [{}, {"owner": "sglang", "tokenizer": False}, ELSEWHERE])
async def test_a_verifier_is_never_asked_while_it_may_think(standin, body):
    async with started(ByItself(**standin), continues="none", body=body) as (server, engine):
        await engine.choose(prompt("Is it?"), ["A", "B"])
        sent = server.of("/v1/chat/completions")[-1]
        assert sent["chat_template_kwargs"] == {**body.get("chat_template_kwargs", {}), "enable_thinking": False}
        assert sent["messages"][-1]["role"] == "user"


async def test_a_server_that_refuses_the_switch_is_asked_without_it():
    async with started(StrictBody(**ELSEWHERE, most_likeliest=5), continues="none") as (server, engine):
        for n_requests in (4, 1):  # the fields are found once
            server.requests.clear()
            assert (await engine.choose(prompt("Is it?"), ["A", "B"])).logprobs == (-0.2, -2.2)
            assert len(server.requests) == n_requests
        assert "chat_template_kwargs" not in server.requests[-1][1]


@pytest.mark.parametrize("continues", ["auto", "none", "text"])
async def test_a_verifier_whose_template_opens_thoughts_gets_them_closed(continues):
    async with started(Standin(thinks="opens"), continues=continues) as (server, engine):
        assert (await engine.choose(prompt("Is it?"), ["A", "B"])).logprobs == (-0.2, -2.2)
        (sent,) = server.of("/v1/chat/completions")
        assert sent["messages"][-1] == {"role": "assistant", "content": "<think>\n\n</think>\n\n"}
        assert sent["continue_final_message"] is True


async def test_a_verifier_whose_thoughts_stay_open_is_an_error():
    class StaysOpen(Standin):
        def chat(self, body):
            return super().chat({**body, "messages": [m for m in body["messages"] if m["role"] == "user"]})

    async with started(StaysOpen(thinks="opens"), continues="none") as (_, engine):
        with pytest.raises(EngineError, match="always opens thoughts") as failed:
            await engine.choose(prompt("Is it?"), ["A", "B"])
        assert "\n" not in str(failed.value)


async def test_a_letter_that_the_parser_takes_for_a_thought_is_no_answer():
    hidden = reasoning(lambda message: {"reasoning": message["content"], "content": None}, **ELSEWHERE)
    async with started(hidden, continues="none") as (_, engine):
        with pytest.raises(RequestRefused, match="although thinking is off"):
            await engine.choose(prompt("Is it?"), ["A", "B"])


# -- thoughts before a prefix -------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [View.BLIND, View.IMAGE_KEPT])
@pytest.mark.parametrize(("standin", "continues"), [({}, "text"), ({}, "exact"), (ELSEWHERE, "text")])
async def test_a_server_that_drops_the_thoughts_before_a_prefix_is_noticed(standin, continues, view):
    for kind in (Standin, Drops):
        server = kind(thinks="marks", **standin)
        async with started(server, continues=continues) as (_, engine):
            one = await answered(engine, OPEN, prompt=PromptOptions(thinking=ON), rejected_view=view)
            by_ids = engine.continues is Continues.EXACT and view is View.BLIND
            reason = Reason.PREFIX_CHANGED if kind is Drops and not by_ids else Reason.COMPLETION_EQUAL
            assert one.skip.reason is reason and one.cut.prefix.thoughts == THOUGHTS


async def test_whether_a_server_drops_thoughts_is_asked_once_and_only_where_there_are_some():
    async with started(Standin(thinks="marks"), continues="text") as (server, engine):
        for wanted, n_requests in ((AUTO, 2), (ON, 4), (ON, 2)):
            server.requests.clear()
            await answered(engine, OPEN, prompt=PromptOptions(thinking=wanted))
            assert len(server.requests) == n_requests


async def test_a_server_that_counts_nothing_is_believed():
    class Uncounted(Standin):
        def generated(self, *args, **options):
            status, reply = super().generated(*args, **options)
            reply["usage"]["prompt_tokens"] = 0
            return status, reply

    async with started(Uncounted(thinks="marks", tokenizer=False)) as (_, engine):
        one = await answered(engine, OPEN, prompt=PromptOptions(thinking=ON))
        assert one.skip.reason is Reason.COMPLETION_EQUAL


@pytest.mark.parametrize("view", [View.BLIND, View.IMAGE_KEPT])
@pytest.mark.parametrize(("standin", "continues"), [({}, "text"), ({}, "exact"), (ELSEWHERE, "text")])
async def test_thoughts_go_back_in_the_marks_of_the_model(standin, continues, view):
    async with started(Standin(answer=kimi, **standin), continues=continues) as (server, engine):
        one = await answered(engine, OPEN, prompt=PromptOptions(thinking=AUTO), rejected_view=view)
        assert one.cut.prefix.thoughts == "I see two."
        path, body = next(one for one in reversed(server.requests) if "completions" in one[0])
        sent = "".join(map(chr, body["prompt"])) if path == "/v1/completions" else body["messages"][-1]["content"]
        spaced = ("\n", "\n\n") if engine.continues is Continues.TEXT else ("", "")
        assert sent.endswith("◁think▷{0}I see two.{0}◁/think▷{1}".format(*spaced) + one.cut.prefix.text)


async def test_unclosed_thoughts_in_other_marks_have_no_answer():
    async with started(Standin(answer=kimi), continues="none") as (_, engine):
        (response,) = await engine.generate(thinking(AUTO), Sampling(max_tokens=12))
        assert (response.thoughts, response.text) == ("I see", "")


@pytest.mark.parametrize(("name", "marks"), [("moonshotai/Kimi-VL-A3B-Thinking-2506", KIMI), ("m", THINK)])
async def test_the_marks_that_a_parser_hides_are_those_of_the_models_name(name, marks):
    async with started(Standin(thinks="parser", models=(name,), **ELSEWHERE), model=name) as (server, engine):
        await answered(engine, OPEN, prompt=PromptOptions(thinking=ON))
        begun = server.of("/v1/chat/completions")[-1]["messages"][-1]["content"]
        assert begun.startswith(marks.closed(THOUGHTS))


# -- a parser on the server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("standin", [{}, ELSEWHERE])
async def test_thoughts_that_the_instruction_asked_for_stay_in_the_text_despite_a_parser(standin):
    def split(message):
        return {"reasoning": THOUGHTS, "content": "\n\n" + message["content"]}

    async with started(reasoning(split, **standin), continues="none") as (server, engine):
        (response,) = await engine.generate(thinking(None), Sampling(max_tokens=200))
        assert response.thoughts is None
        assert response.text.startswith(f"<think>\n{THOUGHTS}\n</think>\n\nResponse ")
        server.change = lambda message: {"reasoning": THOUGHTS, "content": None}
        (response,) = await engine.generate(thinking(None), Sampling(max_tokens=200))
        assert response.text == f"<think>\n{THOUGHTS}"  # never closed


NESTED = [
    ("\nwait <think>Final Answer: 9</think>\n{}", "{}"),
    ("so 9.\n</think>\n\n{}", "{}"),
    ("{}\n<think>\nor 9?", ""),
    ("<think>9</think><think>8</think>{}", "{}"),
    ("{} a < b", "{} a < b"),
]


@pytest.mark.parametrize(("content", "kept"), NESTED)
async def test_a_thought_behind_the_one_that_the_parser_found_is_no_answer(content, kept):
    def split(message):
        return {"reasoning": THOUGHTS, "content": content.format(message["content"])}

    async with started(reasoning(split), continues="none") as (server, engine):
        server.answer = lambda question, index: "Final Answer: 2"
        (response,) = await engine.generate(thinking(ON), Sampling(max_tokens=200))
        assert response.text == kept.format("Final Answer: 2") and response.thoughts.startswith(THOUGHTS)


@pytest.mark.parametrize("start", ["<think>\n", ""])  # some templates open thoughts that the parser alone knows of
async def test_a_draft_has_no_thought_in_its_token_ids(start):
    def split(message):
        thoughts, _, content = message["content"].removeprefix(start).partition("</think>")
        return {"reasoning": thoughts, "content": content} if content else {}

    server = reasoning(split)
    async with started(server) as (_, engine):
        server.answer = lambda *_: f"{start}{THOUGHTS}\n</think>\nwait <think>9</think>\n\n{DESCRIBED}"
        draft_of = replace(thinking(AUTO), stage=Stage.DRAFT)
        (draft,) = await engine.generate(draft_of, Sampling(max_tokens=200))
        assert draft.text == DESCRIBED == "".join(map(chr, draft.token_ids))
        assert "</think>" in "".join(map(chr, draft.thought_ids)) and draft.thoughts.startswith(THOUGHTS)


async def test_a_completion_with_thoughts_of_its_own_is_not_the_rest_of_a_draft():
    async with started(reasoning(lambda message: {}, tokenizer=False)) as (server, engine):
        server.change = lambda message: (
            {"reasoning": "hm", "content": " there it is"} if message["content"].startswith(" ") else {}
        )
        one = await answered(engine)
        assert one.skip.reason is Reason.PREFIX_CHANGED


@pytest.mark.parametrize("how", ["marks", "parser"])
async def test_a_model_that_thinks_long_is_tried_without_thoughts_how_it_continues(how, monkeypatch):
    monkeypatch.setattr("endpoint_standin.THOUGHTS", "long " * 50)

    class Long(Standin):
        def is_asked(self, body):
            return (body.get("chat_template_kwargs") or {}).get("enable_thinking", True)

    async with started(Long(thinks=how, **ELSEWHERE)) as (_, engine):
        assert engine.continues is Continues.TEXT


# -- the switch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [ON, OFF])
async def test_thinking_that_cannot_be_checked_is_a_warning(wanted):
    async with started(Standin(**ELSEWHERE), thinking=(wanted,)) as (_, engine):
        warning = engine.pulse().warning
        assert f"thinking={wanted} could not be checked" in warning and "\n" not in warning
        assert warning in engine.describe()
    async with started(Standin(thinks="marks"), thinking=(wanted,)) as (_, engine):
        assert engine.pulse().warning == ""


@pytest.mark.parametrize("standin", [{"thinks": "marks"}, ELSEWHERE])
async def test_the_users_own_switch_does_not_hide_the_templates(standin):
    own = {"chat_template_kwargs": {"enable_thinking": True}}
    async with started(Standin(**standin), thinking=(ON,), body=own) as (_, engine):
        assert "precedence" not in engine.pulse().warning
    async with started(Standin(**standin), thinking=(OFF,), body=own) as (_, engine):
        assert "enable_thinking takes precedence over thinking=off" in engine.pulse().warning
    with pytest.raises(EngineStartError, match="no switch"):
        async with started(Standin(), thinking=(ON,), body=own):
            pass


# -- limits of images ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "tiles", "words"),
    [
        ({"max_dynamic_patch": 2, "max_patches": 3}, None, "max_dynamic_patch limits nothing: an image has"),
        ({"max_pixels": 999}, None, "max_pixels limits nothing"),
        ({"max_dynamic_patch": 2}, 6, "max_dynamic_patch limits nothing"),
    ],
)
@pytest.mark.parametrize("kind", [Standin, Strict])
async def test_the_users_own_limits_of_images_are_tried(kind, own, tiles, words):
    words = words.partition(":")[0] if kind is Strict else words
    with pytest.raises(EngineStartError, match=words) as failed:
        async with started(kind(tile_argument="max_patches"), max_tiles=tiles, body={"mm_processor_kwargs": own}):
            pass
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("kind", [Standin, Strict])
@pytest.mark.parametrize("name", ["max_dynamic_patch", "max_patches", "max_pixels"])
async def test_limits_that_the_image_processor_knows_are_kept(kind, name):
    own = {"mm_processor_kwargs": {name: 2}}
    async with started(kind(tile_argument=name), body=own) as (server, engine):
        await engine.generate(thinking(None), Sampling())
        assert server.of("/v1/chat/completions")[-1]["mm_processor_kwargs"] == {name: 2}
        assert engine.pulse().warning == ""


@pytest.mark.parametrize("name", ["max_dynamic_patch", "max_patches"])
async def test_each_name_of_the_tile_limit_is_tried_where_unknown_ones_are_refused(name):
    async with started(Strict(tile_argument=name), max_tiles=6) as (server, engine):
        await engine.generate(thinking(None), Sampling())
        assert server.of("/v1/chat/completions")[-1]["mm_processor_kwargs"] == {name: 6}


@pytest.mark.parametrize(
    ("standin", "settings", "words"),
    [
        ({"owner": "sglang", "tokenizer": False}, {"max_tiles": 6}, "max_tiles=6 is not sent: sglang keeps"),
        ({"owner": "", "tokenizer": False}, {"max_tiles": 6}, "max_tiles=6 is not sent: a server without a name keeps"),
        ({"owner": "lmdeploy", "tokenizer": False, "continues": "turn"}, {"max_tiles": 6}, ""),
        (ELSEWHERE, {"body": {"mm_processor_kwargs": {"max_pixels": 9}}}, "mm_processor_kwargs was not checked"),
        ({}, {"body": {"mm_processor_kwargs": {"size": {"longest_edge": 9}}}}, "image processor knows size"),
        ({"eyes": False}, {"body": {"mm_processor_kwargs": {"max_pixels": 9}}}, ""),
    ],
)
async def test_limits_of_images_that_were_not_tried_are_a_warning(standin, settings, words):
    async with started(Standin(**standin), **settings) as (_, engine):
        warning = engine.pulse().warning
        assert words in warning and bool(words) == bool(warning) and "\n" not in warning
