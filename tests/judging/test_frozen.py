"""The verdicts of this version of the judge on our own cases, frozen: whoever changes one bumps `mmpr.judging.VERSION`.

Stored verdicts carry the version, and a run whose verdicts are older is judged again. To freeze the table after a
bump: `PYTHONPATH=.:tests python -m judging.test_frozen`.
"""

from __future__ import annotations

import json
from pathlib import Path

from judging.case_files import FILES, cases
from mmpr.judging import VERSION, judge

TABLE = Path(__file__).parent / "frozen_verdicts.jsonl"


def verdicts() -> dict[str, str]:
    """Case -> outcome, rule and certainty."""
    found = {}
    for name in FILES:
        for case in cases(name):
            said = judge(case.question, case.response)
            found[f"{name}/{case.name}"] = " ".join(filter(None, (said.outcome, said.rule, said.certainty)))
    return found


def freeze() -> None:
    """Write the table of this version."""
    lines = [json.dumps({"version": VERSION})]
    lines += [json.dumps([name, said], ensure_ascii=False) for name, said in verdicts().items()]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_no_verdict_changes_without_a_bump_of_the_version() -> None:
    first, *rest = (json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines())
    frozen, now = dict(rest), verdicts()
    changed = [name for name in now if frozen.get(name) != now[name]]
    assert first["version"] == VERSION, "a new version: freeze its table (see the head of this file)"
    assert not changed, f"bump VERSION, then freeze: {len(changed)} verdicts differ, first {changed[:3]}"
    assert frozen.keys() == now.keys(), "cases came or went: freeze the table"


if __name__ == "__main__":
    freeze()
