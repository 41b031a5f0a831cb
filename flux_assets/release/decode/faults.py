"""What is wrong with a refused record, where, and how to fix it: the slow, exact pass that only bad files need."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Collection, Iterator
from datetime import datetime
from math import isfinite
from typing import Any, cast

import pyarrow as pa

from flux_assets.errors import RecordError
from flux_assets.release.decode.blocks import Block
from flux_assets.release.decode.columns import AskServer, ReadColumn, SuspectError
from flux_assets.release.decode.ewkb import Walk
from flux_assets.release.decode.parse import Reader, Records
from flux_assets.release.stopping import check_stop

_Judgement = tuple[str, str]
"""A problem, and its remedy."""

_SHOWN = 300  # characters of Arrow's message, which may hold the value
_AS_COPY = "Write it as COPY … WITH (FORMAT csv) does."
_EMPTY_IS_NULL = "Write digits, or leave the value empty (without quotes) for NULL."
_TRANSFORM = "Transform it with PostGIS's ST_Transform(geom, 4326), or name its crs in FLUX_CONFIG (docs/formats.md)."
_FLATTEN = 'Drop it with PostGIS\'s ST_Force2D(geom), or by z = "drop" of the layer in FLUX_CONFIG (docs/formats.md).'
_REMEDIES = {
    "cannot draw": "Make straight lines of arcs with PostGIS's ST_CurveToLine(geom), and polygons of surfaces and"
    " triangles with ST_Dump(geom); or declare the kind as drawable.",
    "Z coordinate": _FLATTEN,
    "M coordinate": _FLATTEN,
    "the column takes": "Take it apart with PostGIS's ST_Dump(geom), or declare the column as GEOMETRY.",
    "not closed": "End the ring where it begins.",
    "SRID is": _TRANSFORM,
    "metres": _TRANSFORM,
    "swapped": "PostGIS's ST_FlipCoordinates(geom) swaps them.",
    "NaN": "Leave nothing between the commas (NULL) where there is no position.",
}
# Possessive, so that a value of megabytes takes one pass; and of ASCII, as Arrow and PostgreSQL read numbers.
_WHOLE = re.compile(r"\s*+(-?)0*+(\d*+)(?<=\d)\s*+", re.ASCII)
_NUMBER = re.compile(
    r"\s*+[+-]?(?=\.?\d)(?P<whole>\d*+)(\.(?P<part>\d*+))?(e(?P<exponent>[+-]?\d++))?\s*+", re.IGNORECASE | re.ASCII
)
_NOT_A_NUMBER = re.compile(r"\s*+[+-]?(nan|inf|infinity)\s*+", re.IGNORECASE | re.ASCII)
_LONGEST_WHOLE = 19  # digits of the largest bigint
_HEXADECIMAL = re.compile(r"([0-9A-Fa-f]{2})++")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIMESTAMP = re.compile(_DATE.pattern + r"([ T]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d(:?\d\d)?)?)?")
_ZONE = re.compile(r":.*(Z|[+-]\d\d(:?\d\d)?)$")
_INFINITE = {"infinity", "-infinity", "+infinity"}


def fault_in(block: Records, parser: Reader[Any], left_out: Collection[int] = ()) -> RecordError:
    """Return the error of the first record of a refused block that `parser` refuses, those `left_out` apart."""
    found = (error for index, error in refused(block, parser) if index not in left_out)
    return next(found, None) or block.error_of(0, "it cannot be read.", _AS_COPY)


def refused(
    block: Records, parser: Reader[Any], low: int = 0, high: int | None = None
) -> Iterator[tuple[int, RecordError]]:
    """Yield index and error of every record that `parser` refuses, found by halving what is refused together."""
    check_stop()
    high = block.records if high is None else high
    part = block if high - low == block.records else block.part(low, high)
    try:
        parser.decoded(part)
    except (pa.ArrowInvalid, SuspectError) as error:
        fault = error
    else:
        return
    if high - low == 1:
        yield low, _explained(part.text(), parser, fault)
        return
    middle = (low + high) // 2
    yield from refused(block, parser, low, middle)
    yield from refused(block, parser, middle, high)


def _explained(record: Block, parser: Reader[Any], fault: Exception) -> RecordError:
    """Return the error of a single refused record, of which the parser raised `fault`."""
    if isinstance(fault, SuspectError) and fault.known is not None:
        return fault.known
    names = record.names
    if not record.data.strip(b"\r\n") and len(names) > 1:
        return record.error_of(0, "the line is empty.", "Remove it.")
    if (count := record.count_fields()) != len(names):
        return record.error_of(
            0,
            f"the record has {count} values, the header names {len(names)} columns.",
            "Quote values that hold commas or newlines; leave nothing between the commas for NULL.",
            value=record.data.decode(errors="replace").rstrip("\r\n"),
        )
    columns = {column.name: column for column in parser.columns}
    reason, named = str(fault), getattr(fault, "column", None)
    for name, value in zip(names, record.fields(record.data, len(names)), strict=True):
        column = columns.get(name)  # a name of the file's own is none, where the record could not be cut
        if column and named in {None, name} and (judgement := _judge(column, value, parser.ask)):
            return record.error_of(0, *judgement, column=name)
    index = re.search(r"CSV column #(\d+)", reason)
    problem = f"it cannot be read ({reason[:_SHOWN] or 'a value is not acceptable'})."
    return record.error_of(0, problem, _AS_COPY, column=named or names[int(index[1]) if index else 0])


def _judge(column: ReadColumn, value: bytes | None, ask: AskServer | None) -> _Judgement | None:
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
    try:
        found = column.read_texts(pa.array([text]), ask)[0]
    except SuspectError as refusal:
        return _refused(column, text, str(refusal))
    if column.spatial is not None:
        return _geometry(column, text, unhexlify(found.as_py()))
    return None if column.axis is None else _degrees(column, found.as_py())


def _refused(column: ReadColumn, text: str, reason: str) -> _Judgement:
    """Return what is wrong with a text that is no value of its column, or the server's `reason`."""
    by_server = f"PostgreSQL refuses it: {reason.removesuffix('.')}." if reason else "servers read it differently."
    kind = column.arrow
    if column.spatial is not None:
        return _no_geometry(column, text, by_server if reason else "")
    if column.is_time:
        problem = _time(column, text)
    elif pa.types.is_integer(kind):
        problem = _integer(column, text)
    else:
        problem = _numeric(column, text) if pa.types.is_decimal(kind) else _double(column, text)
    return problem or (by_server, _remedy(column))


