"""Train with TRL's `DPOTrainer` and the losses of MPO on a run folder's pairs, in an environment without mmpr.

The model is a tiny LLaVA with random weights. Its tokenizer has one token per byte, so the tokens of TRL can be decoded
to exactly the same text. The trainer tokenizes every pair, and the tokens are decoded; the images that reach the vision
tower in training are compared with those in the Parquet files.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import io
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

Read = tuple[str, str, str, tuple[Any, ...]]

_PAD, _IMAGE, _END = "<pad>", "<image>", "<|end|>"
_ROLES = ("system", "user", "assistant")
_TEMPLATE = (
    "{% for turn in messages %}<|{{ turn.role }}|>{% for part in turn.content %}"
    "{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SIDE_PIXELS, _PATCH_PIXELS = 28, 14
_PAIRS_A_STEP, _STEPS = 8, 24
# Arguments for TRL's trainers, which run a few steps here and save nothing.
ON_A_CPU: dict[str, Any] = {
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


def train_on(folder: str) -> Iterator[Read]:
    """Train as the dataset card says, then yield every pair as the trainer tokenized it, with the sha256 of its images.

    Raises:
        AssertionError: a loss is not finite, a part of the model did not change, or the vision tower got other images.
    """
    datasets, torch = importlib.import_module("datasets"), importlib.import_module("torch")
    pairs = datasets.load_dataset(folder, "default", split="train")
    torch.manual_seed(0)
    processor = _processor()
    model = _model(processor)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trainer = _trainer(model, processor, pairs)
    seen = _seen_by_tower(trainer.model)
    trainer.train()
    losses = [logged["loss"] for logged in trainer.state.log_history if "loss" in logged]
    assert len(losses) == min(_STEPS, math.ceil(len(pairs) / _PAIRS_A_STEP)) and all(map(math.isfinite, losses)), losses
    _tell(f"{len(losses)} steps of {_PAIRS_A_STEP} pairs, every loss finite ({losses[0]:.3f} to {losses[-1]:.3f})")
    _require_change(before, dict(model.named_parameters()))
    known = _known_images(folder, processor)
    assert seen and seen.keys() <= known.keys(), "the vision tower saw other images than the run's"
    _tell(f"{seen.total():,} times an image reached the vision tower, {len(seen):,} different ones, all of the run")
    for batch in trainer.get_train_dataloader():
        yield from _decoded(batch, processor, known)


def _tell(words: str) -> None:
    """Print a line of the result; `consumers.py` shows lines that begin with `note: ` and hides TRL's own output."""
    print(f"note: {words}")


def _trainer(model: Any, processor: Any, pairs: Any) -> Any:  # noqa: ANN401  the libraries have no stable types
    trl = importlib.import_module("trl")
    mpo = trl.DPOConfig(
        loss_type=["sigmoid", "bco_pair", "sft"],
        loss_weights=[0.8, 0.2, 1.0],
        beta=0.1,
        max_length=None,
        output_dir="mpo",
        max_steps=min(_STEPS, math.ceil(len(pairs) / _PAIRS_A_STEP)),
        per_device_train_batch_size=_PAIRS_A_STEP,
        **ON_A_CPU,
    )
    return trl.DPOTrainer(
        model=model,
        ref_model=copy.deepcopy(model),  # TRL can make one only if the model was loaded by name
        args=mpo,
        processing_class=processor,
        train_dataset=pairs,
    )


