"""The manual holds: README and docs name what exists, their tables and links work, the settings page is current."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

import mmpr
from mmpr.builder.engine_choice import engine_options
from mmpr.cli.settings_verb import settings_page
from mmpr.engines.vllm import engine_arguments
from mmpr.settings.config import load, settings_by_name
from mmpr.settings.presets import preset_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def prose(page):
    """The page without its code."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page):
    """What a link may name in a page: its headings, as GitHub and MkDocs write them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_a_front_door_and_no_manual():
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_has_its_header_and_as_many_cells_in_each_row(page):
    lines = prose(page).splitlines()
    rows = [line.strip() for line in lines]
    for i, row in enumerate(rows):
        if not row.startswith("|"):
            continue
        first = i == 0 or not rows[i - 1].startswith("|")
        n_cells = len(re.split(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) - 2
        if first:
            width, dashes = n_cells, rows[i + 1]
            assert re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", dashes), f"a table without its line of dashes: {row}"
        assert n_cells == width, row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_and_every_file_of_ours_that_a_page_names_exists(page):
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"\b(test_\w+\.py)\b", page.read_text(encoding="utf-8"))) <= tests
    for path in re.findall(
        r"`((?:benchmarks|configs|docs|pipelines|mmpr)/[\w./-]+\.(?:py|md|yaml|sh|json))`", prose(page)
    ):
        assert (ROOT / path).exists(), path


def test_the_readmes_python_calls_what_there_is():
    (block,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    calls = {node.attr for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)}
    called = set(re.findall(r"\bmmpr\.(\w+)\(", block))
    assert len(called) > 2 and called <= set(mmpr.__all__)
    assert {"pairs", "report", "explain"} <= calls and all(
        hasattr(mmpr.Run, name) for name in ("pairs", "report", "explain")
    )


def test_the_page_of_settings_is_up_to_date():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page.rstrip() == settings_page().rstrip(), "make it again: mmpr settings --markdown > docs/settings.md"


def test_the_manual_names_the_presets_and_no_others():
    section = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").split("| presets |")[1].split("\n\n")[0]
    named = set()
    for first, others, more in re.findall(r"\| `([\w.-]+)`((?:, `[\w.-]+`)*)(?:, and each with `(-\w+)`)? \|", section):
        family = re.sub(r"-\d+b(-hf)?$", "", first)
        names = [first, *(family * name.startswith("-") + name for name in re.findall(r"`([\w.-]+)`", others))]
        named |= {*names, *(f"{name}{more}" for name in names if more)}
    assert named == set(preset_names()) - {"pocket"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_setting_that_a_command_gives_exists(page):
    known = settings_by_name()
    names = {*known, *(one.full_name for one in known.values())}
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"^\s*\$ mmpr (?:build|pair|check|eval|merge|import) (.*)$", text, re.MULTILINE):
        for name in re.findall(r"(?<!\S)([a-z_][\w.]*)=", command.split("  #")[0]):
            short = name.removeprefix("sources.").partition(".")[2] if name.startswith("sources.") else name
            assert short in names or short.partition(".")[0] in names, name


def test_quantised_weights_load_by_vllms_own_options():
    config = load(Path("internvl2-8b"), ["model=OpenGVLab/InternVL2-8B-AWQ", "quantization=awq"], pocket=False)
    assert engine_arguments(engine_options(config))["quantization"] == "awq"


def test_the_site_shows_a_bar_in_a_tables_code_without_the_escape_that_github_wants():
    hooks = runpy.run_path(str(ROOT / ".ci" / "manual_hooks.py"))
    page = r"`a\|b` stays" + "\n| one | two |\n|---|---|\n" + r"| `<\|image\|>` | x \| y |"
    assert hooks["on_page_markdown"](page, page=None).splitlines()[0] == r"`a\|b` stays"
    assert hooks["on_page_markdown"](page, page=None).splitlines()[-1] == r"| `<|image|>` | x \| y |"
