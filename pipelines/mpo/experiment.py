"""Measure what the pairs improve, on the pocket world: build, train in several ways, ask held-out questions.

    python -m pipelines.mpo.experiment --out runs/mpo
    python -m pipelines.mpo.experiment --out runs/mpo --seeds 0 --rows before sft dpo mpo
    python -m pipelines.mpo.experiment --table runs/mpo/results.json

Finished steps are not repeated: if the experiment is stopped, the same command resumes it. Every step is a command that
users have too (`mmpr build`, `mmpr pair`, `pipelines.mpo.train`), so mmpr's other commands work on a row's folders.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import yaml

from mmpr.demo.pocket_world import Scene
from mmpr.pocket import POCKET
from mmpr.run import RunFolder, StoredQuestion
from mmpr.types import Outcome, PairKind, Stage
from pipelines.mpo.train import Weights, load_recipe
from pipelines.pocket.checker import count_statements
from pipelines.pocket.figures import bootstrap, questions_of
from pipelines.pocket.questions import read_scenes, write_questions

HERE = Path(__file__).parent
_OPEN = 0.5  # fraction of questions without an answer
_PAIRING = ("pairs_per_question=2", "drafts=4")  # for the training questions
# Eight responses and eight drafts, so that there is a choice. A completion that sees the image has the model's own
# habits, so that a pair differs in little but what makes the draft the best of eight.
_GROUNDED = ("grounding=true", "strategy=grounded", "first_round=8", "drafts=8", "rejected_view=image_kept")
_HELD_OUT = 900  # seed of the held-out questions; training questions have seeds from 1000
_RESPONSES = 8
_RESAMPLES = 2000

_MPO = Weights()
_DPO = Weights(preference=1, quality=0, generation=0)
_BCO = Weights(preference=0, quality=1, generation=0)
_SFT = Weights(preference=0, quality=0, generation=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One way to train: the weights of the losses, the kinds of pairs, and how pairs are selected from the responses.

    `weights`: None: no training. `kinds`: empty: all. `pairing`: a setting for `mmpr pair`; None: the build's own
    selection, at random. `built`: settings for a build of its own. `on`: the row whose model answers the training
    questions and is trained further; None: the pocket model. `temperature`: for the held-out questions; 0 shows what a
    sharper distribution could reach without training. `across`: a row whose model answers the training questions too;
    its responses become chosen sides if the pocket model has no correct one (`mmpr merge --pair-across`).
    """

    name: str
    weights: Weights | None = _MPO
    kinds: tuple[PairKind, ...] = ()
    pairing: str | None = None
    built: tuple[str, ...] = ()
    on: str | None = None
    temperature: float = 1.0
    across: str | None = None


ROWS = (
    Row("before", None),
    Row("before, temperature 0", None, temperature=0.0),
    Row("sft", _SFT),
    Row("dpo", _DPO),
    Row("bco", _BCO),
    Row("mpo"),
    Row("mpo, correctness", kinds=(PairKind.CORRECTNESS, PairKind.FORMAT)),
    Row("mpo, dropout_ntp", kinds=(PairKind.DROPOUT_NTP,)),
    Row("mpo, length-matched", pairing="strategy=length_matched"),
    Row("mpo, hardest", pairing="strategy=hardest"),
    Row("mpo, grounded", built=_GROUNDED),
    Row("mpo, second round", on="mpo"),
    Row("mpo, across policies", across="mpo"),
    Row("mpo, grounded, second round", on="mpo, grounded", built=_GROUNDED),
)


@dataclass(frozen=True, slots=True)
class Answers:
    """The results of one held-out question.

    `false` and `stated` count the statements of a description. `right` and `parsed` are fractions of the responses to a
    question with an answer. `tokens` is the mean length of the responses.
    """

    question_id: str
    kind: str
    tokens: float
    right: float = 0.0
    parsed: float = 0.0
    false: int = 0
    stated: int = 0


