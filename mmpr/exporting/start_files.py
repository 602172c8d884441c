"""Write one file that starts the training on an export, filled in for its pairs, with the losses of MPO.

Checked against LLaMA-Factory 0.9.5, ms-swift 4.6.0, TRL 1.16.0 and InternVL's `internvl_chat_mpo.py` (2025-09).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mmpr.engines.engine_options import UNKNOWN_MODEL
from mmpr.exporting.export_records import Format
from mmpr.pocket import POCKET
from mmpr.run import RunRecord

_UNNAMED = "PATH_OR_NAME_OF_YOUR_MODEL"
_CONTEXT_TOKENS = 16_384  # what the original pipeline samples with
# The weights of DPO, BCO and SFT in InternVL2.5-MPO, from its dataset card.
_WEIGHTS = (0.8, 0.2, 1.0)
_BETA = 0.1
# LLaMA-Factory's templates, by a part of the model's name.
_TEMPLATES = {"internvl": "intern_vl", "qwen3-vl": "qwen3_vl", "qwen2": "qwen2_vl", "llava": "llava"}


@dataclass(frozen=True, slots=True)
class TrainingStart:
    """The values that a start file is filled in with.

    Args:
        model: the model to train; a placeholder if the run has no model that can be trained.
        splits: splits of the exported pairs: `train`, perhaps `validation`.
        max_tiles: tiles per image; None if unknown.
        context_tokens: context length of the engine that answered; no pair is longer.
    """

    model: str
    splits: Collection[str]
    max_tiles: int | None
    context_tokens: int

    @property
    def is_internvl(self) -> bool:
        """Whether the model uses InternVL's tiles."""
        return "internvl" in self.model.lower()


def training_start(run: RunRecord, splits: Collection[str], *, max_tiles: int | None) -> TrainingStart:
    """Return the values for a training on a run's pairs."""
    model = run.selection.get("policy") or run.identity.get("model")
    named = isinstance(model, str) and model not in (POCKET, UNKNOWN_MODEL)
    context = run.identity.get("context_tokens")
    return TrainingStart(
        model=str(model) if named else _UNNAMED,
        splits=splits,
        max_tiles=max_tiles,
        context_tokens=context if isinstance(context, int) else _CONTEXT_TOKENS,
    )


def write_start(format: Format, root: Path, start: TrainingStart) -> None:
    """Write the start file of a format into the export's folder; formats without a trainer have none."""
    if format in _FILES:
        name, _, text = _FILES[format]
        (root / name).write_text(text(start), encoding="utf-8")


def start_command(format: Format, root: Path) -> str:
    """Return the command that starts the training; empty if the export has no start file."""
    if format not in _FILES or not (root / _FILES[format][0]).exists():
        return ""
    name, command, _ = _FILES[format]
    return command.format(file=shlex.quote(str(root / name)), root=shlex.quote(str(root)))


def _llamafactory(start: TrainingStart) -> str:
    import yaml

    # a wrong template trains without an error, so an unknown model gets a placeholder
    template = next((ours for part, ours in _TEMPLATES.items() if part in start.model.lower()), "NAME_OF_ITS_TEMPLATE")
    dpo, bco, sft = _WEIGHTS
    settings: dict[str, object] = {
        "model_name_or_path": _in_transformers(start.model),
        "template": template,
        "stage": "dpo",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": "all",
        "pref_loss": "sigmoid",
        "pref_beta": _BETA,
        "pref_bco_weight": bco / dpo,
        "pref_ftx": sft,
        "dataset_dir": ".",
        "dataset": "mmpr",
        "cutoff_len": start.context_tokens,
        "output_dir": "mpo-output",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 32,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 20,
        "num_train_epochs": 1.0,
        "bf16": True,
        "logging_steps": 10,
        "save_steps": 500,
    }
    if "validation" in start.splits:
        validation = {"eval_dataset": "mmpr_validation", "eval_strategy": "steps", "eval_steps": 500}
        settings |= {**validation, "per_device_eval_batch_size": 1}
    return (
        "# MPO with LLaMA-Factory on the pairs of this folder. In this folder, run: llamafactory-cli train mpo.yaml\n"
        f"# {_LAYOUT}\n"
        "# LLaMA-Factory divides DPO and BCO by 1 + pref_bco_weight, so that 0.25 gives the weights 0.8 and 0.2.\n"
        "# Adjust learning_rate, finetuning_type and gradient_accumulation_steps to your model and GPUs.\n"
        + str(yaml.safe_dump(settings, sort_keys=False))
    )


def _swift(start: TrainingStart) -> str:
    validation = '  --val_dataset "$HERE/validation.jsonl" \\\n' if "validation" in start.splits else ""
    tiles = ""
    if start.is_internvl and start.max_tiles is not None:
        tiles = f"export MAX_NUM={start.max_tiles}  # tiles of an image, as the run cut it\n"
    return f"""#!/bin/sh
# MPO with ms-swift on the pairs of this folder: sh mpo.sh
# Further arguments take precedence: sh mpo.sh --tuner_type full --learning_rate 1e-6
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
export ROOT_IMAGE_DIR="$HERE"
{tiles}exec swift rlhf \\
  --rlhf_type dpo \\
  --model {shlex.quote(start.model)} \\
  --use_hf true \\
  --dataset "$HERE/train.jsonl" \\
{validation}  --loss_type sigmoid bco_pair sft \\
  --loss_weights {_spaced()} \\
  --beta {_BETA} \\
  --tuner_type lora \\
  --target_modules all-linear \\
  --torch_dtype bfloat16 \\
  --learning_rate 1e-5 \\
  --lr_scheduler_type cosine \\
  --warmup_ratio 0.03 \\
  --num_train_epochs 1 \\
  --per_device_train_batch_size 1 \\
  --gradient_accumulation_steps 32 \\
  --output_dir "$HERE/mpo-output" \\
  "$@"
"""


