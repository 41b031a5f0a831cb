"""Rows that exchange values under a unique index of a user's own, within one sync."""

from __future__ import annotations

import pytest

from flux_assets_tests.conftest import Sql
from flux_assets_tests.synced import Utility

FILL = """
INSERT INTO FEEDERS VALUES ('A', 'one', 1), ('B', 'two', 2), ('C', 'three', 3), ('D', 'four', 4);
INSERT INTO FAULTS SELECT 'F' || SEQ4(), 'A', 'OPEN', SYSDATE(), SEQ4(), -95, 29 FROM TABLE(GENERATOR(ROWCOUNT => 2))
"""
GUARDS = {
    "an index": "CREATE UNIQUE INDEX guard ON feeders (title)",
    "a constraint": "ALTER TABLE feeders ADD CONSTRAINT guard UNIQUE (title)",
    "no NULLs": "ALTER TABLE feeders ALTER title SET NOT NULL, ADD CONSTRAINT guard UNIQUE (title)",
    "a partial index": "CREATE UNIQUE INDEX guard ON feeders (title) WHERE homes > 0",
    "an expression": "CREATE UNIQUE INDEX guard ON feeders (lower(title))",
    "two columns": "CREATE UNIQUE INDEX guard ON feeders (title, load) NULLS NOT DISTINCT",
    "an exclusion": "ALTER TABLE feeders ADD CONSTRAINT guard EXCLUDE USING btree (title WITH =)",
    "deferrable": "ALTER TABLE feeders ADD CONSTRAINT guard UNIQUE (title) DEFERRABLE",
    "deferred": "ALTER TABLE feeders ADD CONSTRAINT guard UNIQUE (title) DEFERRABLE INITIALLY DEFERRED",
}
SWAP = "UPDATE FEEDERS SET TITLE = CASE TITLE WHEN 'one' THEN 'two' WHEN 'two' THEN 'one' ELSE TITLE END"
CIRCLE = (
    "UPDATE FEEDERS SET TITLE = CASE TITLE WHEN 'one' THEN 'two' WHEN 'two' THEN 'three' WHEN 'three' THEN 'one'"
    " ELSE TITLE END"
)
# Values move on from row to row: one is freed by a row that goes, one is taken by a row that comes.
CHAIN = """
DELETE FROM FEEDERS WHERE FEEDER = 'D';
UPDATE FEEDERS SET TITLE = CASE TITLE WHEN 'one' THEN 'two' WHEN 'two' THEN 'three' WHEN 'three' THEN 'four' END;
INSERT INTO FEEDERS VALUES ('E', 'one', 5)
"""
TITLES = "SELECT feeder, title FROM feeders ORDER BY 1"


@pytest.fixture
def running(utility: Utility) -> Utility:
    utility.tell(FILL)
    utility.synced()
    return utility


@pytest.mark.parametrize("guard", GUARDS.values(), ids=GUARDS.keys())
def test_rows_exchange_values_in_circles_and_chains(running: Utility, sql: Sql, guard: str) -> None:
    sql(guard)
    running.tell(SWAP)
    assert running.synced()["feeders"].updated == 2
    assert sql(TITLES) == [("A", "two"), ("B", "one"), ("C", "three"), ("D", "four")]
    running.tell(CIRCLE)
    assert running.synced()["feeders"].updated == 3
    assert sql(TITLES) == [("A", "three"), ("B", "two"), ("C", "one"), ("D", "four")]
    running.tell(CHAIN)
    said = running.synced()["feeders"]
    assert (said.inserted, said.updated, said.deleted) == (1, 3, 1)
    assert sql(TITLES) == [("A", "four"), ("B", "three"), ("C", "two"), ("E", "one")]
    assert running.synced()["feeders"].outcome == "unchanged"


def test_what_others_keep_in_the_rows_stays(running: Utility, sql: Sql) -> None:
    sql("ALTER TABLE faults ADD number bigint GENERATED ALWAYS AS IDENTITY, ADD note text,"
        " ADD twice integer GENERATED ALWAYS AS (2 * homes) STORED")  # fmt: skip
    sql("UPDATE faults SET note = 'of ' || fault_id")
    sql("CREATE UNIQUE INDEX guard ON faults (homes)")
    kept = "SELECT fault_id, number, note, came, twice - 2 * homes FROM faults ORDER BY 1"
    before = sql(kept)
    running.tell("UPDATE FAULTS SET HOMES = 1 - HOMES")
    assert running.synced()["faults"].updated == 2
    assert sql("SELECT fault_id, homes, moved > came FROM faults ORDER BY 1") == [("F0", 1, True), ("F1", 0, True)]
    assert sql(kept) == before


