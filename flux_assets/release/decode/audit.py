"""The blocking audits of a stream, in bulk: every value of every batch, at a cost that a load does not notice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.release.decode.columns import ReadColumn
from flux_assets.release.decode.geometry import Shapes, SuspectError, examine, unhex, value_offsets


@dataclass(slots=True, kw_only=True)
class LayerFacts:
    """The contents of a layer's file, complete once the stream has been read to its end.

    `nulls` counts them by column; `shapes` has types, empties and extent (EPSG:4326) by spatial column.
    """

    rows: int = 0
    gz_bytes: int = 0
    csv_bytes: int = 0
    nulls: Counter[str] = field(default_factory=Counter)
    shapes: dict[str, Shapes] = field(default_factory=dict)

    @property
    def extent(self) -> tuple[float, float, float, float] | None:
        """(min x, min y, max x, max y) of all spatial columns, in degrees; None without any coordinate."""
        whole = Shapes()
        for shapes in self.shapes.values():
            whole.add(shapes)
        return whole.extent

    @property
    def present(self) -> frozenset[str]:
        """The spatial columns in which every row has a geometry that is not empty."""
        return frozenset(name for name, shapes in self.shapes.items() if not self.nulls[name] and not shapes.empty)

    def add(self, other: LayerFacts) -> None:
        self.rows += other.rows
        self.nulls.update(other.nulls)
        for name, shapes in other.shapes.items():
            self.shapes.setdefault(name, Shapes()).add(shapes)


def audited(raw: pa.RecordBatch, columns: tuple[ReadColumn, ...]) -> tuple[pa.RecordBatch, LayerFacts]:
    """Return the batch as it is delivered, geometry as EWKB instead of hex, and its facts.

    Raises SuspectError, naming the column, when a value is not acceptable.
    """
    facts = LayerFacts(rows=raw.num_rows)
    delivered: list[pa.Array[Any]] = []
    for column, values in zip(columns, raw.columns, strict=True):
        try:
            delivered.append(_judged(column, values, facts))
        except SuspectError as error:
            raise SuspectError(column.name) from error
    return pa.RecordBatch.from_arrays(delivered, schema=delivered_schema(columns)), facts


def delivered_schema(columns: tuple[ReadColumn, ...]) -> pa.Schema:
    """Return the schema of the batches that a layer's stream delivers."""
    return pa.schema([pa.field(column.name, column.arrow, column.nullable) for column in columns])


def _judged(column: ReadColumn, values: pa.Array[Any], facts: LayerFacts) -> pa.Array[Any]:
    facts.nulls[column.name] = values.null_count
    if values.null_count and not column.nullable:
        raise SuspectError
    if column.spatial is not None:
        values = unhex(values)
        facts.shapes[column.name] = examine(values, column.spatial)
    elif column.longest is not None:
        values = _fitted(values, column.longest)
    elif column.axis is not None:
        _check_degrees(column, values)
    return values


def _fitted(values: pa.Array[Any], longest: int) -> pa.Array[Any]:
    """Return values within the limit; blanks beyond it are cut off, as varchar does.

    Characters are counted only when some value has more bytes than the limit, since bytes cost nothing to count.
    """
    if np.diff(value_offsets(values)).max(initial=0) <= longest:
        return values
    texts = cast("pa.StringArray", values)
    if pc.max(pc.utf8_length(texts)).as_py() <= longest:
        return values
    if pc.max(pc.utf8_length(pc.utf8_rtrim(texts, " "))).as_py() > longest:
        raise SuspectError
    return cast("pa.Array[Any]", pc.utf8_slice_codeunits(texts, 0, longest))


def _check_degrees(column: ReadColumn, values: pa.Array[Any]) -> None:
    """Raise SuspectError for degrees not finite or out of range. By Arrow, whose conversion to numpy imports pandas."""
    limit = 180 if column.axis == "longitude" else 90
    numbers = cast("pa.DoubleArray", values)
    finite = pc.all(pc.is_finite(numbers)).as_py()
    least, most = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    if finite is False or (least is not None and most is not None and not -limit <= least <= most <= limit):
        raise SuspectError
