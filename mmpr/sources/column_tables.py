"""The common parts of Parquet and Arrow files: a cursor over record batches, rows as plain values, images as bytes.

An image in a row (`{bytes, path}`, plain bytes, or a list of these) becomes a `data:` reference. It is stored in the
run folder like any other image; of the reference only a hash is stored. A row's hash contains the image's path and not
its bytes, as for a row that names a file, so that a resumed run checks its rows without reading images.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from mmpr.errors import SourceError
from mmpr.sources.cursors import Raw
from mmpr.sources.file_columns import columns_of_row
from mmpr.sources.row_faults import RowFault
from mmpr.sources.source_records import COLUMNS, RESPONSES, Source
from mmpr.types import Reason

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_MOST_IMAGE_BYTES = 200_000_000  # of one row's images; the decoder has its own limits
_PIECE_BYTES = 16_000_000
_POINTER_BYTES = 8  # of a value in a list or record
_MOST_SIZES = 20_000_000  # values whose sizes are computed at the same time
_PYTHON_ROWS = 16  # rows that are Python values at the same time: their images may have some MB each
_IMAGE_BYTES = re.compile(r"jpe?g|png|webp|ima?ge?|picture|photo")
_NO_IMAGE = re.compile(r"audio|sound|speech|video|mp[34]|wav|pdf")
_MAGIC = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"), (b"GIF8", "gif"))


class TableCursor:
    """A cursor over batches of rows that can skip rows without reading them."""

    def __init__(self, batches: Iterator[pa.RecordBatch], ordinal: int, source: Source) -> None:
        self.ordinal = ordinal  # also the row's number
        self._batches = batches
        self._source = source
        self._batch: pa.RecordBatch | None = None
        self._used = 0  # rows of the current batch

    def advance(self, n: int) -> None:
        """Skip `n` rows."""
        for batch in self._pieces(n, n):
            self.ordinal += batch.num_rows

    def take(self, n: int) -> Iterator[Raw]:
        """Yield the next `n` rows."""
        for batch in self._pieces(n, _PYTHON_ROWS):
            kinds = images_of(batch.schema, self._source)
            hashed = _plainly_hashed(batch.schema.names, self._source) if self._source.plain_hash else None
            labels = _labels((batch.schema.metadata or {}).get(b"huggingface", b"{}"))
            for rows, n_bytes in bounded_rows(batch, kinds, self._source.max_row_bytes):
                if n_bytes is not None:  # one row over the limit
                    yield Raw(self.ordinal, (b"%d bytes\n" % n_bytes,), TooLong(n_bytes))
                    self.ordinal += 1
                    continue
                for values in _values(rows):
                    number = self.ordinal
                    self.ordinal += 1
                    yield _raw(number, values and _worded(values, labels), kinds, hashed)

    def close(self) -> None:
        """Close the file."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()

    def _pieces(self, n: int, most: int) -> Iterator[pa.RecordBatch]:
        while n:
            if self._batch is None or self._used == self._batch.num_rows:
                self._batch, self._used = next(self._batches, None), 0
            if self._batch is None:
                path = self._source.path
                raise SourceError(f"{path}: has fewer rows than when it was indexed: it has been written again")
            piece = self._batch.slice(self._used, min(n, most))
            self._used += piece.num_rows
            n -= piece.num_rows
            yield piece


def wanted(schema: pa.Schema, source: Source) -> list[str]:
    """Return the columns to read, under the file's names."""
    more = RESPONSES if source.rollouts else source.beside
    extra = [name for name in more if name in schema.names]
    return list(dict.fromkeys((*columns_of_row(source, schema.names).read, *extra)))


def image_columns(names: Iterable[str], source: Source, role: str = "image") -> list[str]:
    """Return the columns that hold images, or options that may be images."""
    groups = columns_of_row(source, names).places[role]
    return [column for group in groups for column in group]


