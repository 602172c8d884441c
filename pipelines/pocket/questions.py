"""Write new questions of the pocket world to files: see `mmpr.demo.demo_questions`.

python -m pipelines.pocket.questions --n 200 --open-fraction 0.35 --seed 1 --out runs/demo-questions
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmpr.demo.demo_questions import read_scenes, write_questions

__all__ = ["read_scenes", "write_questions"]


def main() -> None:
    """Parse the command line and write the questions."""
    parser = argparse.ArgumentParser(description="Draw fresh questions of the pocket world.")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--open-fraction", type=float, default=0.35)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    write_questions(given.out, n=given.n, open_fraction=given.open_fraction, seed=given.seed)


if __name__ == "__main__":
    main()
