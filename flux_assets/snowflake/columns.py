"""Kinds of source columns, the SQL that reads each as a declared type, and the cast of what arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from flux_assets.errors import SourceError, abbreviated
from flux_assets.snowflake.quoting import text_literal
from flux_assets.spec import type_ddl

Target = Literal["text", "integer", "double", "numeric", "timestamp", "date"]
_TIMES = ("TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "DATE")
_FITTING: dict[Target, tuple[str, ...]] = {
    # Identifiers may be kept as numbers.
    "text": ("TEXT", "FIXED"),
    # Counts may be kept as floating point; a value with a fraction is refused when it arrives.
    "integer": ("FIXED", "REAL"),
    "double": ("FIXED", "REAL"),
    "numeric": ("FIXED", "REAL"),
    "timestamp": _TIMES,
    "date": _TIMES,
}
_CONVERSIONS: dict[Target, str] = {
    "text": "TO_VARCHAR({})",
    "integer": "TRY_TO_NUMBER({}::VARCHAR)",
    "double": "TRY_TO_DOUBLE({}::VARCHAR)",
    "numeric": "TRY_TO_NUMBER({}::VARCHAR, 38, 10)",
    "timestamp": "TRY_CAST({}::VARCHAR AS TIMESTAMP_NTZ)",
    "date": "TRY_TO_DATE({}::VARCHAR)",
}


@dataclass(frozen=True, kw_only=True)
class FoundColumn:
    """A column of a source object: its exact name, Snowflake's kind of type, and the scale where it has one."""

    name: str
    kind: str
    scale: int | None = None

    def __str__(self) -> str:
        return f"{self.name} ({_TYPE_NAMES.get(self.kind, self.kind)})"


_TYPE_NAMES = {"FIXED": "NUMBER", "REAL": "FLOAT", "TEXT": "VARCHAR"}


def target_kind(column: sa.Column[object]) -> Target:
    """Return the kind of a declared column."""
    kinds: tuple[tuple[type[object], Target], ...] = (
        (sa.String, "text"),
        (sa.Integer, "integer"),
        (sa.Float, "double"),
        (sa.Numeric, "numeric"),
        (sa.DateTime, "timestamp"),
        (sa.Date, "date"),
    )
    return next(kind for type_, kind in kinds if isinstance(column.type, type_))


def arrow_type(column: sa.Column[object]) -> pa.DataType:
    """Return the Arrow type that a declared column's values have once they are read."""
    declared = column.type
    if isinstance(declared, sa.BigInteger):
        return pa.int64()
    if isinstance(declared, sa.Numeric) and not isinstance(declared, sa.Float):
        return pa.decimal128(declared.precision or 38, declared.scale or 0)
    plain: dict[Target, pa.DataType] = {
        "text": pa.string(),
        "integer": pa.int32(),
        "double": pa.float64(),
        "timestamp": pa.timestamp("us"),
        "date": pa.date32(),
    }
    return plain[target_kind(column)]


def fits(kind: str, target: Target) -> bool:
    """Return whether a column of this kind can feed such a target unaided."""
    return kind in _FITTING[target]


def as_expected(kind: str, target: Target) -> bool:
    """Return the same for a user's expression: text may hold numbers, and is judged when it arrives."""
    return fits(kind, target) or (kind == "TEXT" and target in {"integer", "double", "numeric"})


def conversion(target: Target, sql: str) -> str:
    """Return an expression that makes the target of whatever `sql` is."""
    return _CONVERSIONS[target].format(sql)


def comparable(sql: str, found: FoundColumn, target: Target, time_zone: str) -> str:
    """Return `sql`, of the found kind, as the target's: times in UTC without a zone. Prunes if the source is in UTC."""
    if target == "text":
        return sql if found.kind == "TEXT" else f"{sql}::VARCHAR"
    if target not in {"timestamp", "date"}:
        return sql
    if found.kind in {"TIMESTAMP_LTZ", "TIMESTAMP_TZ", "TIMESTAMP"}:
        return f"CONVERT_TIMEZONE('UTC', {sql})::TIMESTAMP_NTZ"
    if found.kind == "DATE":
        if target == "date":
            return sql
        sql = f"{sql}::TIMESTAMP_NTZ"
    return sql if time_zone == "UTC" else f"CONVERT_TIMEZONE({text_literal(time_zone)}, 'UTC', {sql})"


def selected(sql: str, target: Target) -> str:
    """Return a comparable expression as it is selected: times cut to microseconds, as PostgreSQL keeps them."""
    if target == "timestamp":
        # The connector refuses nanoseconds in years that a 64-bit count of them does not reach, such as 9999.
        return f"DATE_TRUNC('MICROSECOND', {sql})"
    return f"{sql}::DATE" if target == "date" else sql


_SHOWN = 5
Keys = Callable[[Sequence[int]], list[str]]


def cast(column: sa.Column[object], values: pa.Array[Any], table: str, keys: Keys) -> pa.Array[Any]:
    """Return the values in the declared type. Raises SourceError naming table, column, value, up to five keys.

    `keys` returns the keys of rows by their numbers, as text.
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
    """Return times in microseconds, rounded down; times with a zone stay in UTC without it."""
    if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
        nanoseconds = values.cast(pa.int64())
        below = pc.divide(nanoseconds, 1000)
        # Arrow divides towards zero.
        early = pc.less(nanoseconds, pc.multiply(below, 1000))
        floored: pa.Array[Any] = pc.if_else(early, pc.subtract(below, 1), below)
        return floored.cast(pa.timestamp("us"))
    return values.cast(pa.timestamp("us"))


def _not_convertible(values: pa.Array[Any], wanted: pa.DataType) -> list[int]:
    """Return the numbers of the first rows whose value does not convert; called only when some value does not."""
    offenders: list[int] = []
    for row, value in enumerate(values):
        try:
            _converted(pa.array([value.as_py()], values.type), wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            offenders.append(row)
            if len(offenders) == _SHOWN:
                break
    return offenders


def _unstorable(column: sa.Column[object], values: Any) -> list[int]:  # noqa: ANN401 - any array of text
    """Return the numbers of the first rows whose text is too long, or holds a NUL character."""
    longest = getattr(column.type, "length", None)
    wrong = pc.match_substring(values, "\x00")
    if longest is not None:
        wrong = pc.or_(wrong, pc.greater(pc.utf8_length(values), longest))
    return [row for row in pc.indices_nonzero(wrong)[:_SHOWN].to_pylist() if row is not None]


def _refused(
    column: sa.Column[object], values: pa.Array[Any], rows: Sequence[int], table: str, keys: Keys
) -> SourceError:
    value = values[rows[0]].as_py() if rows else None
    shown = abbreviated(value) if isinstance(value, str) else str(value)
    return SourceError(
        f"{table}.{column.name}: {shown} {_why(column, value)} (key {', '.join(keys(rows))}"
        f"{', among others' if len(rows) == _SHOWN else ''}).",
        "Correct the rows in the source, or set in FLUX_CONFIG how to read the column (columns."
        f"{column.name} = {{ expression = … }}).",
    )


def _why(column: sa.Column[object], value: object) -> str:
    if isinstance(column.type, sa.String) and isinstance(value, str):
        if "\x00" in value:
            return "holds a NUL character, which PostgreSQL cannot store"
        return f"has {len(value)} characters, {type_ddl(column)} takes {column.type.length}"
    return f"is not a value of {type_ddl(column)}"
