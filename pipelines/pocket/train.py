"""Train the pocket model from nothing: first to see, then to speak; on two cores in two to three hours.

    python -m pipelines.pocket.train --out runs/pocket

End to end from nothing such a model stalls: it finds where shapes are and never learns their colour. So the vision part
first learns, from each token alone, what its cell holds and where it is; the language part then only copies and counts.
Nothing repeats: every picture is drawn afresh, and made hard to see step by step, so that errors are perception's own.
It may be ended at any time: the same command goes on, and ends with the same weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from pipelines.pocket.checkpoint import write_checkpoint
from pipelines.pocket.examples import PICTURE, Batch, cut_tiles, draw_batches, train_tokenizer
from pipelines.pocket.language import COLOUR_NAMES, KINDS
from pipelines.pocket.model import Shape, Vision, hidden_states, make_language
from pipelines.pocket.world import EASY, FULL, SHAPES, SIDE, Difficulty, draw_pixels, draw_scene

VISION_STEPS, VISION_BATCH = 550, 96
LANGUAGE_BATCH = 32
_RATE = 1.5e-3  # of the language part
_LABELS = (len(COLOUR_NAMES), len(SHAPES), 2, 8, 12)
_NAMES = ("colour", "shape", "occupied", "row", "column")
_WEIGHTS = (1.0, 1.0, 1.0, 0.3, 0.3)
_NOTHING = -100
_STEPS_KEPT = 100  # progress is written so often


@dataclass(frozen=True, slots=True)
class Lesson:
    """One stage of the language part's training.

    Args:
        steps: of `LANGUAGE_BATCH` exchanges each.
        ramp: share of the steps over which pictures become as hard to see as they are.
        thaw: share of the steps after which the vision part learns too, at a tenth of the rate.
        reasoning_weight: of the tokens that reason, against those that say what is seen.
        kinds: of questions.
    """

    steps: int
    ramp: float
    thaw: float
    reasoning_weight: float
    kinds: tuple[str, ...] = tuple(KINDS)


# What takes two things at once, to match a colour and a shape or to find an option again, is learnt last.
_HARD = (*KINDS, "position", "yes_no", "multiple_choice")
LESSONS = (
    Lesson(steps=1600, ramp=0.4, thaw=1.0, reasoning_weight=1.0),
    Lesson(steps=1500, ramp=0.01, thaw=0.6, reasoning_weight=5.0),
    Lesson(steps=3600, ramp=0.01, thaw=0.8, reasoning_weight=5.0, kinds=_HARD),
    Lesson(steps=1800, ramp=0.01, thaw=0.15, reasoning_weight=5.0, kinds=_HARD),
)


def difficulties(steps: int, *, ramp: float) -> Iterator[Difficulty]:
    """From EASY to FULL over the first `ramp` of the steps."""
    for step in range(steps):
        f = min(1.0, step / (steps * ramp))
        yield Difficulty(
            colour_jitter=EASY.colour_jitter + f * (FULL.colour_jitter - EASY.colour_jitter),
            pixel_noise=EASY.pixel_noise + f * (FULL.pixel_noise - EASY.pixel_noise),
            smallest=EASY.smallest + f * (FULL.smallest - EASY.smallest),
            place_jitter=EASY.place_jitter + f * (FULL.place_jitter - EASY.place_jitter),
        )


def draw_cells(rng: np.random.Generator, n_tiles: int, difficulty: Difficulty) -> tuple[Tensor, Tensor]:
    """Tiles (n, 3, 64, 64) and what each of their 16 cells holds and where it is (n, 16, 5), as `_LABELS`."""
    tiles: list[NDArray[np.float32]] = []
    labels: list[list[tuple[int, ...]]] = []
    while len(tiles) < n_tiles:
        scene = draw_scene(rng, fewest=5, most=14)
        looks = {(m.row, m.column): (COLOUR_NAMES.index(m.colour), SHAPES.index(m.shape)) for m in scene.marks}
        for i, tile in enumerate(cut_tiles(draw_pixels(scene, rng, difficulty))):
            top, left = i // scene.tiles_wide * SIDE, i % scene.tiles_wide * SIDE
            places = [(top + cell // SIDE, left + cell % SIDE) for cell in range(SIDE * SIDE)]
            tiles.append(tile)
            labels.append([_cell(looks.get((row + 1, column + 1)), row, column) for row, column in places])
    return torch.tensor(np.stack(tiles[:n_tiles])), torch.tensor(labels[:n_tiles])


def _cell(look: tuple[int, int] | None, row: int, column: int) -> tuple[int, ...]:
    return (*(look or (_NOTHING, _NOTHING)), int(look is not None), row, column)


def train_vision(vision: Vision, shape: Shape, *, steps: int, seed: int) -> None:
    """Teach the vision part and the projector to name each cell from its own token."""
    rng = np.random.default_rng(seed)
    probes = nn.ModuleList(nn.Linear(shape.width, n) for n in _LABELS)
    parameters = [*vision.parameters(), *probes.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    began = time.monotonic()
    for step, difficulty in enumerate(difficulties(steps, ramp=0.4)):
        tiles, labels = draw_cells(rng, VISION_BATCH, difficulty)
        seen = vision(tiles)
        guesses = [probe(seen) for probe in probes]
        losses = [
            weight * F.cross_entropy(guess.flatten(0, 1), labels[..., i].flatten(), ignore_index=_NOTHING)
            for i, (weight, guess) in enumerate(zip(_WEIGHTS, guesses, strict=True))
        ]
        _step(torch.stack(losses).sum(), optimizer, schedule, parameters)
        if step % 50 == 0 or step == steps - 1:
            right = [_share_right(guess, labels[..., i]) for i, guess in enumerate(guesses)]
            told = " ".join(f"{name} {share:.3f}" for name, share in zip(_NAMES, right, strict=True))
            print(f"vision {step} {told} {time.monotonic() - began:.0f} s", flush=True)


def _share_right(guess: Tensor, label: Tensor) -> float:
    counts = label != _NOTHING
    return float((guess.argmax(-1) == label)[counts].float().mean())


def _step(
    loss: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    parameters: list[nn.Parameter],
) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    schedule.step()


def train_language(
    vision: Vision,
    language: LlamaForCausalLM,
    tokenizer: Tokenizer,
    shape: Shape,
    lesson: Lesson,
    *,
    seed: int,
    progress: Path,
) -> None:
    """Teach the language part to say what the vision part sees, and to reason from it.

    Args:
        progress: where what was learnt is kept on the way; a file that is there already is gone on from.
    """
    parts = ((language, _RATE), (vision, _RATE / 10))
    optimizer = torch.optim.AdamW(
        [{"params": list(part.parameters()), "lr": rate} for part, rate in parts], weight_decay=0.01, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [rate for _, rate in parts], total_steps=lesson.steps, pct_start=0.05
    )
    batches = draw_batches(
        tokenizer,
        shape,
        size=LANGUAGE_BATCH,
        seed=seed,
        difficulties=difficulties(lesson.steps, ramp=lesson.ramp),
        reasoning_weight=lesson.reasoning_weight,
        kinds=lesson.kinds,
    )
    parameters = [*language.parameters(), *vision.parameters()]
    kept = {"vision": vision, "language": language, "optimizer": optimizer, "schedule": schedule}
    began, mean = time.monotonic(), 0.0
    for step, batch in _from_where_it_ended(progress, batches, kept):
        loss = language_loss(vision, language, batch, learn_to_see=step >= lesson.thaw * lesson.steps)
        _step(loss, optimizer, schedule, parameters)
        mean = loss.item() if mean == 0 else 0.95 * mean + 0.05 * loss.item()
        if step % 50 == 0 or step == lesson.steps - 1:
            print(f"language {step} loss {mean:.3f} {time.monotonic() - began:.0f} s", flush=True)


def language_loss(vision: Vision, language: LlamaForCausalLM, batch: Batch, *, learn_to_see: bool) -> Tensor:
    """Weighted mean cross entropy of the responses' tokens."""
    with torch.set_grad_enabled(learn_to_see):
        seen = vision(batch.tiles)
    states = hidden_states(language, seen, batch.ids, PICTURE)
    weights = batch.weights[:, 1:]
    learnt = weights > 0
    losses = F.cross_entropy(language.lm_head(states[:, :-1][learnt]), batch.ids[:, 1:][learnt], reduction="none")
    return (losses * weights[learnt]).sum() / weights.sum()


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...  # noqa: ANN401  differs among them


