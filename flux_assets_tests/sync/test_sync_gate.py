"""The gate of a source that has change tokens, as Snowflake has and the stand-in has not: tokens are made up here.

Everything else is real; a source that the gate keeps closed is not read, which is seen by what was asked of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from flux_assets.errors import FluxError
from flux_assets.postgis.relations import LiveTable
from flux_assets.snowflake.mapping import Mapping
from flux_assets.snowflake.overrides import Overrides, SourceOverride
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets.sync.gate import mark_of
from flux_assets_tests.conftest import Sql
from flux_assets_tests.leasing import someone_else
from flux_assets_tests.synced import FAULTS, Utility

LONG_AGO = "2001-02-03 04:05:06"


class Told(Utility):
    """A utility whose source has tokens: they are what `tokens` says, and `asked` names the tables that were read."""

    tokens: dict[str, str]
    asked: list[str]
    between: str = ""
    asked_at: datetime

    @contextmanager
    def source(self) -> Iterator[Source]:
        with super().source() as source:
            read, begun = source.rows, source.instant

            def rows(mapping: Mapping, instant: datetime) -> object:
                self.asked.append(mapping.table.name)
                return read(mapping, instant)

            def tokens(tables: Sequence[DynamicTable]) -> dict[str, str]:
                found = {table.name: self.tokens[table.name] for table in tables}
                self.asked_at = datetime.now(UTC)
                self.happen()
                return found

            def instant(statements: int) -> datetime:
                now = begun(max(statements, 2))
                source._session.described("SELECT * FROM FAULTS")  # DuckDB's snapshot begins with the first look
                self.happen()
                return now

            source.rows, source.tokens, source.instant = rows, tokens, instant
            source.capabilities = replace(source.capabilities, change_token=True)
            yield source

    def happen(self) -> None:
        """What is to happen after the first of the two that a snapshot begins with, token and instant."""
        if self.between:
            self.tell(self.between)
            self.tokens["faults"] += "+"
            self.between = ""


@pytest.fixture
def told(utility: Utility) -> Told:
    told = Told(account=utility.account, target=utility.target)
    told.tokens, told.asked = {"faults": "1", "feeders": "1"}, []
    told.tell("INSERT INTO FEEDERS SELECT 'A', 'x', 1; INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 1, 1, 1")
    told.synced()
    told.asked.clear()
    return told


def gates(told: Told) -> dict[str, str]:
    told.asked.clear()
    return {name: table.gate for name, table in told.synced().items()}


def test_nothing_is_read_and_nothing_written_when_no_token_changed(told: Told, sql: Sql) -> None:
    rows = "SELECT xmin::text FROM faults UNION ALL SELECT xmin::text FROM postgres_sync.sync_state"
    before = sql(rows)
    assert gates(told) == {"faults": "nothing changed", "feeders": "nothing changed"}
    assert told.asked == []
    assert sql(rows) == before
    began = datetime.now(UTC)
    said = told.synced()["faults"]
    assert (said.outcome, said.rows, said.rows_read) == ("unchanged", 1, 0)
    assert said.source_instant is not None
    assert began <= said.source_instant <= told.asked_at, "it was looked at, and is fresh"
    ledger = "SELECT sync_type, status, source_instant FROM postgres_sync.sync_status ORDER BY sync_id DESC LIMIT 1"
    assert sql(ledger) == [("UNCHANGED", "SUCCESS", said.source_instant)]


def test_only_the_table_whose_token_changed_is_read(told: Told, sql: Sql) -> None:
    told.tell("UPDATE FAULTS SET STATE = 'SHUT'")
    told.tokens["faults"] = "2"
    computed = "nothing changed but what is computed from other tables"
    assert gates(told) == {"faults": "the source changed", "feeders": computed}
    assert told.asked == ["faults"]
    assert sql("SELECT faults FROM feeders") == [(0,)]
    assert gates(told) == {"faults": "nothing changed", "feeders": "nothing changed"}


def test_a_token_that_changed_for_nothing_is_noted(told: Told) -> None:
    told.tokens["faults"] = "2"
    assert gates(told)["faults"] == "the source's rows are the same"
    assert gates(told)["faults"] == "nothing changed"


def test_a_change_of_the_sources_columns_alone_opens_the_gate(told: Told, sql: Sql) -> None:
    told.tell("ALTER TABLE FEEDERS ADD COLUMN NOTES VARCHAR DEFAULT 'of no use'")
    assert gates(told)["feeders"] == "nothing changed"
    assert told.asked == []
    told.tell("ALTER TABLE FEEDERS RENAME COLUMN TITLE TO OTHER")
    assert gates(told) == {"faults": "nothing changed", "feeders": "the source's columns changed"}
    assert told.asked == ["feeders"]
    assert sql("SELECT title FROM feeders") == [(None,)]
    told.tell("ALTER TABLE FEEDERS DROP COLUMN HOMES; ALTER TABLE FEEDERS ADD COLUMN HOMES FLOAT DEFAULT 7")
    assert gates(told) == {"faults": "nothing changed", "feeders": "the source's columns changed"}
    assert sql("SELECT homes FROM feeders") == [(7,)]
    assert gates(told)["feeders"] == "nothing changed"
    told.tell("ALTER TABLE FAULTS RENAME COLUMN STATE TO STATUS")
    assert "faults.state is required" in told.failed()["faults"]
    assert sql("SELECT state FROM faults") == [("OPEN",)]


def test_columns_that_change_for_nothing_are_noted(told: Told) -> None:
    told.tell("UPDATE FAULTS SET HOMES = NULL")
    told.tokens["faults"] = "2"
    gates(told)
    told.tell("ALTER TABLE FAULTS RENAME COLUMN HOMES TO HOUSES")
    assert gates(told)["faults"] == "the source's rows are the same"
    assert gates(told)["faults"] == "nothing changed"


def test_what_an_older_release_left_is_read_once_for_its_columns(told: Told, sql: Sql) -> None:
    sql("ALTER TABLE postgres_sync.sync_state DROP COLUMN mapping")
    sql("COMMENT ON SCHEMA postgres_sync IS 'flux_assets: ledger, register and leases, revision 3.'")
    assert set(gates(told).values()) == {"the source's rows are the same"}
    assert set(gates(told).values()) == {"nothing changed"}


def test_a_ledger_that_only_later_programs_know_is_refused(told: Told, sql: Sql) -> None:
    revision = "flux_assets: ledger, register and leases, revision 20, for programs from revision 19."
    sql(f"COMMENT ON SCHEMA postgres_sync IS '{revision}'")
    with pytest.raises(FluxError, match="Schema postgres_sync was made by a later flux_assets: it is of revision 20"):
        told.synced()


def test_a_row_that_leaves_its_window_opens_the_gate_although_no_token_changed(told: Told, sql: Sql) -> None:
    # As if eight days had passed since the last sync: both ends hold the row as it was, and no mark or token moved.
    told.tell(f"UPDATE FAULTS SET STATE = 'SHUT', BEGUN = '{LONG_AGO}'")
    sql("UPDATE faults SET state = 'SHUT', begun = %s", LONG_AGO)
    mark = mark_of(LiveTable("public", FAULTS)).as_string()
    sql(f"UPDATE postgres_sync.sync_state SET mark = ({mark}) WHERE layer_name = 'faults'")
    assert gates(told)["faults"] == "rows have left their time window"
    assert sql("SELECT count(*) FROM faults") == [(0,)]
    assert gates(told)["faults"] == "nothing changed"


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        ("UPDATE faults SET homes = homes", "rows here were written by others"),
        ("DROP TABLE faults", "rows here were written by others"),
        ("ALTER TABLE faults DROP COLUMN homes", "the table's columns or indexes changed"),
        (
            "ALTER TABLE faults DROP COLUMN homes; ALTER TABLE faults ADD COLUMN homes integer",
            "the table's columns or indexes changed",
        ),
        (
            "UPDATE postgres_sync.sync_state SET declaration = 'an older one'",
            "its declaration or configuration changed",
        ),
    ],
)
def test_whatever_is_not_as_it_was_left_opens_the_gate(told: Told, sql: Sql, happens: str, said: str) -> None:
    sql(happens)
    assert gates(told)["faults"] == said
    assert "faults" in told.asked
    assert sql("SELECT fault_id, homes FROM faults") == [("F1", 1)]


def test_another_table_in_place_of_one_that_columns_are_derived_from_opens_the_gate(told: Told, sql: Sql) -> None:
    sql("CREATE TABLE assets (feeder text, load float8)")
    sql("INSERT INTO assets VALUES ('A', 10)")
    sql(
        "INSERT INTO postgres_sync.layer_versions (schema_name, layer_name, lease, version, sha256, release_tag,"
        " relation, state, current) VALUES ('public', 'assets', 1, 'v', '', '', '', 'published', true)"
    )
    assert gates(told)["feeders"] == "assets changed"
    assert gates(told)["feeders"] == "nothing changed"
    sql("ALTER TABLE assets RENAME TO before")
    sql("CREATE VIEW assets AS SELECT feeder, load + 1 AS load FROM before")
    assert gates(told) == {"faults": "nothing changed", "feeders": "assets changed"}
    assert sql("SELECT load FROM feeders") == [(11,)]
    assert gates(told)["feeders"] == "nothing changed"


def test_a_column_that_was_dropped_is_filled_again_also_without_tokens(utility: Utility, sql: Sql) -> None:
    utility.tell(
        "INSERT INTO FEEDERS SELECT 'A', 'x', 1; INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 5, 1, 1"
    )
    utility.synced()
    sql("ALTER TABLE faults DROP COLUMN homes")
    sql("ALTER TABLE feeders DROP COLUMN faults")
    assert {name: done.updated for name, done in utility.synced().items()} == {"faults": 1, "feeders": 1}
    assert sql("SELECT faults.homes, feeders.faults FROM faults, feeders") == [(5, 1)]
    assert {done.gate for done in utility.synced().values()} == {"the source's rows are the same"}


# Which tokens are believed, and for how long.


def seen_as(told: Told, **said: object) -> Told:
    """The same with this in FLUX_CONFIG for the faults."""
    told.overrides = Overrides(sources={"FAULTS": SourceOverride.model_validate(said)})
    told.synced()
    return told


def changed_behind_its_token(told: Told) -> None:
    """What time does to a view whose rows depend on the clock: no row below it changes, and no token."""
    told.tell("UPDATE FAULTS SET HOMES = HOMES + 1")


def earlier(sql: Sql, minutes: float) -> None:
    sql(f"UPDATE postgres_sync.sync_state SET read_at = read_at - interval '{minutes} minutes'")


def test_no_view_s_token_is_believed(told: Told, sql: Sql) -> None:
    told.tell("CREATE VIEW STARTED AS SELECT * FROM FAULTS WHERE BEGUN <= SYSDATE()")
    seen_as(told, object="STARTED")
    for homes in (2, 3):
        changed_behind_its_token(told)
        assert gates(told) == {"faults": "the source has no change token", "feeders": "nothing changed"}
        assert sql("SELECT homes FROM faults") == [(homes,)]
    assert gates(told)["faults"] == "the source's rows are the same"
    assert [line for line in told.log if "STARTED" in line and "of kind VIEW" in line]


def test_a_table_that_became_a_view_is_no_longer_believed(told: Told, sql: Sql) -> None:
    told.tell("ALTER TABLE FAULTS RENAME TO BELOW; CREATE VIEW FAULTS AS SELECT * FROM BELOW")
    told.tokens["faults"] = "2"
    assert gates(told)["faults"] == "the source's rows are the same"
    told.tell("UPDATE BELOW SET HOMES = 9")
    assert gates(told)["faults"] == "the source has no change token"
    assert sql("SELECT homes FROM faults") == [(9,)]


def test_no_token_is_believed_for_longer_than_an_hour(told: Told, sql: Sql) -> None:
    changed_behind_its_token(told)
    earlier(sql, 59)
    assert gates(told)["faults"] == "nothing changed"
    earlier(sql, 1)
    assert gates(told) == {
        "faults": "its change token has been believed for 1:00:00",
        "feeders": "the source's rows are the same",
    }
    assert sql("SELECT homes FROM faults") == [(2,)]
    assert gates(told) == {"faults": "nothing changed", "feeders": "nothing changed"}
    changed_behind_its_token(told)
    seen_as(told, token_lasts="10m")
    changed_behind_its_token(told)
    assert gates(told)["faults"] == "nothing changed"
    earlier(sql, 10)
    assert gates(told)["faults"] == "its change token has been believed for 0:10:00"


def test_what_no_sync_has_noted_the_reading_of_is_read_once(told: Told, sql: Sql) -> None:
    """As after an update: an older release believed the tokens of views."""
    sql("UPDATE postgres_sync.sync_state SET read_at = NULL")
    assert set(gates(told).values()) == {"the source's rows are the same"}
    assert set(gates(told).values()) == {"nothing changed"}


def test_a_setting_says_whether_a_token_is_believed(told: Told, sql: Sql) -> None:
    """For what SHOW does not tell, such as a row access policy."""
    seen_as(told, change_token=False)
    changed_behind_its_token(told)
    assert gates(told)["faults"] == "the source has no change token"
    told.tell("CREATE VIEW COPIED AS SELECT * FROM FAULTS")
    seen_as(told, object="COPIED", change_token=True)
    changed_behind_its_token(told)
    assert gates(told)["faults"] == "nothing changed"
    assert sql("SELECT homes FROM faults") == [(2,)]


def test_what_has_no_token_is_read_as_often_as_is_said(told: Told, sql: Sql) -> None:
    seen_as(told, change_token=False, read_every="30m")
    changed_behind_its_token(told)
    earlier(sql, 20)
    assert gates(told)["faults"] == "nothing changed"
    # A tick that is a little early counts.
    earlier(sql, 9)
    assert gates(told)["faults"] == "the source has no change token"
    assert sql("SELECT homes FROM faults") == [(2,)]
    earlier(sql, 20)
    assert gates(told)["faults"] == "nothing changed"
    earlier(sql, 10)
    assert gates(told)["faults"] == "the source's rows are the same"
    earlier(sql, 20)
    assert gates(told)["faults"] == "nothing changed", "the same rows were read, and that counts"


def test_a_source_without_any_token_is_read_as_often_as_is_said(utility: Utility, sql: Sql) -> None:
    utility.tell("INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 1, 1, 1")
    utility.overrides = Overrides(sources={"FAULTS": SourceOverride.model_validate({"read_every": "30m"})})
    utility.synced()
    utility.tell("UPDATE FAULTS SET HOMES = 2; INSERT INTO FEEDERS SELECT 'A', 'x', 1")
    said = utility.synced()
    assert (said["faults"].gate, said["feeders"].inserted) == ("nothing changed", 1)
    earlier(sql, 30)
    assert utility.synced()["faults"].updated == 1


def test_asking_for_it_opens_the_gate(told: Told) -> None:
    assert told.synced(force=True)["faults"].gate == "asked for"
    assert set(told.asked) == {"faults", "feeders"}


def test_what_changes_between_the_token_and_the_instant_is_not_lost(told: Told, sql: Sql) -> None:
    told.between = "UPDATE FAULTS SET HOMES = 8"
    told.tokens["faults"] = "2"
    assert gates(told)["faults"] == "the source changed"
    gates(told)
    assert sql("SELECT homes FROM faults") == [(8,)]
    assert gates(told)["faults"] == "nothing changed"


def test_who_loses_the_lock_reads_nothing(told: Told) -> None:
    with someone_else(told.target.conninfo):
        assert told.sync(force=True).busy is not None
    assert told.asked == []
