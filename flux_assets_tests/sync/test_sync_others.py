"""Others write into the synced tables while a sync goes on, or keep it from writing: nothing of it passes for ours."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from psycopg.sql import Composed

from flux_assets.errors import WarehouseError
from flux_assets.snowflake.source import Source
from flux_assets.sync import gate
from flux_assets.sync.diff import TableMerge
from flux_assets_tests.conftest import Sql
from flux_assets_tests.sync.test_sync_derived import CREWS, DISAGREE
from flux_assets_tests.synced import Utility

SEED = """
INSERT INTO FEEDERS VALUES ('L1', 'one', 1), ('L2', 'two', 2);
INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'L' || (1 + MOD(SEQ4(), 2)), 'OPEN', SYSDATE(), SEQ4(), -95, 29
FROM TABLE(GENERATOR(ROWCOUNT => 6))
"""


@pytest.fixture
def running(utility: Utility) -> Utility:
    utility.tell(SEED)
    utility.synced()
    return utility


def edited(running: Utility, statement: str) -> None:
    with psycopg.connect(running.target.conninfo, autocommit=True) as editor:
        editor.execute(statement)


@pytest.mark.parametrize("step", ["stage", "compare"])
@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("UPDATE faults SET homes = 777 WHERE fault_id = 'F3'", "SELECT count(*) FROM faults WHERE homes = 777"),
        ("UPDATE feeders SET title = 'HAND' WHERE feeder = 'L2'", "SELECT count(*) FROM feeders WHERE title = 'HAND'"),
        ("DELETE FROM feeders WHERE feeder = 'L2'", "SELECT 2 - count(*) FROM feeders"),
    ],
    ids=["same table", "table that follows", "row that follows"],
)
def test_what_others_write_while_the_source_is_read_is_put_right(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch, step: str, statement: str, wrong: str
) -> None:
    plain: Callable[..., object] = getattr(TableMerge, step)
    done: list[bool] = []

    def meanwhile(*given: object) -> object:
        if not done:
            done.append(True)
            edited(running, statement)
        return plain(*given)

    monkeypatch.setattr(TableMerge, step, meanwhile)
    # A fault that is shut moves a count, so that feeders are written without being read for news.
    running.tell("UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'")
    running.sync()
    assert done
    monkeypatch.undo()
    running.synced()
    assert sql(wrong) == [(0,)]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_what_others_write_is_seen_however_strictly_the_database_isolates(
    running: Utility, sql: Sql, admin_sql: Sql, database: str, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    admin_sql(f"ALTER DATABASE {database} SET default_transaction_isolation = '{isolation}'")
    locking = TableMerge.locking

    def meanwhile(merge: TableMerge) -> Composed:
        if merge.live.name == "faults":
            edited(running, "UPDATE faults SET homes = 777 WHERE fault_id = 'F3'")
        return locking(merge)

    monkeypatch.setattr(TableMerge, "locking", meanwhile)
    running.tell("UPDATE FAULTS SET HOMES = 500 WHERE FAULT_ID = 'F4'")
    assert running.synced("faults")["faults"].updated == 2
    assert sql("SELECT homes FROM faults WHERE fault_id IN ('F3', 'F4') ORDER BY fault_id") == [(3,), (500,)]


def test_nobody_writes_a_table_between_its_comparison_and_the_end(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = TableMerge.write
    refused: list[str] = []

    def meanwhile(*given: object) -> None:
        with psycopg.connect(running.target.conninfo, autocommit=True) as editor:
            editor.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                editor.execute("UPDATE faults SET homes = 777 WHERE fault_id = 'F3'")
            refused.append(editor.execute("SELECT count(*) FROM faults").fetchone()[0])
        written(*given)

    monkeypatch.setattr(TableMerge, "write", meanwhile)
    running.tell("UPDATE FAULTS SET HOMES = HOMES + 1")
    assert running.synced("faults")["faults"].updated == 6
    assert refused == [6], "readers go on"


STRANGERS = "INSERT INTO faults (fault_id, state) SELECT 'HAND' || n, 'OPEN' FROM generate_series(1, 30) AS n"


def test_rows_that_others_put_in_are_taken_out_and_the_source_is_not_blamed(running: Utility, sql: Sql) -> None:
    sql(STRANGERS)
    assert running.synced()["faults"].deleted == 30
    assert sql("SELECT count(*) FROM faults") == [(6,)]


def test_rows_that_others_put_in_hide_no_truncated_source(running: Utility, sql: Sql) -> None:
    running.tell(
        "INSERT INTO FAULTS SELECT 'M' || SEQ4(), 'L1', 'OPEN', SYSDATE(), 1, -95, 29"
        " FROM TABLE(GENERATOR(ROWCOUNT => 60))"
    )
    running.synced()
    sql(STRANGERS)
    running.tell("DELETE FROM FAULTS WHERE FAULT_ID LIKE 'M%'")
    failed = running.failed()
    assert failed.keys() == {"faults"}
    assert "60 of its 96 rows are gone from FAULTS" in failed["faults"]
    assert sql("SELECT count(*) FROM faults") == [(96,)]


@pytest.mark.parametrize(
    "swallow",
    [
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;"
        " CREATE TRIGGER no BEFORE INSERT OR UPDATE OR DELETE ON faults FOR EACH ROW EXECUTE FUNCTION no()",
        "CREATE RULE no AS ON INSERT TO faults DO INSTEAD NOTHING",
    ],
    ids=["trigger", "rule"],
)
def test_writes_that_the_table_swallows_fail_it_until_it_takes_them(running: Utility, sql: Sql, swallow: str) -> None:
    running.tell("INSERT INTO FAULTS SELECT 'NEW', 'L1', 'OPEN', SYSDATE(), 1, -95, 29")
    sql(swallow.replace("%", "%%"))
    for _ in range(2):
        failed = running.failed()
        assert failed.keys() == {"faults"}
        assert "0 of 1 to be inserted" in failed["faults"]
        assert "trigger, rule or row-level policy" in failed["faults"]
    sql("DROP TRIGGER IF EXISTS no ON faults")
    sql("DROP RULE IF EXISTS no ON faults")
    assert running.synced()["faults"].inserted == 1


def test_a_deferred_constraint_fails_its_own_table(running: Utility, sql: Sql) -> None:
    sql("CREATE TABLE known (feeder varchar(10) PRIMARY KEY)")
    sql("INSERT INTO known VALUES ('L1'), ('L2')")
    sql(
        "ALTER TABLE faults ADD CONSTRAINT known_feeder FOREIGN KEY (feeder) REFERENCES known"
        " DEFERRABLE INITIALLY DEFERRED"
    )
    running.tell("UPDATE FAULTS SET FEEDER = 'L9' WHERE FAULT_ID = 'F1'; UPDATE FEEDERS SET TITLE = 'new'")
    failed = running.failed()
    assert failed.keys() == {"faults"}
    assert "public.faults" in failed["faults"]
    assert "known_feeder" in failed["faults"]
    assert sql("SELECT DISTINCT title FROM feeders") == [("new",)]


@pytest.mark.parametrize(
    ("locked", "failing"), [("faults", {"faults", "feeders"}), ("feeders", {"feeders", "faults"}), ("crews", {"crews"})]
)
def test_a_table_that_is_locked_whole_fails_with_what_is_tied_to_it_and_is_in_the_ledger(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch, locked: str, failing: set[str]
) -> None:
    monkeypatch.setattr(gate, "_LOCK_WAIT", timedelta(seconds=0.3))
    more = replace(running, tables=(*running.tables, CREWS))
    more.tell("CREATE TABLE CREWS (CREW VARCHAR(50), PLACE VARCHAR(50)); INSERT INTO CREWS VALUES ('C1', 'here')")
    more.synced()
    more.tell(
        "UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'; UPDATE FEEDERS SET TITLE = 'new';"
        "UPDATE CREWS SET PLACE = 'there'"
    )
    with psycopg.connect(running.target.conninfo, application_name="editor") as editor:
        editor.execute(f"LOCK TABLE {locked}")
        failed = more.failed()
        assert failed.keys() == failing
        assert f"process {editor.info.backend_pid} (" in failed[locked]
        editor.rollback()
    assert sql("SELECT DISTINCT layer_name FROM postgres_sync.sync_status WHERE status = 'FAILED' ORDER BY 1") == [
        (name,) for name in sorted(failing)
    ]
    assert sql(DISAGREE) == []
    assert sql("SELECT place FROM crews") == [("here" if locked == "crews" else "there",)]
    more.synced()
    assert sql(DISAGREE) == []
    assert sql("SELECT DISTINCT title FROM feeders") == [("new",)]


def test_an_origin_that_is_locked_is_named_with_who_locked_it(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql("CREATE TABLE assets (feeder text, load float8)")
    running.synced()
    monkeypatch.setattr(gate, "_LOCK_WAIT", timedelta(seconds=0.3))
    running.tell("UPDATE FEEDERS SET TITLE = 'new'")
    with psycopg.connect(running.target.conninfo, application_name="editor") as editor:
        editor.execute("LOCK TABLE assets")
        process, failed = editor.info.backend_pid, running.failed()
        editor.rollback()
    assert failed.keys() == {"feeders"}
    assert f"public.assets is locked by process {process} (" in failed["feeders"]
    assert "and public.feeders is computed from it" in failed["feeders"]


def test_of_a_queue_for_a_table_the_one_that_keeps_readers_out_is_named(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_LOCK_WAIT", timedelta(seconds=0.3))
    conninfo = running.target.conninfo
    reader = psycopg.connect(conninfo, application_name="reader")
    with reader, psycopg.connect(conninfo, application_name="editor") as editor, ThreadPoolExecutor() as pool:
        reader.execute("SELECT FROM faults")
        process = editor.info.backend_pid
        altering = pool.submit(editor.execute, "ALTER TABLE faults ADD COLUMN note text")
        while not sql("SELECT pid FROM pg_locks WHERE pid = %s AND NOT granted", process):
            pass
        try:
            failed = running.failed("faults")
        finally:
            reader.rollback()
        altering.result()
        editor.rollback()
    assert f"public.faults is locked by process {process} (" in failed["faults"]
    assert "reader" not in failed["faults"]


def test_a_stand_in_that_restarts_before_the_guard_asks_is_asked_again(
    running: Utility, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard asks on a session that may have ended since the rows were read."""
    running.tell("INSERT INTO FAULTS SELECT 'M' || SEQ4(), 'L1', 'OPEN', SYSDATE(), 1, -95, 29 FROM"
                 " TABLE(GENERATOR(ROWCOUNT => 40))")  # fmt: skip
    running.synced()
    asked, mapping = [], Source.mapping

    def ended(self: Source, table: object) -> object:
        if merging and not asked:
            asked.append(table)
            raise WarehouseError("The session has ended.", "Try again.", retryable=True)
        return mapping(self, table)

    merging: list[bool] = []
    compare = TableMerge.compare
    monkeypatch.setattr(TableMerge, "compare", lambda *given: merging.append(True) or compare(*given))
    monkeypatch.setattr(Source, "mapping", ended)
    running.tell("UPDATE FAULTS SET STATE = 'SHUT', BEGUN = DATEADD(day, -30, BEGUN)")
    assert running.synced("faults")["faults"].deleted == 46
    assert asked
