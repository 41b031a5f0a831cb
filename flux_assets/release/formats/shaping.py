"""A geometry column of a file as EWKB in degrees, of the kind that its column takes wherever nothing is lost by that.

Values that cannot be changed stay as they are: the audit that every value passes says what is wrong with them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.errors import Place, RecordError, ReleaseError
from flux_assets.release.decode.columns import Spatial, SuspectError, layout
from flux_assets.release.decode.geometry import moved
from flux_assets.release.formats.curves import straightened
from flux_assets.spec.facts import KIND_NAMES

_Floats = npt.NDArray[np.float64]
_Move = Callable[[_Floats, _Floats], tuple[_Floats, _Floats]]
_DEGREES = {"EPSG:4326", "OGC:CRS84"}
_SRID_FLAG = 0x20000000
_HEADER = 5  # bytes of a byte order and a word
_ARCS = {*range(8, 13)}  # the kinds that may have arcs; the one before them may have parts that do
_LINEARISE = 'Write lines instead, or say curves = "linearise" of the layer in FLUX_CONFIG (docs/formats.md).'
_SHOWN = 200  # characters of another library's reason
_POINT = np.dtype([("head", "S9"), ("x", "<f8"), ("y", "<f8")])


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """How geometry of one column, WKB or texts, becomes the EWKB that `takes` says."""

    takes: Spatial
    file: str
    crs: str
    drops_z: bool = False
    straightens: bool = False

    def applied(self, values: pa.Array[Any]) -> pa.Array[Any]:
        """Return EWKB in degrees: with the column's SRID, a single part as a multi-part value of one or back.

        Raises RecordError, with the index as the record, for the first text that is no geometry, and for arcs that the
        column does not take.
        """
        wkb = _parsed(values, self.file) if pa.types.is_string(values.type) else values
        return self._in_degrees(self._headed(self._flat(self._straight(wkb))))

    def _straight(self, values: pa.Array[Any]) -> pa.Array[Any]:
        """Return the values without arcs, or as they are where the column takes arcs."""
        sound, heads = _heads(values)
        kinds = _kinds(heads)
        chosen = np.flatnonzero(sound)[np.isin(kinds, [7, *_ARCS])].tolist()
        found = {index: straight for index in chosen if (straight := straightened(values[index].as_py()))}
        if not found or not (self.straightens or self._refuses_arcs):
            return values
        if not self.straightens:
            index = min(found)
            kind = KIND_NAMES[int(kinds[np.count_nonzero(sound[:index])])]
            raise RecordError(Place(file=self.file, record=index), f"it is a {kind}, which may have arcs.", _LINEARISE)
        wkb = values.to_pylist()
        for index, straight in found.items():
            wkb[index] = straight
        return pa.array(wkb, pa.binary())

    @property
    def _refuses_arcs(self) -> bool:
        # Control points that are moved to other coordinates are not those of the same arc.
        is_drawn = self.takes.drawn is None or self.takes.drawn >= _ARCS
        return self.takes.kind is not None or not is_drawn or self._move is not None

    def _flat(self, values: pa.Array[Any]) -> pa.Array[Any]:
        """Return the values without Z and M where these are dropped."""
        if not self.drops_z or self.takes.has_z or self.takes.has_m:
            return values
        import shapely

        shapes = shapely.from_wkb(np.asarray(values.to_numpy(zero_copy_only=False)), on_invalid="ignore")
        flat = pa.array(shapely.to_wkb(shapely.force_2d(shapes)), pa.binary())
        has_more = pa.array(shapely.has_z(shapes) | shapely.has_m(shapes))
        return cast("pa.Array[Any]", pc.if_else(has_more, flat, values))

    def _in_degrees(self, values: pa.Array[Any]) -> pa.Array[Any]:
        """Return values with the coordinates of EPSG:4326, longitude before latitude."""
        if self._move is None:
            return values
        takes = replace(self.takes, kind=None, drawn=None)
        try:
            return moved(values, takes, self._move)
        except SuspectError:
            if len(values) == 1:
                return values
        half = len(values) // 2
        return pa.concat_arrays([self._in_degrees(values.slice(0, half)), self._in_degrees(values.slice(half))])

    @cached_property
    def _move(self) -> _Move | None:
        """How coordinates of the file's CRS become degrees; None where they are."""
        if self.crs in _DEGREES:
            return None
        from pyproj import CRS, Transformer
        from pyproj.exceptions import ProjError

        try:
            crs = CRS.from_user_input(self.crs)
            if crs.equals(CRS.from_epsg(4326), ignore_axis_order=True):
                return None
            transformer = Transformer.from_crs(crs.to_2d() if crs.is_geographic else crs, 4326, always_xy=True)
        except ProjError as error:
            shown = self.crs if len(self.crs) < 100 else f"{self.crs[:100]}…"
            problem = f"{self.file}: its coordinate reference system, {shown}, is unknown: {error}."
            raise ReleaseError(problem, 'Name it in FLUX_CONFIG, for example crs = "EPSG:2225".') from None
        return cast("_Move", transformer.transform)

    def _headed(self, values: pa.Array[Any]) -> pa.Array[Any]:
        sound, heads = _heads(values)
        if not len(heads):
            return values
        ends, data = layout(values)
        begin = ends[:-1][sound].astype(np.int64)
        found = values
        for head in np.unique(heads).tolist():
            order, word = (head >> 32, head & 0xFFFFFFFF)
            changed = self._head(order, word if order else int.from_bytes(word.to_bytes(4, "little"), "big"))
            if changed is None:
                continue
            expected, prefix = changed
            chosen = heads == head
            if len(expected) > 5:  # a multi-part value of a single part
                size = len(expected)
                chosen &= np.diff(ends)[sound] > size
                at = begin[chosen]
                same = (_view(data, f"S{size}", size)[at] == np.bytes_(expected)) if len(at) else np.zeros(0, bool)
                chosen[chosen] = same
            replaced = pc.binary_replace_slice(cast("pa.BinaryArray", values), 0, len(expected), prefix)
            if chosen.all() and sound.all():
                found = replaced
            else:
                mask = sound.copy()
                mask[sound] = chosen
                found = pc.if_else(pa.array(mask), replaced, found)
        return found

    def _head(self, order: int, word: int) -> tuple[bytes, bytes] | None:
        """Return what a value begins with and what it shall begin with instead; None where it stays."""
        if order > 1 or word & _SRID_FLAG:
            return None
        mark, pack = bytes([order]), "<I" if order else ">I"
        kind, wanted = (word & 0xFFFF) % 1000, self.takes.kind

        def head(number: int) -> bytes:
            return mark + struct.pack(pack, number)

        srid = struct.pack(pack, self.takes.srid)
        if wanted is not None and wanted in (4, 5, 6) and kind == wanted - 3:
            return head(word), head(word + 3 | _SRID_FLAG) + srid + struct.pack(pack, 1) + head(word)
        if wanted is not None and wanted in (1, 2, 3) and kind == wanted + 3:
            return head(word) + struct.pack(pack, 1) + head(word - 3), head(word - 3 | _SRID_FLAG) + srid
        return head(word), head(word | _SRID_FLAG) + srid

    def points(self, x: pa.Array[Any], y: pa.Array[Any]) -> pa.Array[Any]:
        """Return the points of two columns of numbers, in degrees; NULL where either is."""
        rows = np.empty(len(x), _POINT)
        rows["head"] = struct.pack("<BII", 1, 1 | _SRID_FLAG, self.takes.srid)
        given = pc.and_(pc.is_valid(x), pc.is_valid(y))
        for axis, numbers in (("x", x), ("y", y)):
            rows[axis] = np.asarray(cast("pa.DoubleArray", numbers.cast(pa.float64())).fill_null(0.0))
        whole = pa.Array.from_buffers(pa.binary(_POINT.itemsize), len(x), [None, pa.py_buffer(rows.tobytes())])
        return self._in_degrees(pc.if_else(given, whole.cast(pa.binary()), pa.scalar(None, pa.binary())))


