"""The long run of the fault harness: builds go from fault to fault until they are done, and nothing may be missing.

    python -m benchmarks.bench_faults --faults 100 --engine-faults 20 --json faults.json

Faults are placed by event (the n-th file of a kind opened, renamed, linked, removed; the n-th request), drawn from a
seed. Scripted runs must end in the undisturbed run's bytes; runs of real vLLM must verify, and pair twice to the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmpr.builder.build_flow import pair_again
from mmpr.verification import verify
from pipelines.pocket.questions import write_questions
from tests.faults.harness import DRIVE, Fault, FaultyBuild, Ledger, dataset, questions, strays

T = TypeVar("T")
MMPR = (sys.executable, "-m", "mmpr", "build")
_SCRIPTED = ("n=4", "max_tokens=256", "chunk_questions=8", "chunks_in_flight=2", "engines=2", "engine_restarts=100")
_REAL = ("n=4", "chunk_questions=8", "chunks_in_flight=2", "engine_restarts=100")
_QUESTIONS = 96  # twelve chunks a build
_COMMIT = [("open", "/questions/"), ("os.rename", "/questions/"), ("open", "/responses/"), ("os.rename", "/responses/")]
_COMMIT += [("os.link", "/chunks/"), ("os.remove", "/chunks/")]
_FINISH = [("os.rename", "/data/"), ("os.rename", "/skips.parquet"), ("os.rename", "/report.json")]
_FINISH += [("os.rename", "/manifest.json"), ("os.remove", "/manifest.json")]
_ENDS = ("kill-driver", "SIGTERM", "SIGINT", "full")


def draw_episode(rng: np.random.Generator, *, real: bool) -> list[Fault]:
    """One start's faults: some that the run survives, then one that ends it."""
    survived = [_survived(rng, real=real) for _ in range(int(rng.integers(1, 4)))]
    finishing = rng.random() < 0.2
    event, match = _pick(rng, _FINISH if finishing else _COMMIT)
    return [*survived, Fault(event, match, 1 if finishing else int(rng.integers(1, 6)), _pick(rng, _ENDS))]


def _survived(rng: np.random.Generator, *, real: bool) -> Fault:
    if real:
        event, match = _pick(rng, _COMMIT)
        return Fault(event, match, int(rng.integers(1, 4)), _pick(rng, ("kill", "kill-engines")))
    if rng.random() < 0.4:
        return Fault("engine", "pocket", int(rng.integers(1, 80)), _pick(rng, ("kill", "dead")))
    event, match = _pick(rng, _COMMIT)
    return Fault(event, match, int(rng.integers(1, 6)), "kill")


def _pick(rng: np.random.Generator, among: Sequence[T]) -> T:
    return among[int(rng.integers(len(among)))]


def run_builds(folder: Path, n_faults: int, seed: int, *, real: bool) -> Iterator[tuple[Ledger, Counter[Any]]]:
    """Build after build, each through four episodes, until so many faults have happened."""
    rng = np.random.default_rng(seed)
    fired, number = 0, 0
    write_questions(folder, n=_QUESTIONS, open_fraction=0.3, seed=seed)
    clean = _build(folder, "clean", real=real)
    clean.run([])
    while fired < n_faults:
        build = _build(folder, f"build-{number}", real=real)
        ledger = build.run([draw_episode(rng, real=real) for _ in range(4)], most_starts=20)
        _look(build, clean, real=real)
        fired, number = fired + ledger.fired, number + 1
        print(
            f"{'vLLM' if real else 'scripted'} build {number}: {fired} faults so far, exits {ledger.exits}", flush=True
        )
        yield ledger, questions(build.out)


def _build(folder: Path, name: str, *, real: bool) -> FaultyBuild:
    command, settings = (MMPR, _REAL) if real else (DRIVE, _SCRIPTED)
    plans = folder / f"{name}-plans"
    return FaultyBuild(folder / "vqa.jsonl", folder / name, plans, command=command, settings=settings)


def _look(build: FaultyBuild, clean: FaultyBuild, *, real: bool) -> None:
    """What must hold at the end of every build."""
    assert verify(str(build.out)) == []
    assert strays(build.out) == set()
    report = json.loads((build.out / "report.json").read_text())
    assert report["questions"] == _QUESTIONS == report["paired"] + report["skipped"]
    before = dataset(build.out)
    if real:
        pair_again(str(build.out), [])
        assert dataset(build.out) == before
    else:
        assert before == dataset(clean.out)


def _row(builds: list[tuple[Ledger, Counter[Any]]]) -> dict[str, Any]:
    ledgers = [ledger for ledger, _ in builds]
    exits = Counter(code for ledger in ledgers for code in ledger.exits)
    return {
        "builds": len(builds),
        "faults": sum(ledger.fired for ledger in ledgers),
        "starts": sum(ledger.starts for ledger in ledgers),
        "exits": {str(code): n for code, n in sorted(exits.items())},
        "questions": _QUESTIONS * len(builds),
        "lost": sum(_QUESTIONS - len(asked) for _, asked in builds),
        "doubled": sum(asked.total() - len(asked) for _, asked in builds),
    }


def main() -> None:
    """Run, print one table, write it as JSON."""
    parser = argparse.ArgumentParser(description="Builds under many faults.")
    parser.add_argument("--faults", type=int, default=100, help="over builds with scripted engines")
    parser.add_argument("--engine-faults", type=int, default=20, help="over builds with real vLLM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    table = {}
    for name, n, real in (("scripted", given.faults, False), ("vLLM", given.engine_faults, True)):
        with tempfile.TemporaryDirectory(prefix="mmpr-faults-") as folder:
            table[name] = _row(list(run_builds(Path(folder), n, given.seed, real=real)) if n else [])
        print(f"{name}: {table[name]}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
