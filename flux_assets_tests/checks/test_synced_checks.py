"""Every check of a synced table passes on good data and fails on data broken for it.

The tables are made up; test_declared_checks.py holds the declared ones against the list of what is broken here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest

from flux_assets.checks.audit import AuditResult
from flux_assets.checks.sync_audits import sync_audits
from flux_assets.errors import WarehouseError
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.source import Source
from flux_assets.spec.facts import AcceptedValues, Range, Reference, Volume
from flux_assets.sync.live_audit import AuditRequest, audit_tables
from flux_assets_tests.breaking import BOW, DROPPED, FAILURE, Break, assert_says, error, warn
from flux_assets_tests.conftest import Sql, fresh_database
from flux_assets_tests.synced import FAULTS, FEEDERS, SOURCE, Utility, source_database

FIXED = replace(
    FAULTS,
    references=(Reference(column="feeder", to_table="feeders", to_column="feeder"),),
    ranges=(Range(column="homes", minimum=0, maximum=1000),),
    accepted=(AcceptedValues(column="state", values=("SHUT",)),),
    volume=Volume(minimum=1, maximum=3),
)
AGO = "clock_timestamp() - interval '{}'"
OLD = (
    "UPDATE postgres_sync.sync_state SET source_instant = {}",
    "UPDATE postgres_sync.sync_status SET source_instant = {}",
)
NO_FAULT_KEY = ("ALTER TABLE faults DROP CONSTRAINT faults_pkey", "ALTER TABLE faults ALTER fault_id DROP NOT NULL")
SYNC_BREAKS = (
    warn("columns", "title is NULL: FEEDERS has no TITLE", "source: ALTER TABLE FEEDERS DROP COLUMN TITLE"),
    error("columns", "FEEDERS", "source: DROP TABLE FEEDERS"),
    error("row_count", "the last sync left 2 rows", "INSERT INTO faults (fault_id) VALUES ('X')"),
    error("not_null", "fault_id is NULL", *NO_FAULT_KEY, "INSERT INTO faults (fault_id) VALUES (NULL)"),
    error("unique", "fault_id = F1, 2 times", *NO_FAULT_KEY, "INSERT INTO faults (fault_id) VALUES ('F1')"),
    error("geometry_type", "F1: POLYGON in SRID 4326", "ALTER TABLE faults ALTER geom TYPE geometry",
          f"UPDATE faults SET geom = {BOW} WHERE fault_id = 'F1'"),
    warn("valid_geometry", "F1: Self-intersection", "ALTER TABLE faults ALTER geom TYPE geometry",
         f"UPDATE faults SET geom = {BOW} WHERE fault_id = 'F1'"),
    warn("within", "F1: lost", "UPDATE faults SET geom = NULL WHERE fault_id = 'F1'"),
    warn("derived", "A: not in assets: feeder A", "DELETE FROM assets"),
    warn("all_assigned", "F1: not in feeders: feeder Q", "UPDATE faults SET feeder = 'Q' WHERE fault_id = 'F1'"),
    warn("relationships", "F1: feeder not in feeders: Q", "UPDATE faults SET feeder = 'Q' WHERE fault_id = 'F1'"),
    warn("accepted_values", "F1: state = BROKEN", "UPDATE faults SET state = 'BROKEN' WHERE fault_id = 'F1'"),
    warn("accepted_range", "F1: homes = -1", "UPDATE faults SET homes = -1 WHERE fault_id = 'F1'"),
    warn("volume", "4 rows are more than the 3", "INSERT INTO faults (fault_id) VALUES ('X'), ('Y')"),
    warn("map_ready", "geom has no valid GiST index", "DROP INDEX faults_geom_idx"),
    warn("lag", "the last 12 minutes may be missing", *(text.format(AGO.format("12 minutes")) for text in OLD)),
    error("lag", "the last 20 minutes may be missing", *(text.format(AGO.format("20 minutes")) for text in OLD)),
    warn("lag", "has not changed for 2 days",
         f"UPDATE postgres_sync.sync_state SET source_changed_at = {AGO.format('49 hours')}"),
    error("lag", "never synced", "DELETE FROM postgres_sync.sync_state"),
    warn("only_writer", "(all rows): stop the old loader",
         "UPDATE postgres_sync.sync_state SET others_wrote_at = now(), others_wrote = 'all rows'"),
    warn("dropped_keys", "1 row of public.lamps lead to no row of public.faults, which the foreign key of_pole",
         "CREATE TABLE lamps AS SELECT unnest('{gone,F1,NULL}'::text[]) AS pole", DROPPED.format("faults", "fault_id")),
    warn("recent_failures", "Gone.", FAILURE.format(table="'faults'", times=2)),
    error("recent_failures", "Gone.", "DELETE FROM postgres_sync.sync_status",
          FAILURE.format(table="'faults'", times=3)),
)  # fmt: skip


def filled(account: Account, target: Target) -> Utility:
    """A utility with two faults on a feeder in its source."""
    utility = Utility(account=source_database(account), target=target, tables=(FIXED, FEEDERS))
    utility.tell(
        f"{SOURCE}; INSERT INTO FEEDERS SELECT 'A', 'Feeder A', 100;"
        "INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 5, -95.1, 29.1;"
        "INSERT INTO FAULTS SELECT 'F2', 'A', 'SHUT', SYSDATE(), 5, -95.2, 29.2;"
    )
    return utility


@pytest.fixture(scope="module")
def synced(cluster: Cluster, source_server: Account) -> Iterator[tuple[str, Account]]:
    """A database with both tables synced, and the account that they came from."""
    with fresh_database(cluster) as name:
        utility = filled(source_server, Target(conninfo=cluster.conninfo(name)))
        with utility.target.session("assets") as session:
            session.execute("CREATE TABLE public.assets (feeder text, load float8)")
            session.execute("INSERT INTO public.assets VALUES ('A', 50)")
        utility.synced()
        yield name, utility.account


@pytest.fixture
def database(cluster: Cluster, synced: tuple[str, Account]) -> Iterator[str]:
    """A copy of it for each test."""
    with fresh_database(cluster, synced[0]) as name:
        yield name


@pytest.fixture
def running(synced: tuple[str, Account], target: Target) -> Utility:
    """The utility with a target of the test's own; the source is shared."""
    return Utility(account=synced[1], target=target, tables=(FIXED, FEEDERS))


