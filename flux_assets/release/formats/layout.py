"""Which columns of a file are the declared ones, whatever the tool that wrote it made of their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.errors import Place, RecordError, ReleaseError
from flux_assets.release.decode.columns import ReadColumn
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.formats.shaping import Shaping
from flux_assets.spec import StaticTable

# Columns that tools add to what they are given.
_OF_TOOLS = {"fid", "ogc_fid", "objectid", "shape_length", "shape_area", "shape_leng", "__index_level_0__"}
_LONGEST_IN_DBF = 10
_NAMES = "Name the columns in FLUX_CONFIG where they are others (docs/formats.md)."


@dataclass(frozen=True)
class _Source:
    """A declared column and the file's columns that make it: one, or the two axes of a point."""

    column: ReadColumn
    names: tuple[str, ...]
    factor: float = 1.0
    shaping: Shaping | None = None

    def values(self, batch: pa.RecordBatch, file: str, record: int) -> pa.Array[Any]:
        """Return its values. Raises RecordError for the first that cannot be made."""
        found = {name: _stored(batch.column(name)) for name in self.names}
        try:
            return self._made(found)
        except RecordError as fault:
            name, index = fault.place.column or self.names[0], fault.place.record or 0
            value = found[name][index].as_py()
            shown = value if isinstance(value, str) else None
            place = Place(file=file, record=record + index, column=name, value=shown)
            raise RecordError(place, fault.reason, fault.remedy) from None

    def _made(self, found: Mapping[str, pa.Array[Any]]) -> pa.Array[Any]:
        values = found[self.names[0]]
        if self.shaping is None and self.factor == 1:
            return _in_zone(values, self.column)
        if self.shaping is not None and len(self.names) == 1:
            return self.shaping.applied(values)
        numbers = [_numbers(name, found[name]) for name in self.names]
        return _scaled(numbers[0], self.factor, self.column) if self.shaping is None else self.shaping.points(*numbers)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a `file` says of itself, and which of its columns become those of a `table`.

    `geometry` is the name of its main geometry column, `crs` that of each as pyproj takes it (None is none), `is_dbf`
    says that names are cut. `added` are columns that repeat others, such as boxes of geometry.
    """

    file: str
    schema: pa.Schema
    table: StaticTable
    mapping: LayerMapping
    geometry: str | None = None
    crs: Mapping[str, str | None] = field(default_factory=dict)
    is_dbf: bool = False
    added: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The names of the file's columns that are read. Raises what `declared` does."""
        return [*dict.fromkeys(name for source in self._sources for name in source.names)]

    def declared(self, batch: pa.RecordBatch, record: int) -> pa.RecordBatch:
        """Return rows, the first of which has the number `record`, under declared names, geometry as EWKB.

        Raises RecordError for a value of which no declared one can be made. Of no rows, raises RecordError, naming
        every column concerned, when the file's columns are not the table's.
        """
        values = [source.values(batch, self.file, record) for source in self._sources]
        return pa.RecordBatch.from_arrays(values, names=[source.column.name for source in self._sources])

    def shown(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows as `declared` does, where that is impossible of a column with the file's own values."""
        found: dict[str, pa.Array[Any]] = {}
        for source in self._sources:
            try:
                found[source.column.name] = source.values(batch, self.file, 0)
            except RecordError:
                found[source.column.name] = _stored(batch.column(source.names[0]))
        return pa.RecordBatch.from_pydict(found)

    @cached_property
    def _columns(self) -> tuple[ReadColumn, ...]:
        return ReadColumn.all_of(self.table)

    @cached_property
    def _sources(self) -> list[_Source]:
        missing, sources = [], []
        for column in self._columns:
            source = self._source(column)
            if source is None:
                given = self.mapping.columns.get(column.name)
                named = f" (FLUX_CONFIG names {given.column})" if given and given.column else ""
                missing.append(f"{column.name}{named}")
            else:
                sources.append(source)
        used = [name for source in sources for name in source.names]
        known = {*used, *self.mapping.ignore, *self.added}
        if not any(column.spatial for column in self._columns):
            known.add(self.geometry or "")  # some formats always have one
        fields, axes = self.schema.names, (self.mapping.longitude, self.mapping.latitude)
        unknown = [name for name in fields if name not in known and name.lower() not in _OF_TOOLS]
        faults = (
            ("missing", missing),
            ("unknown", unknown),
            ("named in FLUX_CONFIG and not read", [name for name in axes if name and self._named(name) not in used]),
            ("given twice", sorted({name for name in used if fields.count(name) > 1})),
        )
        if said := [f"{what}: {', '.join(names)}" for what, names in faults if names]:
            problem = f"its columns are not the table's ({'; '.join(said)})."
            wanted = ", ".join(column.name for column in self._columns)
            raise RecordError(Place(file=self.file), problem, f"It needs {wanted}. {_NAMES}")
        return sources

    def _source(self, column: ReadColumn) -> _Source | None:
        given = self.mapping.columns.get(column.name)
        name = self._named(given.column) if given and given.column else self._like(column)
        if name is None and column.spatial is not None:
            return self._from_axes(column)
        if name is None:
            return None
        if column.spatial is None:
            return _Source(column, (name,), given.factor if given else 1.0)
        kind = self.schema.field(name).type
        if not _is_binary(kind) and not pa.types.is_string(kind):
            raise RecordError(
                Place(file=self.file, column=name),
                f"its geometry is {kind}, as GeoArrow has it, and WKB is read.",
                'Write it with the encoding "WKB", as is usual.',
            )
        return _Source(column, (name,), shaping=self._shaping(column, name))

    def _shaping(self, column: ReadColumn, name: str) -> Shaping:
        assert column.spatial is not None  # noqa: S101 - the caller asked
        crs = self.mapping.crs or self.crs.get(name)
        if crs is None:
            raise ReleaseError(
                f"{self.file}: it does not say in which coordinate reference system the column {name} is.",
                f'Name it in FLUX_CONFIG, for example crs = "EPSG:4326" under [layers.{self.table.name}].',
            )
        return Shaping(
            takes=column.spatial,
            file=self.file,
            crs=crs,
            drops_z=self.mapping.z == "drop",
            straightens=self.mapping.curves == "linearise",
        )

    def _named(self, name: str) -> str | None:
        """Return the file's column of this name, letters large or small."""
        fields = self.schema.names
        alike = [each for each in fields if each.lower() == name.lower()]
        return name if name in fields else alike[0] if len(alike) == 1 else None

    def _like(self, column: ReadColumn) -> str | None:
        """Return the file's column that is the declared one: of its name, or the geometry where there is one only."""
        fields = self.schema.names
        if column.name in fields:
            return column.name
        spatial = [each for each in self._columns if each.spatial is not None]
        if column.spatial is not None and len(spatial) == 1 and self.geometry:
            return self.geometry
        short = column.name[:_LONGEST_IN_DBF]
        alike = [each.name for each in self._columns if each.name[:_LONGEST_IN_DBF] == short]
        is_cut = self.is_dbf and len(alike) == 1  # which of several is which, only a person knows
        return self._named(column.name) or (self._named(short) if is_cut else None)

    def _from_axes(self, column: ReadColumn) -> _Source | None:
        """Return the point of two columns: those of FLUX_CONFIG, or of a declared position."""
        pair: tuple[str | None, str | None] = (self.mapping.longitude, self.mapping.latitude)
        for position in self.table.positions if pair == (None, None) else ():
            if position.same_as == column.name:
                pair = (position.longitude, position.latitude)
        names = [self._named(name) if name else None for name in pair]
        if None in names:
            return None
        x, y = cast("list[str]", names)
        return _Source(column, (x, y), shaping=self._shaping(column, x))


def _numbers(name: str, values: pa.Array[Any]) -> pa.Array[Any]:
    """Return numbers, of texts too. Raises RecordError, with the index as the record, for the first that is none."""
    if not pa.types.is_string(values.type):
        return values.cast(pa.float64())
    numbers: list[float | None] = []
    for index, text in enumerate(values.to_pylist()):
        try:
            numbers.append(None if text is None else float(text))
        except ValueError:
            raise RecordError(Place(file="", record=index, column=name), "it is not a number.", "Correct it.") from None
    return pa.array(numbers, pa.float64())


def _scaled(numbers: pa.Array[Any], factor: float, column: ReadColumn) -> pa.Array[Any]:
    """Return products, rounded to the decimals that the column keeps."""
    found = pc.multiply(numbers, pa.scalar(factor))
    if pa.types.is_floating(column.arrow):
        return found
    return pc.round(found, column.arrow.scale if isinstance(column.arrow, pa.Decimal128Type) else 0)


def _in_zone(values: pa.Array[Any], column: ReadColumn) -> pa.Array[Any]:
    """Return times with a zone where the column has one: UTC, as those without a zone are."""
    kind, wanted = values.type, column.arrow
    if not (isinstance(kind, pa.TimestampType) and isinstance(wanted, pa.TimestampType)) or kind.tz == wanted.tz:
        return values
    return values.cast(pa.timestamp(kind.unit, wanted.tz))


def _is_binary(kind: pa.DataType) -> bool:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _stored(values: pa.Array[Any]) -> pa.Array[Any]:
    """Return values without an extension type, and binary ones with offsets of 32 bits."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    return values.cast(pa.binary()) if _is_binary(values.type) else values