def _remedy(column: ReadColumn) -> str:
    if column.spatial is not None:
        return f"Write hexadecimal EWKB of {column.ddl}, as PostGIS prints a geometry."
    if not column.is_time:
        return _EMPTY_IS_NULL
    wanted = "YYYY-MM-DD" if pa.types.is_date(column.arrow) else "YYYY-MM-DD HH:MM:SS"
    return f"Write {wanted}, or leave the value empty for NULL."


def _no_geometry(column: ReadColumn, text: str, by_server: str) -> _Judgement:
    if not text:
        return "it is an empty string, not a geometry.", "For NULL leave nothing between the commas, not even quotes."
    odd = re.search(r"[^0-9A-Fa-f]", text)
    where = f"character {odd.start() + 1} is {odd[0]!r}" if odd else f"it has {len(text)} digits, an odd number"
    return f"it is not hexadecimal: {where}. {by_server}".rstrip(), _remedy(column)


def _geometry(column: ReadColumn, text: str, data: bytes) -> _Judgement | None:
    assert column.spatial is not None  # noqa: S101 - the caller asked
    try:
        problem = Walk(data, column.spatial).coordinate_problem()
    except SuspectError as fault:
        problem = str(fault)
    if problem is None:
        return None
    remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in problem), _remedy(column))
    if not _HEXADECIMAL.fullmatch(text):
        problem = f"it is not hexadecimal, and {problem.removeprefix('it ')}"
    return f"{problem}.", remedy


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
    if _NOT_A_NUMBER.fullmatch(text):
        return None
    if not _NUMBER.fullmatch(text):
        return f"it is not a number, as {column.ddl} needs.", _EMPTY_IS_NULL
    number = float(text)
    if isfinite(number) and number != 0:
        return None
    return f"it is out of range for double precision: too {'large' if number else 'small'}.", "Correct the value."


def _numeric(column: ReadColumn, text: str) -> _Judgement | None:
    found = _NUMBER.fullmatch(text)
    if not found:
        return f"it is not a number, as {column.ddl} needs.", _EMPTY_IS_NULL
    kind = cast("pa.Decimal128Type[int, int]", column.arrow)
    before, after = _places(found["whole"], found["part"] or "", found["exponent"] or "0")
    if after > kind.scale:
        return (
            f"it has more decimals than {column.ddl} keeps.",
            f"Round it to {kind.scale} decimals, or widen the declared column.",
        )
    if before > kind.precision - kind.scale:
        return f"it is out of range for {column.ddl}.", "Correct the value, or widen the declared column."
    return None


def _places(whole: str, part: str, exponent: str) -> tuple[int, int]:
    """Return how many digits a number has before and after the point: text, since it may have millions."""
    sign, digits = exponent[:1].strip("+0123456789"), exponent.lstrip("+-").lstrip("0") or "0"
    shift = int(sign + (digits if len(digits) < _LONGEST_WHOLE else "9" * _LONGEST_WHOLE))
    significant = (whole + part).lstrip("0")
    shortest = significant.rstrip("0")
    if not shortest:
        return 0, 0
    end = shift - len(part) + len(significant) - len(shortest)
    return len(shortest) + end, -end


def _degrees(column: ReadColumn, number: float) -> _Judgement | None:
    limit = column.most_degrees
    if -limit <= number <= limit:
        return None
    if not isfinite(number):
        problem = "it is not a finite number, as is needed"
    elif limit == 90 and abs(number) <= 180:
        problem = "longitude and latitude look swapped: it is out of range"
    else:
        problem = f"{'it looks like metres of a projection: ' if abs(number) > 1000 else ''}it is out of range"
    return (
        f"{problem} for a {column.axis} (±{limit} degrees).",
        "Positions are degrees of longitude and latitude (EPSG:4326).",
    )


def _time(column: ReadColumn, text: str) -> _Judgement | None:
    is_date = pa.types.is_date(column.arrow)
    problem = f"it is not written as {column.ddl} is."
    if column.is_moving(text):
        problem = f"only PostgreSQL knows what {text.strip()!r} means, and it means a different time at every load."
    elif text.strip().lower() in _INFINITE:
        problem = f"only PostgreSQL knows what {text.strip()!r} means, and no map draws an infinite time."
    elif (_DATE if is_date else _TIMESTAMP).fullmatch(text):
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            problem = f"there is no such {'day' if is_date else 'time'} ({error})."
        else:
            if is_date or ("with time zone" in column.ddl) == bool(_ZONE.search(text)):
                return None
    return problem, _remedy(column)
