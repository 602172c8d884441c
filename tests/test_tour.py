"""The notebook of the manual: its cells run in order, show images, and end in an export."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = json.loads((Path(__file__).parents[1] / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def run_cell(source, names):
    """What a notebook would show of the cell: the value of its last line."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "docs/tour.ipynb", "exec"), names)
    return eval(compile(ast.Expression(last.value), "docs/tour.ipynb", "eval"), names) if last else None


def test_the_notebook_is_stored_without_outputs():
    assert NOTEBOOK["nbformat"] == 4 and len(CODE) > 6
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.engine
def test_the_notebook_runs(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "tour"}
    shown = [value for value in (run_cell(source, names) for source in CODE) if hasattr(value, "_repr_html_")]
    assert len(shown) == 2 and all("data:image/png;base64," in value._repr_html_() for value in shown)
    printed = capsys.readouterr().out
    assert "questions =" in printed and "rule number" in printed and "stage: dpo" in printed
    assert (
        names["fewer"].report.pairs < names["run"].report.pairs and (tmp_path / "tour/llamafactory/mpo.yaml").exists()
    )
