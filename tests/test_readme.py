"""What the README names exists: tests, presets, settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmpr.builder.engine_choice import engine_options
from mmpr.engines.vllm import engine_arguments
from mmpr.settings.config import load, settings_by_name
from mmpr.settings.presets import preset_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TESTS = {path.name for path in (ROOT / "tests").rglob("test_*.py")}


def test_every_test_that_the_readme_names_exists():
    named = set(re.findall(r"\b(test_\w+\.py)\b", README))
    assert len(named) > 10 and named <= TESTS


def test_the_readmes_tables_of_inputs_sources_and_prompts_name_a_test_in_each_row():
    for title in ("Sources", "Images and videos", "Prompts"):
        section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ") and "shown by" not in line]
        assert len(rows) > 4 and all("test_" in row for row in rows), title


def test_the_readme_names_the_presets_and_no_others():
    section = README.split("| presets |")[1].split("\n\n")[0]
    named = set()
    for first, others, mpo in re.findall(r"\| `([\w-]+)`((?:, `-\w+`)+)(, and each with `-mpo`)?", section):
        family = first.rpartition("-")[0]
        names = [first, *(family + size for size in re.findall(r"`(-\w+)`", others))]
        named |= {*names, *(f"{name}-mpo" for name in names if mpo)}
    assert named == set(preset_names()) - {"pocket"}


@pytest.mark.parametrize(
    "name",
    [
        *("allowed_hosts", "max_image_bytes", "max_video_bytes", "fetch_timeout_s", "fetch_retries"),
        *("video_frames", "video_tiles", "prompt_template", "system_message"),
    ],
)
def test_a_setting_that_the_readme_names_exists(name):
    assert f"`{name}" in README and name in settings_by_name()


def test_quantised_weights_load_by_vllms_own_options():
    config = load(Path("internvl2-8b"), ["model=OpenGVLab/InternVL2-8B-AWQ", "quantization=awq"], pocket=False)
    assert engine_arguments(engine_options(config))["quantization"] == "awq"
