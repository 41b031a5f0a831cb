"""The view that shows a synced table under the names of older applications: what it answers, who may, what keeps it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import psycopg
import pytest
from sqlalchemy import Column, Double, Integer, String, Text

from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import Alias, SourceColumn
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets.tables import dynamic_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.sync_runs import fault
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

pytestmark = pytest.mark.bare

ALIASED = replace(FAULTS, aliases=(Alias(name="houses", expression="homes"), Alias(name="lat", expression="lat::int")))
# What the queries of the old application ask besides declared names, by its table.
ASKED = {
    "outage_restoration_tracker": (
        "outage_start_timestamp outage_cause severity_level restoration_status affected_customers_count"
        " outage_center_lat outage_center_lon affected_poles affected_transformers estimated_duration_hours"
        " estimated_restoration_time assigned_crew_count reportable_to_puc confidence_score weather_impact_factor"
        " saidi_minutes_accumulated customer_priority_score equipment_damage_severity last_updated_timestamp"
    ),
    "work_orders": "work_order_date work_type asset_id asset_type location_area cost_usd labor_hours",
}
SHAPE = "SELECT shape FROM postgres_sync.sync_state WHERE layer_name = 'faults'"


@pytest.fixture
def aliased(utility: Utility) -> Utility:
    """Two faults on a feeder, synced once into a table with aliases."""
    utility.tables = (ALIASED, FEEDERS)
    utility.tell("INSERT INTO FEEDERS SELECT 'A', 'Feeder A', 100;" + fault(1) + fault(2))
    utility.synced()
    return utility


def test_the_old_application_reads_declared_tables_under_its_own_names(target, sql, reader_sql) -> None:
    done = set_up_tables(dynamic_tables(), target, SyncOptions(), lambda _: None)
    assert set(done.values()) == {True}
    sql(
        "INSERT INTO outage_restoration_tracker (outage_id, start_time, estimated_restoration, cause_category, status,"
        " customers_affected, latitude, longitude, updated_at, reportable_to_puc, affected_poles) VALUES ('O1',"
        " '2026-01-01 10:00', '2026-01-01 11:30', 'WEATHER', 'ACTIVE', 600, 29.7, -95.3, '2026-01-02', 'TRUE', 3)"
    )
    sql(
        "INSERT INTO work_orders (work_order_id, scheduled_start, work_order_type, cost_usd)"
        " VALUES ('W1', '2026-01-03', 'INSPECTION', 12.5)"
    )
    reader_sql("SET search_path = public_compat, public")
    assert reader_sql(
        f"SELECT {', '.join(ASKED['outage_restoration_tracker'].split())} FROM outage_restoration_tracker"
        " WHERE restoration_status = 'ACTIVE' AND severity_level > 500 ORDER BY severity_level DESC"
    ) == [
        (datetime(2026, 1, 1, 10), "WEATHER", 600, "ACTIVE", 600, 29.7, -95.3, 3, None, 1.5,
         datetime(2026, 1, 1, 11, 30), None, True, None, None, None, None, None, datetime(2026, 1, 2)),
    ]  # fmt: skip
    assert reader_sql(f"SELECT {', '.join(ASKED['work_orders'].split())} FROM work_orders") == [
        (datetime(2026, 1, 3), "INSPECTION", None, None, None, 12.5, None)
    ]
    for table in dynamic_tables():
        declared = reader_sql(f"SELECT {', '.join(table.column_names)} FROM {table.name}")
        assert len(declared) == (table.name in ASKED)
    assert {name: len(names.split()) for name, names in ASKED.items()} == {
        "outage_restoration_tracker": 19,
        "work_orders": 7,
    }
    assert set(set_up_tables(dynamic_tables(), target, SyncOptions(), lambda _: None).values()) == {False}


def test_the_tables_themselves_have_no_alias() -> None:
    """A synonym in the table would be twice in every tile and in every copy of a row."""
    for table in dynamic_tables():
        renamed = {alias.name for alias in table.aliases if alias.expression in table.column_names}
        assert renamed.isdisjoint(table.column_names)


def test_rights_and_policies_are_those_of_the_table(aliased: Utility, sql: Sql, reader_sql: Sql) -> None:
    asked = "SELECT houses FROM public_compat.faults ORDER BY fault_id"
    assert reader_sql(asked) == [(5,), (5,)]
    sql("REVOKE SELECT ON faults FROM flux_reader")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader_sql(asked)
    sql("GRANT SELECT ON faults TO flux_reader; ALTER TABLE faults ENABLE ROW LEVEL SECURITY")
    sql("CREATE POLICY one ON faults TO flux_reader USING (fault_id = 'F1')")
    assert reader_sql(asked) == [(5,)]
    aliased.synced()
    assert reader_sql(asked) == [(5,)]


@pytest.mark.parametrize(
    "damage",
    [
        "DROP VIEW public_compat.faults",
        "DROP SCHEMA public_compat CASCADE",
        "DROP VIEW public_compat.faults; CREATE VIEW public_compat.faults AS SELECT fault_id, 0 AS houses FROM faults",
        "REVOKE SELECT ON public_compat.faults FROM PUBLIC",
        "REVOKE USAGE ON SCHEMA public_compat FROM PUBLIC",
        "ALTER VIEW public_compat.faults RESET (security_invoker)",
        "ALTER TABLE faults RENAME TO old_faults",
        "DROP TABLE faults CASCADE",
    ],
)
def test_a_sync_makes_it_as_declared_again(damage: str, aliased: Utility, sql: Sql, reader_sql: Sql) -> None:
    sql(damage)
    aliased.synced()
    assert reader_sql("SELECT fault_id, houses, lat FROM public_compat.faults ORDER BY 1") == [
        ("F1", 5, 29),
        ("F2", 5, 29),
    ]
    assert sql(
        "SELECT count(*) FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid"
        " WHERE d.refobjid = 'faults'::regclass AND r.ev_class = 'public_compat.faults'::regclass"
        " AND d.refobjsubid = 1"
    ) == [(1,)]
    shape = sql(SHAPE)
    assert aliased.synced()["faults"].gate == "the source's rows are the same"
    assert sql(SHAPE) == shape
    assert sql("SELECT reloptions FROM pg_class WHERE oid = 'public_compat.faults'::regclass") == [
        (["security_invoker=true"],)
    ]


def test_an_unchanged_sync_does_not_touch_it(aliased: Utility, sql: Sql) -> None:
    before = sql("SELECT oid, xmin::text FROM pg_class WHERE relname = 'faults' ORDER BY 1")
    aliased.synced()
    assert sql("SELECT oid, xmin::text FROM pg_class WHERE relname = 'faults' ORDER BY 1") == before


def test_what_users_added_to_the_table_is_in_it(aliased: Utility, sql: Sql, reader_sql: Sql) -> None:
    sql("ALTER TABLE faults ADD COLUMN street text DEFAULT 'Main'")
    aliased.synced()
    assert reader_sql("SELECT street, houses FROM public_compat.faults LIMIT 1") == [("Main", 5)]


def test_another_declaration_of_aliases_replaces_it(aliased: Utility, reader_sql: Sql) -> None:
    aliased.tables = (replace(ALIASED, aliases=(Alias(name="dwellings", expression="homes"),)), FEEDERS)
    aliased.synced()
    assert reader_sql("SELECT dwellings FROM public_compat.faults LIMIT 1") == [(5,)]
    with pytest.raises(psycopg.errors.UndefinedColumn):
        reader_sql("SELECT houses FROM public_compat.faults")


def test_what_stands_in_its_way_is_told_and_stops_no_sync(aliased: Utility, sql: Sql) -> None:
    sql("DROP VIEW public_compat.faults; CREATE TABLE public_compat.faults (mine text)")
    aliased.tell(fault(3))
    aliased.log.clear()
    assert aliased.synced()["faults"].inserted == 1
    assert any("public_compat.faults, which older applications read," in line for line in aliased.log)
    aliased.log.clear()
    aliased.synced()
    assert aliased.log == [], "told when something changes, and not every five minutes"


def with_extras(*columns: Column) -> DynamicTable:
    """FAULTS with further columns that few sources have."""
    table = FAULTS.table.to_metadata(FAULTS.table.metadata.__class__())
    for column in columns:
        table.append_column(column)
    fed = (SourceColumn(target=c.name, names=(c.name.upper(),), optional=True) for c in columns)
    return replace(FAULTS, table=table, source_columns=(*FAULTS.source_columns, *fed))


def test_an_optional_column_is_read_where_it_fits_and_is_missed_by_nobody(utility: Utility, sql: Sql) -> None:
    extras = with_extras(
        Column("told", Text, comment="Whether it was told."),
        Column("cost", Double, comment="Cost, in dollars."),
        Column("poles", Integer, comment="Poles."),
        Column("crew", String(10), comment="Crew."),
    )
    utility.tables = (extras, FEEDERS)
    utility.tell(
        "ALTER TABLE FAULTS ADD COLUMN TOLD BOOLEAN; ALTER TABLE FAULTS ADD COLUMN COST FLOAT;"
        "ALTER TABLE FAULTS ADD COLUMN POLES VARCHAR;"
        "INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 5, 1, 2, true, 2.5, 'three'"
    )
    assert utility.synced()["faults"].missing == ()
    assert sql("SELECT told, cost, poles, crew FROM faults") == [("true", 2.5, None, None)]


def test_the_third_shape_of_the_source_reaches_the_old_names(utility: Utility, sql: Sql, reader_sql: Sql) -> None:
    utility.tables = dynamic_tables()
    utility.tell(
        "CREATE TABLE CIRCUIT_METADATA (CIRCUIT_ID VARCHAR, STATUS VARCHAR);"
        "CREATE TABLE OUTAGE_RESTORATION_TRACKER (OUTAGE_ID VARCHAR, CIRCUIT_ID VARCHAR,"
        " OUTAGE_START_TIMESTAMP TIMESTAMP_NTZ, OUTAGE_CAUSE VARCHAR, SEVERITY_LEVEL NUMBER(10,0),"
        " RESTORATION_STATUS VARCHAR, AFFECTED_CUSTOMERS_COUNT NUMBER(10,0), OUTAGE_CENTER_LAT FLOAT,"
        " OUTAGE_CENTER_LON FLOAT, REPORTABLE_TO_PUC BOOLEAN, SAIDI_MINUTES_ACCUMULATED FLOAT,"
        " LAST_UPDATED_TIMESTAMP TIMESTAMP_NTZ);"
        "CREATE TABLE WORK_ORDERS (WORK_ORDER_ID VARCHAR, WORK_ORDER_DATE DATE, WORK_TYPE VARCHAR, STATUS VARCHAR,"
        " ASSET_TYPE VARCHAR, LABOR_HOURS FLOAT);"
        "INSERT INTO CIRCUIT_METADATA SELECT 'C1', 'ENERGIZED';"
        "INSERT INTO OUTAGE_RESTORATION_TRACKER SELECT 'O1', 'C1', '2026-01-01 10:00', 'WEATHER', 3, 'IN_PROGRESS',"
        " 700, 29.7, -95.3, false, 12.5, '2026-01-01 11:00';"
        "INSERT INTO OUTAGE_RESTORATION_TRACKER SELECT 'O2', 'C1', '2026-01-01 10:00', 'ANIMAL', 3, 'IN_PROGRESS', 600,"
        " 0, 0, true, 1, '2026-01-01 11:00';"
        "INSERT INTO WORK_ORDERS SELECT 'W1', '2026-01-02', 'INSPECTION', 'OPEN', 'POLE', 2.5"
    )
    utility.synced()
    reader_sql("SET search_path = public_compat, public")
    assert reader_sql(
        "SELECT outage_id, outage_cause, severity_level, outage_center_lat, reportable_to_puc,"
        " saidi_minutes_accumulated, geom IS NULL FROM outage_restoration_tracker"
        " WHERE restoration_status = 'IN_PROGRESS' ORDER BY severity_level DESC"
    ) == [("O1", "WEATHER", 700, 29.7, False, 12.5, False), ("O2", "ANIMAL", 600, None, True, 1, True)]
    assert reader_sql("SELECT work_order_date, work_type, asset_type, labor_hours FROM work_orders") == [
        (datetime(2026, 1, 2), "INSPECTION", "POLE", 2.5)
    ]
    assert sql("SELECT circuit_id, outage_count FROM circuit_status_realtime") == [("C1", 2)]
    assert sql(
        "SELECT source_changed_at = '2026-01-01 11:00+00' FROM postgres_sync.v_table_status"
        " WHERE layer_name = 'outage_restoration_tracker'"
    ) == [(True,)]
