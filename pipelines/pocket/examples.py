"""Training examples: an image as the tiles that InternVL cuts, and a conversation as token ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from mmpr.demo.pocket_language import (
    COLOURS_ZH,
    KINDS,
    SHAPES_ZH,
    THINK_FIRST,
    Claim,
    Habit,
    behind_thought,
    describe,
    draw_open,
    draw_question,
    plan_description,
    prompt_text,
    respond,
)
from mmpr.demo.pocket_world import FULL, TILE, Look, Scene, WorldDifficulty, draw_looks, draw_scene, is_clear, paint
from mmpr.image_tags import IMAGE_TAG
from mmpr.prompts import PromptVersion
from pipelines.pocket.checker import statement_spans
from pipelines.pocket.model import Shape

SPECIALS = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>")
END_OF_TEXT, END_OF_TURN, IMAGE_START, IMAGE_END, IMAGE = 2, 4, 5, 6, 7
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)  # ImageNet's, which InternVL uses
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# Fractions of the training texts. Without blind ones, blind completions would not be fluent.
_OPEN, _CHINESE, _BLIND = 0.25, 0.15, 0.05
_VERSIONS: tuple[PromptVersion, ...] = ("final", "boxed", "think")
_VERSION_SHARES = (0.7, 0.15, 0.15)

WORKED_OUT: Mapping[Habit, float] = {Habit.WORKED_OUT: 1.0}
_WORDS: Mapping[Habit, float] = {Habit.GLANCE: 0.5, Habit.WORKED_OUT: 0.5}  # for the tokenizer's texts


@dataclass(frozen=True, slots=True)
class Candour:
    """How often a description says how well a mark can be seen.

    Args:
        unclear: fraction of the unclear marks that the description calls unclear.
        seen: fraction of the clear marks that the description says it sees ("I see a red circle").
    """

    unclear: float = 0.5
    seen: float = 0.0


PLAIN = Candour()


@dataclass(frozen=True, slots=True)
class Talk:
    """One exchange: the user's turn with or without `<image>`, the true response, and the system turn before them."""

    prompt: str
    response: str
    system: str = ""


def draw_talk(
    scene: Scene,
    rng: np.random.Generator,
    kinds: Sequence[str] = tuple(KINDS),
    *,
    clear: Sequence[bool] = (),
    habits: Mapping[Habit, float] = WORKED_OUT,
    candour: Candour = PLAIN,
    thinking: float = 0.0,
) -> Talk:
    """Draw an exchange about a scene: a description or a question, in one of the prompt versions and languages.

    Args:
        kinds: kinds of questions.
        clear: whether each mark of the scene is clear. Empty: the description states all marks.
        habits: the ways to reach an answer, with their frequencies.
        candour: how often a description says how well a mark can be seen.
        thinking: fraction of the exchanges in which the system turn requests thoughts and the reasoning is a thought.
    """
    # With a fraction of 0 no random number is drawn. Otherwise the random texts of `train_tokenizer`, and with them
    # the tokenizer of the shipped weights, would change.
    thinks = bool(thinking and rng.random() < thinking)
    system = THINK_FIRST if thinks else ""
    language = "zh" if rng.random() < _CHINESE else "en"
    if rng.random() < _OPEN:
        # A description without an image invents all marks, so it never calls one unclear or seen.
        blind = rng.random() < _BLIND / _OPEN
        claims = [] if blind else [_draw_claim(seen, rng, candour) for seen in clear]
        opened, said = draw_open(rng, language), describe(scene, language, claims=claims)
        said = behind_thought(plan_description(scene, language), said) if thinks else said
        return Talk(opened if blind else f"{IMAGE_TAG}\n{opened}", said, system)
    asked = draw_question(scene, rng, language, kinds)
    version = _VERSIONS[int(rng.choice(len(_VERSIONS), p=_VERSION_SHARES))]
    habit = list(habits)[int(rng.choice(len(habits), p=list(habits.values())))]
    said = respond(scene, asked, version, language, habit, thinks=thinks)
    return Talk(prompt_text(asked, version, language), said, system)


def _draw_claim(clear: bool, rng: np.random.Generator, candour: Candour) -> Claim:
    share, claim = (candour.seen, Claim.SEEN) if clear else (candour.unclear, Claim.UNCLEAR)
    # No random number with a fraction of 0, for the same reason as in `draw_talk`.
    return claim if share and rng.random() < share else Claim.STATED


def train_tokenizer(shape: Shape, *, seed: int, n_texts: int = 6000) -> Tokenizer:
    """Train a byte-level BPE on texts of the pocket world; it can encode any other text as bytes."""
    rng = np.random.default_rng(seed)
    talks = []
    for _ in range(n_texts):
        scene = draw_scene(rng)
        talks.append(draw_talk(scene, rng, clear=_clear(draw_looks(scene, rng), FULL), habits=_WORDS))
    tokenizer = Tokenizer(models.BPE())
    # Chinese has no spaces. Without this division, the name of a colour would have other tokens in a question than in
    # an answer.
    words = Regex("|".join((*COLOURS_ZH.values(), *SHAPES_ZH.values())))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=20,
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for talk in talks for text in (talk.prompt, talk.response)), trainer)
    return tokenizer


