"""Rows as a stream: in pieces of one size, in little memory, whatever size they arrive in."""

import subprocess
import sys
from contextlib import nullcontext

import pyarrow as pa
import pytest

from flux_assets.snowflake.rows import Rows
from flux_assets_tests.synced import FAULTS
from scripts.write_source_queries import declared_mapping

GROWTH = """
import resource, sys
from contextlib import nullcontext
import pyarrow as pa
from flux_assets.snowflake.rows import Rows
from scripts.write_source_queries import declared_mapping
from flux_assets_tests.snowflake.test_warehouse_rows import arrived
from flux_assets_tests.synced import FAULTS

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)

def read(pieces, rows):
    taken = Rows(declared_mapping(FAULTS), lambda: nullcontext(arrived(rows, at * rows) for at in range(pieces)))
    for batch in taken:
        assert batch.num_rows <= 65_536
    return taken.rows

read(1, 1000)
before = peak()
assert read(10, 100_000) == 1_000_000
print(peak() - before)
"""


def arrived(rows: int, first: int = 0) -> pa.Table:
    """A piece of a result as the connector hands it over: numbers as decimals, times in nanoseconds."""
    numbers = pa.array(range(first, first + rows), pa.int64())
    return pa.table({
        "FAULT_ID": numbers.cast(pa.string()),
        "FEEDER": pa.array(["A"] * rows),
        "STATE": pa.array(["OPEN"] * rows),
        "BEGUN": numbers.cast(pa.timestamp("ns")),
        "HOMES": numbers.cast(pa.decimal128(38, 0)),
        "LON": numbers.cast(pa.float64()),
        "LAT": pa.nulls(rows, pa.float64()),
    })  # fmt: skip


def rows_of(*pieces: pa.Table | pa.RecordBatch) -> Rows:
    return Rows(declared_mapping(FAULTS), lambda: nullcontext(pieces))


def test_a_large_piece_becomes_batches_of_one_size():
    rows = rows_of(arrived(150_000))
    assert [batch.num_rows for batch in rows] == [65_536, 65_536, 150_000 - 2 * 65_536]
    assert rows.rows == 150_000
    assert rows.bytes == pytest.approx(arrived(150_000).nbytes, rel=0.01)


@pytest.mark.parametrize("piece", [arrived(10), arrived(10).to_batches()[0]], ids=["table", "batch"])
def test_the_schema_is_the_declaration_s(piece):
    rows = rows_of(piece)
    (batch,) = rows
    assert batch.schema == rows.schema
    assert rows.schema.types == [
        pa.string(), pa.string(), pa.string(), pa.timestamp("us"), pa.int32(), pa.float64(), pa.float64(),
    ]  # fmt: skip
    assert rows.schema.names == list(FAULTS.source_filled)


def test_no_rows_are_no_batches_or_empty_ones():
    assert sum(batch.num_rows for batch in rows_of()) == 0
    rows = rows_of(arrived(0), arrived(5), arrived(0))
    assert sum(batch.num_rows for batch in rows) == rows.rows == 5


def test_a_million_rows_take_the_memory_of_a_few_batches():
    """In a process of its own, whose peak is not that of other tests. Most of it is the pieces themselves."""
    ran = subprocess.run([sys.executable, "-c", GROWTH], check=True, capture_output=True, text=True)
    assert float(ran.stdout) <= 100
