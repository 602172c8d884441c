"""The table of `docs/judge.md`, made of `tests/cases/rule_examples.jsonl`.

Rewrite it with `PYTHONPATH=tests python -m judge.rule_table`.
"""

from __future__ import annotations

from pathlib import Path

from judging.case_files import options_of, question_of, rows
from mmpr.judging import judge

PAGE = Path(__file__).parents[2] / "docs" / "judge.md"
BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"


def table() -> str:
    """One line an example: the rule, the question and truth, what is accepted, what is not and what it becomes."""
    lines = ["| rule | question → reference answer | accepted | rejected or dropped |", "|---|---|---|---|"]
    for row in rows("rule_examples.jsonl"):
        answer = row["answer"] if isinstance(row["answer"], str) else ", ".join(row["answer"])
        stated = "".join(f", {name}={value!r}" for name, value in row.get("options", {}).items())
        rejected = "–"
        if row["rejected"] is not None:
            outcome = judge(question_of(row), row["rejected"], options=options_of(row)).outcome
            rejected = f"{_code(row['rejected'])} {outcome}"
        accepted = "–" if row["accepted"] is None else _code(row["accepted"])
        lines.append(f"| `{row['rule']}` | {row['question']} → {_code(answer)}{stated} | {accepted} | {rejected} |")
    return "\n".join(lines)


def _code(text: str) -> str:
    shown = text.replace("Final answer: ", "").replace("\n", " ⏎ ").replace("|", "\\|")
    return f"`{shown if len(shown) <= 60 else shown[:57] + '...'}`"


def write() -> None:
    """Put the table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write()
