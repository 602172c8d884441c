"""TRL's `DPOTrainer` with two parts of MPO that TRL's `bco_pair` and `sft` do not have: δ, and |y_c| in L_g.

InternVL2.5-MPO (arXiv 2411.10442): L = w_p L_p + w_q L_q + w_g L_g for a prompt x, a chosen response y_c, a rejected
response y_r, and the rewards r = β (log π_θ(y|x) - log π_0(y|x)):

    L_p = -log σ(r_c - r_r)
    L_q = -log σ(r_c - δ) - log σ(-(r_r - δ))      δ: the mean of all rewards of the earlier steps
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
    """δ: the mean of all rewards so far, of chosen and rejected sides; 0 at first. It is saved in each checkpoint."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def learn(self, mean: float, count: int) -> None:
        """Add `count` rewards with this mean."""
        self.total, self.count = self.total + mean * count, self.count + count

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"total": self.total, "count": self.count}}


def length_normalised_nll(log_probs: Tensor, completion_mask: Tensor) -> Tensor:
    """Return L_g: the mean of -log π(y_c|x) / |y_c| over the chosen responses.

    Args:
        log_probs: log-probability of each next token, (2 pairs, tokens - 1), the chosen sides first.
        completion_mask: 1 for tokens of the response, (2 pairs, tokens).
    """
    chosen, mask = log_probs.chunk(2)[0], completion_mask[:, 1:].chunk(2)[0]
    return -((chosen * mask).sum(1) / mask.sum(1)).mean()


def look_once(model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the batch with image features in place of tiles, if the vision part is frozen; otherwise the batch itself.

    The two sides of a pair have the same tiles, and policy and reference have the same frozen vision part. So one pass
    through the vision part is enough instead of four.

    Args:
        model: an InternVL, or PEFT's wrapper of one.
        inputs: a batch with `pixel_values` (2 x tiles, 3, side, side), the chosen sides first; or without images.
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
    """`DPOTrainer` with a `bco_pair` that is shifted by δ and an `sft` in which all responses have equal weight.

    δ is added to the reference's log-probabilities: if both are raised by δ/β, the rewards become r_c - δ and r_r - δ,
    and L_p, which has only their difference, stays the same. TRL's own `sft` is a mean over the tokens of the batch, in
    which long responses have more weight than short ones.
    """

    loss_types: list[str]
    loss_weights: list[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  TRL's own
        super().__init__(*args, **kwargs)
        weights = dict(zip(self.loss_types, self.loss_weights, strict=True))
        self._nll_weight: float = weights.pop("sft", 0.0)
        self.loss_types, self.loss_weights = list(weights), list(weights.values())
        self.precompute_ref_logps = True  # TRL then takes the reference's values from the batch
        self.add_callback(RewardShift())

    @property
    def shift(self) -> RewardShift:
        """δ. It is looked up each time, because a resumed training replaces the object that `__init__` added."""
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
        """Log the rewards without their shift, and update the shift with those of training."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        for side in ("rewards/chosen", "rewards/rejected"):
            metrics[side][-1] += delta
        metrics["reward_shift"].append(delta)
        metrics["nll_per_token"].append(self.accelerator.gather_for_metrics(nll.detach()).mean().item())
        if self.model.training:
            self.shift.learn((metrics["rewards/chosen"][-1] + metrics["rewards/rejected"][-1]) / 2, n_rewards)
