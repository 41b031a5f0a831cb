"""Columns computed from another synced table agree with it after every sync, whatever failed and whoever wrote; what
cannot agree stops those tables that follow from each other, and no others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import Column, MetaData, String, Table

from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import Derived, SourceColumn
from flux_assets.sync import gate
from flux_assets_tests.conftest import Sql
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

CREWS = DynamicTable(
    table=Table(
        "crews",
        MetaData(),
        Column("crew", String(10), primary_key=True, comment="Identifier."),
        Column("place", String(10), comment="Where it is."),
        comment="Crews, which nothing else follows from.",
    ),
    source="CREWS",
    source_columns=(
        SourceColumn(target="crew", names=("CREW",), required=True),
        SourceColumn(target="place", names=("PLACE",)),
    ),
)
SEED = """
CREATE TABLE CREWS (CREW VARCHAR(50), PLACE VARCHAR(50)); INSERT INTO CREWS VALUES ('C1', 'here');
INSERT INTO FEEDERS VALUES ('L1', 'one', 1), ('L2', 'two', 2);
INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'L' || (1 + MOD(SEQ4(), 2)), 'OPEN', SYSDATE(), SEQ4(), -95, 29
FROM TABLE(GENERATOR(ROWCOUNT => 6))
"""
DISAGREE = """
SELECT d.feeder, d.faults FROM feeders AS d
WHERE d.faults IS DISTINCT FROM (SELECT count(*) FROM faults AS f WHERE f.feeder = d.feeder AND f.state = 'OPEN')
"""
SHUT = "UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'; UPDATE CREWS SET PLACE = 'there'"


@pytest.fixture
def running(utility: Utility) -> Utility:
    running = replace(utility, tables=(FAULTS, FEEDERS, CREWS))
    running.tell(SEED)
    running.synced()
    return running


@contextmanager
def locked(running: Utility, row: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The row is held by an open transaction of another program; the number of its process."""
    monkeypatch.setattr(gate, "_LOCK_WAIT", timedelta(seconds=0.3))
    with psycopg.connect(running.target.conninfo, application_name="editor") as editor:
        editor.execute(f"SELECT FROM {row} FOR UPDATE")
        yield editor.info.backend_pid
        editor.rollback()


@pytest.mark.parametrize("wanted", [("feeders",), ("crews",), ()])
def test_counts_follow_what_others_wrote(running: Utility, sql: Sql, wanted: tuple[str, ...]) -> None:
    sql("UPDATE faults SET state = 'SHUT' WHERE fault_id IN ('F1', 'F2', 'F3')")
    running.synced(*wanted)
    assert sql(DISAGREE) == []


def test_a_count_that_others_wrote_is_put_right_whichever_table_is_synced(running: Utility, sql: Sql) -> None:
    sql("UPDATE feeders SET faults = 99")
    running.synced("faults")
    assert sql(DISAGREE) == []
    assert running.synced()["feeders"].error is None
    assert sql("SELECT DISTINCT faults FROM feeders") == [(3,)]


def test_counts_follow_what_others_wrote_also_when_the_source_of_it_fails(running: Utility, sql: Sql) -> None:
    sql("UPDATE faults SET state = 'SHUT' WHERE fault_id = 'F1'")
    running.tell("ALTER TABLE FAULTS RENAME TO ELSEWHERE")
    assert running.failed().keys() == {"faults"}
    assert (sql(DISAGREE), sql("SELECT state FROM faults WHERE fault_id = 'F1'")) == ([], [("SHUT",)])
    running.tell("ALTER TABLE ELSEWHERE RENAME TO FAULTS")
    assert running.synced()["faults"].updated == 1
    assert sql(DISAGREE) == []


def test_counts_follow_also_in_a_table_that_is_not_as_declared(running: Utility, sql: Sql) -> None:
    sql("ALTER TABLE feeders ALTER COLUMN title TYPE integer USING 7")
    running.tell(SHUT)
    result = {table.table: table for table in running.sync().tables}
    assert {name: table.outcome for name, table in result.items()} == {
        "faults": "changed", "feeders": "failed", "crews": "changed",
    }  # fmt: skip
    assert sql(DISAGREE) == []


