"""Which columns of a file are the declared ones, whatever the tool that wrote it made of their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc

from flux_assets.errors import Place, RecordError, ReleaseError
from flux_assets.release.decode.columns import ReadColumn
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.formats.rows import Rows
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
        """Return its values. Raises RecordError for a text that is no number or geometry, where one is needed."""
        found = [_stored(batch.column(name)) for name in self.names]
        is_text = pa.types.is_string(found[0].type)
        if is_text and (self.factor != 1 or self.shaping is not None):
            read, what = (
                (Shaping.parsed, "WKT") if self.shaping is not None and len(found) == 1 else (_numbers, "a number")
            )
            for index, (name, texts) in enumerate(zip(self.names, found, strict=True)):
                found[index], refused = read(texts)
                if refused is not None:
                    place = Place(file=file, record=record + refused, column=name, value=texts[refused].as_py())
                    raise RecordError(place, f"it is not {what}.", "Correct it.")
        if self.shaping is None:
            return _in_zone(found[0], self.column) if self.factor == 1 else _scaled(found[0], self.factor)
        return self.shaping.points(*found) if len(found) > 1 else self.shaping.applied(found[0])


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
        """The names of the file's columns that are read. Raises what `header` does."""
        return [*dict.fromkeys(name for source in self._sources for name in source.names)]

    def rows(self, batch: pa.RecordBatch, record: int) -> Rows:
        """Return the rows of a batch, the first of which has the number `record`."""
        names = [source.column.name for source in self._sources]
        made = pa.RecordBatch.from_arrays(
            [source.values(batch, self.file, record) for source in self._sources], names=names
        )
        return Rows(file=self.file, batch=made, record=record)

    def header(self) -> Rows:
        """Return no rows, which tell names and types.

        Raises RecordError, naming every column concerned, when the file's columns are not the table's.
        """
        return self.rows(pa.RecordBatch.from_pylist([], schema=self.schema), 1)

    @cached_property
    def _columns(self) -> tuple[ReadColumn, ...]:
        return ReadColumn.all_of(self.table)

    @cached_property
    def _sources(self) -> list[_Source]:
        missing, sources = [], []
        for column in self._columns:
            source = self._source(column)
            if source is None:
                missing.append(column.name)
            else:
                sources.append(source)
        used = [name for source in sources for name in source.names]
        known = {*used, *self.mapping.ignore, *self.added}
        if not any(column.spatial for column in self._columns):
            known.add(self.geometry or "")  # some formats always have one
        fields = self.schema.names
        unknown = [name for name in fields if name not in known and name.lower() not in _OF_TOOLS]
        faults = (
            ("missing", missing),
            ("unknown", unknown),
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
                f"its geometry is {kind}, and WKB is read.",
                'Write it with the encoding "WKB".',
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


def _numbers(texts: pa.Array[Any]) -> tuple[pa.Array[Any], int | None]:
    """Return the numbers of texts, and the index of the first that is none."""
    numbers = [_number(text) for text in texts.to_pylist()]
    refused = next((index for index, number in enumerate(numbers) if number == "refused"), None)
    return (texts if refused is not None else pa.array(numbers, pa.float64())), refused


def _number(text: str | None) -> float | Literal["refused"] | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return "refused"


def _scaled(values: pa.Array[Any], factor: float) -> pa.Array[Any]:
    return pc.multiply(values.cast(pa.float64()), pa.scalar(factor))


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
