"""Writing a release: each layer as gzip CSV in the order of its key, and the manifest; whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from flux_assets.compare.match import comparing
from flux_assets.compare.staging import Staging
from flux_assets.errors import LayerError, ReleaseError
from flux_assets.packing.origins import Origin
from flux_assets.postgis import relations
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target, translated
from flux_assets.release.release import FileEntry
from flux_assets.release.stopping import stoppable
from flux_assets.release.writing import UNFINISHED, GzipWriter, write_manifest
from flux_assets.spec import StaticTable

_BLOCK = 1 << 18
_SORTED_IN = "SET work_mem = '64MB'"


@dataclass(frozen=True, kw_only=True)
class Packer:
    """Writes a release into the new `folder`. `log` is told of each file.

    The same rows give the same bytes: lines are in the order of the key, compared by bytes, and gzip holds no time.
    Values are as COPY writes them.
    """

    folder: Path
    tag: str
    target: Target
    stop: Stop
    log: Callable[[str], None]

    def pack(self, tables: Sequence[StaticTable], origin: Origin, *, named: bool) -> list[FileEntry]:
        """Write the files of `tables`, and the manifest. Without rows, those that were not `named` are left out.

        That is an error of those whose file a release requires. Raises LayerError for it, ReleaseError where the folder
        is there or cannot be written, and what reading the origin raises; then nothing is left.
        """
        session_of = comparing(self.target, "release that is packed", self.stop)
        with self._unfinished() as folder, stoppable(self.stop.check), session_of as session:
            staging = Staging(session=session, target=self.target, stop=self.stop)
            session.execute(_SORTED_IN)
            entries, lacking = [], []
            with origin(staging, tables) as rows_of:
                for table in tables:
                    with translated(table.name, self.stop):
                        rows = rows_of(table)
                        if rows is not None:
                            entries.append(self._write(folder, staging, table, rows))
                        elif named or table.file == "required":
                            lacking.append(table.name)
            if lacking or not entries:
                raise LayerError(
                    f"There is no {', '.join(lacking) or 'layer'} to pack; nothing was written.",
                    "Load what is missing, or name the tables that the release is to hold.",
                )
            write_manifest(folder, entries, tables, tag=self.tag, generator="flux-assets pack")
        return entries

    @contextmanager
    def _unfinished(self) -> Iterator[Path]:
        """Yield a folder beside the one that is to be made, which takes its name at the end, or is removed."""
        unfinished = self.folder.with_name(f".{self.folder.name}{UNFINISHED}")
        if self.folder.exists():
            raise ReleaseError(f"{self.folder} is there already.", "Name a new folder, or remove that one.")
        try:
            try:
                unfinished.mkdir()
            except FileExistsError:
                problem = f"{unfinished} is there: another pack writes it, or was killed."
                raise ReleaseError(problem, "Wait for that one, or remove it.") from None
            try:
                yield unfinished
                unfinished.rename(self.folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        except OSError as error:
            raise ReleaseError(
                f"{self.folder} cannot be written: {error.strerror or error}.",
                "Name a new folder in one that is there and that the user may write, and keep room.",
            ) from error

    def _write(self, folder: Path, staging: Staging, table: StaticTable, rows: sql.Composable) -> FileEntry:
        copying = sql.SQL("COPY (SELECT {} FROM {} AS t ORDER BY {}) TO STDOUT (FORMAT csv, HEADER)").format(
            sql.SQL(", ").join(_as_declared(table)), rows, sql.SQL(", ").join(_order(table))
        )
        pending = bytearray()
        with (folder / table.file_name).open("wb") as file, staging.session.cursor() as cursor:
            packed = GzipWriter(file)
            with cursor.copy(copying) as copy:
                for line in copy:
                    pending += line
                    if len(pending) >= _BLOCK:
                        self.stop.check()
                        packed.write(pending)
                        pending.clear()
            packed.write(pending)
            packed.finish()
            count = cursor.rowcount
        self.log(f"{table.file_name}: {count:,} rows")
        return FileEntry(
            table=table.name, file=table.file_name, rows=count, bytes=packed.size, sha256=packed.digest.hexdigest()
        )


def _as_declared(table: StaticTable) -> Iterator[sql.Composed]:
    for column in table.columns:
        kind = sql.SQL(relations.type_name(column))
        yield sql.SQL("t.{name}::{kind} AS {name}").format(name=sql.Identifier(column.name), kind=kind)


def _order(table: StaticTable) -> Iterator[sql.Composable]:
    """Yield what lines are in the order of: the key, or all values where there is none."""
    for name in table.key or table.column_names:
        column = table.table.columns[name]
        value = sql.Identifier("t", name)
        yield (
            sql.SQL("{}::bytea").format(value) if column in table.spatial_columns else relations.by_value(value, column)
        )
