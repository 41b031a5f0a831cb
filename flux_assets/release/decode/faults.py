"""One value of a file, judged by the declaration of its column: what is wrong with it, and how to fix it."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from math import isfinite
from typing import cast

import pyarrow as pa

from flux_assets.errors import RecordError
from flux_assets.release.decode import ewkb
from flux_assets.release.decode.blocks import Block, Text, count_fields, fields, record_starts
from flux_assets.release.decode.columns import (
    MOVING,
    AskServer,
    ReadColumn,
    Refusal,
    is_plain,
    odd_values,
)
from flux_assets.release.decode.parse import Parser
from flux_assets.release.stopping import check_stop

_Judgement = tuple[str, str]
"""A problem, and its remedy."""

_DEGREES = "Positions are degrees of longitude and latitude (EPSG:4326)."
_REMEDIES = (
    (
        "cannot draw",
        "Make straight lines of arcs with PostGIS's ST_CurveToLine(geom), and polygons of surfaces and triangles with"
        " ST_Dump(geom); or declare the kind as drawable.",
    ),
    ("SRID is", "Transform it with PostGIS's ST_Transform(geom, 4326)."),
    ("metres", "Transform it with PostGIS's ST_Transform(geom, 4326)."),
    ("swapped", "PostGIS's ST_FlipCoordinates(geom) swaps them."),
    ("NaN", "Leave nothing between the commas (NULL) where there is no position."),
)
# Possessive, so that a value of megabytes takes one pass; and of ASCII, as Arrow and PostgreSQL read numbers.
_WHOLE = re.compile(r"\s*+(-?)0*+(\d*+)(?<=\d)\s*+", re.ASCII)
_NUMBER = re.compile(
    r"\s*+[+-]?(?=\.?\d)(?P<whole>\d*+)(\.(?P<part>\d*+))?(e(?P<exponent>[+-]?\d++))?\s*+", re.IGNORECASE | re.ASCII
)
_NOT_A_NUMBER = re.compile(r"\s*+[+-]?(nan|inf|infinity)\s*+", re.IGNORECASE | re.ASCII)
_LONGEST_WHOLE = 19  # digits of the largest bigint
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_HEXADECIMAL = re.compile(r"([0-9A-Fa-f]{2})++")
_TIMESTAMP = re.compile(_DATE.pattern + r"([ T]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
_ZONE = re.compile(r":.*(Z|[+-]\d\d(:?\d\d)?)$")
_ONLY_POSTGRESQL = {"infinity", "-infinity", "+infinity"}


def judge(column: ReadColumn, value: bytes | None, ask: AskServer) -> _Judgement | None:
    """Return what is wrong with `value` (None: NULL), None when nothing is. `ask` tells whether it is a value."""
    if value is None:
        return None if column.nullable else ("it is NULL, which the column does not allow.", "Give every row a value.")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        broken = value[error.start : error.start + 4].hex(" ").upper()
        return (
            f"it is not UTF-8 (byte {error.start + 1} of the value: {broken}).",
            "Write the file in UTF-8 (set client_encoding, or convert it with iconv).",
        )
    if pa.types.is_string(column.arrow):
        return _text(column, text)
    return _shape(column, text, ask) if column.spatial is not None else _plain_value(column, text, ask)


def _plain_value(column: ReadColumn, text: str, ask: AskServer) -> _Judgement | None:
    (found,) = odd_values(column, [text], ask)
    if isinstance(found, Refusal):
        judged = next(judge for kind, judge in _JUDGES if kind(column.arrow))(column, text)
        return judged or (None if is_plain(column, text) else (_refused(found.reason), _remedy(column)))
    return None if column.axis is None else _degrees(column, float(found))


def _shape(column: ReadColumn, text: str, ask: AskServer) -> _Judgement | None:
    if _HEXADECIMAL.fullmatch(text):
        return _geometry(column, unhexlify(text))
    (found,) = odd_values(column, [text], ask)
    if isinstance(found, Refusal):
        return _no_geometry(column, text, found.reason)
    if (judged := _geometry(column, unhexlify(str(found)))) is None:
        return None
    problem, remedy = judged
    return f"it is not hexadecimal, and {problem.removeprefix('it ')}", remedy


def _refused(reason: str) -> str:
    return f"PostgreSQL refuses it: {reason.removesuffix('.')}." if reason else "servers read it differently."


def _no_geometry(column: ReadColumn, text: str, reason: str) -> _Judgement:
    if not text:
        return "it is an empty string, not a geometry.", "For NULL leave nothing between the commas, not even quotes."
    odd = re.search(r"[^0-9A-Fa-f]", text)
    where = f"character {odd.start() + 1} is {odd[0]!r}" if odd else f"it has {len(text)} digits, an odd number"
    refused = f" {_refused(reason)}" if reason else ""
    return f"it is not hexadecimal: {where}.{refused}", _remedy(column)


def _geometry(column: ReadColumn, data: bytes) -> _Judgement | None:
    assert column.spatial is not None  # noqa: S101 - the caller asked
    problem = ewkb.judge(data, column.spatial)
    if problem is None:
        return None
    return f"{problem}.", next((remedy for sign, remedy in _REMEDIES if sign in problem), _remedy(column))


def _remedy(column: ReadColumn) -> str:
    if column.spatial is not None:
        return f"Write hexadecimal EWKB of {column.ddl}, as PostGIS prints a geometry."
    if not pa.types.is_temporal(column.arrow):
        return _EMPTY_IS_NULL
    wanted = "YYYY-MM-DD" if pa.types.is_date(column.arrow) else "YYYY-MM-DD HH:MM:SS"
    return f"Write {wanted}, or leave the value empty for NULL."


def _text(column: ReadColumn, text: str) -> _Judgement | None:
    if column.longest is None or len(text.rstrip(" ")) <= column.longest:
        return None
    return (
        f"it has {len(text)} characters, {column.ddl} takes {column.longest}.",
        "Shorten it, or widen the declared column.",
    )


def _integer(column: ReadColumn, text: str) -> _Judgement | None:
    bits = 63 if column.arrow == pa.int64() else 31
    found = _WHOLE.fullmatch(text)
    if found is None:
        return f"it is not a whole number, as {column.ddl} needs.", _EMPTY_IS_NULL
    if len(found[2]) <= _LONGEST_WHOLE and -(2**bits) <= int(found[1] + (found[2] or "0")) < 2**bits:
        return None
    return (
        f"it is out of range for {column.ddl} ({-(2**bits)} to {2**bits - 1}).",
        "Correct the value, or declare a wider type.",
    )


def _double(column: ReadColumn, text: str) -> _Judgement | None:
    if not (_NUMBER.fullmatch(text) or _NOT_A_NUMBER.fullmatch(text)):
        return f"it is not a number, as {column.ddl} needs.", _EMPTY_IS_NULL
    number = float(text)
    if (isfinite(number) and number != 0) or _NOT_A_NUMBER.fullmatch(text):
        return None if column.axis is None else _degrees(column, number)
    too = "small" if number == 0 else "large"
    return f"it is out of range for double precision: too {too}.", "Correct the value."


def _degrees(column: ReadColumn, number: float) -> _Judgement | None:
    limit = 180 if column.axis == "longitude" else 90
    if -limit <= number <= limit:
        return None
    return f"{_out_of_range(number, limit)} for a {column.axis} (±{limit} degrees).", _DEGREES


def _out_of_range(number: float, limit: int) -> str:
    if not isfinite(number):
        return "it is not a finite number, as is needed"
    if limit == 90 and abs(number) <= 180:
        return "longitude and latitude look swapped: it is out of range"
    return "it looks like metres of a projection: it is out of range" if abs(number) > 1000 else "it is out of range"


def _numeric(column: ReadColumn, text: str) -> _Judgement | None:
    found = _NUMBER.fullmatch(text)
    if not found:
        return f"it is not a number, as {column.ddl} needs.", _EMPTY_IS_NULL
    kind = cast("pa.Decimal128Type[int, int]", column.arrow)
    before, after = _places(found["whole"] or "", found["part"] or "", found["exponent"] or "0")
    if after > kind.scale:
        return (
            f"it has more decimals than {column.ddl} keeps.",
            f"Round it to {kind.scale} decimals, or widen the declared column.",
        )
    if before > kind.precision - kind.scale:
        return f"it is out of range for {column.ddl}.", "Correct the value, or widen the declared column."
    return None


def _places(whole: str, part: str, exponent: str) -> tuple[int, int]:
    """Return how many digits a number needs before and after the point; Arrow's own casts crash on very long ones."""
    sign, digits = exponent[:1].strip("+0123456789"), exponent.lstrip("+-").lstrip("0") or "0"
    shift = int(sign + (digits if len(digits) < _LONGEST_WHOLE else "9" * _LONGEST_WHOLE))
    significant = (whole + part).lstrip("0")
    shortest = significant.rstrip("0")
    if not shortest:
        return 0, 0
    end = shift - len(part) + len(significant) - len(shortest)
    return len(shortest) + end, -end


