"""Train an InternVL by MPO on the pairs of `mmpr build`.

    python -m pipelines.mpo.train --config pipelines/mpo/pocket.yaml --pairs runs/demo --out runs/mpo/model
    accelerate launch --config_file pipelines/mpo/eight_gpus.yaml -m pipelines.mpo.train \
        --config pipelines/mpo/internvl2_5-8b.yaml --pairs runs/mine --out runs/mpo/model

The model is read and written in `InternVLChatModel`'s layout, which vLLM serves: the trained checkpoint can build and
be evaluated at once.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from datasets import Dataset, concatenate_datasets, load_dataset
from huggingface_hub import snapshot_download
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from trl import DPOConfig

from mmpr.errors import MmprError
from mmpr.pocket import POCKET, checkpoint_path
from mmpr.settings.presets import read_file
from mmpr.types import PairKind
from pipelines.mpo.averaging import WeightAverage, mix_with_initial
from pipelines.mpo.checkpoint import load_model, save_model
from pipelines.mpo.held_out import HeldOut, HeldOutWatch
from pipelines.mpo.processor import load_processor
from pipelines.mpo.trainer import MPOTrainer

_COLUMNS = ("images", "prompt", "chosen", "rejected")  # the columns that TRL needs


class Weights(BaseModel):
    """The weights w_p, w_q and w_g of DPO, of BCO and of the chosen side's likelihood; as in InternVL2.5-MPO."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preference: float = Field(default=0.8, ge=0)
    quality: float = Field(default=0.2, ge=0)
    generation: float = Field(default=1.0, ge=0)

    def losses(self) -> dict[str, float]:
        """Return the losses with a positive weight, by TRL's names."""
        named = {"sigmoid": self.preference, "bco_pair": self.quality, "sft": self.generation}
        return {name: weight for name, weight in named.items() if weight}


def _number(value: object) -> object:
    """Return a text that is a number as a number: YAML 1.1 reads `1e-4` as a text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


_Setting = Annotated[Any, BeforeValidator(_number)]


class TrainingRecipe(BaseModel):
    """How to train. `training` has further fields of TRL's `DPOConfig`, `lora` those of PEFT's `LoraConfig`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="`pocket`, a folder, or a repository of the Hub; in InternVLChatModel's layout")
    revision: str | None = None
    trust_remote_code: bool = Field(default=False, description="run the checkpoint's own code for its tokenizer")
    dtype: str = "float32"
    max_tiles: int | None = Field(default=None, description="of an image; None: the checkpoint's own")
    beta: float = Field(default=0.1, gt=0)
    weights: Weights = Weights()
    freeze_vision: bool = Field(default=False, description="leave the vision part and its projector as they are")
    average_steps: float | None = Field(
        default=None, ge=1, description="write the average weights of about so many steps; None: those of the last step"
    )
    initial_share: float = Field(
        default=0, ge=0, lt=1, description="share of the model before the training in the weights that are written"
    )
    lora: dict[str, _Setting] | None = None
    training: dict[str, _Setting] = {}

    @field_validator("training")
    @classmethod
    def _trl_knows_it(cls, training: dict[str, Any]) -> dict[str, Any]:
        known = DPOConfig.__dataclass_fields__
        for name in training:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ValueError(f"{name} is no field of TRL's DPOConfig" + (f"; {near[0]}?" if near else ""))
        return training


def load_recipe(path: Path) -> TrainingRecipe:
    """Read a recipe from its YAML file.

    Raises:
        ConfigError: the file is not a recipe; names the file and the field.
    """
    return read_file(TrainingRecipe, path, what="recipe", expected="`model:` and more")


def checkpoint_of(recipe: TrainingRecipe) -> Path:
    """Return the folder of the recipe's model; a model on the Hub is downloaded first."""
    if recipe.model == POCKET:
        return checkpoint_path()
    if Path(recipe.model).is_dir():
        return Path(recipe.model)
    return Path(snapshot_download(recipe.model, revision=recipe.revision))


