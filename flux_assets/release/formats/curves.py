"""Geometry with arcs as one of straight lines: control points stay, and 32 lines make a quarter circle."""

from __future__ import annotations

import math
import struct

_Point = tuple[float, ...]

# By the kind of WKB that may have arcs, what it is without.
_STRAIGHT = {8: 2, 9: 2, 10: 3, 11: 5, 12: 6}
_POINT, _LINES, _AREAS = 1, {2, 8, 9}, {3, 10, 17}
_COMPOUND, _CURVE_POLYGON = 9, 10
_STEP = math.pi / 64
_FLAT = 1e-9  # of its length; an arc that is flatter is a line
_DEEPEST = 32
_Z, _M, _SRID = 0x80000000, 0x40000000, 0x20000000


def straightened(wkb: bytes) -> bytes | None:
    """Return little-endian (E)WKB without arcs; None where it is of no kind that has them, or is not whole."""
    reading = _Reading(wkb)
    try:
        straight = reading.geometry()
    except (struct.error, IndexError, ValueError, ArithmeticError):
        return None
    return straight if reading.is_curved and reading.position == len(wkb) else None


class _Reading:
    """One geometry, read from its beginning and written again; `is_curved` says that a kind with arcs was met."""

    def __init__(self, data: bytes) -> None:
        self._data, self._order, self._width = data, "<", 2
        self.position = 0
        self.is_curved = False

    def geometry(self, depth: int = 0) -> bytes:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        kind, head = self._header()
        if kind == _POINT:
            return head + _packed([self._point()])
        if kind in _LINES:
            return head + _counted(self._line(kind))
        if kind in _AREAS:
            rings = [self._line(self._header()[0] if kind == _CURVE_POLYGON else 2) for _ in range(self._number())]
            return head + struct.pack("<I", len(rings)) + b"".join(map(_counted, rings))
        parts = [self.geometry(depth + 1) for _ in range(self._number())]
        return head + struct.pack("<I", len(parts)) + b"".join(parts)

    def _header(self) -> tuple[int, bytes]:
        """Read a header; return its kind, and the header of what takes its place."""
        self._order = "<" if self._data[self.position] else ">"
        self.position += 1
        word = self._number()
        iso, kind = divmod(word & ~(_Z | _M | _SRID), 1000)
        self._width = 2 + (bool(word & _Z) or iso in (1, 3)) + (bool(word & _M) or iso in (2, 3))
        self.is_curved |= kind in _STRAIGHT
        srid = struct.pack("<I", self._number()) if word & _SRID else b""
        return kind, struct.pack("<BI", 1, word - kind + _STRAIGHT.get(kind, kind)) + srid

    def _line(self, kind: int) -> list[_Point]:
        """Read what follows the header of a line; for arcs, read lines."""
        if kind == _COMPOUND:
            line: list[_Point] = []
            for _ in range(self._number()):
                part = self._simple_line(self._header()[0])
                line += part[1:] if part[:1] == line[-1:] else part
            return line
        return self._simple_line(kind)

    def _simple_line(self, kind: int) -> list[_Point]:
        points = [self._point() for _ in range(self._number())]
        if kind == 2 or not points:
            return points
        if kind not in _LINES or len(points) % 2 == 0:
            raise ValueError("a part is no line, or an arc has not three points")
        arcs = zip(points[:-2:2], points[1:-1:2], points[2::2], strict=True)
        return points[:1] + [point for arc in arcs for point in _of_arc(*arc)]

    def _point(self) -> _Point:
        point = struct.unpack_from(f"{self._order}{self._width}d", self._data, self.position)
        self.position += 8 * self._width
        return point

    def _number(self) -> int:
        (number,) = struct.unpack_from(f"{self._order}I", self._data, self.position)
        self.position += 4
        return int(number)


def _of_arc(start: _Point, middle: _Point, end: _Point) -> list[_Point]:
    """Return the points of an arc after its start."""
    if start > end:  # computed one way only, so that neighbours that share an arc have the same points
        return [*_of_arc(end, middle, start)[-2::-1], end]
    (ax, ay), (bx, by), (cx, cy) = start[:2], middle[:2], end[:2]
    bx, by, cx, cy = bx - ax, by - ay, cx - ax, cy - ay
    b, c, across = bx * bx + by * by, cx * cx + cy * cy, 2 * (bx * cy - by * cx)
    if c == 0:  # a whole circle, of which the middle is opposite
        centre, turn = (ax + bx / 2, ay + by / 2), 1
    elif abs(across) <= _FLAT * (b + c):
        return [middle, end]
    else:
        centre = (ax + (cy * b - by * c) / across, ay + (bx * c - cx * b) / across)
        turn = 1 if across > 0 else -1
    return [*_spread(start, middle, centre, turn), *_spread(middle, end, centre, turn)]


def _spread(start: _Point, end: _Point, centre: tuple[float, float], turn: int) -> list[_Point]:
    """Return points evenly spread between two of a circle, and the second; Z and M grow evenly."""
    (x, y), radius = centre, math.dist(centre, start[:2])
    first = math.atan2(start[1] - y, start[0] - x)
    sweep = (math.atan2(end[1] - y, end[0] - x) - first) * turn % math.tau
    pieces = math.ceil(sweep / _STEP - _FLAT)
    found = []
    for share in (piece / pieces for piece in range(1, pieces)):
        angle = first + turn * sweep * share
        more = (low + (high - low) * share for low, high in zip(start[2:], end[2:], strict=True))
        found.append((x + radius * math.cos(angle), y + radius * math.sin(angle), *more))
    return [*found, end]


def _counted(points: list[_Point]) -> bytes:
    return struct.pack("<I", len(points)) + _packed(points)


def _packed(points: list[_Point]) -> bytes:
    return b"".join(struct.pack(f"<{len(point)}d", *point) for point in points)
