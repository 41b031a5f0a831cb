"""Declared columns as the reader needs them, and texts to their values, exactly as PostgreSQL's COPY reads them.

Arrow reads plain texts, which it and every server read alike; any other is put to the server, or refused without one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from geoalchemy2 import Geography, Geometry

from flux_assets.errors import RecordError
from flux_assets.spec import StaticTable, type_ddl
from flux_assets.spec.facts import KIND_NAMES

_Answer = tuple[bytes | None, str]
"""A value as the send function of its type gives it, EWKB of a geometry, the text of a numeric; or None, and why."""

AskServer = Callable[[str, Sequence[str]], Sequence[_Answer]]
"""Asks the server how it reads texts of a type, given by its DDL."""

_KINDS = {name: number for number, name in KIND_NAMES.items()}

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
_MOVING = re.compile(r"(?<![a-z])(now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)
_FROM_2000_DAYS, _FROM_2000_US = 10957, 946_684_800_000_000


class SuspectError(ValueError):
    """Some value is not acceptable, for the server's reason where that was asked; an exact pass finds which.

    `column` names its column where the value alone, as a text, would not show it; `known` is the error of the first
    such record where it was found already.
    """

    column: str | None = None
    known: RecordError | None = None


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

    @property
    def point_bytes(self) -> int:
        return 8 * (2 + self.has_z + self.has_m)


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

    @classmethod
    def all_of(cls, table: StaticTable) -> tuple[ReadColumn, ...]:
        """Return the columns of a declaration, in its order."""
        axes: dict[str, Literal["longitude", "latitude"]] = {}
        for position in table.positions:
            axes |= {position.longitude: "longitude", position.latitude: "latitude"}
        return tuple(
            cls(
                name=column.name,
                ddl=type_ddl(column),
                arrow=_arrow(column),
                nullable=bool(column.nullable),
                longest=column.type.length if isinstance(column.type, sa.String) else None,
                axis=axes.get(column.name),
                spatial=_spatial(table, column) if column in table.spatial_columns else None,
            )
            for column in table.columns
        )

    @property
    def field(self) -> pa.Field[Any]:
        """The field of what is delivered."""
        return pa.field(self.name, self.arrow, self.nullable)

    @property
    def most_degrees(self) -> int:
        """The limit of the axis."""
        return 180 if self.axis == "longitude" else 90

    @property
    def is_time(self) -> bool:
        """Whether it holds dates or times."""
        return pa.types.is_temporal(self.arrow)

    def is_moving(self, text: str) -> bool:
        """Return whether a text is a time that is another one at the next load."""
        return self.is_time and _MOVING.search(text) is not None

    def read_times(self, texts: pa.Array[Any]) -> pa.Array[Any]:
        """Return the times of plain texts. Raises SuspectError when one is not plain, or there is no such time."""
        if not _are_usual(self, texts) and pc.all(_are_plain(self, texts)).as_py() is False:
            raise SuspectError
        return _cast(self, texts)

    def read_texts(self, texts: pa.Array[Any], ask: AskServer | None) -> pa.Array[Any]:
        """Return the values of any texts, of a geometry hexadecimal EWKB. Raises SuspectError when one is refused."""
        if self.spatial is None and np.diff(layout(texts)[0]).max(initial=0) > _LONGEST:
            raise SuspectError  # each step would copy it
        coded = texts.dictionary_encode()
        words = coded.dictionary
        plain = np.asarray(_are_plain(self, words)).astype(bool)
        values = _cast(self, words.filter(pa.array(plain)))
        if not plain.all():
            odd = _asked(self, cast("list[str]", words.filter(pa.array(~plain)).to_pylist()), ask)
            values = pa.concat_arrays([values, odd])
        places = np.empty(len(words), np.int64)
        places[np.argsort(~plain, kind="stable")] = np.arange(len(words))
        return values.take(pa.array(places, pa.int64()).take(coded.indices))


def _arrow(column: sa.Column[object]) -> pa.DataType:
    kind = column.type
    if isinstance(kind, (Geometry, Geography)):
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
    # Kinds that are only reported are judged once staged.
    is_limited = column in table.mixed_columns and table.drawable.others == "refuse"
    return Spatial(
        kind=_KINDS.get(flat),
        srid=int(getattr(column.type, "srid", 4326)),
        has_z=name.endswith(("Z", "ZM")) or dimension == 4,
        has_m=name.endswith("M"),
        drawn=frozenset(_KINDS[kind] for kind in table.drawable.kinds) if is_limited else None,
    )


def layout(column: pa.Array[Any]) -> tuple[npt.NDArray[np.int32], memoryview]:
    """Return where the values of a string or binary column begin in its data and where the last ends, and the data."""
    _, offsets, data = (memoryview(b"" if buffer is None else cast("bytes", buffer)) for buffer in column.buffers())
    return np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset), data


def _are_usual(column: ReadColumn, texts: pa.Array[Any]) -> bool:
    """Return whether all are plain and written as most are, at a third of the cost of the pattern."""
    given = texts.drop_null()
    ends, data = layout(given)
    size = int(ends[-1] - ends[0]) // max(1, len(given))
    if size not in _USUAL_SIZES.get(column.ddl, ()) or (np.diff(ends) != size).any():
        return False
    signs = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].reshape(-1, size)
    least, most = _USUAL[size]
    if (signs - least > most - least).any():  # what is below the least wraps round to more
        return False
    return size == 10 or not ((signs[:, 11] == ord("2")) & (signs[:, 12] > ord("3"))).any()


def _are_plain(column: ReadColumn, texts: pa.Array[Any]) -> pa.Array[Any]:
    blank = f"[{_BLANK}]*" if column.spatial is None else ""
    pattern = f"^{blank}(?:{_plain(column)}){blank}$"
    return cast("pa.Array[Any]", pc.match_substring_regex(cast("pa.StringArray", texts), pattern))


@cache
def _plain(column: ReadColumn) -> str:
    """Return the pattern of texts that Arrow and COPY read alike, if they accept them."""
    kind = column.arrow
    if column.spatial is not None:
        return r"(?:[0-9A-Fa-f]{2})+"
    if pa.types.is_integer(kind):
        return r"[+-]?\d{1,40}"
    if pa.types.is_floating(kind):
        return f"{_NUMBER}|{_WORDS}"
    if isinstance(kind, pa.Decimal128Type):
        return rf"[+-]?\d{{1,{kind.precision - kind.scale}}}(?:\.\d{{0,{kind.scale}}}0{{0,40}})?"
    if pa.types.is_date(kind):
        return _DATE
    return f"{_DATE}{_CLOCK}{_ZONE}" if "with time zone" in column.ddl else f"{_DATE}(?:{_CLOCK})?"


def _cast(column: ReadColumn, texts: pa.Array[Any]) -> pa.Array[Any]:
    """Return plain texts as Arrow reads them. Raises SuspectError where there is no such value."""
    if column.spatial is not None:
        return texts.cast(pa.binary())
    bare = pc.utf8_trim(cast("pa.StringArray", texts), _BLANK)
    if not column.is_time:
        bare = pc.replace_substring_regex(bare, r"^\+", "")
    try:
        return cast("pa.Array[Any]", pc.cast(bare, column.arrow))
    except pa.ArrowInvalid:
        raise SuspectError from None


def _asked(column: ReadColumn, texts: list[str], ask: AskServer | None) -> pa.Array[Any]:
    """Return the values that the server makes of texts. Raises SuspectError when it refuses one, or a layer does."""
    kind = column.arrow
    if ask is None or any(map(column.is_moving, texts)):
        raise SuspectError
    values = [_value(column, answer) for answer in ask(column.ddl, texts)]
    if not column.is_time:
        return pa.array(values, kind)
    return pa.array(values, pa.int32() if pa.types.is_date(kind) else pa.int64()).view(kind)


def _value(column: ReadColumn, answer: _Answer) -> int | float | Decimal | bytes:
    """Return a value as Arrow stores it: days or microseconds since 1970 of a date or time."""
    value, reason = answer
    if value is None:
        raise SuspectError(reason)
    if column.spatial is not None:
        return value.hex().encode()
    if pa.types.is_floating(column.arrow):
        return float(struct.unpack(">d", value)[0])
    if pa.types.is_decimal(column.arrow):
        amount = Decimal(value.decode())
        if amount.is_finite():
            return amount
        raise SuspectError(f"{amount} is not an amount that a layer can hold")
    number = int.from_bytes(value, "big", signed=True)
    if not column.is_time:
        return number
    most = 2 ** (8 * len(value) - 1) - 1
    if number in {-most - 1, most}:
        raise SuspectError("it is infinite, which no map draws")
    number += _FROM_2000_DAYS if pa.types.is_date(column.arrow) else _FROM_2000_US
    if number > most:
        raise SuspectError("it is later than the latest time that a layer can hold")
    return number