def load_pairs(folders: Sequence[str | Path], kinds: Sequence[str] = ()) -> Dataset:
    """Load the training pairs of run folders.

    Args:
        folders: finished run folders.
        kinds: values of the column `pair_kind`; empty: all.

    Raises:
        MmprError: a folder has no data, or no pair is of these kinds.
    """
    parts = []
    for folder in folders:
        if not any(Path(folder).glob("data/train-*.parquet")):
            raise MmprError(f"{folder}: no data/train-*.parquet; a finished run folder is wanted")
        parts.append(load_dataset(str(folder), "default", split="train"))
    pairs = concatenate_datasets(parts)
    if kinds:
        kept = [i for i, kind in enumerate(pairs["pair_kind"]) if kind in kinds]
        pairs = pairs.select(kept)
    if not len(pairs):
        raise MmprError(f"no pairs of {', '.join(kinds) or 'any kind'} in {', '.join(map(str, folders))}")
    return pairs.select_columns(_COLUMNS)


def train(
    recipe: TrainingRecipe, pairs: Dataset, out: Path, *, resume: bool = False, held_out: HeldOut | None = None
) -> list[dict[str, float]]:
    """Train, write the checkpoint to `out`, and return the trainer's log, one entry per step.

    The checkpoint has full weights; those of a LoRA are merged. The trainer's own checkpoints are in `out/trainer`.

    Args:
        held_out: questions to answer during the training; None: none.

    Raises:
        MmprError: the held-out questions cannot be read.
    """
    folder = checkpoint_of(recipe)
    initial = partial(
        load_model, folder, dtype=getattr(torch, recipe.dtype), trust_remote_code=recipe.trust_remote_code
    )
    model = initial()
    if recipe.freeze_vision:
        model.model.vision_tower.requires_grad_(False)
        model.model.multi_modal_projector.requires_grad_(False)
    losses = recipe.weights.losses()
    arguments = DPOConfig(
        output_dir=str(out / "trainer"),
        beta=recipe.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        max_length=None,  # a limit could cut off tokens of an image
        restore_callback_states_from_checkpoint=True,  # `RewardShift`, which has δ
        **recipe.training,
    )
    processor = load_processor(folder, max_tiles=recipe.max_tiles, trust_remote_code=recipe.trust_remote_code)
    average = WeightAverage(recipe.average_steps) if recipe.average_steps else None
    watch = HeldOutWatch(held_out, processor) if held_out else None
    trainer = MPOTrainer(
        model=model,
        ref_model=None if recipe.lora else copy.deepcopy(model),
        args=arguments,
        train_dataset=pairs,
        processing_class=processor,
        peft_config=_lora(recipe.lora),
        callbacks=[callback for callback in (average, watch) if callback],
    )
    trainer.train(resume_from_checkpoint=resume)
    if average:
        average.write_to(trainer.model)
    trained = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.accelerator.is_main_process:
        trained = trained.merge_and_unload() if recipe.lora else trained
        if recipe.initial_share:
            mix_with_initial(trained, initial(), recipe.initial_share)
        save_model(trained, folder, out)
    logged: list[dict[str, float]] = trainer.state.log_history
    return logged


def _lora(settings: dict[str, Any] | None) -> Any:  # noqa: ANN401  PEFT is optional
    if settings is None:
        return None
    from peft import LoraConfig

    return LoraConfig(**settings)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train an InternVL by MPO on run folders of mmpr.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", required=True, metavar="DIR", help="run folders of mmpr build")
    parser.add_argument("--kinds", nargs="*", default=[], choices=[kind.value for kind in PairKind])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--eval-source", help="questions with reference answers; some are answered during the training")
    parser.add_argument("--eval-questions", type=int, default=40)
    parser.add_argument("--eval-every", type=int, default=50, metavar="STEPS")
    parser.add_argument(
        "--on-drop", choices=["stop", "warn"], default="stop", help="what to do when fewer answers are parsable"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in OUT/trainer")
    given = parser.parse_args()
    try:
        held_out = None
        if given.eval_source is not None:
            held_out = HeldOut(given.eval_source, given.eval_questions, given.eval_every, given.on_drop)
        pairs = load_pairs(given.pairs, given.kinds)
        train(load_recipe(given.config), pairs, given.out, resume=given.resume, held_out=held_out)
    except MmprError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
