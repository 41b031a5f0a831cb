"""The structure of one EWKB geometry, walked exactly: of those in uncommon forms, and what is wrong with one.

shapely does not judge it: it accepts rings of three points, bytes after the end and any byte order mark, and reads
neither curves nor surfaces.
"""

from __future__ import annotations

import struct

import numpy as np

from flux_assets.release.decode.columns import Spatial, SuspectError
from flux_assets.release.stopping import check_stop
from flux_assets.spec.facts import KIND_NAMES

_LINES, _POLYGONS = {2, 8}, {3, 17}
_SIMPLE_COLLECTIONS = {4, 5, 6}
_Z, _M, _SRID = 0x80000000, 0x40000000, 0x20000000
_DEEPEST = 32


_Run = tuple[int, int, bool]
"""Coordinates in a row: their first byte, the number of points, whether they are a ring."""


class Walk:
    """One geometry, walked to its end: its outer type and where its coordinates are, by byte order.

    Raises SuspectError when the bytes are incomplete or not what `column` takes; coordinates are judged only on demand.
    """

    def __init__(self, data: bytes, column: Spatial) -> None:
        self._data, self._column = data, column
        self._position = self.kind = 0
        self.little_endian: list[_Run] = []
        self.big_endian: list[_Run] = []
        self._geometry(depth=0)
        if self._position != len(data):
            raise SuspectError(f"its EWKB is over-long: {len(data) - self._position} bytes follow its end")

    @property
    def is_empty(self) -> bool:
        return not self.little_endian and not self.big_endian

    def coordinate_problem(self) -> str | None:
        """Return what is wrong with the first coordinate that is no position in degrees; None when all are."""
        runs = sorted([(*run, "<f8") for run in self.little_endian] + [(*run, ">f8") for run in self.big_endian])
        for start, count, _, kind in runs:
            points = np.frombuffer(self._data, kind, count * self._column.point_bytes // 8, start).reshape(count, -1)
            with np.errstate(invalid="ignore"):
                sound = (np.abs(points[:, 0]) <= 180) & (np.abs(points[:, 1]) <= 90)
            if not sound.all():
                return _coordinate_problem(*points[int(np.argmin(sound)), :2])
        return None

    def _geometry(self, depth: int, within: int = 0) -> None:
        """Walk one geometry; `within` is the kind of what it is a part of."""
        if depth > _DEEPEST:
            raise SuspectError(f"its parts are nested more than {_DEEPEST} deep")
        mark = self._take(1)[0]
        if mark > 1:
            raise SuspectError(f"it is not EWKB: the byte order mark is {mark:02X}, not 00 or 01")
        order = "<" if mark else ">"
        kind = self._header(order, outermost=depth == 0)
        self._drawn(kind, within)
        if kind == 1:
            self._run(order, 1, ring=False)
        elif kind in _LINES:
            count = self._number(order, 0)
            if count == 1:
                raise SuspectError("it has a line of a single point")
            self._run(order, count, ring=False)
        elif kind in _POLYGONS:
            for _ in range(self._number(order, 4)):
                self._ring(order)
        else:
            for number in range(self._number(order, 5)):
                if not number & 0xFFF:
                    check_stop()
                self._geometry(depth + 1, kind)

    def _drawn(self, kind: int, within: int) -> None:
        drawn = self._column.drawn
        # A simple collection's name implies the kind of its parts.
        if drawn is None or kind in drawn or within in _SIMPLE_COLLECTIONS:
            return
        how = f"it has a part that is a {KIND_NAMES[kind]}" if within else f"it is a {KIND_NAMES[kind]}"
        raise SuspectError(f"{how}, which the readers of the layer cannot draw")

    def _header(self, order: str, *, outermost: bool) -> int:
        word: int = struct.unpack(order + "I", self._take(4))[0]
        flagged, code = word & (_Z | _M | _SRID), word & ~(_Z | _M | _SRID)
        iso, kind = divmod(code, 1000)
        if kind not in KIND_NAMES or iso > 3:
            raise SuspectError(f"it is not EWKB: there is no geometry type {code}")
        srid = struct.unpack(order + "I", self._take(4))[0] if flagged & _SRID else 0
        if outermost:
            self.kind = kind
            self._outer(kind, srid)
        has_z, has_m = bool(flagged & _Z) or iso in (1, 3), bool(flagged & _M) or iso in (2, 3)
        for letter, has, wanted in (("Z", has_z, self._column.has_z), ("M", has_m, self._column.has_m)):
            if has != wanted:
                raise SuspectError(
                    f"it has {'a' if has else 'no'} {letter} coordinate, the column takes {'one' if wanted else 'none'}"
                )
        return kind

    def _outer(self, kind: int, srid: int) -> None:
        wanted = self._column.kind
        if wanted is not None and kind != wanted:
            raise SuspectError(f"it is a {KIND_NAMES[kind]}, the column takes {KIND_NAMES[wanted]}")
        if srid == 0:
            raise SuspectError(f"it carries no SRID, expected {self._column.srid}")
        if srid != self._column.srid:
            raise SuspectError(f"its SRID is {srid}, expected {self._column.srid} (degrees)")

    def _ring(self, order: str) -> None:
        count = self._number(order, 0)
        if count < 4:
            raise SuspectError(f"it has a ring of {count} points, and needs at least 4")
        start, width = self._position, self._column.point_bytes
        self._run(order, count, ring=True)
        if self._data[start : start + 16] != self._data[start + width * (count - 1) :][:16]:
            first, last = (struct.unpack_from(order + "dd", self._data, at) for at in (start, self._position - width))
            if first != last:
                raise SuspectError(f"it has a ring that is not closed: it begins at {first} and ends at {last}")

    def _run(self, order: str, count: int, *, ring: bool) -> None:
        start = self._position
        self._skip(self._column.point_bytes * count)
        if count:
            runs = self.little_endian if order == "<" else self.big_endian
            runs.append((start, count, ring))

    def _number(self, order: str, least: int) -> int:
        """Return a count; raise SuspectError at once when even the smallest parts of that number would not fit."""
        number: int = struct.unpack(order + "I", self._take(4))[0]
        if number * least > (left := len(self._data) - self._position):
            raise SuspectError(f"its EWKB is truncated: {number} parts are announced, {left} bytes are left")
        return number

    def _take(self, size: int) -> bytes:
        start = self._position
        self._skip(size)
        return self._data[start : self._position]

    def _skip(self, size: int) -> None:
        left = len(self._data) - self._position
        if left < size:
            raise SuspectError(
                f"its EWKB is truncated: {size} bytes are needed at byte {self._position}, {left} are left"
            )
        self._position += size


def _coordinate_problem(x: float, y: float) -> str | None:
    """Return why (x, y) cannot be degrees of longitude and latitude; None when it can."""
    shown = f"({x:.10g} {y:.10g})"
    if np.isnan(x) and np.isnan(y):
        return f"it has a coordinate that is NaN, {shown}, which is also how an empty point is written"
    if not (np.isfinite(x) and np.isfinite(y)):
        return f"it has a coordinate that is not finite, {shown}"
    if abs(x) <= 180 and abs(y) <= 90:
        return None
    if abs(x) <= 90 and abs(y) <= 180:
        return f"it has the coordinate {shown}, out of range for degrees: longitude and latitude look swapped"
    if abs(x) > 1000 or abs(y) > 1000:
        return f"it has the coordinate {shown}, out of range for degrees: it looks like metres of a projection"
    return f"it has the coordinate {shown}, out of range for degrees of longitude (±180) and latitude (±90)"
