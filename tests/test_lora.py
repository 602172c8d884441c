"""Adapters are served unmerged: every request names the adapter, and the run stores it.

That it changes what a model says, `test_vllm_engine.py` shows.
"""

import json
from types import SimpleNamespace

import pytest
from test_vllm_contracts import PROMPT, Llm, engine_on

from mmpr.builder.engine_choice import engine_options, revision
from mmpr.engines.vllm import engine_arguments
from mmpr.errors import ConfigError
from mmpr.pocket import checkpoint_path
from mmpr.settings.config import BuildConfig, Mark, settings_by_name

LAYER = "base_model.model.language_model.model.layers.{}.feed_forward.w2"


def adapter(folder, *, strength, rank=4, model=None):
    """PEFT's two files, for one matrix of every layer of a model; None: the pocket model."""
    import torch
    from safetensors.torch import save_file

    config = json.loads(((model or checkpoint_path()) / "config.json").read_text())["llm_config"]
    generator, tensors = torch.Generator().manual_seed(0), {}
    for layer in range(config["num_hidden_layers"]):
        name = LAYER.format(layer)
        tensors[f"{name}.lora_A.weight"] = torch.randn(rank, config["intermediate_size"], generator=generator)
        tensors[f"{name}.lora_B.weight"] = strength * torch.randn(config["hidden_size"], rank, generator=generator)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    stored = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "target_modules": ["w2"]}
    (folder / "adapter_config.json").write_text(json.dumps({**stored, "bias": "none"}))
    return folder


def test_settings_of_an_adapter_become_vllms(tmp_path):
    folder = adapter(tmp_path / "one", strength=0.0, rank=12)
    settings = engine_options(BuildConfig(model="pocket", lora=str(folder)))
    wanted = {"enable_lora": True, "max_loras": 1, "max_lora_rank": 16}
    assert wanted.items() <= engine_arguments(settings).items() and settings.lora == str(folder)
    assert "enable_lora" not in engine_arguments(engine_options(BuildConfig(model="pocket")))


def test_a_run_remembers_its_adapter_by_its_contents(tmp_path):
    assert settings_by_name()["lora"].mark is Mark.IDENTITY
    one, other = (adapter(tmp_path / str(n), strength=n / 10) for n in (1, 2))
    plain, *adapted = (revision(BuildConfig(model="pocket", lora=lora)) for lora in (None, str(one), str(other)))
    assert len({plain, *adapted}) == 3 and all(name.startswith(f"{plain}+lora-") for name in adapted)
    with pytest.raises(ConfigError, match=r"lora: .* has no adapter_config.json"):
        revision(BuildConfig(model="pocket", lora=str(tmp_path)))
    with pytest.raises(ValueError, match="as model"):
        BuildConfig(engine="endpoint", endpoint_url="http://host/v1", lora=str(one))


class Recording(Llm):
    """Also keeps what each request was sent with."""

    async def generate(self, *words, **more):
        self.sent = more
        async for one in super().generate(*words, **more):
            yield one


@pytest.mark.asyncio
async def test_every_request_carries_the_adapter(monkeypatch):
    llm = Recording(SimpleNamespace())
    llm.script = [None]
    engine = engine_on(llm, monkeypatch)
    engine._lora, engine._threads = "the adapter", None
    await engine._once(PROMPT, None, 0)
    assert llm.sent["lora_request"] == "the adapter"
