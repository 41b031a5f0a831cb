"""The sync from end to end: a source over HTTP, PostGIS, and what each change or damage on either side leads to."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from flux_assets.ledger.runs import register_declarations
from flux_assets.sync import gate
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.setup import set_up_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.synced import Utility

pytestmark = pytest.mark.bare

DAY = "DATEADD(day, -{}, SYSDATE())"
NOW = "SYSDATE()"


def fault(number: int, *, feeder: str = "A", state: str = "OPEN", begun: str = NOW, homes: str = "5") -> str:
    place = f"-95.{number:02d}, 29.{number:02d}"
    return f"INSERT INTO FAULTS SELECT 'F{number}', '{feeder}', '{state}', {begun}, {homes}, {place};"


def feeder(name: str, homes: str = "100") -> str:
    return f"INSERT INTO FEEDERS SELECT '{name}', 'Feeder {name}', {homes};"


@pytest.fixture
def running(utility: Utility) -> Utility:
    """Three faults, two open, on two feeders, synced once."""
    utility.tell(feeder("A") + feeder("B", "NULL") + fault(1) + fault(2, feeder="B") + fault(3, state="SHUT"))
    utility.synced()
    return utility


def versions(sql: Sql, table: str) -> dict[str, tuple]:
    """Which transaction wrote each row."""
    key = "fault_id" if table == "faults" else "feeder"
    return dict(sql(f"SELECT {key}, xmin::text FROM {table}"))


def test_the_first_sync_makes_and_fills_all_tables(running: Utility, sql: Sql) -> None:
    assert sql("SELECT fault_id, feeder, state, homes, ST_AsText(geom), ST_SRID(geom) FROM faults ORDER BY 1") == [
        ("F1", "A", "OPEN", 5, "POINT(-95.01 29.01)", 4326),
        ("F2", "B", "OPEN", 5, "POINT(-95.02 29.02)", 4326),
        ("F3", "A", "SHUT", 5, "POINT(-95.03 29.03)", 4326),
    ]
    assert sql("SELECT feeder, title, homes, faults, load FROM feeders ORDER BY 1") == [
        ("A", "Feeder A", 100, 1, None),
        ("B", "Feeder B", None, 1, None),
    ]
    assert sql("SELECT type, srid FROM geometry_columns WHERE f_table_name = 'faults'") == [("POINT", 4326)]
    assert sql("SELECT count(*) FROM faults WHERE came = moved AND came > now() AT TIME ZONE 'UTC' - interval '1 min'")


def test_what_a_sync_says_of_itself(running: Utility, sql: Sql) -> None:
    running.tell(
        "UPDATE FAULTS SET HOMES = 6 WHERE FAULT_ID = 'F1'; DELETE FROM FAULTS WHERE FAULT_ID = 'F3';" + fault(4)
    )
    said = running.synced()["faults"]
    assert (said.outcome, said.rows, said.rows_read) == ("changed", 3, 3)
    assert (said.inserted, said.updated, said.deleted, said.unchanged) == (1, 1, 1, 1)
    assert said.source_instant == said.source_changed_at
    assert said.lag_seconds is not None
    assert said.lag_seconds >= 0
    assert {"connect", "gate", "read", "stage", "compare", "write", "commit"} <= said.seconds.keys()
    assert said.total_seconds >= max(said.seconds.values())
    assert sql(
        "SELECT sync_type, status, rows_synced, rows_changed, rows_inserted, rows_updated, rows_deleted, error_message,"
        " source_instant = %s FROM postgres_sync.sync_status WHERE layer_name = 'faults' ORDER BY sync_id DESC LIMIT 1",
        said.source_instant,
    ) == [("DELTA", "SUCCESS", 3, 3, 1, 1, 1, None, True)]


def test_unchanged_rows_are_read_and_nothing_is_written(running: Utility, sql: Sql) -> None:
    state = sql("SELECT xmin::text FROM postgres_sync.sync_state ORDER BY layer_name")
    before = versions(sql, "faults"), versions(sql, "feeders")
    said = running.synced()
    assert {table.outcome for table in said.values()} == {"unchanged"}
    assert {table.gate for table in said.values()} == {"the source's rows are the same"}
    assert (said["faults"].rows, said["faults"].rows_read) == (3, 3)
    assert (versions(sql, "faults"), versions(sql, "feeders")) == before
    assert sql("SELECT xmin::text FROM postgres_sync.sync_state ORDER BY layer_name") == state
    assert sql(
        "SELECT layer_name, sync_type, rows_synced, rows_changed FROM postgres_sync.v_sync_status ORDER BY 1, 2"
    ) == [
        ("faults", "DELTA", 3, 3),
        ("faults", "UNCHANGED", 3, 0),
        ("feeders", "DELTA", 2, 2),
        ("feeders", "UNCHANGED", 2, 0),
    ]
    assert sql(
        "SELECT layer_name, total_rows_synced, total_rows_changed FROM postgres_sync.v_sync_summary ORDER BY 1"
    ) == [
        ("faults", 6, 3),
        ("feeders", 4, 2),
    ]


def test_only_the_row_that_changed_is_written(running: Utility, sql: Sql) -> None:
    before, times = versions(sql, "faults"), dict(sql("SELECT fault_id, (came, moved)::text FROM faults"))
    running.tell("UPDATE FAULTS SET HOMES = NULL WHERE FAULT_ID = 'F2'")
    running.synced()
    after = versions(sql, "faults")
    assert [name for name in after if after[name] != before[name]] == ["F2"]
    assert [n for n, both in sql("SELECT fault_id, (came, moved)::text FROM faults") if both != times[n]] == ["F2"]
    assert sql("SELECT moved > came, homes FROM faults WHERE fault_id = 'F2'") == [(True, None)]


def test_nanoseconds_are_no_change(running: Utility) -> None:
    running.tell("UPDATE FAULTS SET BEGUN = '2099-01-01 00:00:00.123456789'::TIMESTAMP_NTZ WHERE FAULT_ID = 'F1'")
    assert running.synced()["faults"].updated == 1
    assert running.synced(force=True)["faults"].outcome == "unchanged"


def test_rows_that_leave_the_window_are_deleted(running: Utility, sql: Sql) -> None:
    old = DAY.format(8)
    running.tell(f"UPDATE FAULTS SET BEGUN = {old} WHERE FAULT_ID IN ('F1', 'F3')")
    said = running.synced()["faults"]
    assert (said.deleted, said.vanished) == (1, 0), "F1 is open, and open ones stay"
    assert sql("SELECT fault_id FROM faults ORDER BY 1") == [("F1",), ("F2",)]


def test_a_storm_of_rows_may_close_and_leave(utility: Utility, sql: Sql) -> None:
    utility.tell(feeder("A") + "".join(fault(n) for n in range(10, 90)))
    utility.synced()
    utility.tell(f"UPDATE FAULTS SET STATE = 'SHUT', BEGUN = {DAY.format(30)}")
    said = utility.synced()
    assert (said["faults"].deleted, said["faults"].vanished) == (80, 0)
    assert sql("SELECT faults FROM feeders") == [(0,)]


def test_a_small_table_does_not_lose_its_rows_for_a_new_one(utility: Utility, sql: Sql) -> None:
    utility.tell(feeder("A") + "".join(fault(n) for n in range(10, 30)))
    utility.synced()
    utility.tell("DELETE FROM FAULTS WHERE FAULT_ID < 'F21';" + fault(30))
    assert "11 of its 20 rows are gone from FAULTS" in utility.failed()["faults"]
    assert sql("SELECT count(*) FROM faults") == [(20,)]
    utility.tell(fault(20))
    assert utility.synced()["faults"].deleted == 10, "half of them may go"


@pytest.mark.parametrize("lost", ["TRUNCATE TABLE FAULTS", "DELETE FROM FAULTS WHERE FAULT_ID > 'F5'"])
def test_a_source_that_lost_its_rows_is_refused(utility: Utility, sql: Sql, lost: str) -> None:
    utility.tell(feeder("A") + "".join(fault(n) for n in range(10, 90)))
    utility.synced()
    before = versions(sql, "faults")
    utility.tell(lost + "; UPDATE FEEDERS SET TITLE = 'Other'")
    failed = utility.failed()
    assert failed.keys() == {"faults"}
    assert " of its 80 rows are gone from FAULTS" in failed["faults"]
    assert "accept_vanished: true" in failed["faults"]
    assert versions(sql, "faults") == before
    assert sql("SELECT title, faults FROM feeders") == [("Other", 80)], "the others go on"
    assert sql("SELECT status, error_message FROM postgres_sync.sync_status WHERE layer_name = 'faults'"
               " ORDER BY sync_id DESC LIMIT 1") == [("FAILED", failed["faults"])]  # fmt: skip
    assert utility.failed().keys() == {"faults"}, "it is refused until somebody accepts it"
    kept = len(utility.ask("SELECT * FROM FAULTS"))
    assert utility.synced(accept_vanished=True)["faults"].vanished == 0
    assert sql("SELECT count(*) FROM faults") == [(kept,)]


def test_keys_that_are_null_or_double_stop_their_table(running: Utility, sql: Sql) -> None:
    before = versions(sql, "faults")
    running.tell(fault(1) + "UPDATE FEEDERS SET TITLE = 'Other' WHERE FEEDER = 'A'")
    assert "FAULTS holds fault_id more than once: F1 (2 times)" in running.failed()["faults"]
    running.tell("UPDATE FAULTS SET FAULT_ID = NULL, HOMES = 77 WHERE FAULT_ID = 'F1'")
    said = running.failed()["faults"]
    assert "2 rows of FAULTS have no fault_id" in said
    assert ",77," in said
    assert versions(sql, "faults") == before
    assert sql("SELECT title FROM feeders WHERE feeder = 'A'") == [("Other",)]


def test_a_missing_source_stops_its_table_alone(running: Utility, sql: Sql) -> None:
    running.tell("DROP TABLE FEEDERS; UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'")
    failed = running.failed()
    assert failed.keys() == {"feeders"}
    assert "FEEDERS" in failed["feeders"]
    assert sql("SELECT feeder, title, faults FROM feeders ORDER BY 1") == [("A", "Feeder A", 0), ("B", "Feeder B", 1)]


def test_counts_follow_the_faults_also_when_only_those_are_asked_for(running: Utility, sql: Sql) -> None:
    moved = dict(sql("SELECT feeder, moved FROM feeders"))
    running.tell(fault(5) + fault(6) + "UPDATE FEEDERS SET TITLE = 'Not yet'")
    said = running.synced("faults")
    assert said["feeders"].updated == 1
    assert sql("SELECT feeder, title, faults FROM feeders ORDER BY 1") == [("A", "Feeder A", 3), ("B", "Feeder B", 1)]
    assert [name for name, at in sql("SELECT feeder, moved FROM feeders") if at != moved[name]] == ["A"]
    assert running.synced()["feeders"].updated == 2


def test_only_what_is_asked_for_is_synced(running: Utility, sql: Sql) -> None:
    running.tell(fault(5) + feeder("C"))
    assert running.synced("feeders").keys() == {"feeders"}
    assert sql("SELECT count(*) FROM faults") == [(3,)]
    assert sql("SELECT feeder FROM feeders ORDER BY 1") == [("A",), ("B",), ("C",)]


def test_derived_columns_follow_a_new_version_of_their_layer(running: Utility, sql: Sql) -> None:
    sql("CREATE TABLE assets (feeder text, load float)")
    sql("INSERT INTO assets VALUES ('A', 10), ('A', 20.00000049), ('A', 'NaN'), ('B', NULL), ('B', NULL), (NULL, 9)")
    assert running.synced()["feeders"].gate == "assets changed"
    assert sql("SELECT feeder, homes, load FROM feeders ORDER BY 1") == [("A", 100, 15.0), ("B", 2, None)]
    register = "INSERT INTO postgres_sync.layer_versions (schema_name, layer_name, lease, version, sha256, release_tag,"
    sql(register + " relation, state, current) VALUES ('public', 'assets', 1, 'v1', '', '', '', 'published', true)")
    running.synced()
    assert running.synced()["feeders"].gate == "the source's rows are the same"
    sql("UPDATE assets SET load = 50; UPDATE postgres_sync.layer_versions SET version = 'v2'")
    assert running.synced()["feeders"].gate == "assets changed"
    assert sql("SELECT feeder, homes, load FROM feeders ORDER BY 1") == [("A", 100, 50.0), ("B", 2, 50.0)]


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE faults SET homes = 999 WHERE fault_id = 'F1'",
        "DELETE FROM faults WHERE fault_id = 'F1'",
        "INSERT INTO faults (fault_id) VALUES ('F999')",
        "UPDATE faults SET geom = NULL",
        "TRUNCATE faults",
    ],
)
def test_what_others_wrote_is_found_and_put_right(running: Utility, sql: Sql, edit: str) -> None:
    shown = "SELECT fault_id, feeder, homes, geom, begun FROM faults ORDER BY 1"
    before = sql(shown)
    sql(edit)
    assert running.synced()["faults"].gate == "rows here were written by others"
    assert sql(shown) == before
    assert running.synced()["faults"].outcome == "unchanged"


def test_a_foreign_edit_is_not_forgotten_when_counts_are_refreshed(running: Utility, sql: Sql) -> None:
    sql("UPDATE feeders SET title = 'wrong'")
    running.tell(fault(5))
    running.synced("faults")
    assert running.synced()["feeders"].gate == "rows here were written by others"
    assert sql("SELECT DISTINCT title FROM feeders ORDER BY 1") == [("Feeder A",), ("Feeder B",)]


def test_positions_that_are_none_become_null_geometries(utility: Utility, sql: Sql) -> None:
    places = ["NULL, 29", "-95, NULL", "0, 0", "181, 29", "-95, 90.5", "'NaN'::FLOAT, 29", "-95, 0", "0, 29"]
    utility.tell(
        "".join(f"INSERT INTO FAULTS SELECT 'P{n}', 'A', 'OPEN', {NOW}, 1, {place};" for n, place in enumerate(places))
    )
    utility.synced()
    assert sql("SELECT fault_id, ST_AsText(geom) FROM faults WHERE geom IS NOT NULL ORDER BY 1") == [
        ("P6", "POINT(-95 0)"),
        ("P7", "POINT(0 29)"),
    ]
    assert utility.synced(force=True)["faults"].outcome == "unchanged", "NaN is equal to NaN"


def test_of_two_syncs_at_once_one_does_nothing_and_says_who_is_at_it(running: Utility, sql: Sql) -> None:
    runs = sql("SELECT count(*) FROM postgres_sync.sync_status")
    with someone_else(running.target.conninfo) as other:
        said = running.sync()
        assert said.tables == ()
        assert said.busy is not None
        assert f"process {other.info.backend_pid} (another, user flux)" in said.busy
    assert sql("SELECT count(*) FROM postgres_sync.sync_status") == runs
    assert running.sync().busy is None


def test_readers_of_any_kind_do_not_hold_a_sync_up(running: Utility, sql: Sql) -> None:
    with psycopg.connect(running.target.conninfo) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        before = reader.execute("SELECT sum(homes) FROM faults").fetchone()
        running.tell("UPDATE FAULTS SET HOMES = 1000")
        assert running.synced()["faults"].updated == 3
        assert reader.execute("SELECT sum(homes) FROM faults").fetchone() == before


def test_a_row_locked_by_others_fails_its_table_and_names_them(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_LOCK_WAIT", timedelta(seconds=0.3))
    running.tell("UPDATE FAULTS SET HOMES = 1000; UPDATE FEEDERS SET TITLE = 'Other'")
    reader = psycopg.connect(running.target.conninfo, application_name="reader")
    with reader, psycopg.connect(running.target.conninfo, application_name="editor") as editor:
        reader.execute("SELECT FROM faults")
        editor.execute("UPDATE faults SET homes = 1 WHERE fault_id = 'F1'")
        failed = running.failed()
        assert "reader" not in failed["faults"]
        assert failed.keys() == {"faults"}
        assert f"locked by process {editor.info.backend_pid} (user flux, application editor" in failed["faults"]
        editor.rollback()
    assert sql("SELECT DISTINCT title FROM feeders") == [("Other",)]
    assert running.synced()["faults"].updated == 3


def test_rows_of_syncs_that_died_are_closed(running: Utility, sql: Sql) -> None:
    sql("INSERT INTO postgres_sync.sync_status (layer_name, backend_pid, backend_start) VALUES ('faults', -1, now())")
    running.synced()
    assert sql("SELECT status, error_message FROM postgres_sync.sync_status WHERE backend_pid = -1") == [
        ("FAILED", "The process ended without finishing; closed by a later run.")
    ]


def test_set_up_makes_what_is_missing_and_can_be_repeated(utility: Utility, sql: Sql) -> None:
    assert set_up_tables(utility.tables, utility.target, SyncOptions(), print) == {"faults": True, "feeders": True}
    assert set_up_tables(utility.tables, utility.target, SyncOptions(), print) == {"faults": False, "feeders": False}
    sql("ALTER TABLE faults DROP COLUMN homes, ADD COLUMN note text; DROP INDEX faults_geom_idx")
    sql("INSERT INTO faults (fault_id, note) VALUES ('F0', 'mine')")
    assert set_up_tables(utility.tables, utility.target, SyncOptions(), print) == {"faults": True, "feeders": False}
    assert sql("SELECT fault_id, homes, note FROM faults") == [("F0", None, "mine")]
    assert sql("SELECT count(*) FROM pg_indexes WHERE tablename = 'faults' AND indexdef LIKE '%%gist%%'") == [(1,)]


def test_times_of_rows_that_are_older_than_the_columns_are_those_of_the_adding(running: Utility, sql: Sql) -> None:
    rows = "SELECT fault_id, xmin::text FROM faults ORDER BY 1"
    before, begun = sql(rows), sql("SELECT timezone('UTC', clock_timestamp())")
    sql("ALTER TABLE faults DROP COLUMN came, DROP COLUMN moved")
    set_up_tables(running.tables, running.target, SyncOptions(), print)
    assert sql("SELECT count(DISTINCT (came, moved)), count(*) FILTER (WHERE came = moved) = 3 FROM faults") == [
        (1, True)
    ]
    assert sql("SELECT min(came) BETWEEN %s AND timezone('UTC', clock_timestamp()) FROM faults", begun[0][0]) == [
        (True,)
    ]
    assert sql("SELECT count(column_default) FROM information_schema.columns WHERE table_name = 'faults'") == [(0,)]
    added = sql("SELECT fault_id, came, moved FROM faults ORDER BY 1")
    assert running.synced()["faults"].outcome == "unchanged"
    assert sql(rows) == before, "no row had to be written for it"
    running.tell("UPDATE FAULTS SET HOMES = 9 WHERE FAULT_ID = 'F1'")
    running.synced()
    after = sql("SELECT fault_id, came, moved FROM faults ORDER BY 1")
    assert [row[:2] for row in after] == [row[:2] for row in added]
    assert [row[0] for row, earlier in zip(after, added, strict=True) if row[2] != earlier[2]] == ["F1"]


@pytest.mark.parametrize(
    ("emptied", "written"),
    [
        ("UPDATE faults SET came = NULL WHERE fault_id = 'F1'", ["F1"]),
        ("UPDATE faults SET moved = NULL WHERE fault_id = 'F2'", ["F2"]),
        ("ALTER TABLE faults DROP COLUMN moved; ALTER TABLE faults ADD COLUMN moved timestamp", ["F1", "F2", "F3"]),
    ],
)
def test_times_that_others_emptied_are_filled_and_the_rest_stays(
    running: Utility, sql: Sql, emptied: str, written: list[str]
) -> None:
    before = {row[0]: row[1:] for row in sql("SELECT fault_id, came, moved FROM faults")}
    sql(emptied)
    assert running.synced()["faults"].updated == len(written)
    after = {row[0]: row[1:] for row in sql("SELECT fault_id, came, moved FROM faults")}
    assert all(None not in times for times in after.values())
    assert sorted(name for name in after if after[name] != before[name]) == written
    assert [name for name in after if after[name][0] != before[name][0]] == ["F1"] * ("came" in emptied)
    assert running.synced()["faults"].outcome == "unchanged"


REFUSED = {
    "another type": ("ALTER TABLE faults ALTER homes TYPE text", "homes is text and declared as integer"),
    "another key": ("ALTER TABLE faults DROP CONSTRAINT faults_pkey", "has no primary key, where (fault_id)"),
    "a column nobody fills": ("ALTER TABLE faults ADD who text NOT NULL", "column who is NOT NULL"),
    "a view": ("ALTER TABLE faults RENAME TO f; CREATE VIEW faults AS SELECT * FROM f", "not an ordinary table"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_table_that_cannot_be_written_is_refused_and_the_others_go_on(
    utility: Utility, sql: Sql, change: str, said: str
) -> None:
    utility.tell(feeder("A"))
    utility.synced()
    sql(change)
    utility.tell("UPDATE FEEDERS SET TITLE = 'Other'")
    failed = utility.failed()
    assert failed.keys() == {"faults"}
    assert said in failed["faults"]
    assert sql("SELECT title FROM feeders") == [("Other",)]
    assert sql("SELECT status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 2") == [
        ("SUCCESS",),
        ("FAILED",),
    ]


def test_the_old_systems_table_is_taken_over_as_it_stands(utility: Utility, sql: Sql) -> None:
    sql("CREATE TABLE faults (fault_id varchar(10) PRIMARY KEY, feeder varchar(10), state varchar(10), homes integer)")
    sql("INSERT INTO faults VALUES ('F1', 'A', 'OPEN', 1), ('OLD', 'A', 'OPEN', 1)")
    sql("CREATE VIEW open_faults AS SELECT fault_id, homes FROM faults WHERE state = 'OPEN'")
    utility.tell(fault(1) + feeder("A"))
    said = utility.synced()["faults"]
    assert (said.updated, said.deleted) == (1, 1)
    assert sql("SELECT fault_id, homes FROM open_faults") == [("F1", 5)]


def test_an_empty_target_without_anything_of_ours_is_made_ready(utility: Utility, sql: Sql) -> None:
    assert sql("SELECT to_regclass('postgres_sync.sync_status')") == [(None,)]
    utility.tell(feeder("A"))
    utility.synced()
    assert sql("SELECT layer_name, status, rows_synced FROM postgres_sync.v_sync_status ORDER BY 1") == [
        ("faults", "SUCCESS", 0),
        ("feeders", "SUCCESS", 1),
    ]


def test_a_source_that_cannot_be_reached_fails_every_table_and_keeps_its_rows(running: Utility, sql: Sql) -> None:
    before = versions(sql, "faults"), versions(sql, "feeders")
    gone = Utility(account=running.account, target=running.target)
    gone.account = type(running.account)(
        account="a", user="u", password=running.account.password, host="127.0.0.1", port=9, protocol="http",
        login_timeout=1, network_timeout=1,
    )  # fmt: skip
    failed = gone.failed()
    assert failed.keys() == {"faults", "feeders"}
    assert (versions(sql, "faults"), versions(sql, "feeders")) == before
    assert sql("SELECT status FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 2") == [("FAILED",)] * 2
    running.tell("UPDATE FAULTS SET HOMES = 8")
    assert running.synced()["faults"].updated == 3


def test_a_sync_fixes_what_the_database_knows_of_the_declarations_and_leaves_alone_what_is_right(
    utility: Utility, sql: Sql
) -> None:
    known = "SELECT layer_name, kind, late_after, xmin::text FROM postgres_sync.tables ORDER BY place"
    utility.synced()
    first = sql(known)
    assert [name for name, *_ in first] == ["faults", "feeders"]
    utility.synced()
    assert sql(known) == first
    with utility.target.session("test") as session:
        found = gate.TargetState.read(session, "public", utility.tables).known
    assert register_declarations("public", (), utility.tables, found) == [], "nothing is sent"
    assert register_declarations("public", utility.tables[:1], (), found) != []
    for damage in (
        "DELETE FROM postgres_sync.tables",
        "UPDATE postgres_sync.tables SET late_after = '1 day', place = 9",
    ):
        sql(damage)
        utility.synced()
        assert [row[:3] for row in sql(known)] == [row[:3] for row in first], damage