@dataclass(frozen=True, slots=True)
class SeedFigures:
    """The figures of one trained model; fractions, and false statements per description."""

    seed: int
    right: float
    parsable: float
    false_per_description: float
    by_kind: dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """A row's figures: means over questions and seeds; (mean, low, high) is a 95 % bootstrap over questions.

    `by_kind`: the fraction that is right. `seeds`: the same figures of each seed, because users train only once.
    """

    name: str
    right: tuple[float, float, float]
    parsable: tuple[float, float, float]
    false_per_description: tuple[float, float, float]
    false_share: tuple[float, float, float]
    stated: float  # statements per description
    tokens: float
    by_kind: dict[str, float]
    seeds: list[SeedFigures]

    @property
    def deviation(self) -> float:
        """The standard deviation over seeds of the fraction that is right; 0 with one seed."""
        return stdev(one.right for one in self.seeds) if len(self.seeds) > 1 else 0.0


class Experiment:
    """The experiment's folder. Each step's result is made when it is first needed, and kept."""

    def __init__(self, out: Path, *, train_questions: int, test_questions: int) -> None:
        self.out, self.train_questions, self.test_questions = out, train_questions, test_questions

    def questions(self, name: str, n: int, *, seed: int) -> Path:
        folder = self.out / "questions" / name
        if not (folder / "vqa.jsonl").exists():
            write_questions(folder, n=n, open_fraction=_OPEN, seed=seed)
        return folder

    def pairs(self, row: Row, seed: int) -> Path:
        """Return the run folder that a row trains on."""
        # A second round needs other questions than the first one: its model has been trained on those.
        first = (1500 if row.on else 1000) + seed
        asked = self.questions(f"train-{first}", self.train_questions, seed=first)
        own = self.out / f"seed-{seed}" / _slug(row.name) / "pairs"
        built = own if row.built else self.out / f"seed-{seed}" / ("pairs-of-" + _slug(row.on or POCKET))
        _build(asked, built, f"model={self.base(row, seed)}", f"seed={seed}", *_PAIRING, *row.built)
        if row.across is not None:
            return self._across(row, built, asked, seed)
        if row.pairing is None:
            return built
        if not (own / "report.json").exists():
            shutil.rmtree(own, ignore_errors=True)
            _run(sys.executable, "-m", "mmpr", "pair", str(built), row.pairing, "--to", str(own))
        return own

    def _across(self, row: Row, built: Path, asked: Path, seed: int) -> Path:
        """Return a merged run of the pocket model and the model of row `across`.

        The other model answers only the questions with a reference answer.
        """
        folder = self.out / f"seed-{seed}" / _slug(row.name)
        other = self.model(next(one for one in ROWS if one.name == row.across), seed)
        closed = asked / "closed.jsonl"  # in the folder of its images; drafts make no pairs across models
        lines = (asked / "vqa.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        closed.write_text("".join(line for line in lines if "answer" in json.loads(line)), encoding="utf-8")
        _build(closed, folder / "answers", f"model={other}", f"seed={seed}", *_PAIRING)
        if not (folder / "pairs" / "report.json").exists():
            shutil.rmtree(folder / "pairs", ignore_errors=True)
            merged = (str(built), str(folder / "answers"), "--out", str(folder / "pairs"), "--pair-across")
            _run(sys.executable, "-m", "mmpr", "merge", *merged)
        return folder / "pairs"

    def base(self, row: Row, seed: int) -> str:
        """Return the model that answers a row's training questions and is trained further."""
        return POCKET if row.on is None else self.model(next(one for one in ROWS if one.name == row.on), seed)

    def model(self, row: Row, seed: int) -> str:
        """Return the folder of the trained checkpoint, or the pocket model's name."""
        if row.weights is None:
            return POCKET
        folder = self.out / f"seed-{seed}" / _slug(row.name)
        trained = folder / "model"
        if not (trained / "model.safetensors").exists():
            recipe = load_recipe(HERE / "pocket.yaml").model_dump(mode="json")
            recipe |= {"weights": row.weights.model_dump(), "training": {**recipe["training"], "seed": seed}}
            recipe["model"] = self.base(row, seed)
            pairs = self.pairs(row, seed)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
            kinds = ["--kinds", *(kind.value for kind in row.kinds)] if row.kinds else []
            _run(
                *(sys.executable, "-m", "pipelines.mpo.train", "--config", str(folder / "recipe.yaml")),
                *("--pairs", str(pairs), *kinds, "--out", str(trained)),
            )
        return str(trained)

    def answers(self, row: Row, seed: int) -> list[Answers]:
        """Return the results of the row's model for the held-out questions."""
        asked = self.questions("held-out", self.test_questions, seed=_HELD_OUT)
        folder = self.out / f"seed-{seed}" / _slug(row.name) / "held-out"
        sampling = (f"temperature={row.temperature}", "adaptive=false", f"n={_RESPONSES if row.temperature else 1}")
        _build(asked, folder, f"model={self.model(row, seed)}", f"seed={seed}", *sampling)
        scenes = read_scenes(asked / "scenes.jsonl")
        return [_answers(one, scenes) for one in questions_of(RunFolder(str(folder))) if one.responses]


def _slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def _build(asked: Path, out: Path, *settings: str) -> None:
    if not (out / "report.json").exists():
        config = str(HERE.parents[1] / "configs" / "pocket.yaml")
        file = asked / "vqa.jsonl" if asked.is_dir() else asked
        source = ("--source", str(file), "--out", str(out), "--config", config)
        _run(sys.executable, "-m", "mmpr", "build", *source, *settings)


def _run(*command: str) -> None:
    """Run one step; its output goes to the terminal only if it fails."""
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr[-3000:]}\nfailed: {' '.join(command)}")


