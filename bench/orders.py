"""Work orders to sync, as Arrow batches and in the Snowflake stand-in, and the ways of syncing them."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from time import sleep
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import psycopg
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
import snowflake.connector
from psycopg.conninfo import conninfo_to_dict

from bench import ways
from bench.ground import Ground
from bench.releases import WORK
from flux_assets.postgis.session import Target
from flux_assets.sample.simulation.tables import CIRCUITS, ORDERS, OUTAGES
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.columns import arrow_type
from flux_assets.spec import DynamicTable
from flux_assets.tables import dynamic_tables
from flux_assets_tests.synced import Utility, source_database

NAME = "work_orders"
ALL_NAMES = [each.name for each in dynamic_tables()]  # a first sync of all makes their tables
BATCH_ROWS = 65_536
Batches = Iterable[pa.RecordBatch]
DISPOSITIONS: dict[str, Any] = {
    "dlt, merge (delete-insert, the default)": "merge",
    "dlt, merge (upsert)": {"disposition": "merge", "strategy": "upsert"},
    "dlt, replace": "replace",
}
_START, _BEGUN = np.datetime64("2099-01-04T08:00:00", "us"), np.datetime64("2026-01-05T08:00:00", "us")


def table() -> DynamicTable:
    """The declared table that is synced."""
    return next(table for table in dynamic_tables() if table.name == NAME)


def schema(declared: DynamicTable) -> pa.Schema:
    """What a source hands over: the fed columns in the declared types."""
    return pa.schema([pa.field(name, arrow_type(declared.table.columns[name])) for name in declared.source_filled])


SCHEMA = schema(table())
COLUMNS = ", ".join(SCHEMA.names)
_WHOLE = pa.schema(
    [*SCHEMA, ("geom", pa.binary()), ("created_at", pa.timestamp("us")), ("updated_at", pa.timestamp("us"))]
)
QUERY = f"""
SELECT {COLUMNS} FROM WORK_ORDERS
WHERE STATUS IN ('OPEN', 'IN_PROGRESS', 'SCHEDULED', 'ASSIGNED')
   OR SCHEDULED_START >= DATEADD('day', -30, CURRENT_TIMESTAMP())
"""
_INSERT = f"""
INSERT INTO work_orders ({COLUMNS}, geom, created_at, updated_at)
VALUES ({", ".join(["%s"] * len(SCHEMA))},
        CASE WHEN %s IS NOT NULL AND %s IS NOT NULL THEN ST_SetSRID(ST_MakePoint(%s, %s), 4326) END,
        CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)
"""


@dataclass
class Made:
    """Rows made a batch at a time. After a change one in a thousand is gone, one is new, eight differ otherwise."""

    rows: int
    changes: int = 0
    held: list[pa.RecordBatch] = field(default_factory=list)

    def change(self) -> None:
        """Change the rows, and hold them in memory, so that a sync pays nothing for making them."""
        self.changes += 1
        self.held = list(self.batches())

    @property
    def differing(self) -> int:
        """How many rows the last change added, took away or made different."""
        stayed = range(self.changes * self._step, (self.changes - 1) * self._step + self.rows)
        return 2 * self._step + sum((self.changes - number * 7) % self._period == 0 for number in stayed)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """In the order of the key."""
        first = self.changes * self._step
        end = first + self.rows
        yield from (self._batch(np.arange(at, min(at + BATCH_ROWS, end))) for at in range(first, end, BATCH_ROWS))

    @property
    def _step(self) -> int:
        return max(self.rows // 1000, 1)

    @property
    def _period(self) -> int:
        """Each row differs after so many changes."""
        return min(125, self.rows // 2)

    def _batch(self, numbers: np.ndarray) -> pa.RecordBatch:
        scheduled = _START + (numbers * 61 % 1_000_000).astype("timedelta64[s]")
        # The change with which the row differed last.
        moved = np.maximum(self.changes - (self.changes - numbers * 7) % self._period, 0)
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


def _numbered(prefix: str, numbers: np.ndarray, width: int = 0) -> pa.Array:
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def _chosen(numbers: np.ndarray, values: list[str]) -> pa.Array:
    return pa.array(values).take(pa.array(numbers % len(values)))


@dataclass
class Orders(Utility):
    """The same rows in a database of the stand-in."""

    made: Made = field(default_factory=lambda: Made(0))

    def change(self) -> None:
        self.made.change()
        self.write()

    def write(self) -> None:
        file = WORK / "orders.parquet"
        pq.write_table(pa.Table.from_batches(self.made.batches()), file)
        rows = f"INSERT INTO WORK_ORDERS ({COLUMNS}) SELECT {COLUMNS} FROM read_parquet('{file}')"
        self.tell(f"BEGIN; DELETE FROM WORK_ORDERS; {rows}; COMMIT")
        sleep(0.2)  # what the stand-in writes after a change is written


def orders(stand_in: StandIn, rows: int) -> Orders:
    """A source table of that size in a database of its own."""
    found = Orders(source_database(stand_in.account()), Target(conninfo=""), made=Made(rows))
    for made in (ORDERS["a"], OUTAGES["a"], CIRCUITS):
        found.tell(f"CREATE TABLE {made.name} ({', '.join(f'{name} {kind}' for name, kind in made.columns.items())})")
    found.write()
    return found


@contextmanager
def running_stand_in(ground: Ground) -> Iterator[StandIn]:
    """The stand-in, whose CPU seconds count as the servers'; it and its files are removed afterwards."""
    stand_in = StandIn(ground.cluster.home)
    try:
        stand_in.start()
        listening = stand_in.layout.read_listening()
        ground.pids[:] = [listening.pid] if listening else []
        yield stand_in
    finally:
        ground.pids.clear()
        stand_in.stop()
        shutil.rmtree(stand_in.layout.folder, ignore_errors=True)


