"""Work orders in the Snowflake stand-in, and the ways of syncing them."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from time import sleep
from typing import Any

import numpy as np
import psycopg
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
import snowflake.connector
from psycopg.conninfo import conninfo_to_dict

from bench import layers
from bench.ground import WORK, Ground
from bench.readers import Reader
from flux_assets.postgis.session import Target
from flux_assets.sample.simulation.tables import CIRCUITS, ORDERS, OUTAGES
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.snowflake.columns import arrow_type
from flux_assets.tables import dynamic_tables
from flux_assets_tests.synced import Utility, source_database

NAME = "work_orders"
TABLE = next(table for table in dynamic_tables() if table.name == NAME)
ALL_NAMES = [each.name for each in dynamic_tables()]  # a first sync of all makes their tables
DISPOSITIONS: dict[str, Any] = {
    "dlt, merge (delete-insert, the default)": "merge",
    "dlt, merge (upsert)": {"disposition": "merge", "strategy": "upsert"},
    "dlt, replace": "replace",
}
_FILLED = [name for name in TABLE.source_filled if name.upper() in ORDERS["a"].columns]
SCHEMA = pa.schema([pa.field(name, arrow_type(TABLE.table.columns[name])) for name in _FILLED])
COLUMNS = ", ".join(SCHEMA.names)
# With what PostGIS holds besides: a point, and two times.
_WHOLE = pa.schema([*SCHEMA, ("geom", pa.binary()), *((name, pa.timestamp("us")) for name in ("created", "updated"))])
_ALL_COLUMNS = f"{COLUMNS}, geom, created_at, updated_at"
_QUERY = f"""
SELECT {COLUMNS} FROM WORK_ORDERS
WHERE STATUS IN ('OPEN', 'IN_PROGRESS', 'SCHEDULED', 'ASSIGNED')
   OR SCHEDULED_START >= DATEADD('day', -30, CURRENT_TIMESTAMP())
"""
_INSERT = f"""
INSERT INTO work_orders ({_ALL_COLUMNS})
VALUES ({", ".join(["%s"] * len(SCHEMA))},
        CASE WHEN %s IS NOT NULL AND %s IS NOT NULL THEN ST_SetSRID(ST_MakePoint(%s, %s), 4326) END,
        CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)
