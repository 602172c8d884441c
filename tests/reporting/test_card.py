"""The dataset card: what `datasets` reads from it, and that hostile text cannot change it."""

from __future__ import annotations

import functools
import io

import pytest
import yaml
from datasets import load_dataset
from PIL import Image

from mmpr.reporting.card import escape
from mmpr.reporting.card_text import COLUMNS, fenced
from mmpr.reporting.plain_names import POCKET_LINE
from mmpr.reporting.report_files import write_reports
from mmpr.run import dataset_features, read_chunk

from .conftest import make_run


def parts(folder):
    _, front, body = folder.store.read_bytes("README.md").decode().split("---\n", 2)
    return yaml.safe_load(front), body.strip()


def test_the_pocket_model_is_said_in_the_first_line(run):
    assert parts(run[0])[1].splitlines()[0] == POCKET_LINE


def test_no_other_model_is_called_the_pocket_model():
    folder, totals, files = make_run("memory://named", n=16, model="OpenGVLab/InternVL2-8B")
    write_reports(folder, totals, files)
    assert "pocket" not in parts(folder)[1]
    assert b"pocket model" not in folder.store.read_bytes("report.html")


def test_the_front_matter_names_two_configs_over_the_same_files(run):
    front, _ = parts(run[0])
    assert [config["config_name"] for config in front["configs"]] == ["default", "raw"]
    assert {config["data_files"][0]["path"] for config in front["configs"]} == {"data/train-*.parquet"}
    assert front["license"] == "other"
    assert "## Licence" in parts(run[0])[1] and "| images | TODO | |" in parts(run[0])[1]


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("Terms `v1` of: us", {"license": "other", "license_name": "Terms `v1` of: us"}),
    ],
)
def test_a_given_licence_and_title_stand_in_the_card(tmp_path, given, fields):
    folder, totals, files = make_run(
        str(tmp_path / "run"), n=16, selection={"license": given, "pretty_name": "Cats: *1*"}
    )
    write_reports(folder, totals, files)
    front, body = parts(folder)
    assert {name: front[name] for name in front if name.startswith("license")} == fields
    assert front["pretty_name"] == "Cats: *1*" and "# Cats: \\*1\\*\n" in body
    assert "This dataset: `" in body and "placeholder" not in body


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_both_configs_with_the_images_that_were_committed(run, tmp_path, streaming):
    folder, totals, _, _ = run
    committed = [one for commit in folder.committed().values() for one in read_chunk(folder, commit)]
    known = {decoded.sha256: decoded.encoded for one in committed for decoded in one.images}
    raw, decoded = (
        list(load_dataset(folder.url, name, split="train", streaming=streaming, cache_dir=str(tmp_path)))
        for name in ("raw", "default")
    )
    assert len(raw) == len(decoded) == totals.pairs
    for bare, shown in zip(raw, decoded, strict=True):
        expected = [known[sha256] for sha256 in bare["image_sha256"]]
        assert [image["bytes"] for image in bare.pop("images")] == expected
        assert [image.tobytes() for image in shown.pop("images")] == list(map(pixels, expected))
        assert bare == shown


@functools.cache
def pixels(encoded):
    return Image.open(io.BytesIO(encoded)).tobytes()


def test_every_column_is_explained(run):
    assert {feature["name"] for feature in dataset_features(decode=True)} == set(COLUMNS)
    assert all(f"| `{name}` |" in parts(run[0])[1] for name in COLUMNS)


def test_every_table_has_as_many_cells_as_columns(run):
    tables = [block for block in parts(run[0])[1].split("\n\n") if block.startswith("|")]
    assert len(tables) == 8
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


def test_the_settings_in_the_card_are_a_configuration_file(run):
    _, body = parts(run[0])
    settings = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])
    assert settings == {**run[3].identity, **run[3].selection}


def test_a_name_from_a_source_is_no_markup():
    assert escape("a|b\n<img> [x](y) `c`") == r"a\|b \<img\> \[x\]\(y\) \`c\`"
    assert escape("\x1b[31mred\u202e") == r"\\x1b\[31mred\\u202e"


def test_every_trainer_is_told_how_to_load(run):
    _, body = parts(run[0])
    for trainer, form in (
        ("TRL", "trl"),
        ("InternVL", "internvl"),
        ("LLaMA-Factory", "llamafactory"),
        ("ms-swift", "swift"),
    ):
        assert f"**{trainer}**" in body and f"mmpr export FOLDER --format {form} --to DIR" in body


def test_the_card_says_how_the_pairs_were_made(run):
    _, body = parts(run[0])
    how = body.split("## How\n")[1].split("\n## ")[0]
    assert "answered 8 times (temperature 1.0, top_k 50; instruction `final`)" in how
    assert "At most 4 pairs per question, at most 2 with the same response" in how
    assert "about 0.5 of the tokens stayed" in how
    answers = body.split("## Answers\n")[1].split("\n## ")[0]
    bins = [line.split("|") for line in answers.splitlines() if "█" in line]
    assert sum(int(cells[2].replace(",", "")) for cells in bins) == run[3].accuracy.questions


def test_a_code_block_cannot_be_closed_from_inside():
    assert fenced("a\n```\nb", "yaml").startswith("````yaml")
