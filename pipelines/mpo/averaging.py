"""Average weights: of a training's steps, and of the trained model with the model before the training.

Single steps of preference training differ more than their average does. A preference is learnt in few steps, and what
the steps after them lose of the model's skills is partly regained on the line between the two models (Wortsman et al.,
"Robust fine-tuning of zero-shot models", 2022). Our trials are in benchmarks/NOTES.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

_FILE = "average.safetensors"  # in each of the trainer's checkpoints


class WeightAverage(TrainerCallback):  # type: ignore[misc]
    """The exponential moving average of the trained weights, in float32: 4 more bytes for each trained weight.

    A resumed training goes on with the average of its checkpoint. Weights that are sharded over processes (FSDP,
    ZeRO-3) cannot be averaged.

    Args:
        steps: the average covers about so many steps; each step enters with weight 1 / steps. At least 1.
    """

    def __init__(self, steps: float) -> None:
        self._share = 1 / steps
        self._average: dict[str, Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401  transformers'
        path = _path(args, state)
        kept = load_file(path) if state.global_step and path.exists() else {}  # of a training that is resumed
        for name, parameter in _trained(given["model"]):
            self._average[name] = kept.get(name, parameter.detach()).to(parameter.device, torch.float32, copy=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401
        for name, parameter in _trained(given["model"]):
            self._average[name].lerp_(parameter.detach().float(), self._share)

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401
        if state.is_world_process_zero:
            save_file(self._average, _path(args, state))

    def write_to(self, model: nn.Module) -> None:
        """Replace the model's trained weights by their average."""
        with torch.no_grad():
            for name, parameter in _trained(model):
                parameter.copy_(self._average[name])


def mix_with_initial(model: nn.Module, initial: nn.Module, share: float) -> None:
    """Replace each weight of the model by `(1 - share) * its own + share * that of the initial model`.

    Both have the same parameters by name; a LoRA is merged before.
    """
    before = dict(initial.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.lerp_(before[name].to(parameter), share)


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    whole: nn.Module = getattr(model, "module", model)  # DistributedDataParallel's and DeepSpeed's wrapper
    return [(name, parameter) for name, parameter in whole.named_parameters() if parameter.requires_grad]


def _path(args: Any, state: Any) -> Path:  # noqa: ANN401
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / _FILE