"""
_START, _BEGUN = np.datetime64("2099-01-04T08:00:00", "us"), np.datetime64("2026-01-05T08:00:00", "us")


@dataclass
class Orders(Utility):
    """Rows in a database of the stand-in. A change adds and removes one in a thousand, and alters eight otherwise."""

    rows: int = 0
    changes: int = 0
    made: pa.RecordBatch = field(init=False)

    def change(self) -> None:
        self.changes += 1
        self.write()

    def write(self) -> None:
        first = self.changes * self._step
        self.made = self._made(np.arange(first, first + self.rows))
        pq.write_table(pa.Table.from_batches([self.made]), WORK / "orders.parquet")
        rows = f"INSERT INTO WORK_ORDERS ({COLUMNS}) SELECT {COLUMNS} FROM read_parquet('{WORK / 'orders.parquet'}')"
        self.tell(f"BEGIN; DELETE FROM WORK_ORDERS; {rows}; COMMIT")
        sleep(0.2)  # what the stand-in writes after a change is written

    @property
    def differing(self) -> int:
        """How many rows the last change added, took away or made different."""
        stayed = range(self.changes * self._step, (self.changes - 1) * self._step + self.rows)
        return 2 * self._step + sum((self.changes - number * 7) % self._period == 0 for number in stayed)

    @property
    def _step(self) -> int:
        return max(self.rows // 1000, 1)

    @property
    def _period(self) -> int:
        """Each row differs after so many changes."""
        return min(125, self.rows // 2)

    def _made(self, numbers: np.ndarray) -> pa.RecordBatch:
        # The change with which the row differed last.
        moved = np.maximum(self.changes - (self.changes - numbers * 7) % self._period, 0)
        scheduled = _START + (numbers * 61 % 1_000_000).astype("timedelta64[s]")
        columns = {
            "work_order_id": _numbered("WO-", numbers, 10),
            "work_order_type": _chosen(numbers, ["INSPECTION", "REPAIR", "REPLACEMENT"]),
            "priority": _chosen(numbers, ["HIGH", "LOW", "MEDIUM", "MEDIUM"]),
            "status": _chosen(numbers + moved, ["OPEN", "ASSIGNED", "SCHEDULED", "IN_PROGRESS"]),
            "assigned_crew": _numbered("CREW ", moved),
            "circuit_id": _numbered("CKT-", numbers % 500),
            "substation_id": _numbered("SUB-", numbers % 60),
            "transformer_id": _numbered("TRF-", numbers * 37 % 100_000),
            "description": _numbered("Look at what the patrol noted at pole and replace what is worn ", numbers * 7919),
            "scheduled_start": pa.array(scheduled),
            "scheduled_end": pa.array(scheduled + np.timedelta64(4, "h")),
            "actual_start": pa.array(_BEGUN + (numbers % 86_400).astype("timedelta64[s]"), mask=numbers % 4 != 3),
            "actual_end": pa.nulls(len(numbers), pa.timestamp("us")),
            "latitude": pa.array(29.5 + numbers * 7919 % 1_000_003 / 1_000_003),
            "longitude": pa.array(-95.8 + numbers * 104_729 % 1_000_003 / 1_000_003),
        }
        return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    def reader(self) -> Reader:
        """A look-up by key of a row that the next changes leave."""
        key = self.made["work_order_id"][-1].as_py()
        return Reader(query=f"SELECT count(*) FROM {NAME} WHERE work_order_id = %s", values=[key], pause=(0.003, 0.003))

    def encoded(self) -> list[bytes]:
        """The rows for COPY, in all columns of the table."""
        points = shapely.points(*(self.made[name].to_numpy() for name in ("longitude", "latitude")))
        shapes = pa.array(shapely.to_wkb(shapely.set_srid(points, 4326), include_srid=True), pa.binary())
        now = pa.array([datetime.now(UTC).replace(tzinfo=None)] * self.rows, pa.timestamp("us"))
        return layers.encoded(_WHOLE, [pa.record_batch([*self.made.columns, shapes, now, now], schema=_WHOLE)])

    def into(self, target: Target, *names: str) -> dict[str, float]:
        """Sync by our way, in fresh sessions on both ends; seconds by step, and the rows written."""
        found = Utility(self.account, target, dynamic_tables()).synced(*(names or [NAME]))[NAME]
        return {**found.seconds, "written": float(found.inserted + found.updated + found.deleted)}

    def first(self, target: Target) -> Target:
        """Sync all tables, so that they are there."""
        self.into(target, *ALL_NAMES)
        return target

    def published(self, target: Target) -> None:
        """Sync as it was done before: all rows, TRUNCATE, INSERT a row at a time, autocommit."""
        rows = self.ask(_QUERY)
        said = conninfo_to_dict(target.conninfo)  # psycopg2's own libpq may know fewer options
        parameters = {name: said[name] for name in ("host", "port", "user", "password", "dbname")}
        with closing(psycopg2.connect(**parameters)) as session:
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute("TRUNCATE TABLE work_orders")
                for row in rows:
                    latitude, longitude = row[-2:]
                    cursor.execute(_INSERT, (*row, longitude, latitude, longitude, latitude))

    def dlt_ways(self) -> dict[str, Callable[[Target], None]]:
        """What a user of dlt would write, from the connector's Arrow batches, without earlier benchmarks' state."""
        quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
        os.environ |= quiet | {"DLT_DATA_DIR": str(WORK / "dlt")}
        shutil.rmtree(WORK / "dlt", ignore_errors=True)
        logging.getLogger("dlt").setLevel("ERROR")
        return {name: partial(self._dlt, name) for name in DISPOSITIONS}

    def _dlt(self, name: str, target: Target) -> None:
        import dlt  # reads the environment when it is imported

        url = "postgresql://{user}:{password}@127.0.0.1:{port}/{dbname}".format(**conninfo_to_dict(target.conninfo))
        pipeline = dlt.pipeline(
            pipeline_name=f"bench_{list(DISPOSITIONS).index(name)}",
            destination=dlt.destinations.postgres(credentials=url),
            dataset_name="bench",
        )
        how = {"primary_key": "work_order_id", "write_disposition": DISPOSITIONS[name]}
        pipeline.run(dlt.resource(self._batches(), name=NAME, **how), loader_file_format="csv").raise_on_failed_jobs()

    def _batches(self) -> Iterator[pa.Table]:
        with snowflake.connector.connect(**self.account.arguments()) as connection, connection.cursor() as cursor:
            cursor.execute(_QUERY)
            for batch in cursor.fetch_arrow_batches(force_microsecond_precision=True):
                yield batch.rename_columns([each.lower() for each in batch.column_names])


def _numbered(prefix: str, numbers: np.ndarray, width: int = 0) -> Any:
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def _chosen(numbers: np.ndarray, values: list[str]) -> Any:
    return pa.array(values).take(pa.array(numbers % len(values)))


@contextmanager
def stand_in_running(ground: Ground) -> Iterator[Callable[[int], Orders]]:
    """What makes a source of so many rows in the stand-in, whose CPU seconds count as the servers'."""
    stand_in = StandIn(ground.cluster.home)

    def orders(rows: int) -> Orders:
        found = Orders(source_database(stand_in.account()), Target(conninfo=""), rows=rows)
        for made in (ORDERS["a"], OUTAGES["a"], CIRCUITS):
            columns = ", ".join(f"{name} {kind}" for name, kind in made.columns.items())
            found.tell(f"CREATE TABLE {made.name} ({columns})")
        found.write()
        return found

    try:
        stand_in.start()
        listening = stand_in.layout.read_listening()
        ground.pids[:] = [listening.pid] if listening else []
        yield orders
    finally:
        ground.pids.clear()
        stand_in.stop()
        shutil.rmtree(stand_in.layout.folder, ignore_errors=True)


def set_up(target: Target) -> Target:
    """Make the table with its key and indexes, as the old procedure did."""
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        for statement in (layers.create_table(TABLE), *layers.create_indexes(TABLE)):
            session.execute(statement.encode())
    return target


def reload(pieces: list[bytes], target: Target) -> None:
    """Write encoded rows anew by TRUNCATE and COPY in one transaction: readers see no empty table, they wait."""
    with psycopg.connect(target.conninfo) as session:
        session.execute("TRUNCATE TABLE work_orders")
        layers.copy(session, f"{NAME} ({_ALL_COLUMNS})", pieces)
