"""A small made-up utility for tests of the sync: two tables, one derived from the other, and their source over HTTP.

Here: the declarations, and a hand on both ends. The source is fakesnow's server, spoken to by the real connector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import snowflake.connector
from geoalchemy2 import Geometry
from sqlalchemy import Column, DateTime, Double, Index, Integer, MetaData, String, Table

from flux_assets.postgis.session import Target
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets.spec.assignments import with_assignments
from flux_assets.spec.facts import Derived, Position, RowFilter, SourceColumn
from flux_assets.sync.result import SyncOptions, SyncResult, TableResult
from flux_assets.sync.sync import sync_tables
from flux_assets.sync.table import Family

FAULTS = DynamicTable(
    table=Table(
        "faults",
        MetaData(),
        Column("fault_id", String(10), primary_key=True, comment="Identifier."),
        Column("feeder", String(10), comment="Feeder."),
        Column("state", String(10), comment="State."),
        Column("begun", DateTime, comment="When it began (UTC)."),
        Column("homes", Integer, comment="Homes without supply."),
        Column("lon", Double, comment="Longitude in degrees (EPSG:4326)."),
        Column("lat", Double, comment="Latitude in degrees (EPSG:4326)."),
        Column("geom", Geometry("POINT", srid=4326, spatial_index=False), comment="Position (EPSG:4326)."),
        Column("came", DateTime, comment="When it came (UTC)."),
        Column("moved", DateTime, comment="When it changed here (UTC)."),
        Index("faults_geom_idx", "geom", postgresql_using="gist"),
        comment="Faults.",
    ),
    positions=(Position(longitude="lon", latitude="lat", same_as="geom"),),
    source="FAULTS",
    source_columns=(
        SourceColumn(target="fault_id", names=("FAULT_ID",), required=True),
        SourceColumn(target="feeder", names=("FEEDER",), required=True),
        SourceColumn(target="state", names=("STATE",), required=True),
        SourceColumn(target="begun", names=("BEGUN",), required=True),
        SourceColumn(target="homes", names=("HOMES",)),
        SourceColumn(target="lon", names=("LON",)),
        SourceColumn(target="lat", names=("LAT",)),
    ),
    row_filter=RowFilter(status_column="state", open_statuses=("OPEN",), time_column="begun", window=timedelta(days=7)),
    arrived_column="came",
    changed_column="moved",
)
FEEDERS = DynamicTable(
    table=Table(
        "feeders",
        MetaData(),
        Column("feeder", String(10), primary_key=True, comment="Identifier."),
        Column("title", String(20), comment="Name."),
        Column("homes", Integer, comment="Homes on it; those of meters where the source has none."),
        Column("faults", Integer, comment="Open faults."),
        Column("load", Double, comment="Mean load of its assets, in percent."),
        Column("moved", DateTime, comment="When it changed here (UTC)."),
        comment="Feeders.",
    ),
    source="FEEDERS",
    source_columns=(
        SourceColumn(target="feeder", names=("FEEDER",), required=True),
        SourceColumn(target="title", names=("TITLE",)),
        SourceColumn(target="homes", names=("HOMES",)),
    ),
    derived=(
        Derived(
            target="faults", from_table="faults", here="feeder", there="feeder", function="count",
            where_column="state", where_values=("OPEN",),
        ),
        Derived(
            target="load", from_table="assets", here="feeder", there="feeder", function="avg", of_column="load"
        ),
        Derived(target="homes", from_table="assets", here="feeder", there="feeder", function="count", fills=True),
    ),
    changed_column="moved",
    vanished_share=0.5, vanished_minimum=2,
)  # fmt: skip
FAULTS, FEEDERS = with_assignments((FAULTS, FEEDERS))
SOURCE = """
CREATE TABLE FAULTS (FAULT_ID VARCHAR(50), FEEDER VARCHAR(50), STATE VARCHAR(50), BEGUN TIMESTAMP_NTZ,
                     HOMES NUMBER(10,0), LON FLOAT, LAT FLOAT);
CREATE TABLE FEEDERS (FEEDER VARCHAR(50), TITLE VARCHAR(50), HOMES NUMBER(10,0));
"""


@dataclass
class Utility:
    """Both ends of a sync: `tell` changes the source, `sync` syncs, each in sessions of their own."""

    account: Account
    target: Target
    tables: Sequence[DynamicTable] = (FAULTS, FEEDERS)
    overrides: Overrides = field(default_factory=Overrides)
    log: list[str] = field(default_factory=list)

    def tell(self, script: str) -> None:
        """Run statements in the source, separated by semicolons."""
        with self.connected() as connection, connection.cursor() as cursor:
            for statement in filter(None, map(str.strip, script.split(";"))):
                cursor.execute(statement)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self.connected() as connection, connection.cursor() as cursor:
            return list(cursor.execute(query).fetchall())

    @contextmanager
    def connected(self) -> Iterator[snowflake.connector.SnowflakeConnection]:
        with snowflake.connector.connect(**self.account.arguments()) as connection:
            yield connection

    def source(self) -> AbstractContextManager[Source]:
        return Source.open(self.account, self.overrides, log=self.log.append)

    @property
    def family(self) -> Family:
        applied = [self.overrides.applied_to(table, self.tables) for table in self.tables]
        return Family(tables=applied)

    def sync(self, *wanted: str, **options: Any) -> SyncResult:
        names = wanted or [table.name for table in self.tables]
        return sync_tables(names, self.family, self.source, self.target, SyncOptions(**options), self.log.append)

    def synced(self, *wanted: str, **options: Any) -> dict[str, TableResult]:
        """The results by table, of a sync in which no table failed."""
        results = {table.table: table for table in self.sync(*wanted, **options).tables}
        assert [str(table.error) for table in results.values() if table.error] == []
        return results

    def failed(self, *wanted: str, **options: Any) -> dict[str, str]:
        """What went wrong, by table."""
        return {table.table: str(table.error) for table in self.sync(*wanted, **options).tables if table.error}


def settings_of(account: Account) -> dict[str, str]:
    """The environment variables that lead to a source on fakesnow's server."""
    return {
        "SNOWFLAKE_ACCOUNT": account.account, "SNOWFLAKE_USER": account.user,
        "SNOWFLAKE_PASSWORD": account.password.get_secret_value(), "SNOWFLAKE_WAREHOUSE": "WH",
        "SNOWFLAKE_DATABASE": account.database, "SNOWFLAKE_HOST": account.host,
        "SNOWFLAKE_PORT": str(account.port), "SNOWFLAKE_PROTOCOL": "http",
    }  # fmt: skip


def source_database(account: Account) -> Account:
    """A database of one test's own in a running stand-in, with the schema that sources lie in."""
    name = f"T{uuid4().hex[:10].upper()}"
    with snowflake.connector.connect(**account.arguments()) as connection:
        connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.cursor().execute(f"CREATE SCHEMA {name}.PRODUCTION")
    return replace(account, database=name)
