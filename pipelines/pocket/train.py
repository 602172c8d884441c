"""Train the pocket model from random weights: first the vision part, then the language part; two hours on two cores.

    python -m pipelines.pocket.train --out runs/pocket

If both parts are trained together from random weights, the model gets stuck: it learns where shapes are, but never
their colour. So the vision part first learns to predict, from each token alone, what the token's cell contains and
where the cell is. The language part then only has to copy and to count. No image is used twice: each one is drawn
anew. The images become harder to see step by step, so that the model's errors are errors of perception. The training
can be stopped at any time: the same command resumes it and ends with the same weights.

The third lesson gives the model habits that a vision-language model has from its training texts before preference
training: some answers are worked out and others are not; a description sometimes says that the model sees a shape, or
that the shape is unclear, and mostly states it. None of these texts is wrong. The value of preference pairs shows in
how they change these habits.

The fourth lesson adds two things to all of these: thoughts if the system turn requests them, and the letters of a
verifier. For the shipped weights it ran alone, from a checkpoint of the weights after the third lesson:

    python -m pipelines.pocket.train --out runs/pocket --from-checkpoint runs/third/checkpoint
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from mmpr.demo.pocket_language import COLOUR_NAMES, KINDS, Habit
from mmpr.demo.pocket_world import EASY, FULL, SHAPES, SIDE, WorldDifficulty, draw_looks, draw_scene, is_clear, paint
from pipelines.pocket.checkpoint import read_checkpoint, write_checkpoint
from pipelines.pocket.examples import (
    IMAGE,
    PLAIN,
    WORKED_OUT,
    Batch,
    Candour,
    cut_tiles,
    draw_batches,
    train_tokenizer,
)
from pipelines.pocket.letters import draw_letter_batches
from pipelines.pocket.model import Shape, Vision, hidden_states, make_language

VISION_STEPS, VISION_BATCH = 550, 96
LANGUAGE_BATCH = 32
_RATE, _MATRIX_RATE = 1.5e-3, 3e-3  # highest learning rates of AdamW and of Muon
_LABELS = (len(COLOUR_NAMES), len(SHAPES), 2, 2, 8, 12)
_NAMES = ("colour", "shape", "clear", "occupied", "row", "column")
_WEIGHTS = (1.0, 1.0, 0.5, 1.0, 0.3, 0.3)
_NOTHING = -100
_ONE_ORDER = 0.5  # fraction of a lesson's steps in which a verifier's letters have their first order only
_HELD_OUT = 1_000_000  # seed of the exchanges that no lesson learns from
_STEPS_KEPT = 100  # steps between two writes of the progress


@dataclass(frozen=True, slots=True)
class Lesson:
    """One stage of the language part's training.

    Args:
        steps: number of steps.
        pace: highest learning rates of this lesson, as a fraction of `_RATE` and `_MATRIX_RATE`.
        ramp: fraction of the steps in which images become harder to see, from EASY to FULL.
        thaw: fraction of the steps after which the vision part learns too, at a tenth of the rate.
        reasoning_weight: loss weight of tokens that reason; tokens that say what is seen have weight 1.
        kinds: kinds of questions; a kind that occurs twice is drawn twice as often.
        habits: the ways to reach an answer, with their frequencies.
        candour: how often descriptions say how well a mark can be seen.
        thinking: fraction of the exchanges whose reasoning is a thought.
        letters: additional exchanges with a verifier per step.
        size: exchanges about images per step.
    """

    steps: int
    pace: float
    ramp: float
    thaw: float
    reasoning_weight: float
    kinds: tuple[str, ...] = tuple(KINDS)
    habits: Mapping[Habit, float] = field(default_factory=lambda: WORKED_OUT)
    candour: Candour = PLAIN
    thinking: float = 0.0
    letters: int = 0
    size: int = LANGUAGE_BATCH


# These kinds are learnt last, because they need two things at once: to match a colour and a shape, or to find an option
# again. So they are drawn twice as often.
_HARD = (*KINDS, "position", "yes_no", "multiple_choice")
# Batches are divided by length, and in a batch of short answers each token has more weight. So the model answers at a
# glance more often than in its training texts.
_HABITS = {Habit.GLANCE: 0.27, Habit.LISTED: 0.14, Habit.WORKED_OUT: 0.59}
_CANDOUR = Candour(unclear=0.3, seen=0.3)
LESSONS = (
    Lesson(steps=1000, pace=1.0, ramp=0.4, thaw=1.0, reasoning_weight=1.0),
    Lesson(steps=3400, pace=0.5, ramp=0.01, thaw=0.75, reasoning_weight=5.0, kinds=_HARD),
    Lesson(
        steps=800, pace=0.3, ramp=0.01, thaw=1.0, reasoning_weight=1.0, kinds=_HARD, habits=_HABITS, candour=_CANDOUR
    ),
    Lesson(
        steps=900,
        pace=0.4,
        ramp=0.01,
        thaw=1.0,
        reasoning_weight=1.0,
        kinds=_HARD,
        habits=_HABITS,
        candour=_CANDOUR,
        thinking=0.3,
        letters=64,
    ),
)


def difficulties(steps: int, *, ramp: float) -> Iterator[WorldDifficulty]:
    """Yield a difficulty for each step: from EASY to FULL over the fraction `ramp` of the steps, then FULL."""
    for step in range(steps):
        f = min(1.0, step / (steps * ramp))
        yield WorldDifficulty(
            colour_jitter=EASY.colour_jitter + f * (FULL.colour_jitter - EASY.colour_jitter),
            pixel_noise=EASY.pixel_noise + f * (FULL.pixel_noise - EASY.pixel_noise),
            smallest=EASY.smallest + f * (FULL.smallest - EASY.smallest),
            place_jitter=EASY.place_jitter + f * (FULL.place_jitter - EASY.place_jitter),
        )


def draw_cells(rng: np.random.Generator, n_tiles: int, difficulty: WorldDifficulty) -> tuple[Tensor, Tensor]:
    """Draw tiles (n, 3, 64, 64), with the content and the place of each of their 16 cells (n, 16, 6), as `_NAMES`."""
    tiles: list[NDArray[np.float32]] = []
    labels: list[list[tuple[int, ...]]] = []
    while len(tiles) < n_tiles:
        scene = draw_scene(rng, fewest=5, most=14)
        looks = draw_looks(scene, rng, difficulty)
        held = {
            (m.row, m.column): (COLOUR_NAMES.index(m.colour), SHAPES.index(m.shape), int(is_clear(look, difficulty)))
            for m, look in zip(scene.marks, looks, strict=True)
        }
        for i, tile in enumerate(cut_tiles(paint(scene, looks, rng, difficulty))):
            top, left = i // scene.tiles_wide * SIDE, i % scene.tiles_wide * SIDE
            places = [(top + cell // SIDE, left + cell % SIDE) for cell in range(SIDE * SIDE)]
            tiles.append(tile)
            labels.append([_cell(held.get((row + 1, column + 1)), row, column) for row, column in places])
    return torch.tensor(np.stack(tiles[:n_tiles])), torch.tensor(labels[:n_tiles])


def _cell(held: tuple[int, ...] | None, row: int, column: int) -> tuple[int, ...]:
    return (*(held or (_NOTHING, _NOTHING, _NOTHING)), int(held is not None), row, column)


def train_vision(vision: Vision, shape: Shape, *, steps: int, seed: int) -> None:
    """Train the vision part and the projector so that each token alone shows its cell's content and place."""
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
        _step(torch.stack(losses).sum(), [optimizer], [schedule], parameters)
        if step % 50 == 0 or step == steps - 1:
            right = [_share_right(guess, labels[..., i]) for i, guess in enumerate(guesses)]
            shares = " ".join(f"{name} {share:.3f}" for name, share in zip(_NAMES, right, strict=True))
            print(f"vision {step} {shares} {time.monotonic() - began:.0f} s", flush=True)


