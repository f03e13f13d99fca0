"""Files that pandas, polars and pyarrow write are read, and these libraries read the responses."""

import csv
import io
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.codecs.tables.media_types import ARROW, CSV, NDJSON, PARQUET, FileFormat
from tests.server.support.tables import FORMS, PASSENGERS, read, run, score, titanic

TABLE: Final = pa.table(PASSENGERS)
FRAME: Final[pd.DataFrame] = TABLE.to_pandas()
FLOATS: Final[pd.DataFrame] = FRAME.astype({"pclass": float, "sibsp": float})
"""A frame with float columns, as pandas stores integer columns with a missing value."""
CATEGORIES: Final[pd.DataFrame] = FRAME.astype({"sex": "category", "embarked": "category", "pclass": "category"})
POLARS: Final = pl.DataFrame(PASSENGERS)
POLARS_CATEGORIES: Final = POLARS.with_columns(
    pl.col("sex").cast(pl.Categorical), pl.col("embarked").cast(pl.Enum(["C", "Q", "S"]))
)


def _written(write: Callable[[Any], object]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def _parquet(table: pa.Table = TABLE, **options: Any) -> bytes:  # noqa: ANN401 # pyarrow's options
    return _written(lambda out: pq.write_table(table, out, **options))


def _ipc(table: pa.Table = TABLE, *, file: bool = False, codec: Any = None) -> bytes:  # noqa: ANN401
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    return out.getvalue()


def _cast(**types: Any) -> pa.Table:  # noqa: ANN401
    table = TABLE
    for name, kind in types.items():
        column = table[name].dictionary_encode() if pa.types.is_dictionary(kind) else table[name]
        table = table.set_column(table.column_names.index(name), name, column.cast(kind))
    return table


CODES: Final[Any] = pa.dictionary(pa.int8(), pa.string())
ENCODINGS: Final = {"pclass": "DELTA_BINARY_PACKED", "sex": "DELTA_BYTE_ARRAY", "age": "BYTE_STREAM_SPLIT"}
WRITERS: Final[dict[str, Callable[[], bytes]]] = {
    "pandas to_csv": lambda: FRAME.to_csv().encode(),
    "pandas to_csv quoting all": lambda: FRAME.to_csv(index=False, quoting=csv.QUOTE_ALL).encode(),
    "pandas to_csv quoting text": lambda: FRAME.to_csv(quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n").encode(),
    "pandas to_csv floats": lambda: FLOATS.to_csv(index=False).encode(),
    "pandas to_csv with a mark": lambda: FRAME.to_csv(index=False).encode("utf-8-sig"),
    "pandas to_json": lambda: FRAME.to_json(orient="records", lines=True).encode(),
    "pandas to_json floats": lambda: FLOATS.to_json(orient="records", lines=True).encode(),
    "pandas to_parquet": lambda: _written(FRAME.to_parquet),
    "pandas to_parquet index": lambda: _written(FRAME.set_index("sex").to_parquet),
    "pandas to_parquet floats": lambda: _written(FLOATS.to_parquet),
    "pandas to_parquet categories": lambda: _written(CATEGORIES.to_parquet),
    "pandas to_parquet nullable": lambda: _written(FRAME.convert_dtypes().to_parquet),
    "pandas to_feather": lambda: _written(FRAME.to_feather),
    "pandas to_feather zstd": lambda: _written(lambda out: FRAME.to_feather(out, compression="zstd")),
    "pandas to_feather categories": lambda: _written(CATEGORIES.to_feather),
    "polars write_csv": lambda: _written(POLARS.write_csv),
    "polars write_csv always": lambda: _written(lambda out: POLARS.write_csv(out, quote_style="always")),
    "polars write_ndjson": lambda: _written(POLARS.write_ndjson),
    "polars write_ipc": lambda: _written(POLARS.write_ipc),
    "polars write_ipc zstd": lambda: _written(lambda out: POLARS.write_ipc(out, compression="zstd")),
    "polars write_ipc oldest": lambda: _written(
        lambda out: POLARS.write_ipc(out, compression="lz4", compat_level=pl.CompatLevel.oldest())
    ),
    "polars write_ipc categories": lambda: _written(POLARS_CATEGORIES.write_ipc),
    "polars write_ipc_stream": lambda: _written(POLARS.write_ipc_stream),
    "polars write_ipc_stream lz4": lambda: _written(lambda out: POLARS.write_ipc_stream(out, compression="lz4")),
    "polars write_ipc_stream categories": lambda: _written(POLARS_CATEGORIES.write_ipc_stream),
    "polars write_parquet": lambda: _written(POLARS.write_parquet),
    "polars write_parquet categories": lambda: _written(POLARS_CATEGORIES.write_parquet),
    "pyarrow stream": _ipc,
    "pyarrow stream zstd": lambda: _ipc(codec="zstd"),
    "pyarrow stream lz4": lambda: _ipc(codec="lz4"),
    "pyarrow file": lambda: _ipc(file=True),
    "pyarrow dictionaries": lambda: _ipc(_cast(sex=CODES, embarked=pa.dictionary(pa.uint16(), pa.large_string()))),
    "pyarrow dictionary of numbers": lambda: _ipc(_cast(pclass=pa.dictionary(pa.int8(), pa.int64()))),
    "pyarrow long strings and views": lambda: _ipc(_cast(sex=pa.large_string(), embarked=pa.string_view())),
    "pyarrow narrow numbers": lambda: _ipc(_cast(pclass=pa.int8(), sibsp=pa.uint64(), age=pa.float32())),
    "pyarrow decimals": lambda: _ipc(_cast(parch=pa.decimal128(25, 2), fare=pa.decimal128(20, 4))),
    "pyarrow numbers in text": lambda: _ipc(_cast(pclass=pa.string(), age=pa.string())),
    "pyarrow parquet groups": lambda: _parquet(row_group_size=1),
    "pyarrow parquet pages of version 2": lambda: _parquet(data_page_version="2.0", version="2.6"),
    "pyarrow parquet encodings": lambda: _parquet(use_dictionary=False, column_encoding=ENCODINGS),
    **{
        f"pyarrow parquet {codec}": lambda codec=codec: _parquet(compression=codec)  # type: ignore[misc] # not inferred
        for codec in ("none", "snappy", "gzip", "zstd", "lz4", "brotli")
    },
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_they_write_is_read(writer: str) -> None:
    """A table in each way that these libraries write it gets the session's predictions."""
    answer = score(titanic(), WRITERS[writer](), "columns=none", accept=ARROW.media_type).table()
    expected = run(titanic(), TABLE)
    assert answer["predicted_survived"].to_pylist() == expected["label"].tolist()
    np.testing.assert_array_equal(answer["probability_survived"].to_numpy(), expected["probabilities"][:, 1])


PANDAS: Final[dict[FileFormat, Callable[[Any], pd.DataFrame]]] = {
    CSV: pd.read_csv,
    NDJSON: lambda file: pd.read_json(file, lines=True, precise_float=True),
    ARROW: lambda file: pa.ipc.open_stream(file).read_pandas(),
    PARQUET: pd.read_parquet,
}
READERS_OF_POLARS: Final[dict[FileFormat, Callable[[Any], pl.DataFrame]]] = {
    CSV: pl.read_csv,
    NDJSON: pl.read_ndjson,
    ARROW: pl.read_ipc_stream,
    PARQUET: pl.read_parquet,
}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_they_read_what_is_written(form: FileFormat) -> None:
    """pandas, polars and pyarrow read the response with the sent values and exact probabilities."""
    body = score(titanic(), WRITERS["pyarrow stream"](), accept=form.media_type).body
    expected = run(titanic(), TABLE)["probabilities"][:, 1]
    from_pandas, from_polars = PANDAS[form](io.BytesIO(body)), READERS_OF_POLARS[form](io.BytesIO(body))
    for name, values in PASSENGERS.items():
        assert from_polars[name].to_list() == values
        assert [None if pd.isna(value) else value for value in from_pandas[name]] == values
    for found in (from_pandas, from_polars, read(body, form).to_pydict()):
        numbers = np.array([np.float32(value) for value in found["probability_survived"]])
        np.testing.assert_array_equal(numbers, expected)
