"""Another tool for the same sync: dlt, with its postgres destination, merging by key.

Here: what a user of dlt would write over the connector's Arrow batches. Not here: our way (sync_ours.py).
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pyarrow as pa
import snowflake.connector
from psycopg.conninfo import conninfo_to_dict

from bench import sync_ours
from bench.ground import WORK, Ground
from bench.results import Section
from bench.sync_ends import ends
from bench.sync_published import QUERY
from bench.sync_reader import reading
from bench.timing import Runs, cpu, ratios, seconds, timed
from flux_assets.postgis.connect import Target
from flux_assets.snowflake.account import Account

OURS, UPSERT, MERGE, REPLACE = "ours", "dlt, merge (upsert)", "dlt, merge (delete-insert, the default)", "dlt, replace"
_DISPOSITIONS: dict[str, Any] = {
    MERGE: "merge",
    UPSERT: {"disposition": "merge", "strategy": "upsert"},
    REPLACE: "replace",
}
LEFT_OUT = (
    "dlt leaves out: the point made from longitude and latitude, and its GiST index; the indexes on status and type;"
    " with merge, rows that are gone from the source or left the window (they stay for ever); one transaction over"
    " several tables, so that outage_count agrees with the outages; reading all tables as of one instant; guards"
    " against a truncated source, NULL and wrong keys; telling rows that changed from rows that did not: it writes"
    " every row each time, and a loader's column into each"
)


def measure(ground: Ground, rows: int, pairs: int) -> Section:
    """Ours and dlt in turn, each into a database of its own, from one source of which 1 % changes before each round."""
    os.environ |= {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "DLT_DATA_DIR": str(WORK / "dlt"),
    }
    shutil.rmtree(WORK / "dlt", ignore_errors=True)
    with ends(ground) as both:
        orders = both.orders(rows, "BENCH_DLT")
        ways = {OURS: lambda target: sync_ours.steps(sync_ours.sync(orders.account, target))}
        ways |= {name: partial(_dlt, orders.account, name) for name in _DISPOSITIONS}
        targets = {name: ground.fresh_database(f"bench_sync_{number}") for number, name in enumerate(ways)}
        sync_ours.sync(orders.account, targets[OURS], sync_ours.all_names())
        for name in _DISPOSITIONS:
            ways[name](targets[name])
        runs: Runs = {name: [] for name in ways}
        for number in range(pairs):
            orders.change()
            for name, way in ways.items():
                both.settle()
                with reading(targets[name], table=_table(name)):
                    before = ground.wal_bytes()
                    run = timed(partial(way, targets[name]), both)
                run.steps["wal_bytes"] = float(ground.wal_bytes() - before)
                runs[name].append(run)
                both.say(f"  {number + 1}/{pairs} {name}: {run.seconds:.2f} s ({run.disturbed:.0%} for others)")
        left = {name: _count(targets[name], _table(name)) for name in ways}
    return Section(
        title=f"Beside the goals: the same table by dlt, {rows:,} rows, 1 % changed, {pairs} rounds in turn",
        columns=["way", "seconds", "it / ours", "CPU s, client + servers", "WAL MB", "rows afterwards"],
        rows=[
            [name, seconds(found).text(), ratios(found, runs[OURS]).text(), cpu(found),
             f"{sorted(run.steps['wal_bytes'] / 1e6 for run in found)[len(found) // 2]:.0f}", f"{left[name]:,}"]
            for name, found in runs.items()
        ],
        notes=[
            f"the source holds {rows:,} rows; both sides open both sessions anew and read the connector's Arrow"
            " batches; dlt's pipeline state is kept between runs",
            LEFT_OUT,
        ],
        values={name: [vars(run) for run in found] for name, found in runs.items()},
    )  # fmt: skip


def _dlt(account: Account, name: str, target: Target) -> None:
    import dlt

    logging.getLogger("dlt").setLevel("ERROR")
    said = conninfo_to_dict(target.conninfo)
    credentials = {
        "drivername": "postgresql", "database": said["dbname"], "username": said["user"], "password": said["password"],
        "host": "127.0.0.1", "port": said["port"],
    }  # fmt: skip
    pipeline = dlt.pipeline(
        pipeline_name=f"bench_{list(_DISPOSITIONS).index(name)}",
        destination=dlt.destinations.postgres(credentials=credentials),
        dataset_name="bench",
    )
    resource = dlt.resource(
        _batches(account), name="work_orders", primary_key="work_order_id", write_disposition=_DISPOSITIONS[name]
    )
    pipeline.run(resource, loader_file_format="csv").raise_on_failed_jobs()


def _batches(account: Account) -> Iterator[pa.Table]:
    with snowflake.connector.connect(**account.arguments()) as connection:
        cursor = connection.cursor().execute(QUERY)
        for batch in cursor.fetch_arrow_batches(force_microsecond_precision=True):
            yield batch.rename_columns([each.lower() for each in batch.column_names])


def _table(name: str) -> str:
    return sync_ours.NAME if name == OURS else f"bench.{sync_ours.NAME}"


def _count(target: Target, table: str) -> int:
    with psycopg.connect(target.conninfo) as session:
        row = session.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    return int(row[0]) if row else 0
