"""Finished runs to export: every kind of pair, two sources, images and none; and rows forged into them."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from run import making

from mmpr.run import arrow_schema, write_manifest

SHARD = "data/train-00000-of-00001.parquet"
FORMATS = ["internvl", "llamafactory", "swift", "trl", "jsonl"]


def changed(committed, **fields):
    return replace(committed, question=replace(committed.question, **fields))


def two_sources():
    """Rows without an image come first, as types are guessed from the first rows."""
    shown = [making.image(seed) for seed in range(4)]
    rows = [making.sampled(row) for row in range(3)]
    rows += [making.sampled(row, [shown[row % 4]]) for row in range(3, 8)]
    rows += [making.drafted(row, shown[:1]) for row in range(8, 10)]
    rows += [making.sampled(row, shown[:3]) for row in range(10, 12)]
    rows += [changed(making.sampled(row, [shown[3]]), source="docs/../é") for row in range(12, 15)]
    return [*rows, making.skipped(15)]


def make(path, rows=None):
    return making.finished_run(str(path), two_sources() if rows is None else rows)


def rows_of(run):
    """The run's rows, to be changed at will."""
    tables = [pq.read_table(file) for file in sorted(Path(run.url).glob("data/*.parquet"))]
    return copy.deepcopy([row for table in tables for row in table.to_pylist()])


def forge(run, shards, *, group_rows=256):
    """Put other rows into a run, with a manifest that agrees; `shards` by file name, or the rows of the only one."""
    shards = shards if isinstance(shards, dict) else {SHARD: shards}
    for name, rows in shards.items():
        table = pa.Table.from_pylist(rows, schema=arrow_schema())
        pq.write_table(table, Path(run.url) / name, row_group_size=group_rows)
    write_manifest(run, [replace(run.record(name), rows=0) for name in (*shards, "skips.parquet")])


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def images_in(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).glob("images/**/*") if path.is_file())


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def sees(path):
    with Image.open(path) as image:
        return image.convert("RGB").size
