"""Building blocks of the export's nested columns, in Arrow."""

from __future__ import annotations

from functools import lru_cache

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from warehouse.ga4_schema import EVENT_COLUMNS

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NOT_SET = "(not set)"


@lru_cache(maxsize=1)
def load_event_schema() -> pa.Schema:
    """The Arrow schema of the export, derived from the DuckDB types of `warehouse.ga4_schema`."""
    columns = ", ".join(f"null::{kind} as {name}" for name, kind in EVENT_COLUMNS.items())
    with duckdb.connect() as connection:
        return connection.sql(f"select {columns} limit 0").to_arrow_table().schema


def make_struct(kind: pa.StructType, length: int, mask: Bools | None = None, **children: pa.Array) -> pa.StructArray:
    """A struct array of type `kind`; children not given are null; `mask` is true where the struct itself is null."""
    arrays = [
        children[field.name].cast(field.type) if field.name in children else pa.nulls(length, field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(
        arrays, fields=list(kind), mask=None if mask is None else pa.array(np.ascontiguousarray(mask))
    )


def make_list(kind: pa.ListType, counts: Ints, values: pa.Array) -> pa.ListArray:
    """A list array of type `kind`: row n has the next `counts[n]` of the values."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind)


class Strings:
    """A pool of strings that event parameters point into: -1 is null."""

    def __init__(self) -> None:
        self._arrays: list[pa.Array] = []
        self._length = 0

    def add(self, strings: list[str] | tuple[str, ...] | pa.Array) -> int:
        """Take strings in; the number of the first."""
        array = strings if isinstance(strings, pa.Array) else pa.array(strings, pa.string())
        first = self._length
        self._arrays.append(array)
        self._length += len(array)
        return first

    def take(self, numbers: Ints) -> pa.Array:
        """The strings of the numbers, null for -1."""
        return pa.concat_arrays(self._arrays).take(pa.array(numbers, mask=numbers < 0))
