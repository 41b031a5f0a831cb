"""Declared columns as the reader needs them: Arrow type, limits, and part in a position."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from flux_assets.spec import StaticTable, is_spatial, type_ddl


class SuspectError(ValueError):
    """Some value of a column is not acceptable; an exact pass finds which."""

    def __init__(self, column: str = "") -> None:
        self.column = column
        super().__init__(column)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spatial:
    """What a geometry column takes: `kind` of WKB (None: any), SRID, and whether points carry Z and M.

    `drawn` are the kinds of WKB allowed for it and its parts, where these are narrower than its type.
    """

    kind: int | None
    srid: int
    has_z: bool
    has_m: bool
    drawn: frozenset[int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadColumn:
    """A column as the reader sees it.

    `arrow` is the type delivered, `longest` the limit in characters, `axis` whether it holds degrees of a position.
    """

    name: str
    ddl: str
    arrow: pa.DataType
    nullable: bool
    longest: int | None = None
    axis: Literal["longitude", "latitude"] | None = None
    spatial: Spatial | None = None


_SIMPLE = "POINT LINESTRING POLYGON MULTIPOINT MULTILINESTRING MULTIPOLYGON GEOMETRYCOLLECTION"
_CURVED = "CIRCULARSTRING COMPOUNDCURVE CURVEPOLYGON MULTICURVE MULTISURFACE"
KIND_NAMES = dict(enumerate(f"{_SIMPLE} {_CURVED}".split(), 1)) | {15: "POLYHEDRALSURFACE", 16: "TIN", 17: "TRIANGLE"}
KINDS = {name: number for number, name in KIND_NAMES.items()}


def read_columns(table: StaticTable) -> tuple[ReadColumn, ...]:
    """Return the columns of a declaration, in its order."""
    axes: dict[str, Literal["longitude", "latitude"]] = {}
    for position in table.positions:
        axes |= {position.longitude: "longitude", position.latitude: "latitude"}
    return tuple(
        ReadColumn(
            name=column.name,
            ddl=type_ddl(column),
            arrow=_arrow(column),
            nullable=bool(column.nullable),
            longest=column.type.length if isinstance(column.type, sa.String) else None,
            axis=axes.get(column.name),
            spatial=_spatial(table, column) if is_spatial(column) else None,
        )
        for column in table.columns
    )


def _arrow(column: sa.Column[object]) -> pa.DataType:
    kind = column.type
    if is_spatial(column):
        return pa.binary()
    if isinstance(kind, sa.Double):
        return pa.float64()
    if isinstance(kind, sa.Numeric):
        return pa.decimal128(kind.precision or 38, kind.scale or 0)
    if isinstance(kind, sa.DateTime):
        return pa.timestamp("us", tz="UTC" if kind.timezone else None)
    simple = ((sa.String, pa.string()), (sa.BigInteger, pa.int64()), (sa.Integer, pa.int32()), (sa.Date, pa.date32()))
    return next(arrow for declared, arrow in simple if isinstance(kind, declared))


def _spatial(table: StaticTable, column: sa.Column[object]) -> Spatial:
    name = str(getattr(column.type, "geometry_type", None) or "GEOMETRY").upper()
    dimension = int(getattr(column.type, "dimension", 2) or 2)
    flat = name.removesuffix("ZM").removesuffix("M").removesuffix("Z")
    return Spatial(
        kind=KINDS.get(flat),
        srid=int(getattr(column.type, "srid", 4326)),
        has_z=name.endswith(("Z", "ZM")) or dimension == 4,
        has_m=name.endswith("M"),
        drawn=_drawn(table) if column in table.mixed_columns else None,
    )


def _drawn(table: StaticTable) -> frozenset[int] | None:
    """Return the kinds that must be drawable; those that are only reported are judged once staged."""
    return frozenset(KINDS[kind] for kind in table.drawable.kinds) if table.drawable.others == "refuse" else None


def value_offsets(column: pa.Array[Any]) -> npt.NDArray[np.int32]:
    """Return where the values of a string or binary column begin in its data buffer, and where the last one ends."""
    return np.frombuffer(bytes_of(column.buffers()[1]), np.int32, len(column) + 1, 4 * column.offset)


def bytes_of(buffer: pa.Buffer | None) -> memoryview:
    """Return the bytes of a buffer of a column, of none where it has no values."""
    return memoryview(b"" if buffer is None else cast("bytes", buffer))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a text is no value of its type, in the server's words."""

    reason: str


Value = int | float | Decimal | str
"""A number; days or microseconds since 1970 of a date or time; hexadecimal EWKB of a geometry."""

_Answer = tuple[bytes | None, str]
"""A value as the send function of its type gives it, EWKB of a geometry, the text of a numeric; or None, and why."""

AskServer = Callable[[str, Sequence[str]], Sequence[_Answer]]
"""Asks the server how it reads texts of a type, given by its DDL."""