def _plainly_hashed(names: Collection[str], source: Source) -> frozenset[str]:
    """Return the columns that rows were hashed by before layouts existed: a run of that time can be continued."""
    more: tuple[str, ...] = ()
    if "pid" in names and "answer_type" in names:
        more = ("pid", "decoded_image", "unit", "answer_type", "metadata", "query")
    elif "image_1" in names and "options" in names:
        more = ("options", *(f"image_{i}" for i in range(1, 8)))
    return frozenset((*map(source.column, COLUMNS), *more))


@dataclass(frozen=True, slots=True)
class TooLong:
    """Stands for the values of a row that is over the limit and was not read."""

    n_bytes: int


def bounded_rows(
    batch: pa.RecordBatch, images: Mapping[str, ImageReading], most: int
) -> Iterator[tuple[pa.RecordBatch, int | None]]:
    """Yield the rows in pieces that are small as Python values; a row over the limit is yielded alone with its size.

    Args:
        batch: some rows; texts are dictionaries if the file stores them so.
        images: its columns of images, whose bytes have their own limit.
        most: limit in bytes for the rest of a row.
    """
    import numpy as np

    texts, shown = np.zeros(batch.num_rows, np.int64), np.zeros(batch.num_rows, np.int64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        sizes = shown if name in images else texts
        sizes += value_sizes(column)
    first, held = 0, 0
    for row, (text, image) in enumerate(zip(texts.tolist(), shown.tolist(), strict=True)):
        refused = text > most or image > max(most, _MOST_IMAGE_BYTES)
        if row > first and (refused or held + text + image > _PIECE_BYTES):
            yield batch.slice(first, row - first), None
            first, held = row, 0
        if refused:
            yield batch.slice(row, 1), text + image
            first = row + 1
        else:
            held += text + image
    if first < batch.num_rows:
        yield batch.slice(first), None


class ImageReading(Enum):
    """The content of a column of images: references, bytes with names, or only bytes."""

    REFERENCES = 0
    NAMED = 1
    NAMELESS = 2


def images_of(schema: pa.Schema, source: Source) -> dict[str, ImageReading]:
    """Return by column how this file stores its images."""
    columns = [name for name in image_columns(schema.names, source) if name in schema.names]
    options = [name for name in image_columns(schema.names, source, "options") if name in schema.names]
    kinds = {name: _kept(schema.field(name).type) for name in (*columns, *options)}
    return {name: kind for name, kind in kinds.items() if name in columns or kind is not ImageReading.REFERENCES}


def image_typed(schema: pa.Schema) -> list[str]:
    """Return the columns whose type holds images, as `datasets` writes them; plain bytes need a name like `jpg`."""
    import pyarrow.types as kinds

    names = []
    for column in schema:
        kept, plain = _kept(column.type), kinds.is_binary(column.type) or kinds.is_large_binary(column.type)
        called = _IMAGE_BYTES if plain else _NO_IMAGE
        if kept is not ImageReading.REFERENCES and bool(called.search(column.name.lower())) == plain:
            names.append(column.name)
    return names


def _kept(kind: pa.DataType) -> ImageReading:
    import pyarrow.types as kinds

    # writers dictionary-encode a whole column, or the values inside its lists
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        kind = kind.value_type
        if kinds.is_dictionary(kind):
            kind = kind.value_type
    if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return ImageReading.NAMED if kind.get_field_index("path") >= 0 else ImageReading.NAMELESS
    binary = kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind)
    return ImageReading.NAMELESS if binary else ImageReading.REFERENCES


def values(raw: Raw, source: Source) -> dict[str, object]:
    """Return a row under the file's names, images as references; raises `RowFault` if a text is not UTF-8."""
    if isinstance(raw.content, TooLong):
        limit = f"the limit is {source.max_row_bytes:,}, and {_MOST_IMAGE_BYTES:,} for images"
        raise RowFault(Reason.BAD_ROW, f"{raw.content.n_bytes:,} bytes long, {limit}: put images into files")
    found = cast("dict[str, object] | None", raw.content)
    if found is None:
        raise RowFault(Reason.BAD_ROW, "a text is not UTF-8: convert it and write the file again")
    columns = [
        name for role in ("image", "options") for name in image_columns(found.keys(), source, role) if name in found
    ]
    return {**found, **{name: _each(found[name], _reference) for name in columns}}