def _processor() -> Any:  # noqa: ANN401
    """Return a processor with one token per byte and special tokens for the roles and the image."""
    tokenizers = importlib.import_module("tokenizers")
    transformers = importlib.import_module("transformers")
    images = importlib.import_module("transformers.models.clip.image_processing_pil_clip").CLIPImageProcessorPil
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    plain = tokenizers.Tokenizer(tokenizers.models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = tokenizers.decoders.ByteLevel()
    plain.add_special_tokens([_PAD, _IMAGE, _END, *(f"<|{role}|>" for role in _ROLES)])
    side = {"height": _SIDE_PIXELS, "width": _SIDE_PIXELS}
    return transformers.LlavaProcessor(
        image_processor=images(size=side, crop_size=side, do_center_crop=False),
        tokenizer=transformers.PreTrainedTokenizerFast(tokenizer_object=plain, pad_token=_PAD, eos_token=_END),
        patch_size=_PATCH_PIXELS,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which "default" removes again
        chat_template=_TEMPLATE,
    )


def _model(processor: Any) -> Any:  # noqa: ANN401
    """Return a LLaVA: CLIP with two layers, a projector, and a Llama with two layers."""
    transformers = importlib.import_module("transformers")
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    seen = transformers.CLIPVisionConfig(**small, image_size=_SIDE_PIXELS, patch_size=_PATCH_PIXELS)
    vocabulary = len(processor.tokenizer)
    spoken = transformers.LlamaConfig(**small, vocab_size=vocabulary, max_position_embeddings=8192)
    image = processor.tokenizer.convert_tokens_to_ids(_IMAGE)
    config = transformers.LlavaConfig(vision_config=seen, text_config=spoken, image_token_index=image)
    return transformers.LlavaForConditionalGeneration(config)


def _seen_by_tower(model: Any) -> Counter[str]:  # noqa: ANN401
    """Count from now on how often each image reaches the model's vision tower."""
    seen: Counter[str] = Counter()

    def look(_: object, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        pixels = named["pixel_values"] if "pixel_values" in named else given[0]
        seen.update(_print_of(decoded) for decoded in pixels)

    model.get_submodule("model.vision_tower").register_forward_pre_hook(look, with_kwargs=True)
    return seen


def _print_of(pixels: Any) -> str:  # noqa: ANN401
    return hashlib.sha256(pixels.detach().float().contiguous().numpy().tobytes()).hexdigest()


def _require_change(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Check that every part of the model has changed, so gradients reached the vision tower."""
    changed = [name for name, old in before.items() if not bool((after[name] == old).all())]
    for part in ("vision_tower", "multi_modal_projector", "language_model", "lm_head"):
        of_part = [name for name in before if f"{part}." in name]
        moved = [name for name in changed if f"{part}." in name]
        _tell(f"{part}: {len(moved)} of {len(of_part)} tensors changed")
        assert moved, f"{part} did not change"


def _known_images(folder: str, processor: Any) -> dict[str, str]:  # noqa: ANN401
    """Return the images of the Parquet files: hash of the processor's pixels -> sha256 of the bytes.

    They are read without `datasets`, which is one of the programs under test.
    """
    parquet, image = importlib.import_module("pyarrow.parquet"), importlib.import_module("PIL.Image")
    pathlib = importlib.import_module("pathlib")
    known: dict[str, str] = {}
    done: set[str] = set()
    for path in sorted(pathlib.Path(folder, "data").glob("train-*.parquet")):
        for group in parquet.ParquetFile(path).iter_batches(64, columns=["images"]):
            for content in (decoded["bytes"] for row in group.to_pylist() for decoded in row["images"]):
                if (sha256 := hashlib.sha256(content).hexdigest()) not in done:
                    done.add(sha256)
                    (pixels,) = processor.image_processor(image.open(io.BytesIO(content)), return_tensors="pt").values()
                    known[_print_of(pixels[0])] = sha256
    return known


def _decoded(batch: Any, processor: Any, known: dict[str, str]) -> Iterator[Read]:  # noqa: ANN401
    """Yield the pairs of a batch: its first half has the chosen sides, its second half the rejected sides."""
    n = len(batch["input_ids"]) // 2
    sides = [_split(batch, index, processor) for index in range(2 * n)]
    images = iter(batch.get("pixel_values", ()))
    shown = [tuple(known[_print_of(next(images))] for _ in range(prompt.count(_IMAGE))) for prompt, _ in sides]
    for (prompt, chosen), (again, rejected), seen, seen_again in zip(
        sides[:n], sides[n:], shown[:n], shown[n:], strict=True
    ):
        assert prompt == again and seen == seen_again
        yield prompt, chosen, rejected, seen


def _split(batch: Any, index: int, processor: Any) -> tuple[str, str]:  # noqa: ANN401
    """Return (prompt, completion) of one sequence as text; the tokens of an image become one tag again."""
    ids = batch["input_ids"][index]
    real, spoken = (batch[name][index].bool() for name in ("attention_mask", "completion_mask"))
    prompt, completion = (
        processor.tokenizer.decode(ids[where], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        for where in (real & ~spoken, real & spoken)
    )
    tokens = (_SIDE_PIXELS // _PATCH_PIXELS) ** 2
    prompt = prompt.replace(_IMAGE * tokens, _IMAGE)
    assert prompt.endswith("<|assistant|>") and completion.endswith(_END)
    return prompt.removesuffix("<|assistant|>"), completion.removesuffix(_END)