_YEAR = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})"  # COPY knows no year 0, which Arrow takes for 1 BC
_DATE = rf"{_YEAR}-\d\d-\d\d"
_CLOCK = r"[ T](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?"  # COPY takes an hour alone otherwise
# Most files write 2024-01-01 or 2024-01-01 12:30:00: the least and the most that each sign is then, by the size.
_USUAL = {
    size: [np.frombuffer(bound, np.uint8) for bound in bounds]
    for size, bounds in (
        (10, (b"1000-00-00", b"9999-99-99")),
        (19, (b"1000-00-00 00:00:00", b"9999-99-99 29:59:59")),
    )
}
_USUAL_SIZES = {"date": (10,), "timestamp without time zone": (10, 19)}
_ZONE = r"(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)"
_NUMBER = r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,2})?"
_WORDS = r"[+-]?(?i:inf|infinity)|(?i:nan)"
_BLANK = " \t"
_LONGEST = 100_000  # bytes of a number or time: PostgreSQL keeps no numeric of more digits than about so many
# Days that are others at the next load. The server takes a word's letters together.
MOVING = re.compile(r"(?<![a-z])(now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)
_FROM_2000_DAYS, _FROM_2000_US = 10957, 946_684_800_000_000
_INFINITE = {4: (-(2**31), 2**31 - 1), 8: (-(2**63), 2**63 - 1)}


def read_times(column: ReadColumn, texts: pa.Array[Any]) -> pa.Array[Any]:
    """Return the dates or times of plain texts. Raises SuspectError when one is not plain, or there is no such time."""
    if not _are_usual(column, texts) and pc.all(_are_plain(column, texts)).as_py() is False:
        raise SuspectError(column.name)
    return _cast(column, texts)


def read_texts(column: ReadColumn, texts: pa.Array[Any], ask: AskServer) -> pa.Array[Any]:
    """Return the values of any texts. Raises SuspectError when one of them is refused."""
    if column.spatial is None and np.diff(value_offsets(texts)).max(initial=0) > _LONGEST:
        raise SuspectError(column.name)  # each step would copy it
    coded = texts.dictionary_encode()
    words = coded.dictionary
    plain = np.asarray(_are_plain(column, words)).astype(bool)
    values = _cast(column, words.filter(pa.array(plain)))
    if not plain.all():
        found = odd_values(column, cast("list[str]", words.filter(pa.array(~plain)).to_pylist()), ask)
        if any(isinstance(value, Refusal) for value in found):
            raise SuspectError(column.name)
        values = pa.concat_arrays([values, _array(column, cast("list[Value]", found))])
    places = np.empty(len(words), np.int64)
    places[np.argsort(~plain, kind="stable")] = np.arange(len(words))
    return values.take(pa.array(places, pa.int64()).take(coded.indices))


def odd_values(column: ReadColumn, texts: Sequence[str], ask: AskServer) -> list[Value | Refusal]:
    """Return how the server reads texts that need not be plain: values, or why it refuses them."""
    moving = {text for text in texts if pa.types.is_temporal(column.arrow) and MOVING.search(text)}
    asked = [text for text in texts if text not in moving]
    answers = iter(ask(column.ddl, asked) if asked else ())
    return [
        Refusal("it means a different time at every load") if text in moving else _value(column, next(answers))
        for text in texts
    ]


def is_plain(column: ReadColumn, text: str) -> bool:
    """Return whether Arrow and COPY read a text alike, if they accept it."""
    return re.fullmatch(_plain(column), text.strip(_BLANK), re.ASCII) is not None


def _are_usual(column: ReadColumn, texts: pa.Array[Any]) -> bool:
    """Return whether all are plain and written as most are, at a third of the cost of the pattern."""
    given = texts.drop_null()
    ends = value_offsets(given)
    size = int(ends[-1] - ends[0]) // max(1, len(given))
    if size not in _USUAL_SIZES.get(column.ddl, ()) or (np.diff(ends) != size).any():
        return False
    signs = np.frombuffer(cast("memoryview", given.buffers()[2]), np.uint8)[ends[0] : ends[-1]].reshape(-1, size)
    least, most = _USUAL[size]
    if (signs - least > most - least).any():  # what is below the least wraps round to more
        return False
    return size == 10 or not ((signs[:, 11] == ord("2")) & (signs[:, 12] > ord("3"))).any()


def _are_plain(column: ReadColumn, texts: pa.Array[Any]) -> pa.Array[Any]:
    pattern = f"^[{_BLANK}]*(?:{_plain(column)})[{_BLANK}]*$"
    return cast("pa.Array[Any]", pc.match_substring_regex(cast("pa.StringArray", texts), pattern))


@cache
def _plain(column: ReadColumn) -> str:
    kind = column.arrow
    if column.spatial is not None:
        return r"(?:[0-9A-Fa-f]{2})+"
    if pa.types.is_integer(kind):
        return r"[+-]?\d{1,9}" if kind == pa.int32() else r"[+-]?\d{1,18}"
    if pa.types.is_floating(kind):
        return f"{_NUMBER}|{_WORDS}"
    if isinstance(kind, pa.Decimal128Type):
        return rf"[+-]?\d{{1,{kind.precision - kind.scale}}}(?:\.\d{{0,{kind.scale}}}0{{0,40}})?"
    if pa.types.is_date(kind):
        return _DATE
    return f"{_DATE}{_CLOCK}{_ZONE}" if "with time zone" in column.ddl else f"{_DATE}(?:{_CLOCK})?"


def _cast(column: ReadColumn, texts: pa.Array[Any]) -> pa.Array[Any]:
    """Return plain texts as Arrow reads them. Raises SuspectError where there is no such time."""
    if column.spatial is not None:
        return texts.cast(pa.binary())
    bare = pc.utf8_trim(cast("pa.StringArray", texts), _BLANK)
    if not pa.types.is_temporal(column.arrow):
        bare = pc.replace_substring_regex(bare, r"^\+", "")
    try:
        return cast("pa.Array[Any]", pc.cast(bare, column.arrow))
    except pa.ArrowInvalid:
        raise SuspectError(column.name) from None


def _array(column: ReadColumn, values: list[Value]) -> pa.Array[Any]:
    if column.spatial is not None:
        return pa.array(values, pa.string()).cast(pa.binary())
    if pa.types.is_temporal(column.arrow):
        return pa.array(values, pa.int32() if pa.types.is_date(column.arrow) else pa.int64()).view(column.arrow)
    return pa.array(values, column.arrow)


def _value(column: ReadColumn, answer: _Answer) -> Value | Refusal:
    value, reason = answer
    if value is None:
        return Refusal(reason)
    if column.spatial is not None:
        return value.hex()
    if pa.types.is_floating(column.arrow):
        return float(struct.unpack(">d", value)[0])
    if pa.types.is_decimal(column.arrow):
        amount = Decimal(value.decode())
        return amount if amount.is_finite() else Refusal(f"{amount} is not an amount that a layer can hold")
    number = int.from_bytes(value, "big", signed=True)
    return _since_1970(column, number, len(value)) if pa.types.is_temporal(column.arrow) else number


def _since_1970(column: ReadColumn, number: int, size: int) -> int | Refusal:
    least, most = _INFINITE[size]
    if number in {least, most}:
        return Refusal("it is infinite, which no map draws")
    moved = number + (_FROM_2000_DAYS if pa.types.is_date(column.arrow) else _FROM_2000_US)
    return moved if moved <= most else Refusal("it is later than the latest time that a layer can hold")


_SPACE = r"[ \t\n\v\f\r]*+"
_WHOLE = re.compile(rf"{_SPACE}([+-]?\d{{1,30}}){_SPACE}", re.ASCII)
_ANY_NUMBER = re.compile(
    rf"{_SPACE}([+-]?(?=\.?\d)\d{{0,400}}(?:\.\d{{0,400}})?(?:[eE][+-]?\d{{1,5}})?){_SPACE}", re.ASCII
)
_NUMERIC = re.compile(r"numeric\((\d+), ?(\d+)\)")


def without_server(ddl: str, texts: Sequence[str]) -> list[_Answer]:
    """Answer as a server would for numbers that COPY certainly reads so, and refuse all others."""
    return [(_answer(ddl, text), "") for text in texts]


def _answer(ddl: str, text: str) -> bytes | None:
    if ddl in {"integer", "bigint"}:
        return _whole(text, 4 if ddl == "integer" else 8)
    if (found := _ANY_NUMBER.fullmatch(text)) is None:
        return None
    if ddl == "double precision":
        return _double(found[1])
    return _numeric(found[1], int(kept[1]), int(kept[2])) if (kept := _NUMERIC.fullmatch(ddl)) else None


def _whole(text: str, size: int) -> bytes | None:
    found = _WHOLE.fullmatch(text)
    fits = found and -(2 ** (8 * size - 1)) <= int(found[1]) < 2 ** (8 * size - 1)
    return int(found[1]).to_bytes(size, "big", signed=True) if found and fits else None


def _double(text: str) -> bytes | None:
    """Refuse what is too large or too small, as PostgreSQL does: it makes neither infinity nor zero of a number."""
    number = float(text)
    lost = number in {float("inf"), float("-inf")} or (
        number == 0 and any(sign in text.lower().split("e")[0] for sign in "123456789")
    )
    return None if lost else struct.pack(">d", number)


def _numeric(text: str, precision: int, scale: int) -> bytes | None:
    """Return a number that need not be rounded."""
    try:
        number = Decimal(text)
        kept = number.quantize(Decimal(1).scaleb(-scale))
    except InvalidOperation:
        return None
    fits = kept == number and abs(kept) < Decimal(10) ** (precision - scale)
    return str(kept).encode() if fits else None
