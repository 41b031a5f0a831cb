"""Geometry as the release files carry it: upper-case hexadecimal EWKB with SRID 4326."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flux_assets.sample.city.frame import Floats

_SRID = 4326
_WITH_SRID = 0x20000000
_POINT, _LINE, _POLYGON, _MULTIPOLYGON = 1, 2, 3, 6
_HEAD = [("order", "u1"), ("kind", "<u4")]

Rings = Sequence[Floats]


def points(longitude: Floats, latitude: Floats) -> list[str]:
    """Return points of two arrays of degrees."""
    records = np.zeros(len(longitude), np.dtype([*_HEAD, ("srid", "<u4"), ("x", "<f8"), ("y", "<f8")]))
    _head(records, _POINT)
    records["x"], records["y"] = longitude, latitude
    return _hexadecimal(records)


def polygons(rings: Sequence[Floats]) -> list[str]:
    """Polygons of one shape: for each ring an array (polygons, points, 2) of degrees, closed."""
    fields: list[tuple[str, str] | tuple[str, str, tuple[int, int]]] = [*_HEAD, ("srid", "<u4"), ("rings", "<u4")]
    for number, ring in enumerate(rings):
        fields += [(f"count{number}", "<u4"), (f"ring{number}", "<f8", (ring.shape[1], 2))]
    records = np.zeros(len(rings[0]), np.dtype(fields))
    _head(records, _POLYGON)
    records["rings"] = len(rings)
    for number, ring in enumerate(rings):
        records[f"count{number}"], records[f"ring{number}"] = ring.shape[1], ring
    return _hexadecimal(records)


def line(path: Floats) -> str:
    """Return a line string of an array (points, 2) of degrees."""
    return (_lead(_LINE) + _counted(path)).hex().upper()


def polygon(rings: Rings) -> str:
    """Return a polygon of closed rings (points, 2), the shell first."""
    return (_lead(_POLYGON) + _ring_list(rings)).hex().upper()


def multipolygon(parts: Sequence[Rings]) -> str:
    """Return a multipolygon; its members carry no SRID of their own."""
    body = b"".join(b"\x01" + _number(_POLYGON) + _ring_list(rings) for rings in parts)
    return (_lead(_MULTIPOLYGON) + _number(len(parts)) + body).hex().upper()


def _head(records: npt.NDArray[np.void], kind: int) -> None:
    records["order"], records["kind"], records["srid"] = 1, kind | _WITH_SRID, _SRID


def _hexadecimal(records: npt.NDArray[np.void]) -> list[str]:
    text = records.tobytes().hex().upper()
    size = 2 * records.dtype.itemsize
    return [text[start : start + size] for start in range(0, len(text), size)]


def _lead(kind: int) -> bytes:
    return b"\x01" + _number(kind | _WITH_SRID) + _number(_SRID)


def _ring_list(rings: Rings) -> bytes:
    return _number(len(rings)) + b"".join(_counted(ring) for ring in rings)


def _counted(path: Floats) -> bytes:
    return _number(len(path)) + np.ascontiguousarray(path, "<f8").tobytes()


def _number(value: int) -> bytes:
    return value.to_bytes(4, "little")