def _parsed(texts: pa.Array[Any], file: str) -> pa.Array[Any]:
    """Return the WKB of texts, which are WKT, GeoJSON or hexadecimal (E)WKB. Raises RecordError for another one."""
    import shapely

    bare = pc.replace_substring_regex(cast("pa.StringArray", texts), r"^SRID=4326;", "")
    words, given = np.asarray(bare.to_numpy(zero_copy_only=False)), np.asarray(bare.is_valid())
    is_hex = np.asarray(pc.fill_null(pc.match_substring_regex(bare, r"^(?:[0-9A-Fa-f]{2})+$"), pa.scalar(False)))
    is_json = np.asarray(pc.fill_null(pc.starts_with(bare, "{"), pa.scalar(False)))
    found = np.full(len(words), None, object)
    found[is_hex] = [bytes.fromhex(word) for word in words[is_hex]]
    readers = ((is_json, shapely.from_geojson), (given & ~is_hex & ~is_json, shapely.from_wkt))
    for chosen, read in readers:
        with np.errstate(invalid="ignore"):  # a coordinate that is NaN
            found[chosen] = shapely.to_wkb(read(words[chosen], on_invalid="ignore"))
    for index in np.flatnonzero(given & np.asarray(pc.is_null(pa.array(found, pa.binary()))))[:1].tolist():
        try:
            readers[not is_json[index]][1](words[index])
        except shapely.errors.ShapelyError as error:
            reason = str(error)[:_SHOWN].rstrip(".\n ")
            problem = f"it is not WKT, GeoJSON or hexadecimal EWKB ({reason})."
            raise RecordError(Place(file=file, record=index), problem, "Correct it.") from None
    return pa.array(found, pa.binary())


def _heads(values: pa.Array[Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint64]]:
    """Return which values have a header, and of these the byte order and the word of it, which tells the kind."""
    ends, data = layout(values)
    sound = np.diff(ends) >= _HEADER
    begin = ends[:-1][sound].astype(np.int64)
    if not len(begin):
        return sound, np.zeros(0, np.uint64)
    return sound, _view(data, "u1", 1)[begin].astype(np.uint64) << np.uint64(32) | _view(data, "<u4", 4)[begin + 1]


def _kinds(heads: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    words = (heads & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return np.where(heads >> np.uint64(32) == 1, words, words.byteswap()).astype(np.int64) % 0x10000 % 1000


def _view(data: memoryview, kind: str, width: int) -> npt.NDArray[Any]:
    return np.ndarray((max(len(data) - width + 1, 0),), kind, data, strides=(1,))