def _internvl(start: TrainingStart) -> str:
    style = "${CONV_STYLE:-internvl2_5}"
    # InternVL2 has another conversation template per size; 2.5 and later have one
    if re.search(r"internvl2(?![_.]5)", start.model, re.IGNORECASE):
        style = '${CONV_STYLE:?set CONV_STYLE to "template" in the config.json of the checkpoint}'
    dpo, bco, sft = _WEIGHTS
    tiles = start.max_tiles or 12
    return f"""#!/bin/sh
# MPO with InternVL's own trainer on the pairs of this folder: INTERNVL=/path/of/InternVL/internvl_chat sh mpo.sh
# Further arguments take precedence. GPUS is the number of GPUs of this machine.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
cd "${{INTERNVL:?set INTERNVL to the folder internvl_chat of a clone of InternVL}}"
GPUS=${{GPUS:-8}}
export PYTHONPATH="$PWD${{PYTHONPATH:+:$PYTHONPATH}}" LAUNCHER=pytorch
exec torchrun --nproc_per_node="$GPUS" internvl/train/internvl_chat_mpo.py \\
  --model_name_or_path {shlex.quote(start.model)} \\
  --conv_style "{style}" \\
  --meta_path "$HERE/meta.json" \\
  --output_dir work_dirs/mmpr_mpo \\
  --force_image_size 448 \\
  --dynamic_image_size True \\
  --max_dynamic_patch {tiles} \\
  --use_thumbnail True \\
  --down_sample_ratio 0.5 \\
  --ps_version v2 \\
  --vision_select_layer -1 \\
  --freeze_llm False \\
  --freeze_mlp False \\
  --freeze_backbone False \\
  --max_seq_length {start.context_tokens} \\
  --bf16 True \\
  --do_train True \\
  --grad_checkpoint True \\
  --num_train_epochs 1 \\
  --per_device_train_batch_size 1 \\
  --gradient_accumulation_steps "$((256 / GPUS))" \\
  --learning_rate 1e-6 \\
  --weight_decay 0.05 \\
  --warmup_ratio 0.03 \\
  --lr_scheduler_type cosine \\
  --logging_steps 1 \\
  --save_strategy steps \\
  --save_steps 200 \\
  --deepspeed zero_stage3_config.json \\
  --loss_type sigmoid,bco_pair \\
  --sigmoid_loss_weight {dpo} \\
  --bco_pair_loss_weight {bco} \\
  --rpo_alpha {sft} \\
  "$@"
"""


def _trl(start: TrainingStart) -> str:
    evaluation = validation = ""
    if "validation" in start.splits:
        evaluation = '\n    eval_strategy="steps",\n    eval_steps=500,\n    per_device_eval_batch_size=1,'
        validation = ', eval_dataset=pairs["validation"]'
    return f'''"""MPO with TRL on the pairs of this folder: accelerate launch mpo.py

{_LAYOUT}
"""

from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import DPOConfig, DPOTrainer

HERE = Path(__file__).resolve().parent
MODEL = {_in_transformers(start.model)!r}

config = DPOConfig(
    output_dir=str(HERE / "mpo-output"),
    loss_type=["sigmoid", "bco_pair", "sft"],
    loss_weights={list(_WEIGHTS)},
    beta={_BETA},
    max_length=None,  # cutting a prompt would cut its image
    per_device_train_batch_size=1,
    gradient_accumulation_steps=32,
    gradient_checkpointing=True,
    learning_rate=1e-5,
    lr_scheduler_type="cosine",
    num_train_epochs=1,
    bf16=True,
    logging_steps=10,
    save_steps=500,{evaluation}
)
lora = LoraConfig(r=64, lora_alpha=128, target_modules="all-linear")  # None trains all weights

if __name__ == "__main__":
    pairs = load_dataset(str(HERE))
    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(MODEL, dtype="bfloat16"),
        args=config,
        processing_class=AutoProcessor.from_pretrained(MODEL),
        train_dataset=pairs["train"]{validation},
        peft_config=lora,
    )
    trainer.train()
    trainer.save_model()
'''


_LAYOUT = (
    "The model must be in the layout of transformers: for InternVL that is a repository whose name ends in -hf or -HF."
)


def _in_transformers(model: str) -> str:
    """Return the repository in the layout of transformers: InternVL3 and 3.5 have one each, others keep their name."""
    if re.fullmatch(r"OpenGVLab/InternVL3-\d+B", model):
        return f"{model}-hf"
    return f"{model}-HF" if re.fullmatch(r"OpenGVLab/InternVL3_5-[\w-]+B", model) else model


def _spaced() -> str:
    return " ".join(map(str, _WEIGHTS))


# By format: name of the file, command that runs it, function that writes its text.
_FILES = {
    Format.LLAMAFACTORY: ("mpo.yaml", "cd {root} && llamafactory-cli train mpo.yaml", _llamafactory),
    Format.SWIFT: ("mpo.sh", "sh {file}", _swift),
    Format.TRL: ("mpo.py", "accelerate launch {file}", _trl),
    Format.INTERNVL: ("mpo.sh", "INTERNVL=CLONE/internvl_chat sh {file}", _internvl),
}