def _share_right(guess: Tensor, label: Tensor) -> float:
    counts = label != _NOTHING
    return float((guess.argmax(-1) == label)[counts].float().mean())


def _step(
    loss: Tensor,
    optimizers: Sequence[torch.optim.Optimizer],
    schedules: Sequence[torch.optim.lr_scheduler.LRScheduler],
    parameters: list[nn.Parameter],
) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimizer, schedule in zip(optimizers, schedules, strict=True):
        optimizer.step()
        schedule.step()


def _optimizers(vision: Vision, language: LlamaForCausalLM) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return Muon for the language part's matrices and AdamW for all else, with a tenth of the rate for vision."""
    matrices = [p for p in language.model.layers.parameters() if p.ndim == 2]
    of_muon = set(map(id, matrices))
    rest = [p for p in language.parameters() if id(p) not in of_muon]
    groups = [{"params": rest, "lr": _RATE}, {"params": list(vision.parameters()), "lr": _RATE / 10}]
    return (
        torch.optim.Muon(matrices, lr=_MATRIX_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98)),
    )


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
    """Train the language part to say what the vision part sees, and to reason from it.

    Args:
        progress: file with the state of the training every `_STEPS_KEPT` steps; if it exists, the training resumes.
    """
    optimizers = _optimizers(vision, language)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            one,
            [lesson.pace * group["lr"] for group in one.param_groups],
            total_steps=lesson.steps,
            pct_start=0.05,
            cycle_momentum=False,
        )
        for one in optimizers
    ]
    batches = _lesson_batches(tokenizer, shape, lesson, seed=seed)
    held_out = _held_out(tokenizer, shape, lesson) if lesson.letters else {}
    parameters = [*language.parameters(), *vision.parameters()]
    kept: dict[str, _Stateful] = {"vision": vision, "language": language}
    for i, (optimizer, schedule) in enumerate(zip(optimizers, schedules, strict=True)):
        kept |= {f"optimizer-{i}": optimizer, f"schedule-{i}": schedule}
    began, mean = time.monotonic(), 0.0
    for step, drawn in _from_where_it_ended(progress, batches, kept):
        see = step >= lesson.thaw * lesson.steps
        loss = torch.stack([language_loss(vision, language, batch, learn_to_see=see) for batch in drawn]).sum()
        _step(loss, optimizers, schedules, parameters)
        mean = loss.item() if mean == 0 else 0.95 * mean + 0.05 * loss.item()
        if step % 50 == 0 or step == lesson.steps - 1:
            losses = " ".join(f"{name} {_loss_of(vision, language, some):.3f}" for name, some in held_out.items())
            print(f"language {step} loss {mean:.3f} {losses} {time.monotonic() - began:.0f} s", flush=True)


