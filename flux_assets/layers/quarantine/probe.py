"""Trying rows on an empty copy of a version's table, before they go where one refusal undoes everything."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pyarrow as pa
from psycopg import errors, sql

from flux_assets.layers import staging
from flux_assets.layers.schema_diff import Public
from flux_assets.postgis import ddl
from flux_assets.postgis.names import Layer

REFUSALS = (errors.DataError, errors.IntegrityError, errors.InternalError_)
_PROBE = sql.Identifier("pg_temp", "flux_probe")
# COPY counts its tuples from 1.
WHERE = re.compile(r"^COPY [^,]+, line (\d+)(?:, column ([^:\n]+))?", re.MULTILINE)


def create_probe(session: psycopg.Connection, layer: Layer, public: Public) -> None:
    """Make the session's table to try rows on, as a new version's table would be."""
    if public.oid is not None:
        session.execute(ddl.create_template(layer))
    session.execute(ddl.create_probe(layer, like_template=public.oid is not None))
    for change in public.changes:
        session.execute(change(_PROBE))


def refused_rows(session: psycopg.Connection, batch: pa.RecordBatch) -> Iterator[tuple[int, str | None, str]]:
    """Yield index, column and reason of each row that the server refuses; all others are tried as well."""
    begin = 0
    while begin < batch.num_rows:
        found = _first_refused(session, batch.slice(begin))
        if found is None:
            return
        index, column, reason = found
        yield begin + index, column, reason
        begin += index + 1


def _first_refused(session: psycopg.Connection, batch: pa.RecordBatch) -> tuple[int, str | None, str] | None:
    columns = ddl.names(tuple(batch.schema.names))
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_PROBE, columns)
    try:
        with session.transaction(), session.cursor().copy(copy_in) as copy:
            for chunk in staging.encoded([batch], batch.schema):
                copy.write(chunk)
    except REFUSALS as error:
        where = WHERE.search(error.diag.context or "")
        if where is None:
            raise
        column = where[2] or error.diag.column_name
        known = column if column in batch.schema.names else None
        return int(where[1]) - 1, known, f"PostgreSQL refuses it: {error.diag.message_primary}."
    return None
