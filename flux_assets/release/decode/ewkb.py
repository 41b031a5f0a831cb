"""The structure of one EWKB geometry, walked exactly: of those in uncommon forms, and what is wrong with one.

shapely does not judge it: it accepts rings of three points, bytes after the end and any byte order mark, and reads
neither curves nor surfaces.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from flux_assets.release.decode.columns import KIND_NAMES, Spatial, SuspectError
from flux_assets.release.stopping import check_stop

_LINES, _POLYGONS = {2, 8}, {3, 17}
_SIMPLE_COLLECTIONS = {4, 5, 6}
_Z, _M, _SRID = 0x80000000, 0x40000000, 0x20000000
_DEEPEST = 32


_Run = tuple[int, int, bool]
"""Coordinates in a row: their first byte, the number of points, whether they are a ring."""


@dataclass(slots=True)
class _Walked:
    """The outcome of a walk: the outer type and where the coordinates are, by byte order."""

    kind: int = 0
    little_endian: list[_Run] = field(default_factory=list)
    big_endian: list[_Run] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.little_endian and not self.big_endian


def walk(data: bytes, column: Spatial) -> _Walked:
    """Return the structure of `data`. Raises SuspectError when it is incomplete or not what `column` takes.

    Coordinates are left to the caller.
    """
    walker = _Walker(data, column)
    walker.geometry(depth=0)
    if walker.position != len(data):
        raise SuspectError(f"its EWKB is over-long: {len(data) - walker.position} bytes follow its end")
    return walker.found


def judge_geometry(data: bytes, column: Spatial) -> str | None:
    """Return what is wrong with one geometry, coordinates included; None when nothing is."""
    try:
        found = walk(data, column)
    except SuspectError as fault:
        return str(fault)
    runs = sorted([(*run, "<f8") for run in found.little_endian] + [(*run, ">f8") for run in found.big_endian])
    for start, count, _, kind in runs:
        points = np.frombuffer(data, kind, count * column.point_bytes // 8, start).reshape(count, -1)
        with np.errstate(invalid="ignore"):
            sound = (np.abs(points[:, 0]) <= 180) & (np.abs(points[:, 1]) <= 90)
        if not sound.all():
            return _coordinate_problem(*points[int(np.argmin(sound)), :2])
    return None


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


class _Walker:
    def __init__(self, data: bytes, column: Spatial) -> None:
        self.data, self.column = data, column
        self.position = 0
        self.found = _Walked()

    def geometry(self, depth: int, within: int = 0) -> None:
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
                self.geometry(depth + 1, kind)

    def _drawn(self, kind: int, within: int) -> None:
        drawn = self.column.drawn
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
            self.found.kind = kind
            self._outer(kind, srid)
        has_z, has_m = bool(flagged & _Z) or iso in (1, 3), bool(flagged & _M) or iso in (2, 3)
        for letter, has, wanted in (("Z", has_z, self.column.has_z), ("M", has_m, self.column.has_m)):
            if has != wanted:
                raise SuspectError(
                    f"it has {'a' if has else 'no'} {letter} coordinate, the column takes {'one' if wanted else 'none'}"
                )
        return kind

    def _outer(self, kind: int, srid: int) -> None:
        wanted = self.column.kind
        if wanted is not None and kind != wanted:
            raise SuspectError(f"it is a {KIND_NAMES[kind]}, the column takes {KIND_NAMES[wanted]}")
        if srid == 0:
            raise SuspectError(f"it carries no SRID, expected {self.column.srid}")
        if srid != self.column.srid:
            raise SuspectError(f"its SRID is {srid}, expected {self.column.srid} (degrees)")

    def _ring(self, order: str) -> None:
        count = self._number(order, 0)
        if count < 4:
            raise SuspectError(f"it has a ring of {count} points, and needs at least 4")
        start, width = self.position, self.column.point_bytes
        self._run(order, count, ring=True)
        if self.data[start : start + 16] != self.data[start + width * (count - 1) :][:16]:
            first, last = (struct.unpack_from(order + "dd", self.data, at) for at in (start, self.position - width))
            if first != last:
                raise SuspectError(f"it has a ring that is not closed: it begins at {first} and ends at {last}")

    def _run(self, order: str, count: int, *, ring: bool) -> None:
        start = self.position
        self._skip(self.column.point_bytes * count)
        if count:
            runs = self.found.little_endian if order == "<" else self.found.big_endian
            runs.append((start, count, ring))

    def _number(self, order: str, least: int) -> int:
        """Return a count; raise SuspectError at once when even the smallest parts of that number would not fit."""
        number: int = struct.unpack(order + "I", self._take(4))[0]
        if number * least > len(self.data) - self.position:
            raise SuspectError(
                f"its EWKB is truncated: {number} parts are announced, {len(self.data) - self.position} bytes are left"
            )
        return number

    def _take(self, size: int) -> bytes:
        start = self.position
        self._skip(size)
        return self.data[start : self.position]

    def _skip(self, size: int) -> None:
        left = len(self.data) - self.position
        if left < size:
            raise SuspectError(
                f"its EWKB is truncated: {size} bytes are needed at byte {self.position}, {left} are left"
            )
        self.position += size
