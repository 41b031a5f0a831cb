"""Plain CSV, whose geometry may be WKT or two columns of degrees: cut and read as gzip CSV is, as texts."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import pyarrow as pa
import pyarrow.csv as pv

from flux_assets.errors import ManifestError, RecordError, ReleaseError
from flux_assets.release.decode.blocks import LONGEST_RECORD, Block
from flux_assets.release.decode.columns import AskServer, ReadColumn
from flux_assets.release.decode.parse import Reader
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
_PARSE = pv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)


class TextFile:
    """The rows of a plain CSV file, once. With `sha256`, the bytes that were read must have it."""

    def __init__(
        self, path: Path, name: str, table: StaticTable, mapping: LayerMapping, *, sha256: str | None = None
    ) -> None:
        self._path, self._name, self._table, self._mapping, self._sha256 = path, name, table, mapping, sha256
        self.gz_bytes = self.csv_bytes = 0

    def reader(self, header: Rows, columns: tuple[ReadColumn, ...], ask: AskServer | None) -> Reader[Rows]:
        """Return what makes declared values of the rows that follow `header`."""
        return header.reader(columns, ask)

    def blocks(self) -> Generator[Rows, None, None]:
        """Yield no rows, which tell names, and then all. Raises ReleaseError for the file, RecordError for its text."""
        try:
            with opened(self._path, self._name) as file:
                yield from self._rows(Block.cut(self._pieces(file), self._name))
        except OSError as error:
            raise ReleaseError(f"{self._name}: cannot be read: {error.strerror or error}.", "Run again.") from error

    def _rows(self, blocks: Iterator[Block]) -> Iterator[Rows]:
        names = next(blocks).names
        schema = pa.schema([(name, pa.string()) for name in names])
        named = [name for name in names if name.lower() in _GEOMETRY]
        layout = Layout(
            file=self._name,
            schema=schema,
            table=self._table,
            mapping=self._mapping,
            geometry=named[0] if len(named) == 1 else None,
            crs=dict.fromkeys(names, _DEGREES),
        )
        yield layout.header()
        options = pv.ConvertOptions(
            column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        )
        reading = pv.ReadOptions(column_names=[*names], use_threads=False, block_size=2 * LONGEST_RECORD)
        for block in blocks:
            try:
                batches = [*pv.open_csv(cast("IO[bytes]", pa.BufferReader(block.data)), reading, _PARSE, options)]
            except pa.ArrowInvalid as error:
                raise _fault_in(block, str(error)) from None
            yield from (layout.rows(batch, block.record) for batch in batches)

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            check_stop()
            digest.update(piece)
            self.gz_bytes += len(piece)
            self.csv_bytes += len(piece)
            yield piece
        if self._sha256 not in {None, digest.hexdigest()}:
            raise ManifestError(
                f"{self._name}: sha256 is {digest.hexdigest()}, expected {self._sha256}.",
                "The file changed while it was read, or is another one; run again.",
            )


def _fault_in(block: Block, reason: str) -> RecordError:
    """Return the error of the first record with too many or too few values, or that is not UTF-8."""
    for index in range(block.records):
        record, wanted = block.part(index, index + 1), len(block.names)
        if (count := record.count_fields()) != wanted:
            problem = f"the record has {count} values, the header names {wanted} columns."
            return record.error_of(0, problem, "Quote values that hold commas or newlines.")
        try:
            record.data.decode()
        except UnicodeDecodeError:
            return record.error_of(0, "it is not UTF-8.", "Write the file in UTF-8.")
    return block.error_of(0, f"it cannot be read ({reason[:300]}).")
