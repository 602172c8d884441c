"""Measure the distances between prints of different images, and of changed copies of one: the threshold of `exclude`.

python -m pipelines.pocket.questions --n 1000 --seed 100 --out runs/figures-questions
python -m benchmarks.image_prints runs/figures-questions/images
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mmpr.run.exclusion import MOST_DIFFERENT_BITS, image_print

DecodedImage = Image.Image
Prints = npt.NDArray[np.uint64]


def jpeg(image: DecodedImage, quality: int) -> DecodedImage:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


def scaled(image: DecodedImage, factor: float) -> DecodedImage:
    return image.resize((round(image.width * factor), round(image.height * factor)))


AGAIN: dict[str, Callable[[DecodedImage], DecodedImage]] = {
    "JPEG 75": lambda image: jpeg(image, 75),
    "JPEG 30": lambda image: jpeg(image, 30),
    "half size": lambda image: scaled(image, 0.5),
    "1.5 times the size": lambda image: scaled(image, 1.5),
    "half size, JPEG 60": lambda image: jpeg(scaled(image, 0.5), 60),
}


def page(rng: random.Random) -> DecodedImage:
    """Draw a page of words."""
    image = Image.new("RGB", (600, 800), "white")
    for y in range(40, 760, 18):
        words = ("".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(rng.randint(8, 13)))
        ImageDraw.Draw(image).text((40, y), " ".join(words), fill="black")
    return image


def chart(rng: random.Random) -> DecodedImage:
    """Draw a chart of six bars; the axes are always the same."""
    image = Image.new("RGB", (640, 480), "white")
    draw = ImageDraw.Draw(image)
    draw.line(((60, 20), (60, 440), (620, 440)), fill="black")
    for left in range(80, 620, 90):
        draw.rectangle((left, 440 - rng.randint(20, 400), left + 60, 440), fill="steelblue")
    return image


def blur(rng: random.Random) -> DecodedImage:
    """Draw soft spots of colour, which is how photographs look at a low resolution."""
    noise = np.random.default_rng(rng.randrange(10**9)).normal(128, 50, size=(8, 12, 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).resize((480, 320), Image.Resampling.BICUBIC)


def prints(images: list[DecodedImage]) -> Prints:
    found = [image_print(image) for image in images]
    return np.frombuffer(b"".join(one or b"" for one in found), np.uint64).reshape(len(images), -1)


def apart(one: Prints, other: Prints) -> npt.NDArray[np.int64]:
    return np.asarray(np.bitwise_count(one ^ other).sum(axis=-1), np.int64)


def measure(name: str, images: list[DecodedImage]) -> None:
    """Print one table: distances between different images, then between images and each kind of changed copy."""
    own = prints(images)
    one, other = np.triu_indices(len(images), 1)
    different = apart(own[one], own[other])
    false = int((different <= MOST_DIFFERENT_BITS).sum())
    print(f"{name}: {len(different):,} pairs of different images: least {different.min()} bits, {false} taken for one")
    for way, make in AGAIN.items():
        same = apart(own, prints([make(image) for image in images]))
        found = float((same <= MOST_DIFFERENT_BITS).mean())
        print(f"    {way:20} median {np.median(same):g}, most {same.max()} bits, {found:.1%} found")


def main() -> None:
    rng = random.Random(5)
    paths = sorted(Path(sys.argv[1]).glob("*.png"))[:1000]
    measure("pocket world", [Image.open(path).convert("RGB") for path in paths])
    for make in (page, chart, blur):
        measure(make.__name__, [make(rng) for _ in range(300)])


if __name__ == "__main__":
    main()