def _time(column: ReadColumn, text: str) -> _Judgement | None:
    is_date, remedy = pa.types.is_date(column.arrow), _remedy(column)
    if MOVING.search(text):
        return (
            f"only PostgreSQL knows what {text.strip()!r} means, and it means a different time at every load.",
            remedy,
        )
    if text.strip().lower() in _ONLY_POSTGRESQL:
        return f"only PostgreSQL knows what {text.strip()!r} means, and no map draws an infinite time.", remedy
    if (_DATE if is_date else _TIMESTAMP).fullmatch(text):
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            return f"there is no such {'day' if is_date else 'time'} ({error}).", remedy
        if is_date or ("with time zone" in column.ddl) == bool(_ZONE.search(text)):
            return None
    return f"it is not written as {column.ddl} is.", remedy


_EMPTY_IS_NULL = "Write digits, or leave the value empty (without quotes) for NULL."
_JUDGES: tuple[tuple[Callable[[pa.DataType], bool], Callable[[ReadColumn, str], _Judgement | None]], ...] = (
    (pa.types.is_string, _text),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _double),
    (pa.types.is_decimal, _numeric),
    (pa.types.is_temporal, _time),
)


_SHOWN = 300  # characters of Arrow's message, which may hold the value


def fault_in(block: Block, parser: Parser, reason: str) -> RecordError:
    """Return the error of the first record of `block` that `parser` refuses; `reason` is its message on the block."""
    text = block.text
    ends = [*record_starts(text.data)[1:].tolist(), len(text.data)]
    low, high = 0, len(ends) - 1
    data = text.data
    while low < high:
        check_stop()
        middle = (low + high) // 2
        # What precedes `low` is known to be sound, so that the passes together read the block about twice.
        if parser.refusal(replace(text, data=data[ends[low - 1] if low else 0 : ends[middle]])) is None:
            low = middle + 1
        else:
            high = middle
    start = ends[low - 1] if low else 0
    reason = parser.refusal(replace(text, data=data[start : ends[low]])) or reason
    return explained(text, start, ends[low], parser, reason)


