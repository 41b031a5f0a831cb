"""Plain CSV, whose geometry may be WKT, GeoJSON or two columns of degrees: cut and read as gzip CSV is, as texts."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from flux_assets.errors import ManifestError, RecordError, ReleaseError
from flux_assets.release.decode.blocks import Block
from flux_assets.release.decode.columns import AskServer, ReadColumn, SuspectError
from flux_assets.release.decode.parse import Parser, Reader
from flux_assets.release.decode.stream import GunzippedFile
from flux_assets.release.files import opened
from flux_assets.release.formats.layout import Layout
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.formats.rows import Rows
from flux_assets.release.stopping import check_stop
from flux_assets.spec import StaticTable

_PIECE = 1 << 20
_DEGREES = "EPSG:4326"
# What tools call a geometry column, in small letters.
_GEOMETRY = ("wkt", "geom", "geometry", "the_geom", "shape", "wkb_geometry")


class TextFile:
    """The rows of a CSV file, gzip or plain, once. With `sha256`, the bytes that were read must have it."""

    def __init__(
        self, path: Path, name: str, table: StaticTable, mapping: LayerMapping, *, sha256: str | None = None
    ) -> None:
        self._name, self._table, self._mapping = name, table, mapping
        reading = GunzippedFile if name.lower().endswith(".gz") else _PlainFile
        self._bytes = reading(path, name, sha256=sha256)

    @property
    def gz_bytes(self) -> int:
        return self._bytes.gz_bytes

    @property
    def csv_bytes(self) -> int:
        return self._bytes.csv_bytes

    def reader(self, header: _Text, columns: tuple[ReadColumn, ...], ask: AskServer | None) -> Reader[_Text]:
        """Return what makes declared values of the records that follow `header`."""
        return header.rows().reader(columns, ask)

    def blocks(self) -> Generator[_Text, None, None]:
        """Yield the header, and then all records. Raises ReleaseError for the file, RecordError for its text."""
        layout: Layout | None = None
        for block in Block.cut(iter(self._bytes), self._name):
            layout = layout or self._layout(block.names)
            yield _Text(**{name: getattr(block, name) for name in Block.__dataclass_fields__}, layout=layout)

    def _layout(self, names: tuple[str, ...]) -> Layout:
        named = [name for name in names if name.lower() in _GEOMETRY]
        return Layout(
            file=self._name,
            schema=pa.schema([(name, pa.string()) for name in names]),
            table=self._table,
            mapping=self._mapping,
            geometry=named[0] if len(named) == 1 else None,
            crs=dict.fromkeys(names, _DEGREES),
        )


@dataclass(frozen=True, kw_only=True)
class _Text(Block):
    """Records whose columns have the file's names."""

    layout: Layout

    def declared(self) -> pa.RecordBatch:
        """Return them under declared names. Raises ArrowInvalid or SuspectError for text, RecordError for a value."""
        try:
            return self.rows().declared()
        except RecordError as error:
            index = (error.place.record or self.record) - self.record
            place = replace(error.place, line=self.part(index, index + 1).line) if self.records else error.place
            raise RecordError(place, error.reason, error.remedy) from None

    def text(self) -> Block:
        """Return them under declared names, or as they are where they cannot be read."""
        try:
            return replace(self.rows().text(), line=self.line)
        except (pa.ArrowInvalid, SuspectError):
            return Block(**{name: getattr(self, name) for name in Block.__dataclass_fields__})

    def error_of(
        self, index: int, problem: str, remedy: str = "", *, column: str | None = None, value: str | None = None
    ) -> RecordError:
        """Return the error of a record: at a declared `column` with its value, else as a whole, with `value`."""
        return self.part(index, index + 1).text().error_of(0, problem, remedy, column=column, value=value)

    def rows(self) -> Rows:
        """Return them as rows of texts. Raises ArrowInvalid or SuspectError where they cannot be cut."""
        types = {name: pa.string() for name in self.names}
        if not self.records:
            return Rows(layout=self.layout, batch=pa.RecordBatch.from_pylist([], schema=self.layout.schema))
        return Rows(layout=self.layout, batch=Parser.values(self, types), record=self.record)


class _PlainFile:
    """One pass over the bytes of a file; `gz_bytes` and `csv_bytes` both count them."""

    def __init__(self, path: Path, name: str, *, sha256: str | None = None) -> None:
        self._path, self._name, self._sha256 = path, name, sha256
        self.gz_bytes = self.csv_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces. Raises ReleaseError when it cannot be read, ManifestError when it is not that of `sha256`."""
        digest = hashlib.sha256()
        try:
            with opened(self._path, self._name) as file:
                while piece := file.read(_PIECE):
                    check_stop()
                    digest.update(piece)
                    self.gz_bytes += len(piece)
                    self.csv_bytes += len(piece)
                    yield piece
        except OSError as error:
            raise ReleaseError(f"{self._name}: cannot be read: {error.strerror or error}.", "Run again.") from error
        if self._sha256 not in {None, digest.hexdigest()}:
            raise ManifestError(
                f"{self._name}: sha256 is {digest.hexdigest()}, expected {self._sha256}.",
                "The file changed while it was read, or is another one; run again.",
            )
