"""Images of coloured shapes on a grid, drawn from a seeded generator with numpy and PIL only.

A tile has 64x64 pixels: 4x4 cells of 16 pixels each. InternVL's dynamic resolution cuts an image of several tiles into
exactly these tiles, and adds a thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CELL = 16  # pixels
SIDE = 4  # cells along a tile's edge
TILE = CELL * SIDE  # pixels

COLOURS = {
    "red": (215, 50, 50),
    "orange": (236, 138, 40),
    "yellow": (228, 208, 50),
    "green": (60, 165, 75),
    "cyan": (60, 190, 200),
    "blue": (55, 90, 205),
    "purple": (145, 70, 185),
    "brown": (135, 85, 50),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross")

# (tiles wide, tiles high) with their frequencies: most images have one tile, so that prompts stay short.
LAYOUTS = {(1, 1): 0.68, (2, 1): 0.12, (1, 2): 0.1, (3, 1): 0.04, (2, 2): 0.06}
# The floor of a tile shows its position, so that the model need not count the tokens before it.
_FLOOR_BY_COLUMN = ((236, 236, 236), (206, 218, 240), (240, 216, 206))
_FLOOR_BY_ROW = (1.0, 0.84)


@dataclass(frozen=True, slots=True)
class PlacedShape:
    """One coloured shape in its cell; rows and columns count from 1 over the whole image."""

    row: int
    column: int
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class Scene:
    """The content of an image; `marks` are in reading order."""

    tiles_wide: int
    tiles_high: int
    marks: tuple[PlacedShape, ...]

    @property
    def rows(self) -> int:
        return SIDE * self.tiles_high

    @property
    def columns(self) -> int:
        return SIDE * self.tiles_wide


@dataclass(frozen=True, slots=True)
class WorldDifficulty:
    """What makes shapes hard to see; labels are always correct.

    Args:
        colour_jitter: standard deviation of each mark's colour, in 8-bit levels per channel.
        pixel_noise: standard deviation of each pixel, in 8-bit levels.
        smallest: smallest radius of a mark in pixels; the largest is 7.
        place_jitter: largest distance of a mark's centre from its cell's centre, in pixels.
    """

    colour_jitter: float = 36.0
    pixel_noise: float = 32.0
    smallest: float = 2.3
    place_jitter: float = 1.5


# Limits below which a mark is unclear: probability of its most likely colour name, and its radius.
_CLEAR_COLOUR, _CLEAR_RADIUS = 0.8, 3.2

EASY = WorldDifficulty(colour_jitter=6.0, pixel_noise=6.0, smallest=5.0, place_jitter=1.0)
FULL = WorldDifficulty()


def draw_layout(rng: np.random.Generator) -> tuple[int, int]:
    """Draw the tiles wide and high, with the frequencies of `LAYOUTS`."""
    layouts = list(LAYOUTS)
    return layouts[int(rng.choice(len(layouts), p=list(LAYOUTS.values())))]


def draw_scene(
    rng: np.random.Generator, layout: tuple[int, int] | None = None, *, fewest: int = 4, most: int = 8
) -> Scene:
    """Draw a scene of `fewest` to `most` marks in random cells."""
    wide, high = layout or draw_layout(rng)
    cells = SIDE * SIDE * wide * high
    places = sorted(rng.choice(cells, size=int(rng.integers(fewest, most + 1)), replace=False).tolist())
    colours, width = list(COLOURS), SIDE * wide
    # A scene uses only a few colours and shapes: otherwise nearly all counts are 0 or 1.
    few_colours = rng.choice(len(colours), size=int(rng.integers(3, 7)), replace=False).tolist()
    few_shapes = rng.choice(len(SHAPES), size=int(rng.integers(2, 5)), replace=False).tolist()
    marks = tuple(
        PlacedShape(
            row=place // width + 1,
            column=place % width + 1,
            colour=colours[few_colours[int(rng.integers(len(few_colours)))]],
            shape=SHAPES[few_shapes[int(rng.integers(len(few_shapes)))]],
        )
        for place in places
    )
    return Scene(wide, high, marks)


def _coverage(shape: str, x: NDArray[np.float64], y: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return the covered fraction of each pixel, 0 to 1; x and y are pixel centres relative to the shape's centre."""
    if shape == "circle":
        distance = np.hypot(x, y) - radius * 0.95
    elif shape == "square":
        distance = np.maximum(np.abs(x), np.abs(y)) - radius * 0.84
    elif shape == "diamond":
        distance = (np.abs(x) + np.abs(y) - radius * 1.15) * 0.7071
    elif shape == "cross":
        long, short = radius * 0.98, radius * 0.34
        upright = np.maximum(np.abs(x) - short, np.abs(y) - long)
        lying = np.maximum(np.abs(x) - long, np.abs(y) - short)
        distance = np.minimum(upright, lying)
    else:  # triangle, point down
        slope = 0.894 * np.abs(x) + 0.447 * (y - radius * 0.9) + 0.05 * radius
        distance = np.maximum(slope, np.maximum(y - radius * 0.8, -y - 1.2 * radius))
    return np.clip(0.5 - distance, 0.0, 1.0)


