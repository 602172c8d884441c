"""How many bytes the rows of a table would take as Python values, reckoned before any is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


def value_sizes(values: pa.Array) -> npt.NDArray[np.int64]:
    """Bytes of each value: of texts and bytes their length, of lists and records the sum of what is in them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return value_sizes(values.storage)
    if isinstance(values, pa.DictionaryArray):
        each = np.append(value_sizes(values.dictionary), 0)
        places = np.asarray(pc.fill_null(values.indices, len(each) - 1).to_numpy(zero_copy_only=False), np.int64)
        return np.asarray(each[places], np.int64)
    if pa.types.is_struct(kind):
        sizes = np.full(len(values), 8, np.int64)
        for child in values.flatten():
            sizes += value_sizes(child)
        return sizes
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = values.flatten()  # without what stands behind nulls and before the slice
        sums = np.concatenate(([0], np.cumsum(value_sizes(inner))))
        lengths = np.asarray(pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False), np.int64)
        ends = np.cumsum(lengths)
        return np.asarray(8 + sums[ends] - sums[ends - lengths], np.int64)
    try:
        return np.asarray(pc.fill_null(pc.binary_length(values), 0).to_numpy(zero_copy_only=False), np.int64)
    except pa.ArrowNotImplementedError:  # numbers, and whatever else is of one length
        return np.full(len(values), max(8, -(-values.nbytes // max(1, len(values)))), np.int64)