def cut_tiles(pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return the normalised tiles (3, 64, 64) of an image (height, width, 3), row by row."""
    height, width = pixels.shape[:2]
    whole: NDArray[np.float32] = ((pixels.astype(np.float32) / 255 - _MEAN) / _STD).astype(np.float32)
    places = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    return [whole[y : y + TILE, x : x + TILE].transpose(2, 0, 1) for y, x in places]


def _clear(looks: Sequence[Look], difficulty: WorldDifficulty) -> list[bool]:
    return [is_clear(look, difficulty) for look in looks]


def tiles_of(pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return an image's tiles, followed by the thumbnail if there are several."""
    tiles = cut_tiles(pixels)
    if len(tiles) > 1:
        tiles += cut_tiles(np.asarray(Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BICUBIC)))
    return tiles


def response_weights(tokenizer: Tokenizer, response: str, reasoning_weight: float) -> list[float]:
    """Return a weight for each token of a response and for its end.

    Tokens that say what is seen have weight 1, all others have `reasoning_weight`. Most tokens of a response say what
    is seen, and their loss stays high because images are noisy: without a weight, the few tokens of reasoning would
    hardly count.
    """
    seen = statement_spans(response)
    offsets = tokenizer.encode(response, add_special_tokens=False).offsets
    looks = [any(first <= start and stop <= last for first, last in seen) for start, stop in offsets]
    return [*(1.0 if look else reasoning_weight for look in looks), reasoning_weight]


def encode_talk(tokenizer: Tokenizer, talk: Talk, n_tiles: int, shape: Shape) -> tuple[list[int], int]:
    """Return the token ids of a ChatML exchange, and the index at which the response begins.

    Images are filled in as vLLM's processor does it.
    """

    def ids_of(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    system = f"<|im_start|>system\n{talk.system}<|im_end|>\n" if talk.system else ""
    ids = ids_of(f"<s>{system}<|im_start|>user\n")
    for i, piece in enumerate(talk.prompt.split(IMAGE_TAG)):
        if i:
            ids += [IMAGE_START, *[IMAGE] * (shape.tile_tokens * n_tiles), IMAGE_END]
        ids += ids_of(piece) if piece else []
    ids += ids_of("<|im_end|>\n<|im_start|>assistant\n")
    return [*ids, *ids_of(talk.response), END_OF_TURN], len(ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch: `ids` (batch, tokens), `weights` (batch, tokens; 0: no loss), `tiles` (all tiles, 3, 64, 64)."""

    ids: Tensor
    weights: Tensor
    tiles: Tensor


def draw_batches(
    tokenizer: Tokenizer,
    shape: Shape,
    *,
    size: int,
    seed: int,
    difficulties: Iterator[WorldDifficulty],
    reasoning_weight: float = 1.0,
    kinds: Sequence[str] = tuple(KINDS),
    habits: Mapping[Habit, float] = WORKED_OUT,
    candour: Candour = PLAIN,
    thinking: float = 0.0,
) -> Iterator[Batch]:
    """Yield one batch of new exchanges about new images for each difficulty.

    Four batches are drawn together and divided by length, so that a batch has little padding.
    """
    rng = np.random.default_rng(seed)
    while four := list(islice(difficulties, 4)):
        drawn: list[Row] = []
        for difficulty in (one for one in four for _ in range(size)):
            scene = draw_scene(rng)
            looks = draw_looks(scene, rng, difficulty)
            clear = _clear(looks, difficulty)
            talk = draw_talk(scene, rng, kinds, clear=clear, habits=habits, candour=candour, thinking=thinking)
            tiles = tiles_of(paint(scene, looks, rng, difficulty))
            drawn.append(encode_row(tokenizer, shape, talk, tiles, reasoning_weight))
        drawn.sort(key=lambda row: len(row[0]))
        for i in rng.permutation(len(four)).tolist():
            yield pad_rows(drawn[i * size : (i + 1) * size], shape)


Row = tuple[list[int], list[float], list[NDArray[np.float32]]]  # token ids, weights of the response's tokens, tiles


def encode_row(
    tokenizer: Tokenizer, shape: Shape, talk: Talk, tiles: list[NDArray[np.float32]], reasoning_weight: float
) -> Row:
    """Encode an exchange with the tiles of its image; a prompt without `<image>` gets no tiles."""
    shown = tiles if IMAGE_TAG in talk.prompt else []
    ids, _ = encode_talk(tokenizer, talk, len(shown), shape)
    return ids, response_weights(tokenizer, talk.response, reasoning_weight), shown


def pad_rows(rows: list[Row], shape: Shape) -> Batch:
    """Return the rows as one batch, padded to the longest."""
    longest = max(len(ids) for ids, _, _ in rows)
    ids = torch.full((len(rows), longest), END_OF_TEXT)
    weights = torch.zeros(len(rows), longest)
    for i, (row, learnt, _) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        weights[i, len(row) - len(learnt) : len(row)] = torch.tensor(learnt)
    shown = [tile for *_, tiles in rows for tile in tiles]
    none = np.empty((0, 3, shape.image_size, shape.image_size), np.float32)
    return Batch(ids, weights, torch.tensor(np.stack(shown) if shown else none))
