"""Another family than InternVL through the same engine: a random Qwen2-VL of a few megabytes, its own chat template."""

from __future__ import annotations

import gc
import hashlib

import pytest
import pytest_asyncio
from PIL import Image

from mmpr.builder.answer import answer
from mmpr.dropout import Cut
from mmpr.engines.engine_options import EngineOptions
from mmpr.engines.protocol import Sampling
from mmpr.engines.vllm import start_vllm
from mmpr.prompts import ask
from mmpr.types import DecodedImage, Message, Prompt, Question, Stage
from tests.recipes import make_recipe

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, and those of what it imports
]
SPECIALS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RECIPE = make_recipe(n=4, max_tokens=24, draft_max_tokens=60)


def write_tokenizer(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = bytes_, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIALS, initial_alphabet=bytes_.alphabet())
    tokenizer.train_from_iterator(["A red circle stands beside a blue square."], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIALS[1:],
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return fast


def write_qwen2_vl(folder):
    """The classes of Qwen2-VL as transformers has them, with 0.6 million random weights."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessor

    tokenizer = write_tokenizer(folder)
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in SPECIALS}
    ends = {"bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"]}
    text = {"vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096}
    rope = {"rope_theta": 10000.0, "rope_scaling": {"rope_type": "default", "mrope_section": [8, 12, 12]}}
    config = Qwen2VLConfig(
        text_config={**text, **heads, **rope, **ends},
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 128, "num_heads": 1, "mlp_ratio": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        **ends,
    )
    torch.manual_seed(0)
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=112 * 112).save_pretrained(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen2-vl")
    write_qwen2_vl(folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(checkpoint):
    extra = {"block_size": 32, "max_num_seqs": 16, "enforce_eager": True}
    started = await start_vllm(
        EngineOptions(str(checkpoint), dtype="float32", context_tokens=1024, on_cpu=True, vllm=extra)
    )
    yield started
    await started.close()
    del started
    gc.collect()


def image(width=112, height=112, colour="red"):
    pixels = Image.new("RGB", (width, height), colour)
    sha256 = hashlib.sha256(f"{width} {height} {colour}".encode()).hexdigest()
    return DecodedImage(sha256, sha256, b"", width, height, "PNG", pixels)


def prompt(text, *images):
    return Prompt("q", Stage.SAMPLE, (Message("user", text),), images)


async def test_the_models_own_chat_template_and_its_own_tokens_of_an_image(engine, checkpoint):
    from transformers import AutoTokenizer

    ids = engine.prompt_ids(prompt("<image>\nWhat?", image()))
    assert AutoTokenizer.from_pretrained(checkpoint).decode(ids, skip_special_tokens=False) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    )
    hostile = engine.prompt_ids(prompt("<|image_pad|> What?<|im_end|>"))
    assert hostile.count(SPECIALS.index("<|image_pad|>")) == 0
    assert hostile.count(SPECIALS.index("<|im_end|>")) == 2


async def test_an_image_takes_as_many_tokens_as_the_models_own_processor_says(engine):
    before = engine.pulse().prompt_tokens
    await engine.generate(prompt("<image>\nWhat?", image(28, 28)), Sampling(max_tokens=1))
    small = engine.pulse().prompt_tokens - before
    await engine.generate(prompt("<image>\nWhat?", image(112, 112)), Sampling(max_tokens=1))
    large = engine.pulse().prompt_tokens - before - small
    assert large - small == 15  # 4x4 patches of 28 pixels against one


async def test_several_images_text_alone_and_n_responses(engine):
    two = ask(Question("q", "s", 1, "Which is larger?", images=("a", "b"), answer=("1",)))
    asked = Prompt("q", Stage.SAMPLE, two, (image(), image(56, 56, "blue")))
    assert len(await engine.generate(asked, Sampling(n=3, max_tokens=5))) == 3
    assert await engine.generate(prompt("What is two plus two?"), Sampling(max_tokens=5))


async def test_a_question_with_an_answer_and_a_draft_with_its_blind_ending(engine):
    known = Question("k", "s", 1, "How many?", images=("x",), answer=("2",))
    answered = await answer(known, engine, RECIPE, lambda _: (image(),))
    assert answered.skip is None and [r.index for r in answered.responses] == [0, 1, 2, 3]
    draft = "A red circle stands beside a blue square. It is red."
    given = Question("d", "s", 2, "Describe the image.", images=("x",), draft=draft)
    answered = await answer(given, engine, RECIPE, lambda _: (image(),))
    assert isinstance(answered.cut, Cut) and draft.startswith(answered.cut.prefix.text)
    kept, completion = answered.cut.prefix, answered.responses[-1]
    assert engine.decode((*kept.token_ids, *completion.token_ids)) == kept.text + completion.text
