"""Replace unused columns of an Arrow or Parquet file by nulls.

So the other columns keep their positions.

The library that reads the files decodes all columns. The later steps are saved: converting to plain types, passing
between processes, and reading there.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from arro3.core import Array, DataType, Field, RecordBatch, Schema


def needed_columns(names: list[str], needed: frozenset[str] | None) -> list[bool]:
    """Return which columns are needed, at least one.

    All are needed if it is ambiguous which column a name means.
    """
    is_ambiguous = len(set(names)) < len(names) or any(not name or "," in name for name in names)
    if needed is None or is_ambiguous or needed.isdisjoint(names):
        return [True] * len(names)
    return [name in needed for name in names]


def select_fields(schema: Schema, is_needed: list[bool]) -> Schema:
    """Return a schema of the needed columns only."""
    return Schema([schema.field(index) for index, each in enumerate(is_needed) if each])


def with_nulls(schema: Schema, is_needed: list[bool]) -> Schema:
    """Return a schema whose unneeded columns have the type that `fill_with_nulls` uses."""
    fields = [schema.field(index) for index in range(len(schema))]
    filler = DataType.bool()
    kinds = [field.type if each else filler for field, each in zip(fields, is_needed, strict=True)]
    return Schema([Field(field.name, kind, nullable=True) for field, kind in zip(fields, kinds, strict=True)])


def fill_with_nulls(pieces: Iterable[RecordBatch], schema: Schema, is_needed: list[bool]) -> Iterator[RecordBatch]:
    """Yield batches of the needed columns, with nulls in place of the others."""
    if all(is_needed):
        yield from pieces
        return
    nulls: Any = Array([], DataType.bool())
    for piece in pieces:
        if len(nulls) < piece.num_rows:
            nulls = Array([None] * piece.num_rows, DataType.bool())
        columns, filler = iter(piece.columns), nulls.slice(0, piece.num_rows)
        yield RecordBatch.from_arrays([next(columns) if each else filler for each in is_needed], schema=schema)