def look(running: Utility, name: str) -> AuditResult:
    """The check's result, of the table that has it."""
    table = FIXED if any(audit.name == name for audit in sync_audits(FIXED)) and name != "columns" else FEEDERS
    looks = audit_tables([AuditRequest(table=table, names={name})], running.target, running.source, Stop())
    (result,) = looks[table.name].audits
    return result


@pytest.mark.parametrize("broken", SYNC_BREAKS, ids=str)
def test_a_check_of_a_synced_table_passes_and_fails(
    running: Utility, source_server: Account, sql: Sql, broken: Break
) -> None:
    good = look(running, broken.name)
    assert (good.passed, good.sample, good.sql) == (True, (), "")
    for statement in broken.statements:
        if statement.startswith("source: "):
            running = filled(source_server, running.target)
            running.tell(statement.removeprefix("source: "))
        else:
            sql(statement)
    found = look(running, broken.name)
    if "sync_state" in broken.statements[0] or broken.said == "FEEDERS":
        assert (found.passed, found.severity) == (False, broken.severity)
        assert any(broken.said in said for said in found.sample)
    else:
        assert_says(found, broken, sql)


def test_a_configured_word_for_open_is_accepted(running: Utility) -> None:
    """OPEN is not among the declared values, only among those that the sync takes rows by."""
    assert look(running, "accepted_values").passed


def test_the_clocks_are_told(running: Utility) -> None:
    numbers = look(running, "lag").numbers
    assert numbers.keys() >= {"source_changed_at", "checked_at", "published_at", "lag_seconds"}
    assert numbers["source_changed_at"] <= numbers["checked_at"]


def test_a_source_that_cannot_be_reached_hides_nothing_else(running: Utility) -> None:
    def closed() -> AbstractContextManager[Source]:
        raise WarehouseError("Nobody answers.", "Wait.")

    names = {audit.name for audit in sync_audits(FEEDERS)}
    found = audit_tables([AuditRequest(table=FEEDERS, names=names)], running.target, closed, Stop())["feeders"].audits
    failed = [(result.name, result.severity, result.sample) for result in found if not result.passed]
    assert failed == [("columns", "ERROR", ("Nobody answers.",))]
    assert {result.name for result in found} == names


class Told(Utility):
    """The utility with a source that has change tokens, as Snowflake has and the stand-in has not."""

    token = "1"

    @contextmanager
    def source(self) -> Iterator[Source]:
        with super().source() as source:
            source.tokens = lambda tables: dict.fromkeys([table.name for table in tables], self.token)
            yield source


def test_a_token_says_that_nothing_is_missing_however_old_the_picture_is(running: Utility, sql: Sql) -> None:
    told = Told(account=running.account, target=running.target, tables=running.tables)
    sql("UPDATE postgres_sync.sync_state SET token = '1'")
    for text in OLD:
        sql(text.format(AGO.format("20 minutes")))
    current = look(told, "lag")
    assert (current.passed, current.numbers["lag_seconds"]) == (True, 0)
    told.token = "2"
    behind = look(told, "lag")
    assert (behind.passed, behind.severity) == (False, "ERROR")
    assert behind.numbers["lag_seconds"] >= 1200
