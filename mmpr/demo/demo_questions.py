"""Write new questions of the pocket world as a user would: `vqa.jsonl`, images, and the scenes behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmpr.demo.pocket_language import draw_open, draw_question
from mmpr.demo.pocket_world import PlacedShape, Scene, draw_image, draw_scene

# Question seeds differ from training seeds: each one is (this number, the user's seed, the question's number).
_QUESTIONS = 20_260
_CHINESE = 0.12


def write_questions(out: Path, *, n: int, open_fraction: float, seed: int) -> None:
    """Write `vqa.jsonl`, `images/*.png` and `scenes.jsonl` (id and scene, one per line) into `out`.

    Args:
        n: number of questions.
        open_fraction: fraction of questions without an answer.
        seed: equal seeds give equal bytes.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows, scenes = [], []
    for row, scene, image in _draw(n, open_fraction, seed):
        image.save(out / row["image"])
        rows.append(json.dumps(row, ensure_ascii=False))
        scenes.append(json.dumps({"id": row["id"], "scene": asdict(scene)}))
    # The questions last: if they exist, their images exist too.
    (out / "scenes.jsonl").write_text("\n".join(scenes) + "\n", encoding="utf-8")
    (out / "vqa.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _draw(n: int, open_fraction: float, seed: int) -> Iterator[tuple[dict[str, Any], Scene, Any]]:
    for number in range(n):
        rng = np.random.default_rng((_QUESTIONS, seed, number))
        scene = draw_scene(rng)
        language = "zh" if rng.random() < _CHINESE else "en"
        row: dict[str, Any] = {"id": f"pocket-{seed}-{number:06d}", "image": f"images/{number:06d}.png"}
        if rng.random() < open_fraction:
            row |= {"question": draw_open(rng, language), "source": "pocket-open"}
        else:
            asked = draw_question(scene, rng, language)
            row |= {"question": asked.text, "answer": asked.answer, "source": f"pocket-{asked.kind}"}
            if asked.choices:
                row["choices"] = list(asked.choices)
        yield row, scene, draw_image(scene, rng)


def read_scenes(path: Path) -> dict[str, Scene]:
    """Read a `scenes.jsonl`: scenes by question id."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        scene = row["scene"]
        marks = tuple(PlacedShape(**mark) for mark in scene["marks"])
        found[row["id"]] = Scene(scene["tiles_wide"], scene["tiles_high"], marks)
    return found
