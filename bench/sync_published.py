"""The way the dynamic tables were synced before: the baseline.

Here: fetch all rows of the query, TRUNCATE, INSERT a row at a time, on an autocommit connection, as the stored
procedure did with psycopg2; and, as the other thing one might write, TRUNCATE and COPY in one transaction.
Not here: our way (sync_ours.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import psycopg
import psycopg2
import pyarrow as pa
import snowflake.connector
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg.conninfo import conninfo_to_dict

from bench.published import create_indexes, create_table
from bench.sync_ours import schema, table
from flux_assets.postgis.connect import Target
from flux_assets.snowflake.account import Account

COLUMNS = (
    "work_order_id", "work_order_type", "priority", "status", "assigned_crew", "circuit_id", "substation_id",
    "transformer_id", "description", "scheduled_start", "scheduled_end", "actual_start", "actual_end", "latitude",
    "longitude",
)  # fmt: skip
QUERY = f"""
SELECT {", ".join(COLUMNS)} FROM WORK_ORDERS
WHERE STATUS IN ('OPEN', 'IN_PROGRESS', 'SCHEDULED', 'ASSIGNED')
   OR SCHEDULED_START >= DATEADD('day', -30, CURRENT_TIMESTAMP())
"""
_INSERT = f"""
INSERT INTO work_orders ({", ".join(COLUMNS)}, geom, created_at, updated_at)
VALUES ({", ".join(["%s"] * len(COLUMNS))},
        CASE WHEN %s IS NOT NULL AND %s IS NOT NULL THEN ST_SetSRID(ST_MakePoint(%s, %s), 4326) END,
        CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)
"""


def set_up(target: Target) -> None:
    """The table with its key and indexes, as the old procedure made it."""
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        for statement in (create_table(table()), *create_indexes(table())):
            session.execute(statement.encode())


def sync(account: Account, target: Target) -> None:
    """One sync, with sessions of its own on both ends."""
    with snowflake.connector.connect(**account.arguments()) as connection:
        rows = connection.cursor().execute(QUERY).fetchall()
    session = psycopg2.connect(**_address(target))
    session.autocommit = True
    try:
        with session.cursor() as cursor:
            cursor.execute("TRUNCATE TABLE work_orders")
            for row in rows:
                latitude, longitude = row[-2:]
                cursor.execute(_INSERT, (*row, longitude, latitude, longitude, latitude))
    finally:
        session.close()


def _address(target: Target) -> dict[str, str]:
    """What every version of libpq knows."""
    said = conninfo_to_dict(target.conninfo)
    return {name: str(said[name]) for name in ("host", "port", "user", "password", "dbname")}


def truncate_and_copy(batches: Iterable[pa.RecordBatch], target: Target) -> None:
    """All rows anew in one transaction: readers see no empty table, they wait. Positions are never NULL here."""
    encoder = ArrowToPostgresBinaryEncoder(_WHOLE)
    copy_in = f"COPY work_orders ({', '.join(_WHOLE.names)}) FROM STDIN (FORMAT binary)"
    with psycopg.connect(target.conninfo) as session:
        session.execute("TRUNCATE TABLE work_orders")
        with session.cursor().copy(copy_in.encode()) as copy:
            copy.write(encoder.write_header())
            for batch in batches:
                copy.write(encoder.write_batch(_whole(batch)))
            copy.write(encoder.finish())


_ADDED = [("geom", pa.binary()), ("created_at", pa.timestamp("us")), ("updated_at", pa.timestamp("us"))]
_WHOLE = pa.schema([*schema(), *(pa.field(name, kind) for name, kind in _ADDED)])
_POINT = np.dtype([("order", "u1"), ("kind", "<u4"), ("srid", "<u4"), ("x", "<f8"), ("y", "<f8")])


def _whole(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The fed columns, a point as EWKB, and two times."""
    points = np.zeros(batch.num_rows, _POINT)
    points["order"], points["kind"], points["srid"] = 1, 0x20000001, 4326
    points["x"], points["y"] = (batch[name].to_numpy(zero_copy_only=False) for name in ("longitude", "latitude"))
    data = pa.py_buffer(points.tobytes())
    geometry = pa.Array.from_buffers(pa.binary(_POINT.itemsize), batch.num_rows, [None, data]).cast(pa.binary())
    now = pa.array([datetime.now(UTC).replace(tzinfo=None)] * batch.num_rows, pa.timestamp("us"))
    return pa.record_batch([*batch.columns, geometry, now, now], schema=_WHOLE)


def content(target: Target) -> object:
    """A digest of what the table holds, times of arrival apart."""
    names = ", ".join([*COLUMNS, "ST_AsEWKB(geom)"])
    query = (
        "SELECT count(*), md5(string_agg(md5(row::text), '' ORDER BY row::text))"
        f" FROM (SELECT ROW({names}) FROM work_orders) AS all_rows (row)"
    )
    with psycopg.connect(target.conninfo) as session:
        return session.execute(query.encode()).fetchone()
