"""Measure a build of the pocket world: how often the model is right, and how much more a blind completion invents.

    python -m pipelines.pocket.figures runs/demo runs/demo-questions/scenes.jsonl --json figures.json

The run folder is one of `mmpr build`, the scenes are those that `pipelines.pocket.questions` wrote.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpr.builder.pair_rule import make_pairs
from mmpr.demo.pocket_world import Scene
from mmpr.pairing import PairOptions
from mmpr.run import RunFolder, StoredQuestion, read_chunk
from mmpr.run.commit_records import pair_texts
from mmpr.types import Outcome, Stage
from pipelines.pocket.checker import Statements, count_statements
from pipelines.pocket.questions import read_scenes

_RESAMPLES = 4000
_MARGINS = (0.0, 2.0, 3.0, 4.0)  # nats per token


@dataclass(frozen=True, slots=True)
class KindFigures:
    """Fractions of the responses (right, parsable) and of the questions (mixed) of one kind.

    `mixed`: questions with a right and a wrong response. `chance`: what the best constant answer would reach.
    """

    questions: int
    responses: int
    right: float
    chance: float
    parsable: float
    mixed: float


@dataclass(frozen=True, slots=True)
class DropoutFigures:
    """Fractions of false statements after the cut, and their ratio with a 95 % bootstrap interval over pairs."""

    pairs: int
    chosen_statements: int
    rejected_statements: int
    chosen_false: float
    rejected_false: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True, slots=True)
class DraftFigures:
    """For questions with several drafts: false and all statements per draft, of the chosen drafts and of the others.

    `ratio`: false statements of the chosen drafts to those of the others, with a 95 % bootstrap interval over
    questions.
    """

    questions: int
    chosen_false: float
    chosen_statements: float
    others_false: float
    others_statements: float
    ratio: float
    ratio_low: float
    ratio_high: float


def questions_of(folder: RunFolder) -> Iterator[StoredQuestion]:
    """Yield every committed question of a run, without images."""
    for commit in folder.committed().values():
        yield from read_chunk(folder, commit, images=False)


def kind_figures(questions: Sequence[StoredQuestion]) -> dict[str, KindFigures]:
    """Return the figures of each kind of question, and of all questions."""
    kinds: dict[str, list[StoredQuestion]] = defaultdict(list)
    for one in questions:
        if one.judged:
            kinds[one.question.source.removeprefix("pocket-")].append(one)
            kinds["all"].append(one)
    return {kind: _figures(asked) for kind, asked in sorted(kinds.items(), key=lambda kind: kind[0] == "all")}


def _figures(asked: Sequence[StoredQuestion]) -> KindFigures:
    outcomes = [[verdict.outcome for _, verdict in one.judged] for one in asked]
    all_outcomes = Counter(outcome for each in outcomes for outcome in each)
    truths = Counter(one.question.answer for one in asked)
    n = all_outcomes.total()
    mixed = sum(Outcome.CORRECT in each and Outcome.INCORRECT in each for each in outcomes)
    return KindFigures(
        questions=len(asked),
        responses=n,
        right=all_outcomes[Outcome.CORRECT] / n,
        chance=max(truths.values()) / len(asked),
        parsable=1 - all_outcomes[Outcome.UNPARSED] / n,
        mixed=mixed / len(asked),
    )


@dataclass(frozen=True, slots=True)
class Halves:
    """The statements after the cut on both sides of a Dropout-NTP pair.

    `margin`: nats per token by which the chosen side is likelier, given the image; None if the run did not score it.
    """

    chosen: Statements
    rejected: Statements
    margin: float | None

    @property
    def is_falser(self) -> bool:
        """Whether a larger fraction of the statements is false on the rejected side than on the chosen side."""
        return _false_share(self.rejected) > _false_share(self.chosen)


def _false_share(statements: Statements) -> float:
    return statements.false / max(1, statements.total)


def halves(questions: Sequence[StoredQuestion], scenes: dict[str, Scene]) -> list[Halves]:
    """Return the statements of every Dropout-NTP pair of a run; a draft may have several pairs."""
    open_questions = [one for one in questions if one.question.answer is None]
    found = []
    for one in open_questions:
        pairs = make_pairs(one, PairOptions(pairs_per_question=len(one.responses)))
        for pair in pairs if isinstance(pairs, list) else ():
            splice = one.find(pair.rejected).splice
            assert splice is not None, "a completion that continues nothing"
            start, scene, scores = splice.prefix_chars, scenes[one.question.id], splice.scores
            chosen, rejected = (count_statements(text, scene, start=start) for text in pair_texts(one, pair))
            found.append(Halves(chosen, rejected, scores[0] - scores[1] if scores else None))
    return found


def grounding_figures(pairs: Sequence[Halves]) -> dict[str, dict[str, float]]:
    """Return for several values of `min_grounding_margin` the pairs that stay, and the fraction of them that is falser.

    Empty if the run did not score its pairs.
    """
    if any(pair.margin is None for pair in pairs):
        return {}
    kept = {f"{margin:g}": [p for p in pairs if (p.margin or 0.0) >= margin] for margin in _MARGINS}
    return {m: {"pairs": len(k), "falser": sum(p.is_falser for p in k) / len(k)} for m, k in kept.items() if k}


def draft_figures(questions: Sequence[StoredQuestion], scenes: dict[str, Scene]) -> DraftFigures | None:
    """Return the figures of the choice among several drafts; None if no question had several."""
    found = [_draft_counts(one, scenes[one.question.id]) for one in questions]
    counts = np.array([each for each in found if each is not None])
    if not len(counts):
        return None
    ratio, low, high = bootstrap(counts, lambda sums: sums[0] / sums[2], resamples=_RESAMPLES)
    chosen_false, chosen, others_false, others = counts.mean(axis=0)
    return DraftFigures(
        questions=len(counts),
        chosen_false=float(chosen_false),
        chosen_statements=float(chosen),
        others_false=float(others_false),
        others_statements=float(others),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
    )


def _draft_counts(one: StoredQuestion, scene: Scene) -> tuple[float, float, float, float] | None:
    """Return false and all statements of the chosen draft, and the means of the other drafts.

    None if the question has fewer than two drafts, or no completion, which would name the chosen draft.
    """
    counts = [count_statements(draft.text, scene) for draft in one.of_stage(Stage.DRAFT)]
    splices = [stored.splice for stored in one.responses if stored.splice is not None]
    if len(counts) < 2 or not splices:
        return None
    chosen = counts.pop(splices[0].draft_index)
    return chosen.false, chosen.total, fmean(c.false for c in counts), fmean(c.total for c in counts)


def dropout_figures(pairs: Sequence[Halves]) -> DropoutFigures:
    """Return the fractions of false statements over all pairs; the interval resamples whole pairs."""
    counts = np.array([(p.chosen.false, p.chosen.total, p.rejected.false, p.rejected.total) for p in pairs], float)
    ratio, low, high = bootstrap(counts, _ratio, resamples=_RESAMPLES)
    total = counts.sum(axis=0)
    return DropoutFigures(
        pairs=len(pairs),
        chosen_statements=int(total[1]),
        rejected_statements=int(total[3]),
        chosen_false=float(total[0] / total[1]),
        rejected_false=float(total[2] / total[3]),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
    )


def bootstrap(
    counts: NDArray[np.float64], statistic: Callable[[Any], Any], *, resamples: int
) -> tuple[float, float, float]:
    """Return a statistic of summed counts, and its 95 % bootstrap interval, which resamples whole rows.

    Args:
        counts: (rows, kinds of counts).
        statistic: takes the sums: (kinds,) -> a number, or (kinds, resamples) -> (resamples,).
        resamples: number of resamples; the seed is fixed, so the result is always the same.
    """
    drawn = np.random.default_rng(0).integers(len(counts), size=(resamples, len(counts)))
    low, high = np.percentile(statistic(counts[drawn].sum(axis=1).T), [2.5, 97.5])
    return float(statistic(counts.sum(axis=0))), float(low), float(high)


def _ratio(counts: Any) -> Any:  # noqa: ANN401  a vector of 4 or an array (4, resamples)
    chosen_false, chosen, rejected_false, rejected = counts
    return (rejected_false / rejected) / (chosen_false / chosen)


def table(
    kinds: dict[str, KindFigures],
    dropout: DropoutFigures | None,
    grounding: dict[str, dict[str, float]],
    drafts: DraftFigures | None = None,
) -> str:
    """Return the tables in Markdown."""
    lines = [
        "| kind | questions | right | chance | parsable | both right and wrong |",
        "|---|---|---|---|---|---|",
    ]
    for kind, f in kinds.items():
        shares = (f.right, f.chance, f.parsable, f.mixed)
        lines.append(f"| {kind} | {f.questions} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    if dropout is not None:
        d = dropout
        lines += [
            "",
            "| Dropout-NTP, behind the cut | statements | false |",
            "|---|---|---|",
            f"| chosen halves | {d.chosen_statements} | {d.chosen_false:.1%} |",
            f"| rejected halves | {d.rejected_statements} | {d.rejected_false:.1%} |",
            f"| ratio over {d.pairs} pairs | | {d.ratio:.2f} (95 %: {d.ratio_low:.2f} to {d.ratio_high:.2f}) |",
        ]
    if grounding:
        lines += ["", "| least margin given the image | pairs | rejected half falser |", "|---|---|---|"]
        lines += [f"| {margin} nats a token | {f['pairs']} | {f['falser']:.1%} |" for margin, f in grounding.items()]
    if drafts is not None:
        interval = f"{drafts.ratio:.2f} (95 %: {drafts.ratio_low:.2f} to {drafts.ratio_high:.2f})"
        lines += [
            "",
            "| drafts | statements a draft | false |",
            "|---|---|---|",
            f"| chosen | {drafts.chosen_statements:.2f} | {drafts.chosen_false:.2f} |",
            f"| passed over | {drafts.others_statements:.2f} | {drafts.others_false:.2f} |",
            f"| ratio over {drafts.questions} questions | | {interval} |",
        ]
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, print the tables, and write them as JSON."""
    parser = argparse.ArgumentParser(description="Measure a build of the pocket world against its truths.")
    parser.add_argument("run", help="run folder of the build")
    parser.add_argument("scenes", type=Path, help="scenes.jsonl of its questions")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    questions = list(questions_of(RunFolder(given.run)))
    kinds = kind_figures(questions)
    scenes = read_scenes(given.scenes)
    pairs, drafts = halves(questions, scenes), draft_figures(questions, scenes)
    dropout, grounding = dropout_figures(pairs) if pairs else None, grounding_figures(pairs)
    print(table(kinds, dropout, grounding, drafts))
    if given.json:
        figures = {
            "kinds": {k: asdict(f) for k, f in kinds.items()},
            "dropout_ntp": dropout and asdict(dropout),
            "grounding": grounding,
            "drafts": drafts and asdict(drafts),
        }
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
