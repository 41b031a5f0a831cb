"""Columns of others' collations, by which different texts are the same: what is compared is what they hold."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from flux_assets.checks.audit import AuditResult
from flux_assets.compare.source import match_source
from flux_assets.doctor import layers, synced_tables
from flux_assets.errors import LayerError
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.session import Target
from flux_assets.spec import DynamicTable
from flux_assets.sync.live_audit import AuditRequest, audit_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.made_layers import Loader, ReleaseFolder, made_up, rows
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

pytestmark = pytest.mark.bare

FOLDING = "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
FILL = """
INSERT INTO FEEDERS VALUES ('A', 'one', 1), ('a', 'other', NULL);
INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 1, -95, 29;
INSERT INTO FAULTS SELECT 'F2', 'a', 'open', SYSDATE(), 1, -95, 29
"""
# Each of them takes values for the same whose bytes differ, where nothing is done about it.
OTHER = {"case": ("one", "ONE"), "accents composed otherwise": ("\u00e9", "e\u0301")}


@pytest.fixture
def folding(utility: Utility, sql: Sql) -> Utility:
    """Synced once, and then searched without regard to case."""
    utility.tell(FILL)
    utility.synced()
    sql(FOLDING)
    for table, column, size in (("faults", "feeder", 10), ("faults", "state", 10), ("feeders", "title", 20)):
        sql(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar({size}) COLLATE folding")
    return utility


def judged(running: Utility, table: DynamicTable, name: str) -> AuditResult:
    question = AuditRequest(table=table, names=(name,))
    (audit,) = audit_tables([question], running.target, running.source, Stop())[table.name].audits
    return audit


def test_a_column_of_another_collation_is_looked_at_once(folding: Utility) -> None:
    said = folding.synced()
    assert {each.gate for each in said.values()} == {"the table's columns or indexes changed"}
    assert {each.outcome for each in said.values()} == {"unchanged"}
    assert {each.gate for each in folding.synced().values()} == {"the source's rows are the same"}


@pytest.mark.parametrize(("was", "becomes"), OTHER.values(), ids=OTHER.keys())
def test_a_change_that_the_collation_does_not_see_arrives(folding: Utility, sql: Sql, was: str, becomes: str) -> None:
    folding.tell(f"UPDATE FEEDERS SET TITLE = '{was}' WHERE FEEDER = 'A'")
    folding.synced()
    assert sql("SELECT title = %s FROM feeders WHERE feeder = 'A'", becomes) == [(True,)]
    folding.tell(f"UPDATE FEEDERS SET TITLE = '{becomes}' WHERE FEEDER = 'A'")
    assert folding.synced()["feeders"].updated == 1
    assert sql("SELECT convert_to(title, 'UTF8') FROM feeders WHERE feeder = 'A'") == [(becomes.encode(),)]
    matched = dict(
        match_source(["feeders", "faults"], folding.family, folding.source, folding.target, Stop(), folding.log.append)
    )
    assert {name: each.passed for name, each in matched.items()} == {"feeders": True, "faults": True}


def test_what_is_computed_goes_by_value(folding: Utility, sql: Sql) -> None:
    sql("CREATE EXTENSION IF NOT EXISTS citext")
    sql("CREATE TABLE assets (feeder citext, load float8)")
    sql("INSERT INTO assets VALUES ('A', 10), ('a', 30)")
    folding.synced()
    counted = 'SELECT feeder, homes, faults, load FROM feeders ORDER BY feeder COLLATE "C"'
    assert sql(counted) == [("A", 1, 1, 10), ("a", 1, 0, 30)], "a fault of feeder a that is open, and not OPEN"
    folding.tell("UPDATE FAULTS SET STATE = 'OPEN' WHERE FAULT_ID = 'F2'")
    folding.synced("faults")
    assert sql(counted) == [("A", 1, 1, 10), ("a", 1, 1, 30)]
    sql("DELETE FROM assets WHERE load = 30")
    assert judged(folding, FEEDERS, "derived").numbers["not_in_assets"] == 1


def test_a_row_that_is_open_in_other_letters_leaves_with_its_window(folding: Utility, sql: Sql) -> None:
    folding.tell("UPDATE FAULTS SET BEGUN = DATEADD(day, -8, SYSDATE())")
    folding.synced()
    assert sql("SELECT fault_id FROM faults") == [("F1",)]
    sql("UPDATE faults SET state = 'oPEN'")
    assert folding.synced()["faults"].updated == 1
    assert sql("SELECT convert_to(state, 'UTF8') FROM faults") == [(b"OPEN",)]


def test_a_check_of_values_goes_by_value(folding: Utility, sql: Sql) -> None:
    sql("ALTER TABLE faults DROP CONSTRAINT faults_pkey")
    sql("ALTER TABLE faults ALTER COLUMN fault_id TYPE varchar(10) COLLATE folding")
    sql("INSERT INTO faults (fault_id) VALUES ('f1'), ('f2'), ('f2')")
    assert judged(folding, FAULTS, "unique").sample == ("fault_id = f2, 2 times",)


def test_rows_that_are_not_counted_need_no_circuit(folding: Utility, sql: Sql) -> None:
    sql("UPDATE faults SET feeder = 'GONE'")
    assert judged(folding, FAULTS, "all_assigned").sample == ("F1: not in feeders: feeder GONE",), (
        "F2 is open, not OPEN"
    )


def test_a_key_that_folds_is_refused_by_name(folding: Utility, sql: Sql, target: Target) -> None:
    sql("ALTER TABLE faults ALTER COLUMN fault_id TYPE varchar(10) COLLATE folding")
    folding.tell("INSERT INTO FAULTS SELECT 'f1', 'A', 'OPEN', SYSDATE(), 1, -95, 29; UPDATE FEEDERS SET TITLE = 'New'")
    failed = folding.failed()
    assert failed.keys() == {"faults"}, "the others go on"
    assert "public.faults: the key's column fault_id has the nondeterministic collation folding" in failed["faults"]
    assert sql("SELECT fault_id FROM faults ORDER BY 1") == [("F1",), ("F2",)]
    with psycopg.connect(target.conninfo, autocommit=True) as session:
        found = [each for each in synced_tables.targets(session, "public", folding.tables) if each.outcome == "failed"]
    assert "nondeterministic collation folding" in found[0].message
    remedy = found[0].remedy.partition("Run ")[2].partition(";")[0]
    sql(remedy)
    folding.synced()
    assert sql('SELECT fault_id FROM faults ORDER BY fault_id COLLATE "C"') == [("F1",), ("F2",), ("f1",)]


def test_a_deterministic_collation_of_the_key_is_no_obstacle(folding: Utility, sql: Sql) -> None:
    sql("CREATE COLLATION numbers (provider = icu, locale = 'und-u-kn')")
    sql("ALTER TABLE faults ALTER COLUMN fault_id TYPE varchar(10) COLLATE numbers")
    folding.tell("INSERT INTO FAULTS SELECT 'f1', 'A', 'OPEN', SYSDATE(), 1, -95, 29")
    folding.tell("UPDATE FAULTS SET HOMES = 2 WHERE FAULT_ID = 'F1'; DELETE FROM FAULTS WHERE FAULT_ID = 'F2'")
    said = folding.synced()["faults"]
    assert (said.inserted, said.updated, said.deleted) == (1, 1, 1)


def test_citext_in_place_of_text_is_refused_by_name(folding: Utility, sql: Sql) -> None:
    sql("CREATE EXTENSION IF NOT EXISTS citext")
    sql("ALTER TABLE feeders ALTER COLUMN title TYPE citext")
    assert "column title is citext and declared as character varying(20)" in folding.failed()["feeders"]


@pytest.fixture
def loader(target: Target, tmp_path: Path) -> Loader:
    return Loader(target, ReleaseFolder(tmp_path / "v1"))


def test_a_layers_column_keeps_its_collation_and_every_version_has_it(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(40))
    sql(FOLDING)
    sql("ALTER TABLE poles ALTER COLUMN name TYPE varchar(50) COLLATE folding")
    assert loader.load(made_up(), rows(41)).outcome == "published"
    assert loader.load(made_up(), rows(40)).outcome == "published"
    assert sql("SELECT DISTINCT attcollation::regcollation::text FROM pg_attribute WHERE attname = 'name'"
               " AND attrelid IN (SELECT relid FROM pg_partition_tree('poles'))") == [("folding",)]  # fmt: skip


def test_a_version_of_the_former_collation_is_not_published_again(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(40))
    loader.load(made_up(), rows(41))
    sql(FOLDING)
    sql("ALTER TABLE poles ALTER COLUMN name TYPE varchar(50) COLLATE folding")
    assert loader.load(made_up(), rows(40)).outcome == "published"
    assert sql("SELECT count(*) FROM postgres_sync.layer_versions") == [(3,)], "it was staged anew"


def test_a_layer_whose_key_folds_is_refused_by_name(loader: Loader, sql: Sql) -> None:
    loader.load(made_up(), rows(40))
    sql(FOLDING)
    sql("DROP TABLE poles")
    sql("CREATE TABLE poles (id varchar(20) COLLATE folding PRIMARY KEY, code int, name varchar(50), score float8,"
        " longitude float8, latitude float8, parent_id varchar(20), geom geometry(Point, 4326))"
        " PARTITION BY LIST (id)")  # fmt: skip
    with pytest.raises(LayerError, match="the key's column id has the nondeterministic collation folding"):
        loader.load(made_up(), rows(41))
    with psycopg.connect(loader.target.conninfo, autocommit=True) as session:
        found = [each.message for each in layers.findings(session, "public", [made_up()]) if each.outcome == "failed"]
    assert any("nondeterministic collation folding" in said for said in found)