def explained(text: Text, start: int, end: int, parser: Parser, reason: str) -> RecordError:
    """Return the error of the refused record `text.data[start:end]`; `reason` is the parser's message on it."""
    record = text.data[start:end]
    if not record.strip(b"\r\n") and len(text.names) > 1:
        return _without_column(text.error_at(start, "the line is empty.", "Remove it."), value=None)
    if (count := count_fields(record)) != len(text.names):
        error = text.error_at(
            start,
            f"the record has {count} values, the header names {len(text.names)} columns.",
            "Quote values that hold commas or newlines; leave nothing between the commas for NULL.",
        )
        return _without_column(error, value=record.decode(errors="replace").rstrip("\r\n"))
    found = fields(record, len(text.names))
    columns = {column.name: column for column in parser.columns}
    for name, field in zip(text.names, found, strict=True):
        if judgement := judge(columns[name], field.value, parser.ask):
            return text.error_at(start + field.start, *judgement)
    index = re.search(r"CSV column #(\d+)", reason)
    where = found[int(index[1])].start if index else 0
    return text.error_at(
        start + where, f"it cannot be read ({reason[:_SHOWN]}).", "Write it as COPY … WITH (FORMAT csv) does."
    )


def described(text: Text, index: int, column: str | None, problem: str, remedy: str) -> RecordError:
    """Return the error of the record `index` of `text`, at the value of `column` where there is one."""
    start = int(record_starts(text.data)[index])
    found = fields(text.data[start:], len(text.names))
    if column in text.names[: len(found)]:
        return text.error_at(start + found[text.names.index(column)].start, problem, remedy)
    return _without_column(text.error_at(start, problem, remedy), value=None)


def _without_column(error: RecordError, value: str | None) -> RecordError:
    problem = error.problem.removeprefix(f"{error.place}: ")
    return RecordError(replace(error.place, column=None, value=value), problem, error.remedy)
