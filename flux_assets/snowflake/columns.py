"""What a source object's columns are, and how each kind of column is read as a declared type.

Here: kinds of Snowflake types, kinds of targets, and the SQL that turns one into the other. Not here: which column
feeds which target (mapping.py) and judging values (values.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import sqlalchemy as sa

from flux_assets.snowflake.quoting import text_literal

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
_CURES: dict[Target, str] = {
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
        return f"{self.name} ({_SHOWN.get(self.kind, self.kind)})"


_SHOWN = {"FIXED": "NUMBER", "REAL": "FLOAT", "TEXT": "VARCHAR"}


def target_kind(column: sa.Column[object]) -> Target:
    """The kind of a declared column."""
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
    """The Arrow type that a declared column's values have once they are read."""
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
    """Whether a column of this kind can feed such a target without anybody's help."""
    return kind in _FITTING[target]


def as_expected(kind: str, target: Target) -> bool:
    """The same for an expression that a user wrote: text may hold numbers, and is judged when it arrives."""
    return fits(kind, target) or (kind == "TEXT" and target in {"integer", "double", "numeric"})


def cure(target: Target, sql: str) -> str:
    """An expression that would make the target of whatever `sql` is."""
    return _CURES[target].format(sql)


def comparable(sql: str, found: FoundColumn, target: Target, time_zone: str) -> str:
    """`sql`, of the found kind, as the target's kind: times in UTC without a zone. Still good for pruning if UTC."""
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
    """A comparable expression as it is selected: times cut to microseconds, which is all that PostgreSQL keeps."""
    if target == "timestamp":
        # The connector refuses nanoseconds in years that a 64-bit count of them does not reach, such as 9999.
        return f"DATE_TRUNC('MICROSECOND', {sql})"
    return f"{sql}::DATE" if target == "date" else sql
