"""The long run of the fault harness: commands go from fault to fault until they are done, and nothing may be missing.

    python -m benchmarks.bench_faults --faults 250 --engine-faults 40 --json faults.json

Faults are drawn from a seed and placed by event (the n-th file of a kind opened, renamed, linked; the n-th request; so
many milliseconds after the start). Each command must end with the undisturbed one's bytes; what a server lied of is
left out by name, and real vLLM's answers are its own: these runs must verify, and pair twice to the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mmpr.builder.build_flow import pair_again
from pipelines.pocket.questions import write_questions
from tests.faults.arms import MMPR, Bed, N, Tally, bed, ending, look, real_survived
from tests.faults.harness import FaultyBuild, dataset, questions

_REAL = ("n=4", "chunk_questions=8", "chunks_in_flight=2", "engine_restarts=100")


def scripted(n_faults: int, seed: int) -> dict[str, Tally]:
    """Every arm in turn, until so many faults have happened."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(prefix="mmpr-faults-") as folder, bed(Path(folder)) as ours:
        while _faults(ours) < n_faults:
            ours.shared_build(rng, starts=2, faults=14)
            _tell(ours)
            ours.served_build(rng, faults=30, lies=6)
            ours.exported(rng, kills=3)
            ours.pushed(rng, kills=3)
            _tell(ours)
            ours.merged(rng, kills=2)
            ours.own_build(rng, starts=3)
            _tell(ours)
        return ours.tallies


def _faults(ours: Bed) -> int:
    return sum(tally.faults for tally in ours.tallies.values())


def _tell(ours: Bed) -> None:
    exits = sum((tally.exits for tally in ours.tallies.values()), Counter())
    print(f"scripted: {_faults(ours)} faults so far, exits {dict(exits)}", flush=True)


def real(n_faults: int, seed: int) -> dict[str, Tally]:
    """Builds over real vLLM, with the pocket model on the CPU, until so many faults have happened."""
    rng, tally = np.random.default_rng(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="mmpr-faults-") as name:
        folder = Path(name)
        write_questions(folder, n=N, open_fraction=0.3, seed=seed)
        while tally.faults < n_faults:
            out = folder / f"build-{tally.runs}"
            command = (*MMPR, "build")
            build = FaultyBuild(
                folder / "vqa.jsonl", out, folder / f"{out.name}-plans", command=command, settings=_REAL
            )
            episodes = [[*(real_survived(rng) for _ in range(10)), ending(rng)] for _ in range(2)]
            ledger = build.run(episodes, most_starts=15)
            look(out)
            before = dataset(out)
            pair_again(str(out), [])
            assert dataset(out) == before
            tally.add(ledger, questions(out))
            print(f"vLLM: {tally.faults} faults so far, exits {dict(tally.exits)}", flush=True)
    return {"vLLM": tally}


def rows(tallies: dict[str, Tally]) -> dict[str, Any]:
    """A row an arm, and their sum: counts alone."""
    total = Tally()
    for tally in tallies.values():
        for name, value in vars(tally).items():
            setattr(total, name, getattr(total, name) + value)
    return {name: _row(tally) for name, tally in {**tallies, "all": total}.items()}


def _row(tally: Tally) -> dict[str, Any]:
    counts = {name: getattr(tally, name) for name in ("runs", "starts", "faults", "questions", "lost", "doubled")}
    return {**counts, "exits": dict(sorted(tally.exits.items())), "kinds": dict(tally.kinds.most_common())}


def main() -> None:
    """Run, print one table, write it as JSON."""
    parser = argparse.ArgumentParser(description="Builds and other commands under many faults.")
    parser.add_argument("--faults", type=int, default=250, help="over scripted engines")
    parser.add_argument("--engine-faults", type=int, default=40, help="over real vLLM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    tallies: dict[str, Tally] = {}
    for n, arm in ((given.faults, scripted), (given.engine_faults, real)):
        if n:
            tallies |= arm(n, given.seed)
            print(json.dumps(rows(tallies)), file=sys.stderr, flush=True)
    table = rows(tallies)
    for name, row in table.items():
        print(f"{name}: {row}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
