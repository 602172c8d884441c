"""The classes of model families on vLLM's CPU build, with random weights and images, through the engine of a build.

Each costs the start of an engine: all but one are part of `make test-slow`.
"""

import gc
import hashlib
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from mmpr.builder.answer import answer
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.families import UNKNOWN, described
from mmpr.engines.protocol import Sampling
from mmpr.engines.vllm import engine_arguments, served_model, start_vllm
from mmpr.errors import EngineStartError
from mmpr.prompts import SYSTEM_MESSAGES
from mmpr.types import DecodedImage, Finish, Message, Prefix, Prompt, Question, Stage, Thinking
from tests.recipes import make_recipe
from tests.tiny_models import OPENS, write_gemma3, write_internvl3_5, write_internvl_hf, write_llava, write_qwen3_vl

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, and those of what it imports
]
AUTO, ON = Thinking.AUTO, Thinking.ON
EXTRA = {"block_size": 32, "max_num_seqs": 16, "enforce_eager": True, "load_format": "dummy"}
KNOWN = Question("k", "s", 1, "How many?", images=("x",), answer=("2",))


@asynccontextmanager
async def started(folder, *, vllm=None, **options):
    settings = {"dtype": "float32", "context_tokens": 1024, "on_cpu": True, **options}
    engine = await start_vllm(EngineOptions(str(folder), vllm=EXTRA | (vllm or {}), **settings))
    try:
        yield engine
    finally:
        await engine.close()
        engine._llm = None
        del engine
        gc.collect()


def image(width=128, height=64):
    pixels = Image.new("RGB", (width, height), "red")
    sha256 = hashlib.sha256(f"{width} {height}".encode()).hexdigest()
    return DecodedImage(sha256, sha256, b"", width, height, "PNG", pixels)


def prompt(*images, **changed):
    return Prompt("q", Stage.SAMPLE, (Message("user", "<image>\nWhat?" if images else "What?"),), images, **changed)


def text_of(engine, asked):
    return engine._tokenizer.decode(engine.prompt_ids(asked))


async def tokens(engine, *images, **changed):
    before = engine.pulse().prompt_tokens
    await engine.generate(prompt(*images, **changed), Sampling(max_tokens=1))
    return engine.pulse().prompt_tokens - before


async def answers(engine):
    """A question with its responses, a draft that is given, and a prompt without an image."""
    answered = await answer(KNOWN, engine, make_recipe(n=3, max_tokens=16), lambda _: (image(),))
    assert answered.skip is None and [r.index for r in answered.responses] == [0, 1, 2]
    draft = "A red circle stands beside a blue square. Final Answer: 4"
    given = Question("d", "s", 2, "Describe the image.", images=("x",), draft=draft)
    answered = await answer(given, engine, make_recipe(max_tokens=16), lambda _: (image(),))
    kept, completion = answered.cut.prefix, answered.responses[-1]
    assert engine.decode((*kept.token_ids, *completion.token_ids)) == kept.text + completion.text
    assert await tokens(engine) > 0


@pytest.mark.parametrize(
    ("write", "name", "thoughts", "takes_parts"),
    [
        (write_internvl3_5, "InternVL3.5", "switched by a system message", False),
        (write_internvl_hf, "InternVL3.5 -HF", "switched by a system message", False),
        (write_qwen3_vl, "Qwen3-VL", "without a switch", False),
        (write_gemma3, "Gemma 3", "none known", False),
        (write_llava, "unknown", "none known", True),
    ],
)
def test_a_model_is_known_before_its_weights_are_loaded(tmp_path, write, name, thoughts, takes_parts):
    from vllm import AsyncEngineArgs

    write(tmp_path)
    arguments = engine_arguments(EngineOptions(str(tmp_path), dtype="float32", trust_remote_code=True))
    model = served_model(AsyncEngineArgs(**{**arguments, "max_model_len": 1024}).create_model_config())
    assert (model.family.name, model.takes_parts) == (name, takes_parts)
    assert any(thoughts in line for line in described(model.family, model.way, model.image, ()))


async def test_internvl_hf_cuts_tiles_by_its_own_argument_and_an_unknown_limit_ends_the_start(tmp_path):
    write_internvl_hf(tmp_path)
    async with started(tmp_path, max_tiles=2) as engine:
        assert engine.describe()[0] == "InternVL3.5 -HF (class run)"
        assert text_of(engine, prompt(image())).endswith(
            "user\n<IMG_CONTEXT>\nWhat?<|im_end|>\n<|im_start|>assistant\n"
        )
        thumbnail, one = 1, await tokens(engine, image(512, 64), max_tiles=1)
        assert await tokens(engine, image(512, 64)) - one == 16 * (2 + thumbnail - 1)
        assert await tokens(engine, image(512, 64), max_tiles=4) - one == 16 * (4 + thumbnail - 1)
        with pytest.raises(EngineStartError, match=r"max_dynamic_patch: .* does not know this"):
            await engine.check_limits(["max_patches", "max_dynamic_patch"])
        await answers(engine)