def test_counts_that_rows_exchange_follow(running: Utility, sql: Sql) -> None:
    """Also where the feeders are not read, and their counts alone are written."""
    running.tell("INSERT INTO FAULTS SELECT 'F2', 'B', 'OPEN', SYSDATE(), 3, -95, 29")
    running.synced()
    sql("CREATE UNIQUE INDEX guard ON feeders (faults) WHERE faults > 0")
    running.tell("UPDATE FAULTS SET FEEDER = CASE FEEDER WHEN 'A' THEN 'B' ELSE 'A' END")
    assert running.synced("faults")["feeders"].updated == 2
    assert sql("SELECT feeder, faults, title FROM feeders WHERE faults > 0 ORDER BY 1") == [
        ("A", 1, "one"),
        ("B", 2, "two"),
    ]
    running.tell("UPDATE FAULTS SET FEEDER = 'C' WHERE FAULT_ID = 'F1'")
    failed = running.failed("faults")
    assert "guard" in failed["faults"], "two feeders have one fault each"
    assert sql("SELECT count(*) FROM faults WHERE feeder = 'C'") == [(0,)]


def test_rows_that_inherit_are_not_taken_out(running: Utility, sql: Sql) -> None:
    sql("CREATE TABLE archive () INHERITS (feeders)")
    sql("INSERT INTO archive (feeder, title) VALUES ('A', 'old')")
    sql(GUARDS["an index"])
    running.tell(SWAP)
    running.synced()
    assert sql("SELECT feeder, title FROM archive") == [("A", "old")]


def test_rows_that_really_collide_are_named_with_the_index_and_the_others_go_on(running: Utility, sql: Sql) -> None:
    sql(GUARDS["an expression"])
    running.tell("UPDATE FEEDERS SET TITLE = 'ONE' WHERE FEEDER = 'B'; UPDATE FAULTS SET HOMES = 9")
    failed = running.failed()
    assert failed.keys() == {"feeders"}
    assert "rows of FEEDERS collide under guard" in failed["feeders"]
    assert "(one) already exists" in failed["feeders"]
    assert sql("SELECT DISTINCT homes FROM faults") == [(9,)]
    assert sql(TITLES)[:2] == [("A", "one"), ("B", "two")]


WATCHING = {
    "the foreign key of crews (crews_feeder_fkey)": "CREATE TABLE crews (feeder varchar(10) REFERENCES feeders"
    " ON DELETE CASCADE); INSERT INTO crews VALUES ('A')",
    "the trigger gone": "CREATE TABLE crews (feeder text); CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS"
    " $$BEGIN INSERT INTO crews VALUES (OLD.feeder)! RETURN OLD! END$$;"
    " CREATE TRIGGER gone AFTER DELETE ON feeders FOR EACH ROW EXECUTE FUNCTION gone()",
    "the trigger history": "CREATE TABLE crews (feeder text); CREATE FUNCTION history() RETURNS trigger LANGUAGE"
    " plpgsql AS $$BEGIN INSERT INTO crews VALUES (OLD.title || ' -> ' || NEW.title)! RETURN NEW! END$$;"
    " CREATE TRIGGER history BEFORE UPDATE ON feeders FOR EACH ROW EXECUTE FUNCTION history()",
    "the trigger noted": "CREATE TABLE crews (feeder text); CREATE FUNCTION noted() RETURNS trigger LANGUAGE"
    " plpgsql AS $$BEGIN INSERT INTO crews VALUES (TG_OP)! RETURN NULL! END$$;"
    " CREATE TRIGGER noted AFTER UPDATE ON feeders FOR EACH STATEMENT EXECUTE FUNCTION noted()",
    "the rule also": "CREATE TABLE crews (feeder text);"
    " CREATE RULE also AS ON DELETE TO feeders DO ALSO INSERT INTO crews VALUES (OLD.feeder)",
}


@pytest.mark.parametrize(("who", "made"), WATCHING.items(), ids=WATCHING.keys())
def test_nobody_is_told_that_rows_are_gone_which_only_change(running: Utility, sql: Sql, who: str, made: str) -> None:
    """Nor is a change kept from whoever notes changes."""
    for statement in made.split("; "):
        sql(statement.replace("!", ";"))
    crews = sql("SELECT * FROM crews")
    sql(GUARDS["a constraint"])
    running.tell(SWAP)
    failed = running.failed()["feeders"]
    assert "rows that change collide under guard. Key (title)=(two) already exists. Where they" in failed
    assert who in failed
    assert sql("SELECT * FROM crews") == crews
    assert sql(TITLES)[:2] == [("A", "one"), ("B", "two")]
    sql("ALTER TABLE feeders DROP CONSTRAINT guard, ADD CONSTRAINT guard UNIQUE (title) DEFERRABLE")
    assert running.synced()["feeders"].updated == 2, "as the remedy says"


def test_a_collision_in_a_table_that_a_trigger_writes_is_no_exchange(running: Utility, sql: Sql) -> None:
    sql("CREATE TABLE seen (title text PRIMARY KEY)")
    sql("INSERT INTO seen VALUES ('two')")
    sql("CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO seen VALUES (NEW.title); RETURN NEW; END$$")  # fmt: skip
    sql("CREATE TRIGGER see AFTER UPDATE ON feeders FOR EACH ROW EXECUTE FUNCTION see()")
    running.tell(SWAP)
    failed = running.failed()["feeders"]
    assert "seen_pkey" in failed
    assert "exchange" not in failed