def ours(account: Account, target: Target, *names: str) -> dict[str, float]:
    """Sync by our way, in fresh sessions on both ends; seconds by step, and the rows written."""
    return _steps(Utility(account, target, dynamic_tables()), *names)


def fed(batches: Callable[[], Batches], target: Target, token: str = "", *names: str) -> dict[str, float]:
    """The same from batches in place of Snowflake; with a `token`, from a source that has change tokens."""
    utility: Any = Utility(cast("Account", None), target, dynamic_tables())
    utility.source = lambda: nullcontext(_source(batches, token))
    return _steps(utility, *names)


def _steps(utility: Utility, *names: str) -> dict[str, float]:
    found = utility.synced(*(names or [NAME]))[NAME]
    return {**found.seconds, "written": float(found.inserted + found.updated + found.deleted)}


class _Rows(SimpleNamespace):
    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.batches():
            self.rows += batch.num_rows
            self.bytes += batch.nbytes
            yield batch


def _source(batches: Callable[[], Batches], token: str) -> SimpleNamespace:
    """What a sync asks of its source, answered from batches in the declared types."""

    def rows(mapping: SimpleNamespace, _: datetime) -> _Rows:
        own = batches if mapping.table.name == NAME else tuple
        return _Rows(batches=own, schema=schema(mapping.table), rows=0, bytes=0, newest_change=None)

    return SimpleNamespace(
        instant=lambda **_: datetime.now(UTC), look_ahead=lambda _: None, rows=rows, retrying=lambda work: work(),
        tokens=lambda tables: {each.name: token for each in tables} if token else None,
        believed=lambda _, tokens: tokens, doubt=lambda _: None,
        mappings=lambda tables: {each.name: "" for each in tables},
        mapping=lambda declared: SimpleNamespace(table=declared, missing=(), digest=""),
    )  # fmt: skip


def set_up(target: Target) -> None:
    """Make the table with its key and indexes, as the old procedure did."""
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        for statement in (ways.create_table(table()), *ways.create_indexes(table())):
            session.execute(statement.encode())


def published(account: Account, target: Target) -> None:
    """Sync as it was done before: all rows, TRUNCATE, INSERT a row at a time, autocommit."""
    rows = Utility(account, target).ask(QUERY)
    said = conninfo_to_dict(target.conninfo)
    parameters = {name: said[name] for name in ("host", "port", "user", "password", "dbname")}
    with closing(psycopg2.connect(**parameters)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute("TRUNCATE TABLE work_orders")
            for row in rows:
                latitude, longitude = row[-2:]
                cursor.execute(_INSERT, (*row, longitude, latitude, longitude, latitude))


def encoded(batches: Batches) -> list[bytes]:
    """Rows for COPY, with the columns that PostGIS holds besides: a point, and two times."""
    return ways.encoded(_WHOLE, (pa.record_batch([*each.columns, *_added(each)], schema=_WHOLE) for each in batches))


def _added(batch: pa.RecordBatch) -> list[pa.Array]:
    points = shapely.points(*(batch[name].to_numpy() for name in ("longitude", "latitude")))
    now = pa.array([datetime.now(UTC).replace(tzinfo=None)] * batch.num_rows, pa.timestamp("us"))
    return [pa.array(shapely.to_wkb(shapely.set_srid(points, 4326), include_srid=True), pa.binary()), now, now]


def reload(pieces: list[bytes], target: Target) -> None:
    """Write encoded rows anew by TRUNCATE and COPY in one transaction: readers see no empty table, they wait."""
    with psycopg.connect(target.conninfo) as session:
        session.execute("TRUNCATE TABLE work_orders")
        ways.copy(session, f"{NAME} ({', '.join(_WHOLE.names)})", pieces)


def dlt_ways(account: Account) -> dict[str, Callable[[Target], None]]:
    """What a user of dlt would write, from the connector's Arrow batches, without the state of earlier benchmarks."""
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    os.environ |= quiet | {"DLT_DATA_DIR": str(WORK / "dlt")}
    shutil.rmtree(WORK / "dlt", ignore_errors=True)
    logging.getLogger("dlt").setLevel("ERROR")
    return {name: partial(_dlt, account, name) for name in DISPOSITIONS}


def _dlt(account: Account, name: str, target: Target) -> None:
    import dlt  # reads the environment when it is imported

    url = "postgresql://{user}:{password}@127.0.0.1:{port}/{dbname}".format(**conninfo_to_dict(target.conninfo))
    pipeline = dlt.pipeline(
        pipeline_name=f"bench_{list(DISPOSITIONS).index(name)}",
        destination=dlt.destinations.postgres(credentials=url),
        dataset_name="bench",
    )
    rows = dlt.resource(_batches(account), name=NAME, primary_key="work_order_id", write_disposition=DISPOSITIONS[name])
    pipeline.run(rows, loader_file_format="csv").raise_on_failed_jobs()


def _batches(account: Account) -> Iterator[pa.Table]:
    with snowflake.connector.connect(**account.arguments()) as connection:
        cursor = connection.cursor().execute(QUERY)
        for batch in cursor.fetch_arrow_batches(force_microsecond_precision=True):
            yield batch.rename_columns([each.lower() for each in batch.column_names])
