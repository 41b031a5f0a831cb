"""Tables that another sync left: kept as they are where their columns fit, and made anew with all on them where not."""

from __future__ import annotations

import pytest
from psycopg.sql import Identifier

from flux_assets.checks.audit import Case
from flux_assets.checks.sync_audits import sync_audits
from flux_assets.doctor import synced_tables
from flux_assets.errors import SyncError
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import Target
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import TableSetup
from flux_assets.tables.circuit_status_realtime import TABLE as CIRCUITS
from flux_assets_tests.conftest import Sql

FITTING = """
CREATE TABLE circuit_status_realtime (circuit_id varchar(50) PRIMARY KEY, circuit_name varchar(200),
    substation_id varchar(50), voltage_class varchar(20), status varchar(20), load_percent double precision,
    customers_served integer, outage_count integer, last_updated timestamp DEFAULT now())
"""
OTHER = """
CREATE TABLE circuit_status_realtime (circuit_id varchar(100) PRIMARY KEY, circuit_name varchar(255),
    substation_id varchar(100), voltage_class varchar(20), status varchar(50) DEFAULT 'ENERGIZED',
    load_percent numeric(5,2) CHECK (load_percent >= 0), customers_served integer, note text)
"""
ROWS = """
INSERT INTO circuit_status_realtime (circuit_id, circuit_name, status, load_percent)
SELECT 'C' || n, 'Circuit ' || n, 'ENERGIZED', n FROM generate_series(1, 40) AS n
"""
ON_IT = """
CREATE INDEX circuit_status_realtime_status_idx ON circuit_status_realtime (status);
CREATE INDEX by_name ON circuit_status_realtime (upper(circuit_name));
REVOKE ALL ON circuit_status_realtime FROM flux_reader;
GRANT SELECT (circuit_id, load_percent) ON circuit_status_realtime TO flux_reader;
CREATE VIEW loads AS SELECT circuit_id, load_percent FROM circuit_status_realtime;
CREATE MATERIALIZED VIEW kept AS SELECT count(*) FROM circuit_status_realtime;
CREATE VIEW mean AS SELECT avg(load_percent) AS load FROM loads;
CREATE FUNCTION tally() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM circuit_status_realtime; END;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER noted BEFORE UPDATE ON circuit_status_realtime FOR EACH ROW EXECUTE FUNCTION note();
"""


def made_fit(target: Target, *, take_over: bool = True, drop_foreign_keys: bool = False) -> tuple[object, list[str]]:
    log: list[str] = []
    options = SyncOptions(take_over=take_over, drop_foreign_keys=drop_foreign_keys)
    with target.session("test") as session:
        done = TableSetup(session, LiveTable("public", CIRCUITS)).make_fit(options, log.append)
    return done, log


def oid(sql: Sql) -> int:
    return int(sql("SELECT 'circuit_status_realtime'::regclass::oid::int")[0][0])


def test_a_table_whose_columns_fit_is_kept_as_it_is(target: Target, sql: Sql) -> None:
    for statement in (FITTING, ROWS, ON_IT):
        sql(statement)
    before = oid(sql)
    assert TableSetup.takeovers([CIRCUITS], target, SyncOptions()) == {"circuit_status_realtime": None}
    done, _ = made_fit(target)
    assert done is True
    assert oid(sql) == before
    assert sql("SELECT count(*), max(avg_load_percent) FROM circuit_status_realtime") == [(40, None)]


def test_a_table_of_other_columns_is_made_anew_with_its_rows_and_all_on_it(target: Target, sql: Sql) -> None:
    for statement in (OTHER, ROWS, ON_IT):
        sql(statement)
    refused, _ = made_fit(target, take_over=False)
    assert "flux-assets adopt circuit_status_realtime" in str(refused)
    done, log = made_fit(target)
    assert done is True, done
    assert made_fit(target)[0] is False
    assert sql("SELECT count(*) FROM circuit_status_realtime_before_flux") == [(40,)]
    assert sql("SELECT count(*), sum(load_percent) FROM circuit_status_realtime") == [(40, 820.0)]
    assert sql("SELECT tally(), load FROM mean") == [(40, 20.5)]
    sql("UPDATE circuit_status_realtime SET load_percent = 0 WHERE load_percent = 40")
    assert sql("SELECT load FROM mean") == [(19.5,)]
    assert sql("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'loads'::regclass") == [
        ("character varying(100)",),
        ("numeric(5,2)",),
    ]
    assert sql("SELECT tgname FROM pg_trigger WHERE tgrelid = 'circuit_status_realtime'::regclass") == [("noted",)]
    assert sql("SELECT has_column_privilege('flux_reader', 'circuit_status_realtime', 'status', 'SELECT')") == [
        (False,)
    ]
    indexes = [name for (name,) in sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'circuit_status_realtime'")]
    assert len(indexes) == 4, indexes
    assert any("upper" in index for index in indexes)
    assert "column note stays with circuit_status_realtime_before_flux" in "\n".join(log)


def test_rows_that_do_not_fit_leave_everything_as_it_was(target: Target, sql: Sql) -> None:
    sql(OTHER)
    sql("INSERT INTO circuit_status_realtime (circuit_id) VALUES (repeat('x', 60))")
    before = oid(sql)
    done, _ = made_fit(target)
    assert "too long" in str(done)
    assert oid(sql) == before
    assert sql("SELECT to_regclass('flux_versions.circuit_status_realtime')") == [(None,)]


def test_what_cannot_come_along_is_refused(target: Target, sql: Sql) -> None:
    sql(OTHER)
    sql("CREATE TABLE switches (circuit varchar(100) REFERENCES circuit_status_realtime)")
    done, _ = made_fit(target)
    assert isinstance(done, SyncError)
    assert "switches_circuit_fkey of switches stands in the way: it would stay with the old table" in done.problem
    plan = TableSetup.takeovers([CIRCUITS], target, SyncOptions())["circuit_status_realtime"]
    assert plan is not None
    assert plan.refusal()


def test_foreign_keys_that_point_at_it_are_dropped_on_request_and_remembered(target: Target, sql: Sql) -> None:
    for statement in (OTHER, ROWS):
        sql(statement)
    sql("CREATE TABLE switches (circuit varchar(100) REFERENCES circuit_status_realtime)")
    assert made_fit(target)[0] is not True
    done, log = made_fit(target, drop_foreign_keys=True)
    assert done is True, done
    assert "switches_circuit_fkey of switches is dropped; the check dropped_keys counts" in "\n".join(log)
    sql("INSERT INTO switches VALUES ('C1'), ('nowhere')")
    case = {"relation": Identifier("circuit_status_realtime"), "rows": 0, "alone": True}
    with target.session("test") as session:
        live = LiveTable("public", CIRCUITS)
        (audit,) = (each for each in sync_audits(CIRCUITS) if each.name == "dropped_keys")
        said = list(synced_tables.targets(session, "public", [CIRCUITS]))
        assert audit.run(Case(connection=session, layer=live, **case)).sample[0].endswith("circuit nowhere")
    assert any("1 row of public.switches lead to no row" in each.message for each in said), said


@pytest.mark.parametrize("key", ["", "PRIMARY KEY"])
def test_a_table_without_the_key_gets_it(target: Target, sql: Sql, key: str) -> None:
    sql(f"CREATE TABLE circuit_status_realtime (circuit_id varchar(50), circuit_name varchar(200) {key})")
    sql("INSERT INTO circuit_status_realtime VALUES ('C1', 'one')")
    assert made_fit(target)[0] is True
    assert sql("SELECT circuit_id, last_updated IS NOT NULL FROM circuit_status_realtime") == [("C1", True)]
