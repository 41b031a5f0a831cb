"""A whole geometry column at once: hex to EWKB, and whether every value is what the column takes.

Arithmetic over the column's buffer, four times as fast as shapely. A value that looks wrong only raises SuspectError;
ewkb.py says what is wrong with it.
"""

from __future__ import annotations

from binascii import Error as HexError
from binascii import unhexlify
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.release.decode.columns import Spatial, SuspectError, layout
from flux_assets.release.decode.ewkb import Walk
from flux_assets.release.stopping import check_stop

_Numbers = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Run = tuple[int, int, bool]
_SHORTEST = 21  # header, SRID, a count and one more field: below that, only empty lines and polygons, and damage
_MANY_RINGS = 16


@dataclass(slots=True)
class Shapes:
    """The geometries of a column: how many of each type, how many empty, and their extent in degrees.

    `extent` is (min x, min y, max x, max y), None while there is no coordinate. Types are numbers of WKB.
    """

    kinds: Counter[int] = field(default_factory=Counter)
    empty: int = 0
    extent: tuple[float, float, float, float] | None = None

    def add(self, other: Shapes) -> None:
        self.kinds.update(other.kinds)
        self.empty += other.empty
        if other.extent is not None:
            a, b = self.extent or other.extent, other.extent
            self.extent = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))


def examined(column: pa.Array[Any], takes: Spatial, *, hexadecimal: bool = True) -> tuple[pa.Array[Any], Shapes]:
    """Return the EWKB of a binary column, which holds it as `hexadecimal` text or as it is, and its shapes.

    Raises SuspectError when some value is not that, or not acceptable.
    """
    if hexadecimal:
        column = _unhexed(column)
    return column, _read(column, takes).shapes()


def _unhexed(hexes: pa.Array[Any]) -> pa.Array[Any]:
    ends, data = layout(hexes)
    if np.bitwise_or.reduce(ends) & 1:
        raise SuspectError
    try:
        plain = unhexlify(data[ends[0] : ends[-1]])
    except HexError:
        raise SuspectError from None
    halved = (ends - ends[0]) >> 1
    buffers = [hexes.buffers()[0], pa.py_buffer(halved), pa.py_buffer(plain)]
    return pa.Array.from_buffers(pa.binary(), len(hexes), buffers, hexes.null_count)


def _read(column: pa.Array[Any], takes: Spatial) -> _Column:
    ends, data = layout(column)
    bounds = ends.astype(np.int64)
    rows = np.flatnonzero(np.asarray(column.is_valid())) if column.null_count else slice(None)
    found = _Column(data, takes)
    found.read(bounds[:-1][rows], bounds[1:][rows])
    return found


def moved(
    column: pa.Array[Any], takes: Spatial, move: Callable[[_Floats, _Floats], tuple[_Floats, _Floats]]
) -> pa.Array[Any]:
    """Return a column of EWKB with x and y as `move` makes them. Raises SuspectError when some value is not sound."""
    ends, _ = layout(column)
    data = _read(column, takes).moved(move)
    buffers = [None, pa.py_buffer(ends.tobytes()), pa.py_buffer(data)]
    found = pa.Array.from_buffers(pa.binary(), len(column), buffers)
    return pc.if_else(column.is_valid(), found, pa.scalar(None, pa.binary())) if column.null_count else found


def _positions(starts: _Numbers, counts: _Numbers, width: int) -> _Numbers:
    """Return where each point of runs begins."""
    where = np.repeat(starts - width * (np.cumsum(counts) - counts), counts)
    where += np.arange(0, width * len(where), width)
    return where


