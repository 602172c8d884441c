"""Write a model in the form of vLLM's `InternVLChatModel`: names, fused weights, configuration, tokenizer.

All sizes can be chosen. So tests can make a random checkpoint with the layout of any InternVL2 (InternVL2-8B: 448
pixels, patches of 14, 256 tokens per tile, InternLM2) that has only a few megabytes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from mmpr.demo.pocket_language import THINK_FIRST
from mmpr.pocket import checkpoint_path
from pipelines.pocket.examples import END_OF_TEXT, END_OF_TURN, SPECIALS, train_tokenizer
from pipelines.pocket.model import Shape, Vision, make_language

_CODE = "configuration_pocket.py"  # the configuration classes; the file is part of the shipped checkpoint
# InternVL2-8B's chat template (InternLM2's ChatML), with a switch for thinking that has the same name as Qwen3's.
_TEMPLATE = (
    "{{ bos_token }}"
    "{% if enable_thinking %}{{ '<|im_start|>system\n" + THINK_FIRST + "<|im_end|>' + '\n' }}{% endif %}"
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_checkpoint(folder: Path, vision: Vision, language: nn.Module, tokenizer: Tokenizer, shape: Shape) -> None:
    """Write weights (bfloat16 safetensors), configuration and tokenizer; existing files are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {**vision_weights(vision), **language_weights(language, shape)}
    rounded = {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "config.json", _config(shape))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(shape))
    _write_json(folder / "generation_config.json", {"eos_token_id": [END_OF_TURN, END_OF_TEXT], "bos_token_id": 1})
    (folder / "model.safetensors").chmod(0o644)  # safetensors lets only the owner read it
    if not (folder / _CODE).exists():
        shutil.copyfile(checkpoint_path() / _CODE, folder / _CODE)


def read_checkpoint(folder: Path, vision: Vision, language: LlamaForCausalLM, shape: Shape) -> Tokenizer:
    """Copy a checkpoint's weights into both parts, and return its tokenizer."""
    given = load_file(folder / "model.safetensors")
    ours = {**vision_weights(vision), **language_weights(language, shape)}
    with torch.no_grad():
        for name, weight in ours.items():
            # `wqkv` is a new tensor, fused from three of the model: a copy into it would not reach the model.
            if not name.endswith("wqkv.weight"):
                weight.copy_(given[name])
        for i, layer in enumerate(language.model.layers):
            fused = given[f"language_model.model.layers.{i}.attention.wqkv.weight"]
            attention = layer.self_attn
            parts = (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight)
            for part, weight in zip(parts, unfuse(fused, heads=shape.heads, kv_heads=shape.kv_heads), strict=True):
                part.copy_(weight)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def write_random_checkpoint(folder: Path, *, seed: int = 0, shape: Shape | None = None) -> None:
    """Write a checkpoint with random weights, for tests of engines; its responses make no sense."""
    shape = shape or Shape()
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(shape, seed=seed, n_texts=200)
    write_checkpoint(folder, Vision(shape), make_language(shape), tokenizer, shape)


def vision_weights(vision: Vision) -> dict[str, Tensor]:
    """Return the weights of InternViT and of the projector under InternVL's names."""
    root = "vision_model.embeddings"
    weights = {
        f"{root}.class_embedding": vision.class_embedding,
        f"{root}.position_embedding": vision.position_embedding,
    } | {f"{root}.patch_embedding.{name}": weight for name, weight in vision.patch_embedding.state_dict().items()}
    names = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    for i, layer in enumerate(vision.layers):
        for name, weight in layer.state_dict().items():
            part, _, kind = name.partition(".")
            weights[".".join(filter(None, (f"vision_model.encoder.layers.{i}", names.get(part, part), kind)))] = weight
    return weights | {f"mlp1.{name}": weight for name, weight in vision.projector.state_dict().items()}


def language_weights(language: nn.Module, shape: Shape) -> dict[str, Tensor]:
    """Return a Llama's weights under InternLM2's names, with query, key and value fused per key/value group."""
    given = language.state_dict()
    weights = {
        "language_model.model.tok_embeddings.weight": given["model.embed_tokens.weight"],
        "language_model.model.norm.weight": given["model.norm.weight"],
        "language_model.output.weight": given["lm_head.weight"],
    }
    names = {
        "self_attn.o_proj": "attention.wo",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for i in range(shape.layers):
        ours, theirs = f"model.layers.{i}", f"language_model.model.layers.{i}"
        for name, renamed in names.items():
            weights[f"{theirs}.{renamed}.weight"] = given[f"{ours}.{name}.weight"]
        parts = [given[f"{ours}.self_attn.{part}_proj.weight"] for part in "qkv"]
        weights[f"{theirs}.attention.wqkv.weight"] = fuse(*parts, kv_heads=shape.kv_heads)
    return weights


def fuse(query: Tensor, key: Tensor, value: Tensor, *, kv_heads: int) -> Tensor:
    """Return InternLM2's `wqkv` (out, in): for each key/value group its queries, then the key, then the value."""
    grouped = [part.view(kv_heads, -1, part.shape[-1]) for part in (query, key, value)]
    return torch.cat(grouped, dim=1).reshape(-1, query.shape[-1])


def unfuse(fused: Tensor, *, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value (out, in) from InternLM2's `wqkv`."""
    grouped = fused.view(kv_heads, heads // kv_heads + 2, -1, fused.shape[-1])
    parts = (grouped[:, :-2], grouped[:, -2], grouped[:, -1])
    query, key, value = (part.reshape(-1, fused.shape[-1]) for part in parts)
    return query, key, value


def _config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "auto_map": {"AutoConfig": "configuration_pocket.PocketConfig"},
        "downsample_ratio": 0.5,
        "ps_version": "v2",
        "select_layer": -1,
        "force_image_size": shape.image_size,
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 4,
        "template": "internlm2-chat",
        "torch_dtype": "bfloat16",
        "vision_config": _vision_config(shape),
        "llm_config": _language_config(shape),
    }


def _vision_config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",
        "hidden_size": shape.vision_width,
        "image_size": shape.image_size,
        "patch_size": shape.patch_size,
        "num_hidden_layers": shape.vision_layers,
        "num_attention_heads": shape.vision_heads,
        "intermediate_size": shape.vision_ffn,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "norm_type": "layer_norm",
        "num_channels": 3,
        "qkv_bias": True,
        "qk_normalization": False,
        "use_flash_attn": False,
        "initializer_factor": 1.0,
    }


def _language_config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["InternLM2ForCausalLM"],
        "model_type": "internlm2",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.ffn,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "max_position_embeddings": shape.context_tokens,
        "bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": END_OF_TEXT,
        "pad_token_id": END_OF_TEXT,
    }


def _tokenizer_config(shape: Shape) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "additional_special_tokens": list(SPECIALS[3:]),
        "chat_template": _TEMPLATE,
        "model_max_length": shape.context_tokens,
        "clean_up_tokenization_spaces": False,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