def _answers(one: StoredQuestion, scenes: dict[str, Scene]) -> Answers:
    kind = one.question.source.removeprefix("pocket-")
    if one.question.answer is None:
        (draft,) = (r.response for r in one.responses if r.response.stage is Stage.DRAFT)
        found = count_statements(draft.text, scenes[one.question.id])
        return Answers(one.question.id, kind, draft.tokens, false=found.false, stated=found.total)
    outcomes = [verdict.outcome for _, verdict in one.judged]
    n = len(outcomes)
    return Answers(
        one.question.id,
        kind,
        tokens=fmean(r.response.tokens for r in one.responses),
        right=outcomes.count(Outcome.CORRECT) / n,
        parsed=1 - outcomes.count(Outcome.UNPARSED) / n,
    )


def measured(name: str, by_seed: Mapping[int, Sequence[Answers]]) -> Measured:
    """Return a row's figures from the results of each seed; all seeds have the same questions."""
    closed = [[one for one in answers if one.kind != "open"] for answers in by_seed.values()]
    opened = [[one for one in answers if one.kind == "open"] for answers in by_seed.values()]
    return Measured(
        name,
        right=_interval(closed, lambda one: one.right),
        parsable=_interval(closed, lambda one: one.parsed),
        false_per_description=_interval(opened, lambda one: one.false),
        false_share=_interval(opened, lambda one: one.false, over=lambda one: one.stated),
        stated=fmean(one.stated for answers in opened for one in answers),
        tokens=fmean(one.tokens for answers in by_seed.values() for one in answers),
        by_kind=_right_by_kind([one for answers in closed for one in answers]),
        seeds=[
            SeedFigures(
                seed,
                right=fmean(one.right for one in mine),
                parsable=fmean(one.parsed for one in mine),
                false_per_description=fmean(one.false for one in described),
                by_kind=_right_by_kind(mine),
            )
            for seed, mine, described in zip(by_seed, closed, opened, strict=True)
        ],
    )


def _right_by_kind(closed: Sequence[Answers]) -> dict[str, float]:
    kinds: dict[str, list[float]] = defaultdict(list)
    for one in closed:
        kinds[one.kind].append(one.right)
    return {kind: fmean(values) for kind, values in sorted(kinds.items())}


def _interval(
    by_seed: Sequence[Sequence[Answers]],
    value: Callable[[Answers], float],
    *,
    over: Callable[[Answers], float] = lambda one: 1,
) -> tuple[float, float, float]:
    """Return the sum of values divided by the sum of `over`, with a 95 % interval.

    The bootstrap resamples whole questions, each with the results of all seeds: these are not independent.
    """
    of_question: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in (one for answers in by_seed for one in answers):
        of_question[one.question_id].append((value(one), over(one)))
    counts = np.array([np.sum(said, axis=0) for said in of_question.values()])  # (questions, 2)
    return bootstrap(counts, lambda sums: sums[0] / sums[1], resamples=_RESAMPLES)


