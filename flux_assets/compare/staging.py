"""Rows from elsewhere in a temporary table, decoded as a load does: no WAL, and gone with the session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import psycopg
import pyarrow as pa
from psycopg import sql

from flux_assets.layers.quarantine import QuarantinedRecord
from flux_assets.layers.replay.records import ReadAgain
from flux_assets.postgis import copying, relations
from flux_assets.postgis.copying import texts_of
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.release.decode.stream import LeftOut
from flux_assets.release.formats.files import RowFile
from flux_assets.release.release import Release, ReleaseFile
from flux_assets.spec import StaticTable


@dataclass(frozen=True, kw_only=True)
class Staging:
    """The session whose temporary tables take the rows, and what may stop it."""

    session: psycopg.Connection
    target: Target
    stop: Stop

    def put_file(
        self,
        into: sql.Identifier,
        release: Release,
        file: ReleaseFile,
        table: StaticTable,
        held: Sequence[QuarantinedRecord] = (),
    ) -> None:
        """Store the rows of a release's file, of the records `held` in quarantine only those that were replayed."""
        paths = release.at_hand(file)
        sieve = LeftOut([one.record for one in held]) if held else None
        with texts_of(self.target, table.name, self.stop) as ask:
            stream = RowFile.stream(paths, file, table, sieve, ask)
            replayed = ReadAgain.of(table, [one for one in held if one.replayed], ask)
            columns = [relations.column_definition(column) for column in table.columns]
            self.put(into, columns, chain(stream, [replayed.batch]), stream.schema)

    def put(
        self,
        into: sql.Identifier,
        columns: Sequence[sql.Composable],
        batches: Iterable[pa.RecordBatch],
        schema: pa.Schema,
    ) -> None:
        """Store batches in a new table of these column definitions, in the place of one of that name."""
        self.session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(into))
        self.session.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(into, sql.SQL(", ").join(columns)))
        names = relations.names(schema.names)
        copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(into, names)
        with (
            self.session.cursor().copy(copy_in) as copy,
            closing(copying.encoded(batches, schema)) as chunks,
        ):
            for chunk in chunks:
                self.stop.check()
                copy.write(chunk)