def _lesson_batches(tokenizer: Tokenizer, shape: Shape, lesson: Lesson, *, seed: int) -> Iterator[tuple[Batch, ...]]:
    """Return the batches of each step: exchanges about images, and exchanges with a verifier if the lesson has some."""
    seen = draw_batches(
        tokenizer,
        shape,
        size=lesson.size,
        seed=seed,
        difficulties=difficulties(lesson.steps, ramp=lesson.ramp),
        reasoning_weight=lesson.reasoning_weight,
        kinds=lesson.kinds,
        habits=lesson.habits,
        candour=lesson.candour,
        thinking=lesson.thinking,
    )
    if not lesson.letters:
        return zip(seen)
    letters = draw_letter_batches(
        tokenizer, shape, size=lesson.letters, seed=seed, one_order=int(_ONE_ORDER * lesson.steps)
    )
    return zip(seen, letters, strict=False)


def _held_out(tokenizer: Tokenizer, shape: Shape, lesson: Lesson) -> dict[str, list[Batch]]:
    """Return exchanges that no lesson draws: without thoughts, with thoughts, and with a verifier."""
    drawn = {}
    for name, thinking in (("plain", 0.0), ("thinking", 1.0)):
        drawn[name] = list(
            draw_batches(
                tokenizer,
                shape,
                size=LANGUAGE_BATCH,
                seed=_HELD_OUT,
                difficulties=iter([FULL] * 2),
                habits=lesson.habits,
                candour=lesson.candour,
                thinking=thinking,
            )
        )
    letters = draw_letter_batches(tokenizer, shape, size=2 * LANGUAGE_BATCH, seed=_HELD_OUT, held_out=True)
    return {**drawn, "letters": list(islice(letters, 2))}