class _Column:
    """The values of a column and the runs of coordinates found in them so far."""

    def __init__(self, data: bytes | memoryview, takes: Spatial) -> None:
        self._data, self._takes = data, takes
        self._starts: list[_Numbers] = []
        self._counts: list[_Numbers] = []
        self._ringed: list[npt.NDArray[np.bool_]] = []
        self._other: dict[str, list[_Run]] = {"<f8": [], ">f8": []}
        self._shapes = Shapes()

    def read(self, begin: _Numbers, end: _Numbers) -> None:
        common = end - begin >= _SHORTEST
        kinds = np.zeros(len(begin), np.int64)
        if common.all():
            kinds = self._common_kinds(begin)
        else:
            kinds[common] = self._common_kinds(begin[common])
        walked = kinds == 0
        if walked.any():
            self._walk(begin[walked], end[walked])
        for kind, runs in ((1, self._points), (2, self._lines), (3, self._polygons)):
            chosen = kinds == kind
            if number := int(np.count_nonzero(chosen)):
                self._shapes.kinds[kind] += number
                runs(*((begin, end) if number == len(begin) else (begin[chosen], end[chosen])))

    def shapes(self) -> Shapes:
        """Return what has been read. Raises SuspectError unless coordinates are degrees and rings closed."""
        if self._starts:
            starts, counts = np.concatenate(self._starts), np.concatenate(self._counts)
            after = np.cumsum(counts)
            first = after - counts
            points = self._view("<c16", 16)[_positions(starts, counts, 16)]
            ringed = np.concatenate(self._ringed)
            if not np.array_equal(points[first[ringed]], points[after[ringed] - 1]):
                raise SuspectError
            self._cover(points.view(np.float64).reshape(-1, 2))
        for kind, runs in self._other.items():
            if runs:
                self._cover_other(kind, np.array(runs, np.int64))
        return self._shapes

    def _cover_other(self, kind: str, table: _Numbers) -> None:
        """Cover coordinates of the other byte order, or with more than two numbers each."""
        where = _positions(table[:, 0], table[:, 1], self._takes.point_bytes)
        numbers = self._view(kind, 8)
        self._cover(np.column_stack([numbers[where], numbers[where + 8]]).astype(np.float64))

    def moved(self, move: Callable[[_Floats, _Floats], tuple[_Floats, _Floats]]) -> bytes:
        """Return the data of the column with x and y of every point as `move` makes them."""
        data = np.frombuffer(self._data, np.uint8).copy()
        runs: list[tuple[str, _Numbers, _Numbers, int]] = []
        if self._starts:
            runs.append(("<f8", np.concatenate(self._starts), np.concatenate(self._counts), 16))
        for kind, listed in self._other.items():
            table = np.array(listed, np.int64).reshape(-1, 3)
            runs.append((kind, table[:, 0], table[:, 1], self._takes.point_bytes))
        for kind, starts, counts, width in runs:
            where = _positions(starts, counts, width)
            numbers = np.ndarray((max(len(data) - 7, 0),), kind, data, strides=(1,))
            if len(where):
                numbers[where], numbers[where + 8] = move(numbers[where], numbers[where + 8])
        return data.tobytes()

    def _cover(self, points: npt.NDArray[np.float64]) -> None:
        if not len(points):
            return
        x, y = points[:, 0], points[:, 1]
        west, south, east, north = float(x.min()), float(y.min()), float(x.max()), float(y.max())
        if not (west >= -180 and east <= 180 and south >= -90 and north <= 90):  # NaN is none of these either
            raise SuspectError
        self._shapes.add(Shapes(extent=(west, south, east, north)))

    def _common_kinds(self, begin: _Numbers) -> _Numbers:
        """Return the type of each value that is a little-endian 2D point, line or polygon of the right SRID, else 0."""
        head = self._view("<u8", 8)[begin]
        srid = self._takes.srid
        wanted = np.uint64(1 | 0x20000000 << 8 | (srid & 0xFFFFFF) << 40)
        right = (head & np.uint64(0xFFFFFFFFFFFF00FF)) == wanted
        right &= self._view("u1", 1)[begin + 8] == srid >> 24
        kinds = (head >> np.uint64(8)).astype(np.int64) & 0xFF
        right &= (kinds >= 1) & (kinds <= 3)
        if self._takes.has_z or self._takes.has_m:
            right[:] = False
        if self._takes.kind is not None:
            right &= kinds == self._takes.kind
        if self._takes.drawn is not None and not self._takes.drawn >= {1, 2, 3}:
            right &= np.isin(kinds, [*self._takes.drawn])
        return np.where(right, kinds, 0)

    def _points(self, begin: _Numbers, end: _Numbers) -> None:
        if not (end - begin == 25).all():
            raise SuspectError
        self._runs(begin + 9, np.ones_like(begin), ringed=False)

    def _lines(self, begin: _Numbers, end: _Numbers) -> None:
        counts = self._counts_at(begin + 9)
        if not (end - begin == 13 + 16 * counts).all() or (counts < 2).any():
            raise SuspectError
        self._runs(begin + 13, counts, ringed=False)

    def _polygons(self, begin: _Numbers, end: _Numbers) -> None:
        """Read ring after ring, at once of all polygons that have another."""
        left, at = self._counts_at(begin + 9), begin + 13
        if (left < 1).any():
            raise SuspectError
        for _ in range(_MANY_RINGS):
            if (at + 4 > end).any():
                raise SuspectError
            counts = self._counts_at(at)
            start, at = at + 4, at + 4 + 16 * counts
            if (at > end).any() or (counts < 4).any():
                raise SuspectError
            self._runs(start, counts, ringed=True)
            left = left - 1
            more = left > 0
            if not (more | (at == end)).all():
                raise SuspectError
            if not more.any():
                return
            begin, end, at, left = begin[more], end[more], at[more], left[more]
        self._rings_of_few(at, end, left)

    def _rings_of_few(self, starts: _Numbers, ends: _Numbers, lefts: _Numbers) -> None:
        """Read the rest of polygons with very many rings, one polygon at a time."""
        data = self._data
        found: list[tuple[int, int]] = []
        for at, end, left in zip(starts.tolist(), ends.tolist(), lefts.tolist(), strict=True):
            position = at
            for _ in range(left):
                count = int.from_bytes(data[position : position + 4], "little")
                if position + 4 + 16 * count > end or count < 4:
                    raise SuspectError
                found.append((position + 4, count))
                position += 4 + 16 * count
            if position != end:
                raise SuspectError
        runs = np.array(found, np.int64).reshape(-1, 2)
        self._runs(runs[:, 0], runs[:, 1], ringed=True)

    def _walk(self, begin: _Numbers, end: _Numbers) -> None:
        """Walk values in other forms: multi-part, big-endian, empty; or wrong."""
        data = self._data
        runs: list[_Run] = []
        for number, (first, after) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
            if not number & 0xFFF:
                check_stop()
            found = Walk(bytes(data[first:after]), self._takes)
            self._shapes.kinds[found.kind] += 1
            self._shapes.empty += found.is_empty
            runs += [(first + start, count, ring) for start, count, ring in found.little_endian]
            self._other[">f8"] += [(first + start, count, ring) for start, count, ring in found.big_endian]
        if self._takes.has_z or self._takes.has_m:
            self._other["<f8"] += runs
        elif runs:
            table = np.array(runs, np.int64)
            self._runs(table[:, 0], table[:, 1], ringed=table[:, 2].astype(bool))

    def _runs(self, starts: _Numbers, counts: _Numbers, ringed: bool | npt.NDArray[np.bool_]) -> None:
        self._starts.append(starts)
        self._counts.append(counts)
        self._ringed.append(np.full(len(starts), ringed))

    def _counts_at(self, where: _Numbers) -> _Numbers:
        return self._view("<u4", 4)[where].astype(np.int64)

    def _view(self, kind: str, width: int) -> npt.NDArray[Any]:
        """Return the bytes as numbers that begin at every byte: an EWKB header has 5 or 9 bytes, so none is aligned."""
        return np.ndarray((max(len(self._data) - width + 1, 0),), kind, self._data, strides=(1,))