def _from_where_it_ended(
    path: Path, batches: Iterator[Batch], parts: dict[str, _Stateful]
) -> Iterator[tuple[int, Batch]]:
    """Each step and its batch; an earlier run's steps are drawn, so that what follows is the same, and passed over."""
    first = 0
    if path.exists():
        kept = torch.load(path, weights_only=True)
        first = kept.pop("steps")
        for name, part in parts.items():
            part.load_state_dict(kept[name])
    for step, batch in enumerate(batches):
        if step < first:
            continue
        yield step, batch
        if (step + 1) % _STEPS_KEPT == 0:
            _save(path, {"steps": step + 1, **{name: part.state_dict() for name, part in parts.items()}})


def _save(path: Path, state: dict[str, Any]) -> None:
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def _kept(path: Path, part: nn.Module, train: Callable[[], None]) -> None:
    """Train a part, or take what an earlier run of this program trained."""
    if path.exists():
        part.load_state_dict(torch.load(path, weights_only=True))
        return
    train()
    _save(path, part.state_dict())


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train the pocket model and write its checkpoint.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    shape = Shape()
    given.out.mkdir(parents=True, exist_ok=True)
    vision, language = Vision(shape), make_language(shape)
    _kept(given.out / "vision.pt", vision, lambda: train_vision(vision, shape, steps=VISION_STEPS, seed=given.seed + 1))
    tokenizer = train_tokenizer(shape, seed=given.seed + 2)
    both = nn.ModuleList([vision, language])
    for i, lesson in enumerate(LESSONS):
        progress = given.out / f"lesson-{i}-progress.pt"
        teach = partial(
            train_language, vision, language, tokenizer, shape, lesson, seed=given.seed + 3 + i, progress=progress
        )
        _kept(given.out / f"lesson-{i}.pt", both, teach)
        progress.unlink(missing_ok=True)
        write_checkpoint(given.out / "checkpoint", vision, language, tokenizer, shape)


if __name__ == "__main__":
    main()
