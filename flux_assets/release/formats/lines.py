"""GeoJSON a feature a line, read here: GDAL guesses types, and takes an identifier such as T0000 for a time of day.

Every value becomes the text that it is in the file, and is read as COPY reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from flux_assets.errors import Place, RecordError
from flux_assets.release.decode.blocks import LONGEST_RECORD
from flux_assets.release.stopping import check_stop

_GEOMETRY = "geometry"
_BATCH = 1 << 20
_AS_ONE = "Write one feature a line, as RFC 8142 and ogr2ogr -f GeoJSONSeq do."


def features(file: BinaryIO, name: str) -> Iterator[pa.RecordBatch]:
    """Yield the features of a file in batches, properties as texts and under that name the lines that have a geometry.

    The first batch tells the names of the properties; a feature that has others raises RecordError. A line that is no
    feature has no properties, and is no geometry either, which is noticed once that is read.
    """
    names: dict[str, None] = {}
    record = 1
    for lines in _batches(file, name):
        check_stop()
        read = [_feature(line) for line in lines]
        if record == 1:
            names = dict.fromkeys(key for properties, _ in read for key in properties)
        columns: dict[str, list[str | None]] = {key: [None] * len(lines) for key in names}
        for index, (properties, _) in enumerate(read):
            for key, value in properties.items():
                if key not in columns:
                    place = Place(file=name, record=record + index, column=key)
                    raise RecordError(place, "the features before it have no such property.", "Write it for all.")
                columns[key][index] = value
        arrays = {key: pa.array(values, pa.string()) for key, values in columns.items()}
        shown = [line.decode(errors="replace") if given else None for line, (_, given) in zip(lines, read, strict=True)]
        yield pa.RecordBatch.from_pydict(arrays | {_GEOMETRY: pa.array(shown, pa.string())})
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


def _feature(line: bytes) -> tuple[dict[str, str | None], bool]:
    """Return the properties of a line as texts, and whether it has a geometry, or is to be looked at as one."""
    try:
        feature = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        return {key: _text(value) for key, value in (feature["properties"] or {}).items()}, bool(feature["geometry"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, True


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
