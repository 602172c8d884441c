"""How the judge decided over a whole run: sums of the verdicts that its pairs were made from.

They stand in a file of their own beside the dataset, for a commit tells only what was found when it was made: pairing
again under other settings of the judge gives new verdicts, and leaves the commits as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmpr.errors import RunFolderError
from mmpr.pairing import Judged, first_round
from mmpr.run.commit_records import to_json

if TYPE_CHECKING:
    from mmpr.run.folder import RunFolder

VERDICTS = "verdicts.json"


@dataclass(slots=True)
class VerdictCounts:
    """Sums that do not depend on the order of what is counted.

    Args:
        by_rule: responses by the rule that decided and by outcome.
        by_accuracy: questions by how many of their responses are right, of how many that `accuracy` counts.
    """

    by_rule: dict[str, Counter[str]] = field(default_factory=dict)
    by_accuracy: Counter[tuple[int, int]] = field(default_factory=Counter)

    def count(self, judged: Sequence[Judged]) -> None:
        """Take one question's responses."""
        for _, verdict in judged:
            self.by_rule.setdefault(str(verdict.rule), Counter())[verdict.outcome.value] += 1
        right, n = first_round(judged)
        if n:
            self.by_accuracy[right, n] += 1

    def add(self, other: VerdictCounts) -> None:
        """Take another's sums."""
        for rule, outcomes in other.by_rule.items():
            self.by_rule.setdefault(rule, Counter()).update(outcomes)
        self.by_accuracy.update(other.by_accuracy)

    def to_json(self) -> dict[str, Any]:
        """Plain and sorted: the same for the same sums."""
        return {
            "by_rule": {rule: dict(sorted(outcomes.items())) for rule, outcomes in sorted(self.by_rule.items())},
            "by_accuracy": [[*place, questions] for place, questions in sorted(self.by_accuracy.items())],
        }


def write_verdicts(folder: RunFolder, counts: VerdictCounts) -> None:
    """Write `verdicts.json`."""
    folder.store.write_bytes(VERDICTS, to_json(counts.to_json()))


def read_verdicts(folder: RunFolder) -> VerdictCounts:
    """What the last cut of the dataset counted.

    Raises:
        RunFolderError: the file is missing or damaged.
    """
    counts = VerdictCounts()
    try:
        fields = json.loads(folder.store.read_bytes(VERDICTS))
        counts.by_rule.update({rule: Counter(outcomes) for rule, outcomes in fields["by_rule"].items()})
        counts.by_accuracy.update({(right, n): questions for right, n, questions in fields["by_accuracy"]})
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        fault = "missing" if isinstance(error, FileNotFoundError) else "damaged"
        raise RunFolderError(f"{folder.url}/{VERDICTS} is {fault}; `mmpr pair {folder.url}` writes it anew") from error
    return counts
