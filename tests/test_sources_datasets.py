"""Data sets as the `datasets` library keeps them: folders of `save_to_disk`, and the Hub through a local stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpr.errors import SourceError
from mmpr.images import load
from mmpr.sources import index, open_source, ranges, rows_hash
from tests.hub_standin import hub
from tests.source_files import read_all


@pytest.fixture
def dataset(tmp_path):
    for i in range(5):
        Image.new("RGB", (4 + i, 3), "red").save(tmp_path / f"{i}.png")
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "image": datasets.Image(),
            "answer": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    columns = {
        "question": [f"Is it {i}?" for i in range(5)],
        "image": [str(tmp_path / f"{i}.png") for i in range(5)],
        "answer": [0, 1, -1, 1, 0],
    }
    return datasets.Dataset.from_dict(columns, features=features)


def test_a_folder_of_save_to_disk(tmp_path, dataset):
    dataset.save_to_disk(tmp_path / "vqa", num_shards=2)
    rows = read_all(open_source(tmp_path / "vqa"))
    assert [row.text for row in rows] == dataset["question"][:]
    assert [row.answer for row in rows] == [("no",), ("yes",), None, ("yes",), ("no",)]
    assert [load(row.images[0], root=tmp_path).width for row in rows] == [4, 5, 6, 7, 8]
    assert rows[-1].id == "vqa/data-00001-of-00002:1"


def test_rows_that_were_selected_and_shuffled_before_they_were_saved(tmp_path, dataset):
    dataset.shuffle(seed=1).select([3, 1]).save_to_disk(tmp_path / "vqa")
    expected = dataset.shuffle(seed=1).select([3, 1])["question"][:]
    assert [row.text for row in read_all(open_source(tmp_path / "vqa"))] == expected


def test_a_folder_of_several_splits_says_to_name_one(tmp_path, dataset):
    datasets.DatasetDict({"train": dataset, "test": dataset.select([0])}).save_to_disk(tmp_path / "vqa")
    with pytest.raises(SourceError, match=r"has the splits train, test: name one, as .*vqa/train"):
        open_source(tmp_path / "vqa")
    assert len(read_all(open_source(tmp_path / "vqa" / "test"))) == 1


def test_a_folder_of_one_split_is_that_split(tmp_path, dataset):
    datasets.DatasetDict({"train": dataset}).save_to_disk(tmp_path / "vqa")
    source = open_source(tmp_path / "vqa")
    assert (source.name, len(read_all(source))) == ("vqa", 5)


def test_parquet_that_datasets_wrote_has_the_same_rows(tmp_path, dataset):
    dataset.save_to_disk(tmp_path / "arrow")
    dataset.to_parquet(tmp_path / "vqa.parquet")
    rows = [read_all(open_source(tmp_path / name)) for name in ("arrow", "vqa.parquet")]
    for one, other in zip(*rows, strict=True):
        assert (one.text, one.answer) == (other.text, other.answer)
        assert load(one.images[0], root=tmp_path) == load(other.images[0], root=tmp_path)


def test_a_shard_that_is_gone(tmp_path, dataset):
    dataset.save_to_disk(tmp_path / "vqa", num_shards=2)
    (tmp_path / "vqa" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(SourceError, match=r"data-00001-of-00002\.arrow: cannot be read"):
        open_source(tmp_path / "vqa")


@pytest.mark.parametrize("address", ["hf://vqa:train", "hf://owner/vqa", "hf://owner/vqa/:train", "hf://owner/vqa:"])
def test_an_address_that_names_no_split(address):
    with pytest.raises(SourceError, match="write hf://owner/name:split"):
        open_source(address)


PROGRAM = """
import json, sys, time
time.sleep = lambda seconds: None  # the client's pauses between its tries
from mmpr.errors import SourceError
from mmpr.sources import index, open_source, ranges, read_range, rows_hash
found = []
for address in sys.argv[1:]:
    try:
        source = open_source(address)
    except SourceError as error:
        found.append(str(error))
        continue
    leases = list(ranges(index(source)))
    rows = [(row.id, row.source, row.text) for lease in leases for row in read_range(source, lease)]
    found.append([source.path, rows, [rows_hash(source, lease) for lease in leases]])
print(json.dumps(found))
"""


def fetch(home, endpoint, *addresses):
    """Open and read in a process of its own: the Hub's client reads its settings when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN"):
        environment.pop(name, None)
    program = [sys.executable, "-c", PROGRAM, *addresses]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_data_set_of_parquet_files_on_the_hub(tmp_path):
    root = tmp_path / "repository"
    (root / "data").mkdir(parents=True)
    for i in range(2):
        rows = {"question": [f"How many are {i}{j}?" for j in range(3)], "answer": ["1", "2", "3"]}
        pq.write_table(pa.table(rows), root / "data" / f"train-{i:05d}-of-00002.parquet")
    pq.write_table(pa.table({"question": ["Why?"]}), root / "data" / "test-00000-of-00001.parquet")
    (root / "README.md").write_text("---\nlicense: mit\n---\n")
    addresses = ("hf://owner/vqa:train", "hf://owner/vqa:test", "hf://owner/vqa:dev", "hf://owner/none:train")
    with hub(root) as endpoint:
        train, test, no_split, no_name = fetch(tmp_path / "home", endpoint, *addresses)
    assert train[0] == "hf://owner/vqa:train"
    assert [text for _, _, text in train[1]] == [f"How many are {i}{j}?" for i in range(2) for j in range(3)]
    assert train[1][3][:2] == ["vqa/train-00001-of-00002:0", "vqa"]
    assert len(test[1]) == 1
    assert "its splits are train, test" in no_split
    assert no_name.startswith("hf://owner/none:train: cannot be fetched (") and "\n" not in no_name


def test_a_data_set_of_several_configurations_and_another_format_on_the_hub(tmp_path):
    root = tmp_path / "repository"
    for name in ("en", "zh"):
        (root / name).mkdir(parents=True)
        lines = [json.dumps({"question": f"How many are {name} {i}?"}) + "\n" for i in range(3)]
        (root / name / "train.jsonl").write_text("".join(lines))
    configs = [f"- config_name: {name}\n  data_files: {name}/train.jsonl\n" for name in ("en", "zh")]
    (root / "README.md").write_text("---\nconfigs:\n" + "".join(configs) + "---\n")
    with hub(root) as endpoint:
        zh, none = fetch(tmp_path / "home", endpoint, "hf://owner/vqa/zh:train", "hf://owner/vqa:train")
    assert [text for _, _, text in zh[1]] == [f"How many are zh {i}?" for i in range(3)]
    assert "cannot be fetched (Config name is missing" in none


def test_a_hub_that_does_not_answer(tmp_path):
    [found] = fetch(tmp_path / "home", "http://127.0.0.1:9", "hf://owner/vqa:train")
    assert found.startswith("hf://owner/vqa:train: cannot be fetched (") and found.endswith(
        "check the name and the network"
    )


def test_the_hash_of_classes_is_of_their_names(tmp_path, dataset):
    dataset.save_to_disk(tmp_path / "a")
    renamed = dataset.cast_column("answer", datasets.ClassLabel(names=["off", "on"]))
    renamed.save_to_disk(tmp_path / "b")
    sources = [open_source(tmp_path / name, name="vqa") for name in "ab"]
    first, second = (rows_hash(source, next(ranges(index(source)))) for source in sources)
    assert first != second