@pytest.mark.slow
async def test_internvl3_5_thinks_by_its_system_message(tmp_path):
    write_internvl3_5(tmp_path)
    async with started(tmp_path, max_tiles=2, trust_remote_code=True, thinking=(ON,)) as engine:
        assert engine.describe()[0] == "InternVL3.5 (class run)"
        one = await tokens(engine, image(512, 64), max_tiles=1)
        assert await tokens(engine, image(512, 64)) - one == 16 * 2
        assert text_of(engine, prompt(thinking=AUTO)) == text_of(engine, prompt())
        asked = text_of(engine, prompt(image(), thinking=ON))
        assert asked.startswith(
            f"<|im_start|>system\n{SYSTEM_MESSAGES['internvl_think']}<|im_end|>\n<|im_start|>user\n"
        )
        own = Message("system", SYSTEM_MESSAGES["internvl_think"])
        said = Prompt("q", Stage.SAMPLE, (own, Message("user", "What?")), thinking=ON)
        assert text_of(engine, said).count("rigorously follows") == 1
        begun = Prefix("Two.", engine.encode("Two."), thoughts="hm <|im_end|>")
        ran = text_of(engine, prompt(thinking=ON, prefix=begun))
        assert ran.endswith("assistant\n<think>\nhm <|im_end|>\n</think>\n\nTwo.")
        ids = engine.prompt_ids(prompt(thinking=ON, prefix=begun))
        vocabulary = engine._tokenizer.get_vocab()
        assert ids.count(vocabulary["</think>"]) - ids[: -len(begun.token_ids) - 20].count(vocabulary["</think>"]) == 1
        with pytest.raises(EngineStartError, match="does not know this limit"):
            await engine.check_limits(["max_patches"])
        await answers(engine)


@pytest.mark.slow
async def test_qwen3_vl_has_its_thoughts_opened_closed_at_their_limit_and_its_pixels_limited(tmp_path):
    write_qwen3_vl(tmp_path, OPENS)
    limits = {"mm_processor_kwargs": {"max_pixels": 256 * 256}}
    async with started(tmp_path, vllm=limits, limits_thoughts=True, thinking=(ON,)) as engine:
        assert engine.describe()[0] == "Qwen3-VL (class run)"
        assert await tokens(engine, image(1024, 256)) - await tokens(engine, image(32, 32)) == 64 - 1
        for response in await engine.generate(prompt(image(), thinking=ON), Sampling(n=4, max_tokens=40)):
            assert response.thoughts and (response.text == "" or response.n_tokens > response.text_tokens)
        limited = Sampling(n=4, max_tokens=40, max_thought_tokens=5)
        draft = Prompt("q", Stage.DRAFT, prompt(image()).messages, (image(),), thinking=ON)
        for response in await engine.generate(draft, limited):
            closed = engine._tokenizer.decode(response.thought_ids).rstrip()
            assert closed.endswith("</think>") and len(response.thought_ids) <= 7
            assert response.text == engine.decode(response.token_ids)
            assert (
                len(response.thought_ids) + len(response.token_ids) + (response.finish_reason is Finish.STOP)
                == response.n_tokens
            )
        empty = text_of(engine, prompt(thinking=ON, prefix=Prefix("Two.", engine.encode("Two."))))
        assert empty.endswith("assistant\n<think>\n\n</think>\n\nTwo.")
        with pytest.raises(EngineStartError, match="max_patches"):
            await engine.check_limits(["max_pixels", "max_patches"])
        await answers(engine)
    for wrong, words in (
        ({"thinking": (Thinking.OFF,)}, "always thinks"),
        ({"max_tiles": 2}, "has no tile limit"),
    ):
        with pytest.raises(EngineStartError, match=words):
            async with started(tmp_path, **wrong):
                pass


@pytest.mark.slow
async def test_gemma3_ends_its_turns_by_its_own_token(tmp_path):
    write_gemma3(tmp_path)
    async with started(tmp_path) as engine:
        assert engine.describe()[0] == "Gemma 3 (class run)"
        assert engine._tokenizer.get_vocab()["<end_of_turn>"] in engine._stops
        asked = text_of(engine, prompt(image()))
        assert asked == "<bos><start_of_turn>user\n<start_of_image>What?<end_of_turn>\n<start_of_turn>model\n"
        assert await tokens(engine, image(1024, 256)) == await tokens(engine, image())
        await answers(engine)


@pytest.mark.slow
async def test_a_model_of_no_family_works_by_its_chat_template_and_says_what_was_assumed(tmp_path):
    write_llava(tmp_path)
    async with started(tmp_path) as engine:
        assert engine.family is UNKNOWN and UNKNOWN.assumed in engine.pulse().warning
        assert UNKNOWN.assumed in engine.describe()[-1]
        assert text_of(engine, prompt(image())) == "USER: <image>\nWhat?\nASSISTANT:"
        await answers(engine)
    with pytest.raises(EngineStartError, match=r"max_dynamic_patch: .* does not know this limit"):
        async with started(tmp_path, max_tiles=2):
            pass