def test_a_table_that_cannot_follow_holds_back_what_it_follows_from_and_nothing_else(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.tell(SHUT)
    with locked(running, "feeders WHERE feeder = 'L2'", monkeypatch) as process:
        failed = running.failed()
    assert failed.keys() == {"faults", "feeders"}
    assert f"in public.feeders, which follows it, are locked by process {process} (" in failed["faults"]
    assert f"public.feeders: rows to be written are locked by process {process} (" in failed["feeders"]
    assert (sql(DISAGREE), sql("SELECT count(*) FROM faults WHERE state = 'SHUT'")) == ([], [(0,)])
    assert sql("SELECT place FROM crews") == [("there",)]
    assert sql("SELECT layer_name FROM postgres_sync.sync_status WHERE status = 'FAILED' ORDER BY 1") == [
        ("faults",), ("feeders",),
    ]  # fmt: skip
    assert running.synced()["faults"].updated == 1
    assert sql(DISAGREE) == []


def test_the_same_when_that_table_is_to_be_written_for_itself(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.tell(SHUT + "; UPDATE FEEDERS SET TITLE = 'new'")
    with locked(running, "feeders WHERE feeder = 'L2'", monkeypatch):
        assert running.failed().keys() == {"faults", "feeders"}
    assert (sql(DISAGREE), sql("SELECT DISTINCT title FROM feeders ORDER BY 1")) == ([], [("one",), ("two",)])
    assert sql("SELECT place FROM crews") == [("there",)]
    running.synced()
    assert sql(DISAGREE) == []


def test_a_view_in_place_of_a_table_stops_those_that_follow_from_it_alone(running: Utility, sql: Sql) -> None:
    sql("ALTER TABLE faults RENAME TO old")
    sql("CREATE VIEW faults AS SELECT fault_id FROM old")
    before = sql("SELECT * FROM feeders ORDER BY 1")
    running.tell(SHUT + "; UPDATE FEEDERS SET TITLE = 'new'")
    assert running.failed().keys() == {"faults", "feeders"}
    assert (sql("SELECT * FROM feeders ORDER BY 1"), sql("SELECT place FROM crews")) == (before, [("there",)])
    sql("DROP VIEW faults")
    sql("ALTER TABLE old RENAME TO faults")
    running.synced()
    assert (sql(DISAGREE), sql("SELECT DISTINCT title FROM feeders")) == ([], [("new",)])


def test_counts_are_right_while_what_they_count_is_not_as_declared_and_after(running: Utility, sql: Sql) -> None:
    sql("ALTER TABLE faults ALTER COLUMN homes TYPE bigint")
    running.tell("UPDATE FEEDERS SET TITLE = 'new'")
    assert running.failed().keys() == {"faults"}
    assert (sql(DISAGREE), sql("SELECT DISTINCT title FROM feeders")) == ([], [("new",)])
    sql("UPDATE faults SET state = 'SHUT' WHERE fault_id = 'F1'")
    assert running.failed().keys() == {"faults"}
    assert sql(DISAGREE) == []
    sql("ALTER TABLE faults ALTER COLUMN homes TYPE integer")
    running.synced()
    assert sql(DISAGREE) == []


def test_tables_that_nothing_ties_together_are_written_whatever_fails(
    running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.tell(SHUT)
    with locked(running, "crews", monkeypatch):
        assert running.failed().keys() == {"crews"}
    assert (sql(DISAGREE), sql("SELECT count(*) FROM faults WHERE state = 'SHUT'")) == ([], [(1,)])


def test_a_position_that_is_none_moves_no_mean(utility: Utility, sql: Sql) -> None:
    """A circuit's centre lay in the Gulf of Guinea's direction where one of its assets had 0, 0 for `unknown`."""
    mean = Derived(
        target="load", from_table="assets", here="feeder", there="feeder", function="avg", of_column="lon",
        other_axis="lat",
    )  # fmt: skip
    running = replace(utility, tables=(FAULTS, replace(FEEDERS, derived=(FEEDERS.derived[0], mean))))
    sql("CREATE TABLE assets (feeder text, lon float8, lat float8)")
    sql("INSERT INTO assets VALUES ('L1', -96, 29), ('L1', 0, 0), ('L1', '-0', '-0'), ('L1', 0, 30), ('L2', 0, 0)")
    running.tell(SEED)
    running.synced()
    assert sql("SELECT feeder, load FROM feeders ORDER BY 1") == [("L1", -48), ("L2", None)]