def _floor(scene: Scene) -> NDArray[np.float64]:
    """Return the empty board as float pixels (height, width, 3)."""
    board = np.empty((TILE * scene.tiles_high, TILE * scene.tiles_wide, 3))
    for i in range(scene.tiles_high):
        for j in range(scene.tiles_wide):
            tint = np.array(_FLOOR_BY_COLUMN[j]) * _FLOOR_BY_ROW[i]
            board[i * TILE : (i + 1) * TILE, j * TILE : (j + 1) * TILE] = tint
    return board


@dataclass(frozen=True, slots=True)
class Look:
    """How one mark is drawn: its shift from the cell's centre and its radius, in pixels, and its RGB colour."""

    shift: tuple[float, float]
    radius: float
    colour: tuple[float, float, float]


def draw_looks(scene: Scene, rng: np.random.Generator, difficulty: WorldDifficulty = FULL) -> tuple[Look, ...]:
    """Draw how each of the scene's marks looks in one image."""
    return tuple(_draw_look(mark, rng, difficulty) for mark in scene.marks)


def _draw_look(mark: PlacedShape, rng: np.random.Generator, difficulty: WorldDifficulty) -> Look:
    dx, dy = rng.uniform(-difficulty.place_jitter, difficulty.place_jitter, size=2)
    radius = rng.uniform(difficulty.smallest, 7.0)
    red, green, blue = np.array(COLOURS[mark.colour]) + rng.normal(0, difficulty.colour_jitter, size=3)
    return Look((float(dx), float(dy)), float(radius), (float(red), float(green), float(blue)))


def is_clear(look: Look, difficulty: WorldDifficulty = FULL) -> bool:
    """Whether a careful viewer could name the mark: it is large enough, and one colour is by far the most likely.

    The drawn colour decides, not the true one: a colour that is far off may be clear and named wrongly.
    """
    distances = ((np.array(list(COLOURS.values())) - look.colour) ** 2).sum(axis=1)
    likelihoods = np.exp((distances.min() - distances) / (2 * difficulty.colour_jitter**2))
    return bool(look.radius >= _CLEAR_RADIUS and 1 / likelihoods.sum() >= _CLEAR_COLOUR)


def paint(
    scene: Scene, looks: tuple[Look, ...], rng: np.random.Generator, difficulty: WorldDifficulty = FULL
) -> NDArray[np.uint8]:
    """Paint the scene as 8-bit RGB pixels (height, width, 3)."""
    board = _floor(scene)
    steps = np.arange(CELL) + 0.5 - CELL / 2
    for mark, look in zip(scene.marks, looks, strict=True):
        dx, dy = look.shift
        x, y = np.meshgrid(steps - dx, steps - dy)
        alpha = _coverage(mark.shape, x, y, look.radius)[..., None]
        top, left = (mark.row - 1) * CELL, (mark.column - 1) * CELL
        cell = board[top : top + CELL, left : left + CELL]
        cell += alpha * (np.array(look.colour) - cell)
    board += rng.normal(0, difficulty.pixel_noise, size=board.shape)
    return np.clip(np.rint(board), 0, 255).astype(np.uint8)


def draw_pixels(scene: Scene, rng: np.random.Generator, difficulty: WorldDifficulty = FULL) -> NDArray[np.uint8]:
    """Draw a new image of the scene as pixels."""
    return paint(scene, draw_looks(scene, rng, difficulty), rng, difficulty)


def draw_image(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draw a new RGB image of the scene."""
    return Image.fromarray(draw_pixels(scene, rng))
