"""Convert InternVL checkpoints between `InternVLChatModel`, which vLLM serves, and transformers' own InternVL classes.

The weights are the same, but have other names. Query, key and value of the vision part and of InternLM2 are one fused
tensor in the first layout and three tensors in the second. InternLM2 becomes a Llama in transformers; Qwen2 and Llama
keep their classes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import safe_open
from torch import Tensor
from transformers import (
    AutoTokenizer,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from mmpr.errors import MmprError
from pipelines.pocket.checkpoint import fuse, unfuse

CONTEXT = "<IMG_CONTEXT>"  # the token that is repeated in the place of an image
_WEIGHTS = ".safetensors"
_SHARD = "5GB"

# Names of modules, and of parameters outside modules: InternVLChatModel's -> transformers'.
_ONCE = {
    "vision_model.embeddings.class_embedding": "model.vision_tower.embeddings.cls_token",
    "vision_model.embeddings.position_embedding": "model.vision_tower.embeddings.position_embeddings",
    "vision_model.embeddings.patch_embedding": "model.vision_tower.embeddings.patch_embeddings.projection",
    "mlp1.0": "model.multi_modal_projector.layer_norm",
    "mlp1.1": "model.multi_modal_projector.linear_1",
    "mlp1.3": "model.multi_modal_projector.linear_2",
    "language_model.model.norm": "model.language_model.norm",
}
_LANGUAGE_ONCE = {
    "language_model.model.embed_tokens": "model.language_model.embed_tokens",
    "language_model.lm_head": "lm_head",
}
_INTERNLM2_ONCE = {
    "language_model.model.tok_embeddings": "model.language_model.embed_tokens",
    "language_model.output": "lm_head",
}
_VISION_LAYER = {
    "attn.proj": "attention.projection_layer",
    "attn.q_norm": "attention.q_norm",
    "attn.k_norm": "attention.k_norm",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "ls1": "lambda_1",
    "ls2": "lambda_2",
}
_LANGUAGE_LAYER = {
    name: name
    for name in (
        *(f"self_attn.{part}_proj" for part in "qkvo"),
        *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
        "input_layernorm",
        "post_attention_layernorm",
    )
}
_INTERNLM2_LAYER = {
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_FAMILIES = {"InternLM2ForCausalLM": "llama", "LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}


class Layout:
    """The names of a checkpoint's weights in both layouts.

    `tile_tokens` is the number of tokens of a tile.

    Args:
        config: the checkpoint's `config.json` in InternVLChatModel's form, kept as `values`.

    Raises:
        MmprError: transformers' InternVL does not support the language model or the pixel shuffle; the message says
            which it supports.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.values = config
        self._vision, self._language = config["vision_config"], config["llm_config"]
        side = self._vision["image_size"] // self._vision["patch_size"]
        self.tile_tokens = int(side * config["downsample_ratio"]) ** 2
        (self._architecture,) = self._language["architectures"]
        if self._architecture not in _FAMILIES:
            raise MmprError(f"language model {self._architecture}: only {', '.join(_FAMILIES)} can be trained here")
        if config.get("ps_version") != "v2":
            raise MmprError(f"ps_version {config.get('ps_version')!r}: only 'v2' can be trained here")
        self._internlm2 = self._architecture == "InternLM2ForCausalLM"
        self._names = dict(self._renamed())
        self._fused = dict(self._split())

    def _renamed(self) -> Iterator[tuple[str, str]]:
        yield from _ONCE.items()
        yield from (_INTERNLM2_ONCE if self._internlm2 else _LANGUAGE_ONCE).items()
        for i in range(self._vision["num_hidden_layers"]):
            for theirs, ours in _VISION_LAYER.items():
                yield f"vision_model.encoder.layers.{i}.{theirs}", f"model.vision_tower.encoder.layer.{i}.{ours}"
        names = _INTERNLM2_LAYER if self._internlm2 else _LANGUAGE_LAYER
        for i in range(self._language["num_hidden_layers"]):
            for theirs, ours in names.items():
                yield f"language_model.model.layers.{i}.{theirs}", f"model.language_model.layers.{i}.{ours}"

    def _split(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield (fused module, names of its query, key and value)."""
        for i in range(self._vision["num_hidden_layers"]):
            parts = (f"model.vision_tower.encoder.layer.{i}.attention.{part}_proj" for part in "qkv")
            yield f"vision_model.encoder.layers.{i}.attn.qkv", tuple(parts)
        for i in range(self._language["num_hidden_layers"] if self._internlm2 else 0):
            parts = (f"model.language_model.layers.{i}.self_attn.{part}_proj" for part in "qkv")
            yield f"language_model.model.layers.{i}.attention.wqkv", tuple(parts)

    def to_transformers(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of an InternVLChatModel in transformers' layout.

        Raises:
            MmprError: the configuration has no place for a weight.
        """
        known = self._names.keys() | self._fused.keys()
        renamed: dict[str, Tensor] = {}
        for name, weight in weights.items():
            module, kind = _module_of(name, known)
            if module in self._fused:
                parts = self._apart(module, weight)
                renamed |= {part + kind: one for part, one in zip(self._fused[module], parts, strict=True)}
            else:
                renamed[self._names[module] + kind] = weight
        return renamed

    def to_internvl(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of transformers' model in InternVLChatModel's layout, with fused query, key and value.

        Raises:
            MmprError: the configuration has no place for a weight.
        """
        back = {ours: theirs for theirs, ours in self._names.items()}
        part_of = {part: fused for fused, parts in self._fused.items() for part in parts}
        known = back.keys() | part_of.keys()
        renamed: dict[str, Tensor] = {}
        for name, weight in weights.items():
            module, kind = _module_of(name, known)
            if module in part_of:
                fused = part_of[module]
                renamed[fused + kind] = self._together(fused, [weights[part + kind] for part in self._fused[fused]])
            else:
                renamed[back[module] + kind] = weight
        return renamed

    def _apart(self, module: str, weight: Tensor) -> tuple[Tensor, ...]:
        if module.startswith("vision_model"):
            return tuple(part.contiguous() for part in weight.chunk(3))
        heads, kv_heads = self._language["num_attention_heads"], self._language["num_key_value_heads"]
        return unfuse(weight, heads=heads, kv_heads=kv_heads)

    def _together(self, module: str, parts: list[Tensor]) -> Tensor:
        if module.startswith("vision_model"):
            return torch.cat(parts)
        query, key, value = parts
        return fuse(query, key, value, kv_heads=self._language["num_key_value_heads"])

    def config(self, image_token_id: int) -> InternVLConfig:
        """Return transformers' configuration of the same model."""
        vision, language = self._vision, dict(self._language)
        theta = language.pop("rope_theta", 10_000.0)
        scaling = language.pop("rope_scaling", None) or {}
        rope = {"rope_type": scaling.get("rope_type", scaling.get("type", "default")), "rope_theta": theta}
        rope |= {name: value for name, value in scaling.items() if name not in ("type", "rope_type")}
        for name in ("architectures", "model_type", "auto_map", "torch_dtype", "dtype"):
            language.pop(name, None)
        family = _FAMILIES[self._architecture]
        return InternVLConfig(
            vision_config=InternVLVisionConfig(
                hidden_size=vision["hidden_size"],
                num_hidden_layers=vision["num_hidden_layers"],
                num_attention_heads=vision["num_attention_heads"],
                intermediate_size=vision["intermediate_size"],
                attention_bias=vision["qkv_bias"],
                use_qk_norm=vision["qk_normalization"],
                hidden_act=vision["hidden_act"],
                norm_type=vision["norm_type"],
                layer_norm_eps=vision["layer_norm_eps"],
                image_size=vision["image_size"],
                patch_size=vision["patch_size"],
                num_channels=vision.get("num_channels", 3),
            ),
            text_config=CONFIG_MAPPING[family](**language, rope_parameters=rope),
            image_token_id=image_token_id,
            image_seq_length=self.tile_tokens,
            downsample_ratio=self.values["downsample_ratio"],
            vision_feature_layer=self.values.get("select_layer", -1),
            tie_word_embeddings=language.get("tie_word_embeddings", False),
        )


def _module_of(name: str, modules: Set[str]) -> tuple[str, str]:
    """Return (module, ".weight" or ".bias"), or (parameter, "") for a parameter outside modules.

    Raises:
        MmprError: the name is neither.
    """
    module, _, kind = name.rpartition(".")
    for known, rest in ((name, ""), (module, f".{kind}")):
        if known in modules:
            return known, rest
    raise MmprError(f"weight {name!r}: not one that the checkpoint's configuration speaks of")


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer; `trust_remote_code` runs the checkpoint's own code, which InternVL's need.

    Raises:
        MmprError: the tokenizer cannot be loaded, or only with its own code; names the folder.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise MmprError(f"{folder}: no tokenizer to be had: {str(error).splitlines()[0]}") from None


def load_model(
    folder: Path, *, dtype: torch.dtype = torch.float32, trust_remote_code: bool = False
) -> InternVLForConditionalGeneration:
    """Load a checkpoint in InternVLChatModel's layout as transformers' model.

    Raises:
        MmprError: the folder has no configuration or no weights, or its model cannot be trained here; names the folder.
    """
    layout = layout_of(folder)
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    config = layout.config(tokenizer.convert_tokens_to_ids(CONTEXT))
    weights = layout.to_transformers(_read(folder))
    model, found = InternVLForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=weights, dtype=dtype, output_loading_info=True
    )
    if found["missing_keys"]:
        raise MmprError(f"{folder}: no weight for {min(found['missing_keys'])} ({len(found['missing_keys'])} in all)")
    return model


def save_model(model: InternVLForConditionalGeneration, like: Path, out: Path) -> None:
    """Write transformers' model in InternVLChatModel's layout.

    The checkpoint `like` gives the configuration, the tokenizer and the number format of each weight.

    Raises:
        MmprError: the model and `like` have not the same weights.
    """
    dtypes = _dtypes(like)
    weights = layout_of(like).to_internvl(model.state_dict())
    if weights.keys() != dtypes.keys():
        (name, *_) = sorted(weights.keys() ^ dtypes.keys())
        raise MmprError(f"{like}: weight {name!r} is on one side only; the model is not of this checkpoint")
    out.mkdir(parents=True, exist_ok=True)
    for path in like.iterdir():
        if path.is_file() and not path.name.endswith((_WEIGHTS, f"{_WEIGHTS}.index.json")):
            shutil.copyfile(path, out / path.name)
    rounded = {name: weight.detach().to(dtypes[name]).contiguous() for name, weight in weights.items()}
    save_torch_state_dict(rounded, out, max_shard_size=_SHARD, metadata={"format": "pt"})


def layout_of(folder: Path) -> Layout:
    """Read the layout of a checkpoint of InternVLChatModel.

    Raises:
        MmprError: the folder has no such checkpoint; names the folder.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError:
        raise MmprError(f"{folder}: no config.json; a checkpoint's folder is wanted") from None
    if config.get("architectures") != ["InternVLChatModel"]:
        raise MmprError(f"{folder}: {config.get('architectures')}, not InternVLChatModel")
    return Layout(config)


def _read(folder: Path) -> dict[str, Tensor]:
    return {name: opened.get_tensor(name) for opened in _files(folder) for name in opened.keys()}  # noqa: SIM118


def _dtypes(folder: Path) -> dict[str, torch.dtype]:
    """Return each weight's number format, from the headers of the files: an empty slice reads no weights."""
    return {name: opened.get_slice(name)[:0].dtype for opened in _files(folder) for name in opened.keys()}  # noqa: SIM118


def _files(folder: Path) -> Iterator[Any]:
    """Open a checkpoint's weight files one after another; each has `keys()` but is not a mapping.

    Raises:
        MmprError: there are none.
    """
    paths = sorted(folder.glob(f"*{_WEIGHTS}"))
    if not paths:
        raise MmprError(f"{folder}: no {_WEIGHTS} files")
    for path in paths:
        with safe_open(path, framework="pt") as opened:
            yield opened
