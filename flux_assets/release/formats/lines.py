"""GeoJSON a feature a line, read here: GDAL guesses types, and takes an identifier such as T0000 for a time of day.

Every value becomes the text that it is in the file, and is read as COPY reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from flux_assets.errors import Place, RecordError, abbreviated
from flux_assets.release.decode.blocks import LONGEST_RECORD
from flux_assets.release.stopping import check_stop

_GEOMETRY = "geometry"
_BATCH = 1 << 20
_AS_ONE = "Write one feature a line, as RFC 8142 and ogr2ogr -f GeoJSONSeq do."


def features(file: BinaryIO, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the features of a file in batches, properties as texts and the geometry, of that name, as WKB.

    The first batch tells the names of the properties. Raises RecordError for a line that is no feature, or has others.
    """
    names: dict[str, None] = {}
    record = 1
    for lines in _batches(file, name):
        check_stop()
        read = [_feature(line, name, record + index) for index, line in enumerate(lines)]
        found = [properties for properties, _ in read]
        if record == 1:
            names = dict.fromkeys(key for feature in found for key in feature)
        columns: dict[str, list[str | None]] = {key: [None] * len(found) for key in names}
        for index, feature in enumerate(found):
            for key, value in feature.items():
                if key not in columns:
                    place = Place(file=name, record=record + index, column=key)
                    raise RecordError(place, "the features before it have no such property.", "Write it for all.")
                columns[key][index] = value
        arrays = {key: pa.array(values, pa.string()) for key, values in columns.items()}
        given = np.array([has_geometry for _, has_geometry in read])
        yield pa.RecordBatch.from_pydict(arrays | {_GEOMETRY: _shapes(lines, given, name, record)})
        record += len(lines)


def _batches(file: BinaryIO, name: str) -> Iterator[list[bytes]]:
    held = b""
    while piece := file.read(_BATCH):
        *lines, held = (held + piece).split(b"\n")
        if len(held) > LONGEST_RECORD:
            problem = f"a line is longer than {LONGEST_RECORD >> 20} MB."
            raise RecordError(Place(file=name), problem, _AS_ONE)
        if whole := [text for line in lines if (text := line.strip(b"\x1e \t\r"))]:
            yield whole
    if text := held.strip(b"\x1e \t\r"):
        yield [text]


def _feature(line: bytes, name: str, record: int) -> tuple[dict[str, str | None], bool]:
    """Return the properties of a line as texts, and whether it has a geometry."""
    try:
        feature = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        texts = {key: _text(value) for key, value in (feature["properties"] or {}).items()}
        return texts, feature["geometry"] is not None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        place = Place(file=name, record=record, value=abbreviated(line.decode(errors="replace")))
        raise RecordError(place, f"it is not a GeoJSON feature ({error}).", _AS_ONE) from None


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shapes(lines: list[bytes], given: npt.NDArray[np.bool_], name: str, record: int) -> pa.Array[Any]:
    found = np.full(len(lines), None, object)
    texts = np.array([line.decode() for line in lines], object)
    found[given] = shapely.from_geojson(texts[given], on_invalid="ignore")
    refused = np.flatnonzero(given & shapely.is_missing(found))
    if len(refused):
        place = Place(file=name, record=record + int(refused[0]), column=_GEOMETRY)
        try:
            shapely.from_geojson(texts[refused[0]])
        except shapely.errors.GEOSException as error:
            raise RecordError(place, f"it is not a geometry ({error}).", "Correct it.") from None
    return pa.array(shapely.to_wkb(found), pa.binary())