def table(rows: Iterable[Measured]) -> str:
    """Return the figures as a Markdown table; fractions in per cent, and the change of each kind against `before`."""
    rows = list(rows)
    before = next((row for row in rows if row.name == ROWS[0].name), None)
    kinds = sorted({kind for row in rows for kind in row.by_kind})
    head = (
        "row",
        "seeds",
        "right (95 %)",
        "deviation",
        "worst seed",
        *kinds,
        "parsable (worst seed)",
        "false a description (95 %)",
        "stated",
        "false of stated",
        "tokens",
    )
    lines = [_line(head), _line("---" for _ in head)]
    for row in rows:
        mean, low, high = row.false_per_description
        lines.append(
            _line(
                (
                    row.name,
                    str(len(row.seeds)),
                    _share(row.right),
                    f"{100 * row.deviation:.1f}",
                    f"{100 * min(one.right for one in row.seeds):.1f}",
                    *(_changed(kind, row, before) for kind in kinds),
                    f"{100 * row.parsable[0]:.1f} ({100 * min(one.parsable for one in row.seeds):.1f})",
                    f"{mean:.2f} ({low:.2f} to {high:.2f})",
                    f"{row.stated:.2f}",
                    _share(row.false_share),
                    f"{row.tokens:.0f}",
                )
            )
        )
    return "\n".join(lines)


def _changed(kind: str, row: Measured, before: Measured | None) -> str:
    share = 100 * row.by_kind[kind]
    if before is None or before is row:
        return f"{share:.1f}"
    return f"{share:.1f} ({share - 100 * before.by_kind[kind]:+.1f})"


def _share(found: tuple[float, float, float]) -> str:
    mean, low, high = (100 * one for one in found)
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def run_seeds(
    experiment: Experiment, rows: Sequence[Row], seeds: Sequence[int], *, jobs: int
) -> Iterator[list[Measured]]:
    """Yield the figures of all rows after each seed that is done; `jobs` seeds run side by side."""
    experiment.questions("held-out", experiment.test_questions, seed=_HELD_OUT)  # all seeds share them
    done: dict[int, list[list[Answers]]] = {}

    def one(seed: int) -> tuple[int, list[list[Answers]]]:
        return seed, [experiment.answers(row, seed) for row in rows]

    with ThreadPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(one, seed) for seed in seeds]):
            seed, answers = future.result()
            done[seed] = answers
            yield [measured(row.name, {s: done[s][i] for s in sorted(done)}) for i, row in enumerate(rows)]


def main() -> None:
    """Parse the command line, make the missing results, print the table."""
    parser = argparse.ArgumentParser(description="MPO on the pocket world: what the pairs are worth.")
    parser.add_argument("--out", type=Path, default=Path("runs/mpo"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], default=[row.name for row in ROWS])
    parser.add_argument("--train-questions", type=int, default=1500)
    parser.add_argument("--test-questions", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds side by side; one a core")
    parser.add_argument("--table", type=Path, metavar="RESULTS.json", help="only print the table of an earlier run")
    given = parser.parse_args()
    if given.table is not None:
        print(table(read_results(given.table)))
        return
    jobs = max(1, min(given.jobs, len(given.seeds)))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))  # of the steps' processes
    experiment = Experiment(given.out, train_questions=given.train_questions, test_questions=given.test_questions)
    rows = [row for row in ROWS if row.name in given.rows]
    for found in run_seeds(experiment, rows, given.seeds, jobs=jobs):
        _keep(given.out / "results.json", found, given)
        print(table(found), flush=True)


def _keep(path: Path, rows: Sequence[Measured], given: argparse.Namespace) -> None:
    settings: dict[str, Any] = {"train_questions": given.train_questions, "test_questions": given.test_questions}
    path.write_text(json.dumps({**settings, "rows": [asdict(row) for row in rows]}, indent=2) + "\n", encoding="utf-8")


def read_results(path: Path) -> list[Measured]:
    """Return the rows of a results file."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Measured(**{**row, "seeds": [SeedFigures(**one) for one in row["seeds"]]}) for row in rows]


if __name__ == "__main__":
    main()
