"""Measure how often the pocket model's letters are right on combinations that its training never saw.

    python -m pipelines.pocket.letter_figures --n 1500

This shows that the verifier works from end to end. It says nothing about the precision of a verifier on real answers.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from mmpr.pocket import checkpoint_path
from mmpr.verifier.verifier_prompts import LETTERS, Decision, letter_for
from pipelines.pocket.checkpoint import read_checkpoint
from pipelines.pocket.examples import END_OF_TEXT, Talk, encode_talk
from pipelines.pocket.letters import JudgedCase, draw_case, exchange
from pipelines.pocket.model import Shape, Vision, make_language

_AT_ONCE = 32  # prompts per batch


@dataclass(frozen=True, slots=True)
class AskedCase:
    """A case and the model's decisions about it, in both orders of the letters."""

    case: JudgedCase
    said: tuple[Decision, Decision]

    @property
    def right(self) -> float:
        return fmean(one is self.case.decision for one in self.said)

    @property
    def agreed(self) -> bool:
        return self.said[0] is self.said[1]


def ask_cases(folder: Path, cases: Sequence[JudgedCase]) -> list[AskedCase]:
    """Return the decision of each case by a checkpoint's likeliest letter, in both orders."""
    shape = Shape()
    vision, language = Vision(shape), make_language(shape)
    tokenizer = read_checkpoint(folder, vision, language, shape)
    found = {}
    for swapped in (False, True):
        meaning = {letter_for(decision, swapped=swapped): decision for decision in Decision}
        prompts = [exchange(case, swapped=swapped)[0] for case in cases]
        found[swapped] = [meaning[letter] for letter in _letters(language, tokenizer, shape, prompts)]
    return [AskedCase(case, (one, other)) for case, one, other in zip(cases, found[False], found[True], strict=True)]


def _letters(language: LlamaForCausalLM, tokenizer: Tokenizer, shape: Shape, prompts: Sequence[str]) -> list[str]:
    ids = torch.tensor([tokenizer.token_to_id(letter) for letter in LETTERS])
    rows = [encode_talk(tokenizer, Talk(prompt, ""), 0, shape) for prompt in prompts]
    by_length = sorted(range(len(rows)), key=lambda i: rows[i][1])
    found = [""] * len(rows)
    for first in range(0, len(rows), _AT_ONCE):
        some = by_length[first : first + _AT_ONCE]
        longest = max(rows[i][1] for i in some)
        padded = torch.tensor([rows[i][0][: rows[i][1]] + [END_OF_TEXT] * (longest - rows[i][1]) for i in some])
        with torch.no_grad():
            states = language.model(input_ids=padded, use_cache=False).last_hidden_state
            last = states[torch.arange(len(some)), torch.tensor([rows[i][1] - 1 for i in some])]
            best = language.lm_head(last)[:, ids].argmax(-1)
        for i, place in zip(some, best.tolist(), strict=True):
            found[i] = LETTERS[place]
    return found


def table(asked: Iterable[AskedCase]) -> str:
    """Return a Markdown table: the fraction of right letters, of all cases and of those with two equal decisions."""
    groups: dict[str, list[AskedCase]] = defaultdict(list)
    for one in asked:
        case = one.case
        groups["all"].append(one)
        groups[case.kind].append(one)
        groups[f"to say: {case.decision.replace('_', ' ')}"].append(one)
        groups["Chinese" if case.question.language == "zh" else "English"].append(one)
        groups["asks for a letter" if case.injected else "asks for no letter"].append(one)
        if case.injected and case.decision is Decision.INCORRECT:
            groups["wrong, asks for a letter"].append(one)
    lines = ["| cases | n | right | right where both orders agree | agree |", "|---|---|---|---|---|"]
    for name, some in sorted(groups.items()):
        agreed = [one.right for one in some if one.agreed]
        shares = (fmean(one.right for one in some), fmean(agreed or [0.0]), len(agreed) / len(some))
        lines.append(f"| {name} | {len(some)} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description="Measure the pocket model's letters on combinations it never saw.")
    parser.add_argument("--checkpoint", type=Path, default=checkpoint_path())
    parser.add_argument("--n", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print(table(ask_cases(given.checkpoint, [draw_case(rng, held_out=True) for _ in range(given.n)])))


if __name__ == "__main__":
    main()
