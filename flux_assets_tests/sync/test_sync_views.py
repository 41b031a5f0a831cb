"""Materialised views that read synced tables follow the commit of a sync that changed rows, and no reader waits."""

from __future__ import annotations

import psycopg
import pytest

from flux_assets.doctor import synced_tables
from flux_assets.postgis import locking
from flux_assets_tests.conftest import Sql
from flux_assets_tests.synced import FAULTS, Utility

SEED = """
INSERT INTO FEEDERS VALUES ('L1', 'one', 1), ('L2', 'two', 2);
INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'L' || (1 + MOD(SEQ4(), 2)), 'OPEN', SYSDATE(), SEQ4(), -95, 29
FROM TABLE(GENERATOR(ROWCOUNT => 20))
"""
VIEWS = """
CREATE VIEW large AS SELECT feeder, homes FROM faults WHERE homes > 100;
CREATE MATERIALIZED VIEW tally AS SELECT feeder, count(*) AS faults FROM large GROUP BY feeder;
CREATE UNIQUE INDEX ON tally (feeder);
CREATE MATERIALIZED VIEW total AS SELECT sum(faults)::int AS faults FROM tally
"""
CHANGE = "UPDATE FAULTS SET HOMES = 800 WHERE FAULT_ID = 'F3'"


@pytest.fixture
def running(utility: Utility, sql: Sql) -> Utility:
    utility.tell(SEED)
    utility.synced()
    sql(VIEWS)
    return utility


def refreshed(running: Utility) -> list[str]:
    return [line for line in running.log if line.endswith("is refreshed")]


def test_views_follow_a_sync_that_changed_rows_and_no_other(running: Utility, sql: Sql) -> None:
    running.synced()
    assert refreshed(running) == []
    running.tell(CHANGE)
    assert running.sync().warnings == ()
    assert sql("SELECT tally.faults, total.faults FROM tally, total") == [(1, 1)]
    assert refreshed(running) == [f"materialized view public.{name} is refreshed" for name in ("tally", "total")]
    assert sql("SELECT count(*) FROM pg_locks WHERE relation = 'tally'::regclass") == [(0,)]


def test_a_view_that_is_being_read_follows_where_it_has_a_unique_index(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is as it was, which is a warning; and who comes later waits for neither."""
    monkeypatch.setattr(locking, "_REFRESH_SECONDS", 0.5)
    running.tell(CHANGE)
    with psycopg.connect(running.target.conninfo, application_name="old map") as reader:
        reader.execute("SELECT FROM tally, total")
        result = running.sync()
        assert [table.outcome for table in result.tables] == ["changed", "unchanged"]
        assert sql("SELECT tally.faults, total.faults FROM tally, total") == [(1, None)]
        (warning,) = result.warnings
        assert warning.startswith("materialized view public.total could not be refreshed: it is read by process")
        assert "old map" in warning
    running.tell("UPDATE FAULTS SET HOMES = 900 WHERE FAULT_ID = 'F4'")
    assert running.sync().warnings == ()
    assert sql("SELECT faults FROM total") == [(2,)]


def test_a_view_that_fails_is_a_warning_and_the_sync_is_not(running: Utility, sql: Sql) -> None:
    sql("CREATE MATERIALIZED VIEW shares AS SELECT 1 / (800 - max(homes)) AS share FROM faults")
    running.tell(CHANGE)
    result = running.sync()
    assert [str(table.error) for table in result.tables if table.error] == []
    assert result.warnings == ("materialized view public.shares could not be refreshed: division by zero",)
    assert sql("SELECT faults FROM total") == [(1,)]


def test_a_view_of_somebody_else_is_named(running: Utility, sql: Sql, admin_sql: Sql) -> None:
    admin_sql("CREATE MATERIALIZED VIEW theirs AS SELECT count(*) FROM public.faults")
    running.tell(CHANGE)
    assert running.sync().warnings == (
        "materialized view public.theirs is as old as its last REFRESH, for it belongs to somebody else",
    )
    with running.target.session("doctor") as session:
        said = [finding.message for finding in synced_tables.targets(session, "public", [FAULTS])]
    assert any(
        "public.theirs reads public.faults and belongs to somebody else: a sync does not" in each for each in said
    )
    assert any("a sync of public.faults refreshes the materialized view public.total" in each for each in said), said
    assert not any("public.tally" in each for each in said)
