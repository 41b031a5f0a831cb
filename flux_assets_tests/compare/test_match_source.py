"""Dynamic tables compared with their source: what the next sync may explain is a warning, anything else is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from flux_assets.checks.audit import AuditResult
from flux_assets.compare import source as module
from flux_assets.compare.match import Comparison
from flux_assets.compare.source import match_source
from flux_assets.errors import FluxError, SourceError, SyncError
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import LiveTable
from flux_assets.snowflake import mapping as mapping_module
from flux_assets.snowflake.mapping import Mapping
from flux_assets.snowflake.source import Source
from flux_assets.sync.diff import TableMerge
from flux_assets.sync.gate import mark_of
from flux_assets.sync.table import Family
from flux_assets_tests.conftest import Sql
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

KINDS = ("changed", "missing", "extra")
ROWS = """
INSERT INTO FEEDERS SELECT 'A', 'Feeder A', 100;
INSERT INTO FEEDERS SELECT 'B', '', NULL;
INSERT INTO FEEDERS SELECT 'C', NULL, 5;
INSERT INTO FAULTS SELECT 'F1', 'A', 'OPEN', SYSDATE(), 5, -95.1, 29.1;
INSERT INTO FAULTS SELECT 'F2', 'B', 'OPEN', SYSDATE(), NULL, 'NaN', 29.1;
INSERT INTO FAULTS SELECT 'F3', 'B', 'SHUT', SYSDATE(), 0, NULL, NULL;
INSERT INTO FAULTS SELECT 'F4', 'B', 'SHUT', '2001-01-01', 0, 0, 0;
"""


@pytest.fixture
def running(utility: Utility, sql: Sql) -> Utility:
    """Faults and feeders in step with their source, loads derived from a table of others."""
    sql("CREATE TABLE assets (feeder text, load float8)")
    sql("INSERT INTO assets VALUES ('A', 10), ('A', 0.1), ('B', 'NaN'), ('B', 20)")
    utility.tell(ROWS)
    utility.synced()
    return utility


@pytest.fixture
def travelling(running: Utility, monkeypatch: pytest.MonkeyPatch) -> Utility:
    """The same with a source that seems to know the past: fakesnow gives the present for any instant asked for."""
    monkeypatch.setattr(mapping_module, "_snapshot", lambda _: "")
    monkeypatch.setattr(Source, "ask_travel", lambda *_: None)
    running.account = replace(running.account, stand_in=False)
    return running


def outcomes(
    running: Utility, *wanted: str, stop: Stop | None = None, family: Family | None = None
) -> dict[str, AuditResult | FluxError]:
    names = wanted or ("faults", "feeders")
    family = family or running.family
    return dict(match_source(names, family, running.source, running.target, stop or Stop(), running.log.append))


def judged(running: Utility, name: str = "faults", **how: object) -> AuditResult:
    outcome = outcomes(running, name, **how)[name]
    assert isinstance(outcome, AuditResult), outcome
    return outcome


def counts(result: AuditResult) -> tuple[object, ...]:
    return tuple(result.numbers[kind] for kind in KINDS)


def verdict(result: AuditResult) -> str:
    return "passed" if result.passed else result.severity


def test_tables_in_step_match(running: Utility, sql: Sql) -> None:
    assert sql("SELECT load, faults FROM feeders ORDER BY feeder") == [(5.05, 1), (20, 1), (None, 0)]
    found = outcomes(running)
    assert {name: verdict(result) for name, result in found.items()} == {"faults": "passed", "feeders": "passed"}
    numbers = found["faults"].numbers
    assert (numbers["rows"], numbers["rows_in_source"], counts(found["faults"])) == (3, 3, (0, 0, 0))
    assert numbers["source_read"] == "as it is now"
    assert numbers["since_the_last_sync"] == "nothing that explains a difference"


EDITS = {
    "UPDATE faults SET state = 'LOST' WHERE fault_id = 'F1'": ["changed F1: state is 'LOST', not 'OPEN'"],
    "UPDATE faults SET homes = 0 WHERE homes IS NULL": ["changed F2: homes is '0', not NULL"],
    "UPDATE faults SET lon = 1 WHERE fault_id = 'F2'": ["changed F2: lon is '1', not 'NaN'"],
    "UPDATE faults SET geom = NULL WHERE fault_id = 'F1'": ["changed F1: geom"],
    "UPDATE faults SET geom = ST_Translate(geom, 1e-9, 0) WHERE fault_id = 'F1'": ["changed F1: geom"],
    "DELETE FROM faults WHERE fault_id = 'F1'": ["missing F1"],
    "INSERT INTO faults (fault_id) VALUES ('F9')": ["extra F9"],
    "UPDATE feeders SET title = NULL WHERE title = ''": ["changed B: title is NULL, not ''"],
    "UPDATE feeders SET title = '' WHERE title IS NULL": ["changed C: title is '', not NULL"],
    "UPDATE feeders SET faults = 7 WHERE feeder = 'A'": ["changed A: faults is '7', not '1'"],
    "UPDATE feeders SET load = load + 1e-6 WHERE feeder = 'A'": ["changed A: load is '5.050001', not '5.05'"],
    "UPDATE feeders SET homes = 1 WHERE feeder = 'B'": ["changed B: homes is '1', not '2'"],
}


def test_whatever_is_edited_by_hand_is_found_and_named(running: Utility, sql: Sql) -> None:
    for edit, said in EDITS.items():
        sql(edit)
        result = judged(running, "feeders" if " feeders " in edit else "faults")
        assert list(result.sample) == said
        assert counts(result) == tuple(sum(line.startswith(kind) for line in said) for kind in KINDS), edit
        assert verdict(result) == "ERROR", edit
        assert result.numbers["since_the_last_sync"] == "rows here were written by others"
        running.synced()
        assert {verdict(result) for result in outcomes(running).values()} == {"passed"}, edit


def test_a_deleted_fault_shows_in_the_count_of_its_feeder_too(running: Utility, sql: Sql) -> None:
    """Counts are of the faults as they stand here."""
    sql("DELETE FROM faults WHERE fault_id = 'F1'")
    found = outcomes(running)
    assert found["faults"].sample == ("missing F1",)
    assert found["feeders"].sample == ("changed A: faults is '1', not '0'",)


def test_when_a_row_came_and_changed_here_is_not_compared(running: Utility, sql: Sql) -> None:
    sql("UPDATE faults SET came = NULL, moved = '2001-01-01'")
    assert verdict(judged(running)) == "passed"


def test_rows_that_changed_in_the_source_since_are_a_warning(running: Utility) -> None:
    running.tell("UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'")
    result = judged(running)
    assert (verdict(result), counts(result)) == ("WARN", (1, 0, 0))
    assert result.sample == ("changed F1: state is 'OPEN', not 'SHUT'",)
    assert result.numbers["since_the_last_sync"] == "the source's rows changed"
    assert "sync the table and run the check again" in result.description
    assert verdict(judged(running, "feeders")) == "passed"
    running.synced()
    assert verdict(judged(running)) == "passed"


def test_changes_of_the_source_do_not_excuse_what_others_wrote_here(running: Utility, sql: Sql) -> None:
    running.tell("UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'")
    sql("DELETE FROM faults WHERE fault_id = 'F2'")
    result = judged(running)
    assert (verdict(result), counts(result)) == ("ERROR", (1, 1, 0))
    told = "the source's rows changed; rows here were written by others"
    assert result.numbers["since_the_last_sync"] == told


def test_the_rule_is_applied_as_of_the_last_sync(running: Utility, sql: Sql) -> None:
    """A row that has left its window since then is no difference; here the last sync is put back instead."""
    running.tell("UPDATE FAULTS SET BEGUN = DATEADD('day', -8, SYSDATE()) WHERE FAULT_ID = 'F3'")
    running.synced()
    assert sql("SELECT count(*) FROM faults") == [(2,)]
    sql("UPDATE postgres_sync.sync_status SET source_instant = source_instant - interval '2 days'")
    sql("UPDATE postgres_sync.sync_state SET source_instant = source_instant - interval '2 days'")
    result = judged(running)
    assert (counts(result), result.sample) == ((0, 1, 0), ("missing F3",))


def forge_mark(sql: Sql, name: str = "faults") -> None:
    """Let the table look as if the last sync had left it as it is."""
    live = LiveTable("public", FAULTS if name == "faults" else FEEDERS)
    ((mark,),) = sql(mark_of(live))
    sql("UPDATE postgres_sync.sync_state SET mark = %s WHERE layer_name = %s", mark, name)


def test_a_difference_that_nothing_explains_is_an_error(running: Utility, sql: Sql) -> None:
    """As a sync with a fault would leave it: neither the source nor the table was written since."""
    sql("DELETE FROM faults WHERE fault_id = 'F1'")
    forge_mark(sql)
    result = judged(running)
    assert (verdict(result), result.sample) == ("ERROR", ("missing F1",))
    assert result.numbers["since_the_last_sync"] == "nothing that explains a difference"
    assert "nothing that happened since the last sync explains it" in result.description


def test_a_source_with_a_past_is_read_as_of_the_last_sync_and_any_difference_is_an_error(
    travelling: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, rows_query = [], Mapping.rows_query

    def noted(mapping: Mapping, account: object, instant: object, *, travel: bool) -> str:
        asked.append((instant, travel))
        return rows_query(mapping, account, instant, travel=travel)

    travelling.synced()
    monkeypatch.setattr(Mapping, "rows_query", noted)
    result = judged(travelling)
    assert (verdict(result), result.numbers["source_read"]) == ("passed", "as of the last sync")
    ((newest,),) = sql("SELECT max(source_instant) FROM postgres_sync.sync_status WHERE layer_name = 'faults'")
    assert asked == [(newest, True)]
    travelling.tell("UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'")
    result = judged(travelling)
    assert (verdict(result), counts(result)) == ("ERROR", (1, 0, 0))
    assert result.numbers["since_the_last_sync"] == "nothing that explains a difference"


def test_a_source_that_is_asked_for_its_past_and_has_none_is_read_as_it_is(running: Utility) -> None:
    running.account = replace(running.account, stand_in=False)
    running.tell("UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'")
    result = judged(running)
    assert (verdict(result), result.numbers["source_read"]) == ("WARN", "as it is now")


def test_what_columns_are_derived_from_may_have_changed_since(travelling: Utility, sql: Sql) -> None:
    sql('UPDATE postgres_sync.sync_state SET origins = \'{"assets": "an earlier version"}\'')
    sql("UPDATE assets SET load = 50")
    result = judged(travelling, "feeders")
    assert (verdict(result), counts(result)) == ("WARN", (2, 0, 0))
    assert result.numbers["since_the_last_sync"] == "assets changed"


def test_another_configuration_may_explain_a_difference(travelling: Utility) -> None:
    family = Family(tables=travelling.family.tables, configuration="another")
    assert verdict(judged(travelling, family=family)) == "passed"
    travelling.tell("DELETE FROM FAULTS WHERE FAULT_ID = 'F1'")
    result = judged(travelling, family=family)
    assert (verdict(result), result.sample) == ("WARN", ("extra F1",))
    assert result.numbers["since_the_last_sync"] == "its declaration or configuration changed"


def test_other_columns_of_the_source_may_explain_a_difference(travelling: Utility) -> None:
    travelling.tell("ALTER TABLE FAULTS RENAME COLUMN HOMES TO HOUSES")
    result = judged(travelling)
    assert (verdict(result), counts(result)) == ("WARN", (2, 0, 0))
    assert result.numbers["since_the_last_sync"] == "the source's columns changed"
    travelling.synced()
    assert verdict(judged(travelling)) == "passed"


def test_a_doubled_key_in_the_source_is_a_row_too_many(running: Utility) -> None:
    running.tell("INSERT INTO FAULTS SELECT * FROM FAULTS WHERE FAULT_ID = 'F1'")
    result = judged(running)
    assert (result.passed, counts(result), result.sample) == (False, (0, 1, 0), ("missing F1",))


def test_tables_that_cannot_be_compared_do_not_stop_the_others(running: Utility) -> None:
    running.tell("DROP TABLE FAULTS")
    found = outcomes(running)
    assert isinstance(found["faults"], SourceError)
    assert verdict(found["feeders"]) == "passed"


def test_a_table_that_was_never_synced_says_so(utility: Utility) -> None:
    utility.synced("feeders")
    utility.tell("INSERT INTO FEEDERS SELECT 'A', 'x', 1")
    found = outcomes(utility)
    assert "faults has not been synced yet" in str(found["faults"])
    assert verdict(found["feeders"]) == "WARN"


def test_a_table_that_is_gone_or_not_as_declared_says_so(running: Utility, sql: Sql) -> None:
    sql("DROP TABLE faults")
    sql("ALTER TABLE feeders DROP COLUMN title")
    found = outcomes(running)
    assert "public.faults was synced and is gone" in str(found["faults"])
    assert "public.feeders lacks title" in str(found["feeders"])


def test_a_table_synced_meanwhile_is_compared_with_what_that_sync_read(
    running: Utility, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, waiting = module._read, ["UPDATE FAULTS SET STATE = 'SHUT' WHERE FAULT_ID = 'F1'"]

    def read_then_synced(*arguments: object) -> object:
        read = reading(*arguments)
        if waiting:
            running.tell(waiting.pop())
            running.synced()
        return read

    monkeypatch.setattr(module, "_read", read_then_synced)
    assert verdict(judged(running)) == "passed"
    assert any("was synced meanwhile" in line for line in running.log)


def test_nothing_is_written_and_no_sync_is_held_up(running: Utility, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "SELECT xmin::text FROM {} ORDER BY 1"
    tables = ["faults", "feeders", "postgres_sync.sync_state", "postgres_sync.sync_status"]
    before = [sql(rows.format(name)) for name in tables]
    running.tell("DELETE FROM FAULTS WHERE FAULT_ID = 'F1'")
    outcomes(running)
    assert [sql(rows.format(name)) for name in tables] == before
    matched: Callable[..., object] = Comparison.match

    def synced_before_it(*arguments: object) -> object:
        assert not running.sync().busy
        return matched(*arguments)

    monkeypatch.setattr(Comparison, "match", synced_before_it)
    assert judged(running).sample == ("extra F1",), "as of the snapshot"
    monkeypatch.undo()
    assert verdict(judged(running)) == "passed"


def test_a_comparison_that_is_stopped_ends_at_once(running: Utility, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, staging = Stop(), TableMerge.stage

    def stopped(*arguments: object) -> None:
        staging(*arguments)
        stop.request()

    monkeypatch.setattr(TableMerge, "stage", stopped)
    with pytest.raises(SyncError, match="topped on request"):
        outcomes(running, stop=stop)
    monkeypatch.undo()
    assert verdict(judged(running)) == "passed"
