"""The long run of the fault harness: commands meet many faults until they complete, and must lose nothing.

    python -m benchmarks.bench_faults --faults 250 --engine-faults 40 --json faults.json

Faults are drawn from a seed and placed by event: the n-th file of a kind that is opened, renamed or linked; the n-th
request; n milliseconds after the start. The JSON file keeps the finished units, and the same command resumes from it.
Each command must write the same bytes as an undisturbed one. There are two exceptions. Questions with a false reply of
a server are skipped with a reason. Real vLLM gives other responses each time: these runs must pass `verify`, and
pairing them again must not change the dataset.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmpr.builder.build_flow import pair_again
from pipelines.pocket.questions import write_questions
from tests.faults.arms import MMPR, N, Tally, bed, ending, look, real_survived
from tests.faults.harness import FaultyBuild, dataset, questions

_VLLM = "vLLM"
_REAL = ("n=4", "chunk_questions=8", "chunks_in_flight=2", "engine_restarts=100")


def scripted(progress: Progress, n_faults: int) -> None:
    """Run units of work until `n_faults` faults have happened with scripted engines."""
    with tempfile.TemporaryDirectory(prefix="mmpr-faults-") as folder, bed(Path(folder)) as ours:
        ours.tallies = progress.tallies
        units: tuple[Callable[[np.random.Generator], None], ...] = (
            lambda rng: ours.shared_build(rng, starts=2, faults=14),
            lambda rng: ours.served_build(rng, faults=30, lies=6),
            lambda rng: ours.exported(rng, kills=3),
            lambda rng: ours.pushed(rng, kills=3),
            lambda rng: ours.merged(rng, kills=2),
            lambda rng: ours.own_build(rng, starts=3),
        )
        while progress.faults("scripted") < n_faults:
            progress.run("scripted", lambda rng, unit: units[unit % len(units)](rng))


def real(progress: Progress, n_faults: int) -> None:
    """Run builds with real vLLM and the pocket model on the CPU until `n_faults` faults have happened."""
    with tempfile.TemporaryDirectory(prefix="mmpr-faults-") as name:
        folder = Path(name)
        write_questions(folder, n=N, open_fraction=0.3, seed=progress.seed)
        while progress.faults(_VLLM) < n_faults:
            progress.run(_VLLM, lambda rng, unit: _real_build(folder, rng, progress.tallies.setdefault(_VLLM, Tally())))


def _real_build(folder: Path, rng: np.random.Generator, tally: Tally) -> None:
    out = folder / f"build-{tally.runs}"
    command = (*MMPR, "build")
    build = FaultyBuild(folder / "vqa.jsonl", out, folder / f"{out.name}-plans", command=command, settings=_REAL)
    episodes = [[*(real_survived(rng) for _ in range(10)), ending(rng)] for _ in range(2)]
    ledger = build.run(episodes, most_starts=15)
    look(out)
    before = dataset(out)
    pair_again(str(out), [])
    assert dataset(out) == before
    tally.add(ledger, questions(out))


@dataclass
class Progress:
    """The finished units. They are written to `file` after each unit, and the next start resumes from there.

    Args:
        seed: seed of all units; each unit draws from it and its own number, so it is the same in every start.
        file: the JSON file; None: nothing is kept.
        tallies: the counts of each arm.
        units: number of finished units for each kind of engine.
    """

    seed: int
    file: Path | None
    tallies: dict[str, Tally] = field(default_factory=dict)
    units: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, file: Path | None, seed: int) -> Progress:
        """Read what an earlier start with the same seed has finished."""
        known = json.loads(file.read_text()) if file is not None and file.exists() else {}
        if known.get("seed") != seed:
            return cls(seed, file)
        tallies = {name: Tally.of(row) for name, row in known["arms"].items() if name != "all"}
        return cls(seed, file, tallies, Counter(known["units"]))

    def faults(self, engines: str) -> int:
        """Return the number of faults that happened with this kind of engine."""
        return sum(tally.faults for name, tally in self.tallies.items() if (name == _VLLM) == (engines == _VLLM))

    def run(self, engines: str, work: Callable[[np.random.Generator, int], None]) -> None:
        """Run the next unit, print its faults and its duration, and write the sums."""
        unit, before, began = self.units[engines], self.faults(engines), time.monotonic()
        work(np.random.default_rng([self.seed, unit, engines == _VLLM]), unit)
        self.units[engines] += 1
        n, seconds = self.faults(engines) - before, time.monotonic() - began
        rate = f"{seconds / max(1, n):.1f} s a fault"
        print(
            f"{engines} unit {unit}: {n} faults in {seconds:.0f} s, {rate}; {self.faults(engines)} so far", flush=True
        )
        self.write()

    def write(self) -> None:
        """Write the sums to the file."""
        if self.file is not None:
            kept = {"seed": self.seed, "units": dict(self.units), "arms": rows(self.tallies)}
            new = self.file.with_suffix(".new")
            new.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
            new.replace(self.file)


def rows(tallies: dict[str, Tally]) -> dict[str, Any]:
    """Return the counts of each arm, and their sum as the row `all`."""
    total = Tally()
    for tally in tallies.values():
        for name, value in vars(tally).items():
            setattr(total, name, getattr(total, name) + value)
    return {name: _row(tally) for name, tally in {**tallies, "all": total}.items()}


def _row(tally: Tally) -> dict[str, Any]:
    counts = {name: getattr(tally, name) for name in ("runs", "starts", "faults", "questions", "lost", "doubled")}
    return {**counts, "exits": dict(sorted(tally.exits.items())), "kinds": dict(tally.kinds.most_common())}


def main() -> None:
    """Run the missing units and print the counts."""
    parser = argparse.ArgumentParser(description="Builds and other commands under many faults.")
    parser.add_argument("--faults", type=int, default=250, help="over scripted engines")
    parser.add_argument("--engine-faults", type=int, default=40, help="over real vLLM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--json", type=Path, help="where the sums are kept; a start with the same seed resumes from there"
    )
    given = parser.parse_args()
    progress = Progress.of(given.json, given.seed)
    if progress.faults("scripted") < given.faults:
        scripted(progress, given.faults)
    if progress.faults(_VLLM) < given.engine_faults:
        real(progress, given.engine_faults)
    for name, row in rows(progress.tallies).items():
        print(f"{name}: {row}", flush=True)


if __name__ == "__main__":
    main()
