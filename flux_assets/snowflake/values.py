"""Arrow columns as they arrive, cast to the declared types, or refused with the value and its key.

Here: casting and judging. Not here: where batches come from (rows.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from flux_assets.errors import SourceError, abbreviated
from flux_assets.snowflake.columns import arrow_type
from flux_assets.spec import type_ddl

SHOWN = 5
Keys = Callable[[Sequence[int]], list[str]]


def cast(column: sa.Column[object], values: pa.Array[Any], table: str, keys: Keys) -> pa.Array[Any]:
    """The values in the declared type. Raises SourceError naming table, column, value, up to five keys.

    `keys` gives the keys of rows by their numbers, as text.
    """
    wanted = arrow_type(column)
    if isinstance(values, pa.DictionaryArray):
        values = values.dictionary_decode()
    try:
        arrived = _converted(values, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _refused(column, values, _not_convertible(values, wanted), table, keys) from None
    if pa.types.is_string(wanted) and (offenders := _unstorable(column, arrived)):
        raise _refused(column, arrived, offenders, table, keys)
    return arrived


def _converted(values: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
    if pa.types.is_timestamp(wanted):
        return in_microseconds(values)
    if pa.types.is_floating(wanted) and pa.types.is_integer(values.type):
        # Counts above 2^53 lose digits, as they do in double precision anywhere.
        return values.cast(wanted, safe=False)
    if pa.types.is_decimal(wanted) and not pa.types.is_decimal(values.type):
        return values.cast(pa.string()).cast(wanted)
    return values.cast(wanted)


def in_microseconds(values: pa.Array[Any]) -> pa.Array[Any]:
    """Microseconds, rounded down; a zone's times are UTC below, and stay so without the zone."""
    if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
        nanoseconds = values.cast(pa.int64())
        below = pc.divide(nanoseconds, 1000)
        # Arrow divides towards zero.
        early = pc.less(nanoseconds, pc.multiply(below, 1000))
        floored: pa.Array[Any] = pc.if_else(early, pc.subtract(below, 1), below)
        return floored.cast(pa.timestamp("us"))
    return values.cast(pa.timestamp("us"))


def _not_convertible(values: pa.Array[Any], wanted: pa.DataType) -> list[int]:
    """Numbers of the first rows whose value does not convert; only asked when some value does not."""
    offenders: list[int] = []
    for row, value in enumerate(values):
        try:
            _converted(pa.array([value.as_py()], values.type), wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            offenders.append(row)
            if len(offenders) == SHOWN:
                break
    return offenders


def _unstorable(column: sa.Column[object], values: Any) -> list[int]:  # noqa: ANN401 - any array of text
    """Numbers of the first rows whose text is too long, or holds a NUL character."""
    longest = getattr(column.type, "length", None)
    wrong = pc.match_substring(values, "\x00")
    if longest is not None:
        wrong = pc.or_(wrong, pc.greater(pc.utf8_length(values), longest))
    return [row for row in pc.indices_nonzero(wrong)[:SHOWN].to_pylist() if row is not None]


def _refused(
    column: sa.Column[object], values: pa.Array[Any], rows: Sequence[int], table: str, keys: Keys
) -> SourceError:
    value = values[rows[0]].as_py() if rows else None
    shown = abbreviated(value) if isinstance(value, str) else str(value)
    cured = (
        "Correct the rows in the source, or say in FLUX_CONFIG how to read the column (columns."
        f"{column.name} = {{ expression = … }})."
    )
    return SourceError(
        f"{table}.{column.name}: {shown} {_why(column, value)} (key {', '.join(keys(rows))}"
        f"{', among others' if len(rows) == SHOWN else ''}).",
        cured,
    )


def _why(column: sa.Column[object], value: object) -> str:
    if isinstance(column.type, sa.String) and isinstance(value, str):
        if "\x00" in value:
            return "holds a NUL character, which PostgreSQL cannot store"
        return f"has {len(value)} characters, {type_ddl(column)} takes {column.type.length}"
    return f"is not a value of {type_ddl(column)}"
