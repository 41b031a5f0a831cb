"""The ledger's views: their columns, what a reader sees of them, and their way from one revision to the next."""

import re

import psycopg
import pytest

from flux_assets.doctor import rights
from flux_assets.errors import TargetError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.rollback import pin, rollback
from flux_assets.postgis.session import REVISION, prepare
from flux_assets.sqlfiles import script
from flux_assets.words import in_words
from flux_assets_tests.cases import CASE_FILES
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows

pytestmark = pytest.mark.bare

REVISION_2 = CASE_FILES / "ledger_revision_2.sql"
# As the views of the procedures that this replaces have them.
SEED = {
    "v_sync_status": (
        "sync_id layer_name sync_type started_at completed_at rows_synced status duration_seconds error_preview"
    ),
    "v_sync_summary": (
        "layer_name total_syncs successful_syncs failed_syncs last_sync avg_duration_seconds total_rows_synced"
    ),
}


@pytest.fixture
def loader(target, tmp_path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def columns(sql, view: str) -> list[str]:
    found = sql(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position", view
    )
    return [name for (name,) in found]


@pytest.mark.parametrize("view", SEED)
def test_the_columns_that_were_there_before_come_first(view, target, sql):
    with target.session("test") as session:
        prepare(session, "public")
    wanted = SEED[view].split()
    assert columns(sql, view)[: len(wanted)] == wanted


def test_a_ledger_of_the_revision_before_grows_in_place(loader, target, sql):
    """With rows in it, and views of somebody else on its views."""
    sql(REVISION_2.read_text())
    sql("INSERT INTO postgres_sync.sync_status (layer_name, status) VALUES ('poles', 'SUCCESS')")
    sql("CREATE VIEW mine AS SELECT * FROM postgres_sync.v_sync_status")
    sql("CREATE VIEW my_sums AS SELECT * FROM postgres_sync.v_sync_summary")
    before = {view: columns(sql, view) for view in SEED}
    loader.load(made_up(), rows(3))
    assert sql("SELECT obj_description('postgres_sync'::regnamespace)") == [(REVISION,)]
    for view, names in before.items():
        assert columns(sql, view)[: len(names)] == names
        assert len(columns(sql, view)) > len(names)
    assert sql("SELECT layer_name, status FROM mine ORDER BY sync_id") == [("poles", "SUCCESS")] * 2
    assert sql("SELECT layer_name, total_syncs FROM my_sums") == [("poles", 2)]
    assert sql("SELECT state FROM postgres_sync.v_table_status") == [("live",)]


def test_both_ways_to_this_revision_lead_to_the_same(target, sql):
    def found() -> list[tuple]:
        return sql(
            "SELECT c.relname, c.relkind, pg_get_viewdef(c.oid), array_agg(a.attname || ' ' || atttypid::regtype"
            " ORDER BY attname), array(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid"
            " ORDER BY 1)"
            " FROM pg_class AS c JOIN pg_attribute AS a ON attrelid = c.oid AND attnum > 0"
            " WHERE relnamespace = 'postgres_sync'::regnamespace AND relkind IN ('r', 'v') GROUP BY c.oid ORDER BY 1"
        )

    with target.session("test") as session:
        prepare(session, "public")
        grown_at_once = found()
        session.execute("DROP SCHEMA postgres_sync, flux_versions CASCADE")
        session.execute(REVISION_2.read_bytes())
        prepare(session, "public")
    assert found() == grown_at_once


def test_rows_of_the_revision_before_say_what_was_in_step_too(target, sql):
    """Earlier revisions noted what a run wrote: counted back from what the table holds now, that gives what it held."""
    with target.session("test") as session:
        prepare(session, "public")
    sql(
        "ALTER TABLE postgres_sync.sync_status DROP COLUMN rows_changed CASCADE;"
        "INSERT INTO postgres_sync.sync_status (layer_name, status, rows_synced, rows_inserted, rows_updated,"
        " rows_deleted, source_instant, duration_seconds) VALUES ('faults', 'SUCCESS', 5, 5, 0, 0, now(), 1),"
        " ('faults', 'SUCCESS', 4, 1, 1, 2, now(), 1), ('faults', 'FAILED', NULL, NULL, NULL, NULL, NULL, 1),"
        " ('faults', 'SUCCESS', 0, 0, 0, 0, now(), 2), ('poles', 'SUCCESS', 7, NULL, NULL, NULL, NULL, 1);"
        "INSERT INTO postgres_sync.sync_state (schema_name, layer_name, declaration, fingerprint, origins, mark, shape,"
        " rows, source_instant, source_changed_at, changed_at)"
        " VALUES ('public', 'faults', '', '', '{}', '', '', 4, now(), now(), now());"
        "COMMENT ON SCHEMA postgres_sync IS 'flux_assets: ledger, register and leases, revision 7.'"
    )
    with target.session("test") as session:
        prepare(session, "public")
    assert sql("SELECT layer_name, rows_synced, rows_changed FROM postgres_sync.sync_status ORDER BY sync_id") == [
        ("faults", 5, 5),
        ("faults", 4, 4),
        ("faults", None, None),
        ("faults", 4, 0),
        ("poles", 7, 7),
    ]
    assert sql("SELECT layer_name, avg_duration_seconds::text FROM postgres_sync.v_sync_summary ORDER BY 1") == [
        ("faults", "1.25"),
        ("poles", "1.00"),
    ]


def test_a_ledger_of_a_later_revision_is_let_be(loader, sql):
    loader.load(made_up(), rows(3))
    later = re.sub(r"\d+\.$", "20.", REVISION)
    sql(f"COMMENT ON SCHEMA postgres_sync IS '{later}'")
    sql("DROP VIEW postgres_sync.v_sync_summary; CREATE VIEW postgres_sync.v_sync_summary AS SELECT 'later' AS said")
    assert loader.load(made_up(), rows(4)).outcome == "published"
    assert sql("SELECT said FROM postgres_sync.v_sync_summary") == [("later",)]


def test_a_ledger_that_only_later_programs_know_is_refused_in_words(loader, target, sql):
    loader.load(made_up(), rows(3))
    later = re.sub(r"\d+\.$", "20, for programs from revision 19.", REVISION)
    sql(f"COMMENT ON SCHEMA postgres_sync IS '{later}'")
    wanted = "revision 20, for programs that know revision 19 or later, and this one, .*, knows revision"
    for work in (
        lambda: loader.load(made_up(), rows(4)),
        lambda: rollback(made_up(), target, LoadOptions(), print),
        lambda: pin(made_up(), target, LoadOptions(), print),
    ):
        with pytest.raises(TargetError, match=wanted):
            work()
    with target.session("test") as session, pytest.raises(TargetError, match=wanted):
        list(rights.findings(session, target.schema, [made_up()], []))
    assert sql("SELECT count(*) FROM postgres_sync.sync_status") == [(1,)]
    assert sql("SELECT count(*) FROM poles") == [(3,)]


def test_a_reader_reads_the_views_and_nothing_behind_them(loader, reader_sql):
    loader.load(made_up(), rows(3))
    assert reader_sql("SELECT layer_name, state, trusted FROM postgres_sync.v_table_status") == [
        ("poles", "live", True)
    ]
    assert reader_sql("SELECT status FROM postgres_sync.v_sync_status") == [("SUCCESS",)]
    assert reader_sql("SELECT total_syncs FROM postgres_sync.v_sync_summary") == [(1,)]
    for table in ("sync_status", "layer_versions", "tables"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader_sql(f"SELECT FROM postgres_sync.{table}")


def test_a_role_of_readers_that_comes_later(loader, sql, admin_sql, reader_sql):
    loader.load(made_up(), rows(3))
    sql("REVOKE ALL ON ALL TABLES IN SCHEMA postgres_sync FROM flux_reader")
    sql("REVOKE ALL ON SCHEMA postgres_sync FROM flux_reader")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader_sql("SELECT FROM postgres_sync.v_table_status")
    admin_sql(script("postgis/roles.sql"))
    assert reader_sql("SELECT state FROM postgres_sync.v_table_status") == [("live",)]


@pytest.mark.parametrize("began", ["backend_start", "backend_start - interval '1 hour'"])
def test_a_reader_sees_whether_the_process_of_a_run_is_there(began, loader, sql, reader_sql):
    """Also where a later session has the process id of one that died, which pg_stat_activity hides from readers."""
    loader.load(made_up(), rows(3))
    sql(
        "INSERT INTO postgres_sync.sync_status (layer_name, status, backend_pid, backend_start)"
        f" SELECT 'poles', 'RUNNING', pid, {began} FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    )
    dead = began != "backend_start"
    newest = "SELECT status, died FROM postgres_sync.v_sync_status LIMIT 1"
    summed = "SELECT died_syncs FROM postgres_sync.v_sync_summary"
    judged = "SELECT state, trusted, last_attempt FROM postgres_sync.v_table_status"
    for ask in (sql, reader_sql):
        assert ask(newest) == [("RUNNING", dead)]
        assert ask(summed) == [(int(dead),)]
        assert ask(judged) == [("live", True, "interrupted" if dead else "under way")]


def test_a_run_that_died_is_closed_by_the_next(loader, sql):
    loader.load(made_up(), rows(3))
    sql("INSERT INTO postgres_sync.sync_status (layer_name, status, backend_pid) VALUES ('poles', 'RUNNING', 1)")
    assert sql("SELECT died FROM postgres_sync.v_sync_status LIMIT 1") == [(True,)]
    loader.load(made_up())
    assert sql("SELECT status, died FROM postgres_sync.v_sync_status ORDER BY sync_id") == [
        ("SUCCESS", False),
        ("FAILED", False),
        ("SUCCESS", False),
    ]


def test_ages_are_said_in_the_same_words(target, sql):
    with target.session("test") as session:
        prepare(session, "public")
    ages = [-3, 0, 59.9, 60, 119.9, 120, 3599, 3600, 7199, 7200, 86399, 86400, 172800, 864000.5]
    found = sql("SELECT postgres_sync.in_words(age) FROM unnest(%s::float8[]) AS age", list(map(float, ages)))
    assert [words for (words,) in found] == [in_words(age) for age in ages]