def _raw(
    number: int, values: dict[str, Any] | None, kinds: Mapping[str, ImageReading], hashed: frozenset[str] | None
) -> Raw:
    """Return a row and what it is hashed by; `hashed` are the columns that count, None: all that are read."""
    texts = {name: value for name, value in (values or {}).items() if hashed is None or name in hashed}
    for name, kind in kinds.items():
        if kind is ImageReading.NAMELESS:
            texts.pop(name, None)
        elif name in texts:
            texts[name] = _each(texts[name], _path)
    return Raw(number, (json.dumps(texts if values else None, sort_keys=True, default=str).encode(), b"\n"), values)


def _each(value: object, change: Callable[[object], object]) -> object:
    return [change(one) for one in value] if isinstance(value, list) else change(value)


def _path(image: object) -> object:
    return image["path"] if isinstance(image, dict) and "path" in image else image


def _reference(image: object) -> object:
    if isinstance(image, dict) and (image.get("bytes") or image.get("path")):
        image = image.get("bytes") or image["path"]
    if not isinstance(image, bytes):
        return image
    # `*`: the decoder looks at the content, not at the type
    kind = next((kind for magic, kind in _MAGIC if image.startswith(magic)), "*")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _values(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """Return the rows' values; None for a row with a text that is not UTF-8, which some writers do not check."""
    try:
        return _shortened(batch, list(batch.to_pylist()))
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        return [values for i in range(batch.num_rows) for values in _values(batch.slice(i, 1))]


def _shortened(batch: pa.RecordBatch, rows: list[dict[str, Any] | None]) -> list[dict[str, Any] | None]:
    """Restore float32 and float16 values as they were written: 3.1, not the closest double 3.0999999046325684."""
    for column in batch.schema:
        if (written := _as_written(column.type)) is not None:
            for row in rows:
                if row is not None:
                    row[column.name] = written(row[column.name])
    return rows


def _as_written(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """Return a function that restores the small floats in values of this type; None if it has none."""
    import numpy as np
    import pyarrow.types as kinds

    if kinds.is_float32(kind) or kinds.is_float16(kind):
        small = np.float32 if kinds.is_float32(kind) else np.float16
        return lambda value: None if value is None else float(str(small(value)))
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        inner = _as_written(kind.value_type)
        return inner and (lambda values: values and [inner(value) for value in values])
    if kinds.is_struct(kind):
        fields = {field.name: written for field in kind if (written := _as_written(field.type)) is not None}
        return (
            (lambda struct: struct and {**struct, **{n: w(struct[n]) for n, w in fields.items()}}) if fields else None
        )
    return None


@lru_cache(maxsize=16)
def _labels(metadata: bytes) -> dict[str, list[str]]:
    """Return by column the class names that `datasets` stores beside a schema: an answer of 1 may mean "yes"."""
    try:
        features = json.loads(metadata)["info"]["features"]
        return {name: kind["names"] for name, kind in features.items() if "names" in kind}
    # any program may write this key: metadata of another form has no labels
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _worded(values: dict[str, Any], labels: dict[str, list[str]]) -> dict[str, Any]:
    """Replace class numbers by their names; -1, and pandas' NaN, become None."""
    found = {}
    for name, value in values.items():
        # only NaN differs from itself
        if isinstance(value, float) and value != value:
            value = None
        names = labels.get(name)
        if names is not None and isinstance(value, int):
            value = names[value] if 0 <= value < len(names) else None
        found[name] = value
    return found


def value_sizes(values: pa.Array) -> npt.NDArray[np.int64]:
    """Return about the bytes that each value takes as Python objects, without making these.

    Texts and bytes count by their length, lists and records by what they contain. A value that is stored once and
    contained in many lists counts in each of them.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return value_sizes(values.storage)
    if isinstance(values, pa.DictionaryArray):
        # the appended size is that of a null, whose index points there
        each = np.append(value_sizes(values.dictionary), _POINTER_BYTES)
        places = np.asarray(pc.fill_null(values.indices, len(each) - 1).to_numpy(zero_copy_only=False), np.int64)
        return np.asarray(each[places], np.int64)
    if kinds.is_run_end_encoded(kind):
        runs = pa.RunEndEncodedArray.from_arrays(values.run_ends, pa.array(value_sizes(values.values)))
        return np.asarray(pc.run_end_decode(runs.slice(values.offset, len(values))), np.int64)
    if kinds.is_struct(kind):
        sizes = np.zeros(len(values), np.int64)
        for child in values.flatten():
            sizes += value_sizes(child)
        return _POINTER_BYTES + sizes * _valid(values)
    if kinds.is_union(kind):
        largest = (int(value_sizes(values.field(i)).max(initial=0)) for i in range(kind.num_fields))
        return np.full(len(values), _POINTER_BYTES + max(largest, default=0), np.int64)
    if kind.num_fields:
        return _list_sizes(*_list_places(values))
    if kinds.is_string_view(kind) or kinds.is_binary_view(kind):
        views = np.frombuffer(values.buffers()[1], np.int32)[::4]  # a view has 16 bytes; the first four are its length
        lengths = views[values.offset : values.offset + len(values)] * _valid(values)
    elif kinds.is_primitive(kind) or kinds.is_null(kind) or kinds.is_decimal(kind):
        return np.full(len(values), max(_POINTER_BYTES, 0 if kinds.is_null(kind) else kind.bit_width // 8), np.int64)
    else:
        lengths = pc.fill_null(pc.binary_length(values), 0).to_numpy(zero_copy_only=False)
    return np.asarray(lengths, np.int64) + _POINTER_BYTES


def _valid(values: pa.Array) -> npt.NDArray[np.bool_]:
    import numpy as np

    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def _list_places(values: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return what lists of any kind contain: the values of all of them, the start of each list in these, its length."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.types as kinds

    kind, n = values.type, len(values)
    if kinds.is_fixed_size_list(kind):
        starts = (values.offset + np.arange(n, dtype=np.int64)) * kind.list_size
        return values.values, starts, kind.list_size * _valid(values).astype(np.int64)
    offsets = values.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    if kinds.is_list_view(kind) or kinds.is_large_list_view(kind):
        return values.values, offsets, values.sizes.to_numpy(zero_copy_only=False).astype(np.int64) * _valid(values)
    inner = pa.StructArray.from_arrays([values.keys, values.items], ["key", "value"]) if kinds.is_map(kind) else None
    return values.values if inner is None else inner, offsets[:-1], np.diff(offsets) * _valid(values)


def _list_sizes(
    values: pa.Array, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    import numpy as np

    empty = _POINTER_BYTES * (1 + lengths)
    if not lengths.any():
        return empty
    # an empty list may start anywhere
    low, high = int(starts[lengths > 0].min()), int((starts + lengths)[lengths > 0].max())
    if high - low > _MOST_SIZES:
        # values without bytes, such as nulls, may be very many
        if len(lengths) == 1:
            return empty
        half = len(lengths) // 2
        parts = _list_sizes(values, starts[:half], lengths[:half]), _list_sizes(values, starts[half:], lengths[half:])
        return np.concatenate(parts)
    sums = np.concatenate(([0], np.cumsum(value_sizes(values.slice(low, high - low)))))
    first = np.where(lengths > 0, starts - low, 0)
    return np.asarray(_POINTER_BYTES + sums[first + lengths] - sums[first], np.int64)
