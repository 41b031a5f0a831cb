"""Values in the declared types, whatever type they arrive in, and the refusal of those that do not fit."""

import datetime as dt
from contextlib import nullcontext
from decimal import Decimal

import pyarrow as pa
import pytest
from sqlalchemy import BigInteger, Column, Date, DateTime, Double, Integer, MetaData, Numeric, String, Table, Text

from flux_assets.errors import SourceError
from flux_assets.snowflake.rows import Rows
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import SourceColumn
from scripts.write_source_queries import declared_mapping

NANOSECONDS = pa.timestamp("ns")


def read(type_, values: pa.Array) -> pa.Array:
    """The values as rows of a table of that type hold them; their keys are K0, K1 and so on."""
    columns = (Column("k", String(9), primary_key=True, comment="Key."), Column("c", type_, comment="Value."))
    table = DynamicTable(
        table=Table("t", MetaData(), *columns, comment="A table."),
        source="T",
        source_columns=tuple(SourceColumn(target=name, names=(name.upper(),)) for name in ("k", "c")),
    )
    arrived = pa.record_batch([pa.array([f"K{row}" for row in range(len(values))]), values], names=["k", "c"])
    (batch,) = Rows(declared_mapping(table), lambda: nullcontext([arrived]))
    return batch.column(1)


@pytest.mark.parametrize(
    ("type_", "arrived", "wanted"),
    [
        (Integer, pa.array([1, None], pa.int8()), [1, None]),
        (Integer, pa.array([2147483647, -2147483648], pa.int64()), [2147483647, -2147483648]),
        (Integer, pa.array([Decimal(7), None], pa.decimal128(38, 0)), [7, None]),
        (Integer, pa.array([Decimal("7.00")], pa.decimal128(12, 2)), [7]),
        (Integer, pa.array([7.0, None]), [7, None]),
        (Integer, pa.array(["7", None]), [7, None]),
        (BigInteger, pa.array([Decimal(2**62)], pa.decimal128(38, 0)), [2**62]),
        (Double, pa.array([2**60, 1], pa.int64()), [float(2**60), 1.0]),
        (Double, pa.array([Decimal("1.25")], pa.decimal128(12, 2)), [1.25]),
        (Double, pa.array(["-1.5", None]), [-1.5, None]),
        (Numeric(12, 2), pa.array([Decimal("1.5")], pa.decimal128(38, 1)), [Decimal("1.50")]),
        (Numeric(12, 2), pa.array([3], pa.int64()), [Decimal("3.00")]),
        (String(3), pa.array(["äöü", None, ""]), ["äöü", None, ""]),
        (String(3), pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (Text, pa.array(["x" * 100_000], pa.large_string()), ["x" * 100_000]),
        (Date, pa.array([dt.date(2024, 2, 29)]), [dt.date(2024, 2, 29)]),
        (DateTime, pa.array([dt.date(2024, 2, 29)]), [dt.datetime(2024, 2, 29)]),
    ],
)
def test_values_take_the_declared_type(type_, arrived, wanted):
    assert read(type_, arrived).to_pylist() == wanted


def test_not_a_number_passes_through():
    """A position that is NaN is counted and becomes no geometry later on; it does not stop a sync."""
    assert str(read(Double, pa.array([float("nan")])).to_pylist()) == "[nan]"


@pytest.mark.parametrize(
    ("nanoseconds", "wanted"),
    [
        (1_704_067_200_123_456_789, dt.datetime(2024, 1, 1, 0, 0, 0, 123456)),
        (999, dt.datetime(1970, 1, 1)),
        (-1, dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
        (-1000, dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
        (-1001, dt.datetime(1969, 12, 31, 23, 59, 59, 999998)),
    ],
)
def test_nanoseconds_are_rounded_down(nanoseconds, wanted):
    """Towards zero would move times before 1970 forwards."""
    assert read(DateTime, pa.array([nanoseconds, None], NANOSECONDS)).to_pylist() == [wanted, None]


@pytest.mark.parametrize("when", [dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(1, 1, 1, 0, 0, 0, 1)])
def test_years_that_nanoseconds_do_not_reach(when):
    assert read(DateTime, pa.array([when], pa.timestamp("us"))).to_pylist() == [when]


def test_times_with_a_zone_are_stored_in_utc():
    noon = pa.array([dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)], pa.timestamp("us", tz="America/Chicago"))
    read_back = read(DateTime, noon)
    assert read_back.type == pa.timestamp("us")
    assert read_back.to_pylist() == [dt.datetime(2024, 7, 1, 12)]


@pytest.mark.parametrize(
    ("type_", "arrived", "said"),
    [
        (Integer, pa.array([1, 2147483648]), "t.c: 2147483648 is not a value of integer (key K1)"),
        (Integer, pa.array([Decimal(10) ** 20], pa.decimal128(38, 0)), "0000000000 is not a value of integer"),
        (Integer, pa.array([1.5]), "1.5 is not a value of integer (key K0)"),
        (Integer, pa.array(["12", "a dozen"]), "'a dozen' is not a value of integer (key K1)"),
        (Double, pa.array(["1.5", "north"]), "'north' is not a value of double precision (key K1)"),
        (Numeric(4, 2), pa.array([Decimal("123.4")], pa.decimal128(10, 1)), "123.4 is not a value of numeric(4, 2)"),
        (String(3), pa.array(["abc", None, "abcd"]), "'abcd' has 4 characters, varchar(3) takes 3 (key K2)"),
        (Text, pa.array(["a", "b\x00c"]), "'b\\x00c' holds a NUL character, which PostgreSQL cannot store (key K1)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_value_and_key(type_, arrived, said):
    with pytest.raises(SourceError) as refused:
        read(type_, arrived)
    assert said in str(refused.value)
    assert "columns.c = { expression" in refused.value.remedy


def test_five_keys_are_shown_and_that_there_are_more():
    with pytest.raises(SourceError, match=r"\(key K1, K2, K3, K4, K5, among others\)"):
        read(String(2), pa.array(["ok", *["long"] * 9]))
    with pytest.raises(SourceError, match=r"\(key K0, K1\)"):
        read(Integer, pa.array([0.5, 0.5, 1.0]))


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(SourceError) as refused:
        read(String(50), pa.array(["x" * 10_000]))
    assert "has 10000 characters, varchar(50) takes 50" in str(refused.value)
    assert len(str(refused.value)) < 500
