"""TRL's `DPOTrainer` with the two things that MPO has and TRL's `bco_pair` and `sft` have not.

InternVL2.5-MPO (arXiv 2411.10442): L = w_p L_p + w_q L_q + w_g L_g with, for a prompt x, a chosen y_c, a rejected
y_r, and the rewards r = β (log π_θ(y|x) - log π_0(y|x)):

    L_p = -log σ(r_c - r_r)
    L_q = -log σ(r_c - δ) - log σ(-(r_r - δ))      δ: the mean of all rewards of the steps before
    L_g = -log π_θ(y_c|x) / |y_c|                  |y_c| in tokens
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import TrainerCallback
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.trainer_callback import ExportableState
from trl import DPOTrainer


class RewardShift(TrainerCallback, ExportableState):  # type: ignore[misc]
    """δ: the mean of all rewards so far, chosen and rejected; 0 before the first. Saved with each checkpoint."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def learn(self, mean: float, count: int) -> None:
        """So many rewards more."""
        self.total, self.count = self.total + mean * count, self.count + count

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"total": self.total, "count": self.count}}


def length_normalised_nll(log_probs: Tensor, completion_mask: Tensor) -> Tensor:
    """L_g: the mean over the chosen responses of -log π(y_c|x) / |y_c|.

    Args:
        log_probs: of each next token, (2 pairs, tokens - 1), the chosen sides first.
        completion_mask: 1 where a token is the response's, (2 pairs, tokens).
    """
    chosen, mask = log_probs.chunk(2)[0], completion_mask[:, 1:].chunk(2)[0]
    return -((chosen * mask).sum(1) / mask.sum(1)).mean()


def look_once(model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """A batch with what the vision part sees in place of its tiles, where that part does not learn; else the batch.

    Both sides of a pair show the same tiles, and the reference sees what the policy sees: one pass instead of four.

    Args:
        model: an InternVL, or PEFT's wrapper of one.
        inputs: with `pixel_values` (2 x tiles, 3, side, side), those of the chosen sides first; or without images.
    """
    whole: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    eyes = (whole.model.vision_tower, whole.model.multi_modal_projector)
    tiles = inputs.get("pixel_values")
    if tiles is None or any(parameter.requires_grad for part in eyes for parameter in part.parameters()):
        return inputs
    with torch.no_grad():
        seen = whole.model.get_image_features(pixel_values=tiles.chunk(2)[0], return_dict=True)
    both = BaseModelOutputWithPooling(pooler_output=torch.cat([seen.pooler_output] * 2))
    rest = {name: value for name, value in inputs.items() if name != "pixel_values"}
    return {**rest, "mm_encoder_outputs": {"image": both}}


class MPOTrainer(DPOTrainer):  # type: ignore[misc]
    """`DPOTrainer` whose `bco_pair` is shifted by δ and whose `sft` counts every response alike, however long.

    δ enters where the reference's log-probabilities do: both sides' raised by δ/β give r_c - δ and r_r - δ, and L_p,
    which has their difference, does not change. TRL's own `sft` is a mean over the batch's tokens, in which long
    responses outweigh short ones.
    """

    loss_types: list[str]
    loss_weights: list[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  TRL's own
        super().__init__(*args, **kwargs)
        weights = dict(zip(self.loss_types, self.loss_weights, strict=True))
        self._nll_weight: float = weights.pop("sft", 0.0)
        self.loss_types, self.loss_weights = list(weights), list(weights.values())
        self.precompute_ref_logps = True  # take the reference's log-probabilities from the batch, where we put them
        self.add_callback(RewardShift())

    @property
    def shift(self) -> RewardShift:
        """δ; looked up, for a resumed training puts another in the place of the one it began with."""
        found: RewardShift = next(c for c in self.callback_handler.callbacks if isinstance(c, RewardShift))
        return found

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool) -> Any:  # noqa: ANN401
        delta = self.shift.mean
        inputs = look_once(self.accelerator.unwrap_model(model), inputs)
        chosen, rejected = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
        raised = {"ref_chosen_logps": chosen + delta / self.beta, "ref_rejected_logps": rejected + delta / self.beta}
        heard: list[Tensor] = []
        hook = model.register_forward_hook(lambda _, __, output: heard.append(output.log_probs))
        try:
            given = super()._compute_loss(model, {**inputs, **raised}, return_outputs)
        finally:
            hook.remove()
        mask = inputs["completion_mask"]
        nll = length_normalised_nll(heard[0][:, 1 - mask.shape[1] :], mask)
        self._note(delta, nll, n_rewards=len(mask) * self.accelerator.num_processes)
        loss, *outputs = given if return_outputs else (given,)
        loss = loss + self._nll_weight * nll
        return (loss, *outputs) if return_outputs else loss

    def _note(self, delta: float, nll: Tensor, *, n_rewards: int) -> None:
        """Log the rewards without their shift, and learn it from those of training."""
        told = self._metrics["train" if self.model.training else "eval"]
        for side in ("rewards/chosen", "rewards/rejected"):
            told[side][-1] += delta
        told["reward_shift"].append(delta)
        told["nll_per_token"].append(self.accelerator.gather_for_metrics(nll.detach()).mean().item())
        if self.model.training:
            self.shift.learn((told["rewards/chosen"][-1] + told["rewards/rejected"][-1]) / 2, n_rewards)
