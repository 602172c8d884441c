"""A verifier that is a real engine of another family: a random Qwen2 is asked about what a scripted engine answered."""

import pytest
from ray import cloudpickle
from test_other_family import SPECIALS, write_tokenizer

from mmpr.api import build
from mmpr.run import RunFolder, read_chunk
from mmpr.types import Stage
from tests.verifier import scripted

cloudpickle.register_pickle_by_value(scripted)
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore")]


def write_qwen2(folder):
    """The class of Qwen2 as transformers has it, with 0.3 million random weights."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = write_tokenizer(folder)
    ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        bos_token_id=ends[0],
        eos_token_id=ends[1],
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    assert len(SPECIALS) < len(tokenizer)
    return folder


def answers(run):
    folder = RunFolder(run.url)
    return [one for commit in folder.commits() for q in read_chunk(folder, commit) for one in q.responses]


def test_a_second_engine_is_asked_in_a_build(tmp_path, cluster):
    questions = scripted.write_questions(tmp_path, 12)
    verifier = write_qwen2(tmp_path / "qwen2")
    engines = {"block_size": 32, "max_num_seqs": 16, "enforce_eager": True}
    run = build(
        questions,
        tmp_path / "run",
        config="pocket",
        make_engine=scripted.answering,
        n=4,
        adaptive=False,
        verifier=str(verifier),
        verifier_context_tokens=2048,
        verifier_vllm=engines,
        audit=1.0,
    )
    found = [one for one in answers(run) if one.answer is not None]
    assert found and all(one.response.stage is Stage.SAMPLE for one in found)
    assert all(one.answer.fault is None and one.answer.swapped is not None for one in found)
    assert all(sum(map(abs, one.answer.plain)) > 0 for one in found)
    figures = run.report.verifier
    assert figures.verifiers[0].model == str(verifier) and figures.verifiers[0].revision.startswith("local-")
    assert figures.requests >= 2 and figures.prompt_tokens > 200 * figures.requests