def _loss_of(vision: Vision, language: LlamaForCausalLM, batches: Sequence[Batch]) -> float:
    with torch.no_grad():
        return fmean(language_loss(vision, language, batch, learn_to_see=False).item() for batch in batches)


def language_loss(vision: Vision, language: LlamaForCausalLM, batch: Batch, *, learn_to_see: bool) -> Tensor:
    """Return the weighted mean cross entropy of the responses' tokens; matrix products are in bfloat16."""
    weights = batch.weights[:, 1:]
    learnt = weights > 0
    with torch.autocast("cpu", torch.bfloat16):
        with torch.set_grad_enabled(learn_to_see):
            seen = vision(batch.tiles)
        states = hidden_states(language, seen, batch.ids, IMAGE)
        guesses = language.lm_head(states[:, :-1][learnt])
    losses = F.cross_entropy(guesses.float(), batch.ids[:, 1:][learnt], reduction="none")
    return (losses * weights[learnt]).sum() / weights.sum()


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...  # noqa: ANN401  differs among them


def _from_where_it_ended(
    path: Path, batches: Iterator[tuple[Batch, ...]], parts: dict[str, _Stateful]
) -> Iterator[tuple[int, tuple[Batch, ...]]]:
    """Yield each step that remains, with its batches, and save the state every `_STEPS_KEPT` steps.

    The batches of finished steps are drawn too and skipped, so that the random numbers of later batches are the same.
    """
    first = 0
    if path.exists():
        kept = torch.load(path, weights_only=True)
        first = kept.pop("steps")
        for name, part in parts.items():
            part.load_state_dict(kept[name])
    for step, drawn in enumerate(batches):
        if step < first:
            continue
        yield step, drawn
        if (step + 1) % _STEPS_KEPT == 0:
            _save(path, {"steps": step + 1, **{name: part.state_dict() for name, part in parts.items()}})


def _save(path: Path, state: dict[str, Any]) -> None:
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def _kept(path: Path, part: nn.Module, train: Callable[[], None]) -> None:
    """Train a part, or load it if an earlier run of this program has trained it."""
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
    parser.add_argument("--from-checkpoint", type=Path, help="whose weights the last lesson alone starts from")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    shape = Shape()
    given.out.mkdir(parents=True, exist_ok=True)
    vision, language = Vision(shape), make_language(shape)
    if given.from_checkpoint:
        tokenizer = read_checkpoint(given.from_checkpoint, vision, language, shape)
    else:
        see = partial(train_vision, vision, shape, steps=VISION_STEPS, seed=given.seed + 1)
        _kept(given.out / "vision.pt", vision, see)
        tokenizer = train_tokenizer(shape, seed=given.seed + 2)
    language.model.compile(dynamic=True)  # batches are as long as their longest exchange
    both = nn.ModuleList([vision, language])
    for i, lesson in enumerate(LESSONS):
        if given.from_checkpoint and lesson is not LESSONS[-1]:
            continue
        progress = given.out / f"lesson-{i}-progress.pt"
        teach = partial(
            train_language, vision, language, tokenizer, shape, lesson, seed=given.seed + 3 + i, progress=progress
        )
        _kept(given.out / f"lesson-{i}.pt", both, teach)
        progress.unlink(missing_ok=True)
        write_checkpoint(given.out / "checkpoint", vision, language, tokenizer, shape)


if __name__ == "__main__":
    main()
