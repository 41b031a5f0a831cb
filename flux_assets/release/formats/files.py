"""Files as rows: Parquet by pyarrow, and what GDAL reads by pyogrio. Batches are small, however large the file."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flux_assets.errors import ManifestError, ReleaseError
from flux_assets.release.decode.columns import AskServer, ReadColumn
from flux_assets.release.decode.parse import Reader
from flux_assets.release.decode.stream import GunzippedFile, LayerStream, Sieve
from flux_assets.release.files import opened
from flux_assets.release.formats.delimited import TextFile
from flux_assets.release.formats.layout import Layout
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.formats.parts import Parts
from flux_assets.release.formats.rows import Rows
from flux_assets.release.release import ReleaseFile
from flux_assets.release.stopping import check_stop
from flux_assets.spec import StaticTable

_Opened = tuple[Layout, Callable[[], Iterator[pa.RecordBatch]]]
_BATCH_BYTES, _MOST_ROWS, _FIRST_ROWS, _OGR_ROWS = 2 << 20, 16_384, 64, 4_096
_READ = 1 << 20
_DEGREES = "OGC:CRS84"
_AGAIN = "Fetch or write the file again."


@dataclass(frozen=True)
class _Format:
    """What GDAL calls a format, what its files begin with, and how it is opened.

    `counted` says that a file tells how many features it has, `layered` that it may have several layers.
    """

    name: str
    magic: tuple[bytes, ...]
    counted: bool = True
    layered: bool = False
    member: str = ""
    options: tuple[tuple[str, str], ...] = ()


_TEXT = (b"{", b"\x1e")
_PARQUET, _LINES = ".parquet", ".geojsonl"
_FORMATS = {
    _PARQUET: _Format("Parquet", (b"PAR1",)),
    ".gpkg": _Format("GeoPackage", (b"SQLite format 3\0",), layered=True),
    ".fgb": _Format("FlatGeobuf", (b"fgb\x03",)),
    ".shp.zip": _Format("zipped Shapefile", (b"PK\x03\x04",), member=".shp"),
    ".gdb.zip": _Format("zipped File Geodatabase", (b"PK\x03\x04",), layered=True, member=".gdb"),
    ".geojson": _Format("GeoJSON", _TEXT, counted=False, options=(("DATE_AS_STRING", "YES"),)),
    _LINES: _Format("GeoJSON text sequence", _TEXT),
}


class RowFile:
    """The rows of a file that is no CSV, once.

    `gz_bytes` is the file's size, `csv_bytes` that of its rows, as values, so far. With `sha256`, the file must have
    that digest.
    """

    def __init__(
        self, path: Path, name: str, table: StaticTable, mapping: LayerMapping, *, sha256: str | None = None
    ) -> None:
        self._path, self._name, self._table, self._mapping, self._sha256 = path, name, table, mapping, sha256
        self._suffix = next(suffix for suffix in _FORMATS if name.lower().endswith(suffix))
        self._format = _FORMATS[self._suffix]
        self._layout = partial(Layout, file=name, table=table, mapping=mapping)
        self.gz_bytes = self.csv_bytes = 0

    @classmethod
    def stream(
        cls, paths: Sequence[Path], file: ReleaseFile, table: StaticTable, sieve: Sieve | None, ask: AskServer | None
    ) -> LayerStream:
        """Return the rows of a release's `file`, of any format, which lies at the path, or its parts at the paths."""
        sources = [cls._source(path, each, table, file.mapping) for path, each in zip(paths, file.files, strict=True)]
        source = sources[0] if len(sources) == 1 else Parts(sources)
        return LayerStream(paths[0], file.file, table, sieve=sieve, ask=ask, source=source)

    @classmethod
    def _source(
        cls, path: Path, file: ReleaseFile, table: StaticTable, mapping: LayerMapping | None
    ) -> RowFile | TextFile | GunzippedFile:
        name = file.file.lower()
        if mapping is None and name.endswith(".gz"):
            return GunzippedFile(path, file.file, sha256=file.sha256)
        reading = cls if name.endswith(tuple(_FORMATS)) else TextFile
        return reading(path, file.file, table, mapping or LayerMapping(), sha256=file.sha256)

    @classmethod
    def expanded_bytes(cls, paths: Sequence[Path], names: Sequence[str]) -> int:
        """Return about how many bytes the rows of files are as CSV; 0 when that is unknown. For estimates only."""
        return sum(map(cls._expanded, paths, names))

    @staticmethod
    def _expanded(path: Path, name: str) -> int:
        if name.lower().endswith(".csv"):
            return path.stat().st_size
        if not name.lower().endswith(tuple(_FORMATS)):
            return GunzippedFile.expanded_bytes(path)
        if not name.lower().endswith(_PARQUET):
            return path.stat().st_size * (4 if name.lower().endswith(".zip") else 2)
        with suppress(pa.ArrowException, OSError):
            meta = pq.read_metadata(path)
            return 2 * sum(meta.row_group(index).total_byte_size for index in range(meta.num_row_groups))
        return 0

    def reader(self, header: Rows, columns: tuple[ReadColumn, ...], ask: AskServer | None) -> Reader[Rows]:
        """Return what makes declared values of the rows that follow `header`."""
        return header.reader(columns, ask)

    def blocks(self) -> Generator[Rows, None, None]:
        """Yield no rows, which tell names and types, and then all.

        Raises ReleaseError for a file that is not what its name says, or damaged; ManifestError when it is not the
        file of `sha256`; RecordError when its columns are not the table's.
        """
        state = self._checked()
        source: Callable[[], AbstractContextManager[_Opened]] = {
            _PARQUET: self._parquet,
            _LINES: self._lines,
        }.get(self._suffix, self._ogr)
        with self._explained(), source() as (layout, batches):
            rows = Rows(layout=layout, batch=pa.RecordBatch.from_pylist([], schema=layout.schema))
            yield rows
            for batch in batches():
                check_stop()
                self.csv_bytes += batch.nbytes
                rows = Rows(layout=layout, batch=batch, record=rows.record + rows.records)
                if batch.num_rows:
                    yield rows
        if _state(self._path.stat()) != state:
            raise ManifestError(f"{self._name} changed while it was read.", "Run again.")

    def _checked(self) -> tuple[int, ...]:
        """Return the state of the file, once its first bytes and its digest have been compared."""
        try:
            with opened(self._path, self._name) as file:
                state = os.fstat(file.fileno())
                self.gz_bytes = state.st_size
                start = file.read(16)
                if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(self._format.magic):
                    begins = f"it begins with {start[:8]!r}" if start else "it is empty"
                    problem = f"{self._name}: this is not a {self._format.name} file; {begins}."
                    raise ReleaseError(problem, _AGAIN)
                if self._sha256 is not None:
                    digest = hashlib.sha256(start)
                    while data := file.read(_READ):
                        check_stop()
                        digest.update(data)
                    if digest.hexdigest() != self._sha256:
                        raise ManifestError(
                            f"{self._name}: sha256 is {digest.hexdigest()}, expected {self._sha256}.",
                            "The file changed while it was read, or is another one; run again.",
                        )
                return _state(state)
        except OSError as error:
            raise ReleaseError(f"{self._name}: cannot be read: {error.strerror or error}.", _AGAIN) from error

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what pyarrow and GDAL raise of a damaged file into a ReleaseError."""
        try:
            yield
        except (pa.ArrowException, OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
            if isinstance(error, ReleaseError):
                raise
            shown = str(error).replace(str(self._path), self._name).strip().splitlines() or [type(error).__name__]
            problem = f"{self._name}: it cannot be read as a {self._format.name} file: {shown[0][:300].rstrip('.')}."
            raise ReleaseError(problem, _AGAIN) from error

    @contextmanager
    def _parquet(self) -> Iterator[_Opened]:
        with (
            pa.OSFile(str(self._path), "rb") as source,
            pq.ParquetFile(source, buffer_size=_READ, pre_buffer=False) as file,
        ):
            meta = file.metadata
            groups = [meta.row_group(index) for index in range(meta.num_row_groups)]
            widest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=0)

            layout = self._layout(schema=file.schema_arrow, **_geoparquet(self._name, file.schema_arrow))

            def batches() -> Iterator[pa.RecordBatch]:
                names = layout.names
                first = next(file.iter_batches(_FIRST_ROWS, columns=names, use_threads=False), None)
                # Values that are the same are stored once, so that rows may be wider than they look.
                width = max(1, widest, first.nbytes / first.num_rows if first is not None and first.num_rows else 0)
                rows = max(1, min(_MOST_ROWS, int(_BATCH_BYTES / width)))
                return file.iter_batches(rows, columns=names, use_threads=False)

            yield layout, batches

    @contextmanager
    def _lines(self) -> Iterator[_Opened]:
        from flux_assets.release.formats.lines import features

        with opened(self._path, self._name) as file:
            found = features(file, self._name)
            first = next(found)
            geometry = first.schema.names[-1]
            layout = self._layout(schema=first.schema, geometry=geometry, crs={geometry: _DEGREES})
            yield layout, lambda: chain([first], found)

    @contextmanager
    def _ogr(self) -> Iterator[_Opened]:
        import pyogrio

        path = self._opened_as()
        layer = self._layer([str(name) for name, _ in pyogrio.list_layers(path)]) if self._format.layered else None
        with pyogrio.open_arrow(
            path,
            layer=layer,
            encoding=self._mapping.encoding,
            batch_size=_OGR_ROWS,
            use_pyarrow=True,
            **dict(self._format.options),
        ) as (meta, reader):
            geometry = (meta["geometry_name"] or "wkb_geometry") if meta["geometry_type"] else None
            layout = self._layout(
                schema=reader.schema,
                geometry=geometry,
                crs={geometry: meta["crs"]} if geometry else {},
                is_dbf=self._format.member == ".shp",
            )

            def batches() -> Iterator[pa.RecordBatch]:
                count = 0
                for batch in reader:
                    count += batch.num_rows
                    yield batch
                promised = pyogrio.read_info(path, layer=layer)["features"] if self._format.counted else -1
                if promised not in {-1, count}:
                    raise ValueError(f"{count:,} features could be read of {promised:,}")

            yield layout, batches

    def _opened_as(self) -> str:
        """Return the file's name for GDAL: within a ZIP file, the name of the one member that is meant."""
        suffix = self._format.member
        if not suffix:
            return str(self._path)
        with zipfile.ZipFile(self._path) as file:
            names = [name for name in file.namelist() if not name.startswith("__MACOSX/")]
        folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
        ends = {name for name in {*names, *folders} if name.lower().endswith(suffix)}
        named = {name for name in ends if self._is_wanted(Path(name).stem)}
        if len(ends) != 1 and len(named) != 1:
            held = ", ".join(sorted(ends)) if ends else "none"
            raise ReleaseError(
                f"{self._name}: one {suffix} within it is read, and it has {held}.",
                f"Keep one, name it {self._table.name}{suffix}, or name it as the layer in FLUX_CONFIG.",
            )
        (member,) = named if len(named) == 1 else ends
        return f"/vsizip/{{{self._path}}}/{member}"

    def _layer(self, names: list[str]) -> str:
        """Return the layer that is meant: the one of FLUX_CONFIG, of the table's name, or the only one."""
        wanted = [name for name in names if self._is_wanted(name)]
        if len(wanted) == 1 or (len(names) == 1 and self._mapping.layer is None):
            return (wanted or names)[0]
        said = f"no layer {self._mapping.layer or self._table.name}" if names else "no layer"
        raise ReleaseError(
            f"{self._name}: it has {said}{'; there are ' if names else ''}{', '.join(names)}.",
            f'Name the layer in FLUX_CONFIG: layer = "…" under [layers.{self._table.name}].',
        )

    def _is_wanted(self, name: str) -> bool:
        return name.lower() == (self._mapping.layer or self._table.name).lower()


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _geoparquet(name: str, schema: pa.Schema) -> dict[str, Any]:
    """Return what a Parquet file says. Without GeoParquet's metadata it has no CRS, unless a column's type says it."""
    try:
        geo = json.loads((schema.metadata or {}).get(b"geo", b"{}"))
        primary, columns = geo.get("primary_column"), geo.get("columns", {})
        # Without the key it is longitude and latitude; null is unknown.
        crs = {column: _crs(facts.get("crs", _DEGREES)) for column, facts in columns.items()}
        covering = [facts.get("covering", {}).get("bbox", {}) for facts in columns.values()]
        added = {str(path[0]) for bounds in covering for path in bounds.values()}
    except (ValueError, AttributeError, TypeError, IndexError) as error:
        raise ReleaseError(f'{name}: its metadata "geo" is not that of GeoParquet: {error}.', _AGAIN) from None
    return {"geometry": primary, "crs": crs, "added": frozenset(added)}


def _crs(stated: object) -> str | None:
    named = stated.get("id", {}) if isinstance(stated, dict) else {}
    if (named.get("authority"), str(named.get("code"))) in {("OGC", "CRS84"), ("EPSG", "4326")}:
        return _DEGREES  # without loading PROJ's database
    return stated if stated is None or isinstance(stated, str) else json.dumps(stated)
