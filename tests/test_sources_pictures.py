"""Images as bytes in Parquet and Arrow rows: read, loaded, embedded once; and a resumed run does not read them."""

from __future__ import annotations

import base64
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpr.images import load
from mmpr.run import StoredImage, StoredQuestion
from mmpr.run.chunk_tables import question_groups
from mmpr.sources import index, open_source, ranges, read_hashed, rows_hash
from tests.source_files import read_all

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
KINDS = {
    "struct": (STRUCT, lambda raw, name: {"bytes": raw, "path": name}),
    "structs": (pa.list_(STRUCT), lambda raw, name: [{"bytes": raw, "path": name}] * 2),
    "large structs": (pa.large_list(STRUCT), lambda raw, name: [{"bytes": raw, "path": name}]),
    "nameless": (pa.struct([("bytes", pa.binary())]), lambda raw, name: {"bytes": raw}),
    "binary": (pa.binary(), lambda raw, name: raw),
    "large binary": (pa.large_binary(), lambda raw, name: raw),
    "binaries": (pa.list_(pa.binary()), lambda raw, name: [raw, raw]),
}


def encoded(colour, form="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(file, form)
    return file.getvalue()


def write(path, kind, n=20, change=lambda raw: raw):
    image, shape = KINDS[kind]
    schema = pa.schema([("id", pa.string()), ("question", pa.string()), ("image", image)])
    rows = [
        {"id": f"q{i}", "question": "How?", "image": shape(change(encoded((i, 0, 0))), f"{i}.png") if i % 5 else None}
        for i in range(n)
    ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=7)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), max_chunksize=6)
    return open_source(path)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_a_row_are_its_images(tmp_path, kind, suffix):
    source = write(tmp_path / f"vqa.{suffix}", kind)
    for i, row in enumerate(read_all(source, chunk_questions=3)):
        images = [load(reference, root=tmp_path) for reference in row.images]
        assert len(images) == (0 if i % 5 == 0 else 2 if kind in ("structs", "binaries") else 1)
        assert all(image.encoded == encoded((i, 0, 0)) for image in images)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_hash_of_rows_is_made_without_reading_images(tmp_path, kind, suffix, monkeypatch):
    source = write(tmp_path / f"vqa.{suffix}", kind)
    leases = list(ranges(index(source), chunk_questions=6))
    hashes = [read_hashed(source, lease)[1] for lease in leases]
    seen = []
    real = pa.RecordBatch.to_pylist
    monkeypatch.setattr("mmpr.sources.column_tables._values", lambda batch: (seen.append(batch), real(batch))[1])
    assert [rows_hash(source, lease) for lease in leases] == hashes
    assert seen and not any("binary" in str(batch.schema) for batch in seen)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_an_image_with_another_name_changes_the_hash(tmp_path, suffix):
    leases = list(ranges(index(write(tmp_path / f"a.{suffix}", "struct"))))
    KINDS["renamed"] = (STRUCT, lambda raw, name: {"bytes": raw, "path": f"new {name}"})
    sources = write(tmp_path / f"a.{suffix}", "struct"), write(tmp_path / f"b.{suffix}", "renamed")
    del KINDS["renamed"]
    assert rows_hash(sources[0], leases[0]) != rows_hash(sources[1], leases[0])


def test_an_image_that_is_only_named_is_read_from_its_place(tmp_path):
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png")
    rows = [{"question": "How?", "image": {"bytes": None, "path": "a.png"}}]
    schema = pa.schema([("question", pa.string()), ("image", STRUCT)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "a.parquet")
    [row] = read_all(open_source(tmp_path / "a.parquet"))
    assert row.images == (str(tmp_path / "a.png"),)


def test_bytes_that_are_no_image_are_named_when_they_are_loaded(tmp_path):
    from mmpr.errors import ImageError

    source = write(tmp_path / "a.parquet", "struct", change=lambda raw: raw[:20])
    [reference] = read_all(source)[1].images
    with pytest.raises(ImageError, match="damaged or cut short"):
        load(reference, root=tmp_path)


@pytest.mark.parametrize(
    ("form", "kind"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "*")]
)
def test_the_reference_names_the_images_format(tmp_path, form, kind):
    raw = encoded("red", form)
    pq.write_table(pa.table({"question": ["How?"], "image": [raw]}), tmp_path / "a.parquet")
    [row] = read_all(open_source(tmp_path / "a.parquet"))
    assert row.images == (f"data:image/{kind};base64,{base64.b64encode(raw).decode()}",)
    assert load(row.images[0], root=tmp_path).format in (form, "PNG")


def test_the_run_folder_has_an_image_once_and_of_its_reference_a_hash(tmp_path):
    noise = Image.effect_noise((90, 90), 80).convert("RGB")
    file = io.BytesIO()
    noise.save(file, "PNG")
    pq.write_table(pa.table({"question": ["How?", "Why?"], "image": [file.getvalue()] * 2}), tmp_path / "a.parquet")
    rows = read_all(open_source(tmp_path / "a.parquet"))
    stored = [StoredQuestion(row, (StoredImage.of(load(row.images[0], root=tmp_path)),)) for row in rows]
    [written] = question_groups(stored)
    first, second = written.to_pylist()
    assert first["pictures"][0]["encoded"] == file.getvalue() and second["pictures"][0]["encoded"] is None
    assert first["images"] == second["images"] and first["images"][0].startswith("sha256:")
    assert len(first["images"][0]) < 100


def test_leases_of_many_images_do_not_hold_them(tmp_path):
    import numpy as np

    raws = [np.random.default_rng(i).bytes(200_000) for i in range(600)]
    table = pa.table({"question": ["How?"] * 600, "image": raws})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=600, use_dictionary=False, write_batch_size=8)
    del raws, table
    source = open_source(tmp_path / "a.parquet")
    before = pa.total_allocated_bytes()
    for lease in ranges(index(source), chunk_questions=50):
        read_hashed(source, lease)
        assert pa.total_allocated_bytes() - before < 40_000_000  # of 120 MB
