"""Measure how many images one engine can prepare in a second, and how many a fast GPU would take from it.

    python -m benchmarks.bench_images
    python -m benchmarks.bench_images --tokens-a-second 6500 26000 --json images.json

An image passes two stages. Threads of mmpr (`cpu_threads` an engine, four by default) open it: bytes to RGB pixels. One
thread of vLLM's front end then cuts them into tiles of 448 x 448 with InternVL's image processor (it hashes no pixels,
because mmpr names the images). Each stage is measured on one core, in images per second of CPU time. An engine takes an
image when the first round of its question starts: with 4 responses of 300 tokens, 6,500 generated tokens a second
(InternVL2-8B on an H100) are 5.4 images a second. The figure for a 1B model, four times as many tokens, is an
assumption. The prefill is not counted, so an engine takes fewer.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image

from mmpr.images.decoding import decode

PASSES = 5
THREADS = 4  # `cpu_threads`, an engine's threads that open images
FIRST_ROUND_TOKENS = 4 * 300
_TILE = 448
_MOST_PIXELS = 100_000_000
_SIZES = {"photo, 4K": (3840, 2160), "photo, 2 megapixels": (1632, 1224), "chart": (1000, 700)}


@dataclass(frozen=True)
class Line:
    """One kind of image with a limit of tiles; both rates are of one core, in images per second of CPU time."""

    kind: str
    kilobytes: int
    tiles: int
    opened: float
    cut: float

    @property
    def prepared(self) -> float:
        """Images per second of one engine: the slower of its four opening threads and the one that cuts."""
        return min(THREADS * self.opened, self.cut)


def photo(size: tuple[int, int], seed: int) -> bytes:
    """Return a JPEG with shapes of all sizes, and about as many bytes as a camera's."""
    draw = random.Random(seed)
    mixed = Image.new("RGB", size)
    for part in (8, 64, 512):
        small = (size[0] * part // 2048 + 1, size[1] * part // 2048 + 1)
        noise = Image.frombytes("RGB", small, draw.randbytes(3 * small[0] * small[1]))
        mixed = Image.blend(mixed, noise.resize(size, Image.Resampling.BICUBIC), 0.5)
    file = io.BytesIO()
    mixed.save(file, "JPEG", quality=90)
    return file.getvalue()


def rate(work: Callable[[], object]) -> float:
    """Return the median of a few passes, per second of this process's CPU time."""
    work()
    rates = []
    for _ in range(PASSES):
        began = time.process_time()
        work()
        rates.append(1 / (time.process_time() - began))
    return statistics.median(rates)


def measure(tiles: Sequence[int]) -> list[Line]:
    """Measure every kind of image with each limit of tiles."""
    from vllm.transformers_utils.processors.internvl import InternVLImageProcessor

    lines = []
    for kind, size in _SIZES.items():
        original = photo(size, seed=len(kind))
        opened = rate(lambda original=original: decode(original, "p", _MOST_PIXELS))  # type: ignore[misc]
        pixels = decode(original, "p", _MOST_PIXELS).pixels
        for most in tiles:
            processor = InternVLImageProcessor(
                image_size=_TILE, min_dynamic_patch=1, max_dynamic_patch=most, dynamic_image_size=True,
                use_thumbnail=True,
            )  # fmt: skip
            cut = rate(lambda pixels=pixels, processor=processor: processor(images=[pixels]))  # type: ignore[misc]
            lines.append(Line(kind, len(original) // 1000, most, opened, cut))
    return lines


def table(lines: Sequence[Line], speeds: Sequence[float]) -> str:
    """Return a Markdown table; a ratio above 1 means that the engine never waits for its images."""
    head = ["image", "kB", "tiles", "opened, one core", "cut, one core", "an engine prepares"]
    head += [f"times what {speed:,.0f} tokens a second take" for speed in speeds]
    printed = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for line in lines:
        ratios = [f"{line.prepared * FIRST_ROUND_TOKENS / speed:.1f}" for speed in speeds]
        cells = [line.kind, str(line.kilobytes), str(line.tiles), f"{line.opened:.1f}", f"{line.cut:.1f}"]
        printed.append("| " + " | ".join([*cells, f"{line.prepared:.1f}", *ratios]) + " |")
    return "\n".join(printed)


def main() -> None:
    """Parse the command line, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(description="Images that an engine can prepare, and that a GPU takes.")
    parser.add_argument("--tiles", type=int, nargs="+", default=[6, 12])
    parser.add_argument("--tokens-a-second", type=float, nargs="+", default=[6_500, 26_000])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = measure(given.tiles)
    print(table(lines, given.tokens_a_second))
    if given.json:
        rows = [{**asdict(line), "prepared": line.prepared} for line in lines]
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
