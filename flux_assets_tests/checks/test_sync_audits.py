"""The audits of dynamic tables, each on a table broken in just its way and on one in order."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from flux_assets.checks.audit import AuditResult
from flux_assets.errors import SyncError
from flux_assets.postgis.liveness import Stop
from flux_assets.spec import DynamicTable
from flux_assets.spec.facts import Derived
from flux_assets.sync import live_audit
from flux_assets.sync.live_audit import AuditRequest, LiveAudit, audit_tables
from flux_assets_tests.synced import FAULTS, FEEDERS, Utility

GOOD = "-95.1, 29.1"


def fault(number: int, place: str = GOOD, feeder: str = "A") -> str:
    return f"INSERT INTO FAULTS SELECT 'F{number}', '{feeder}', 'OPEN', SYSDATE(), 5, {place};"


@pytest.fixture
def running(utility: Utility, sql) -> Utility:
    sql("CREATE TABLE assets (feeder text, load float8)")
    sql("INSERT INTO assets VALUES ('A', 50)")
    utility.tell("INSERT INTO FEEDERS SELECT 'A', 'Feeder A', 100;" + fault(1))
    utility.synced()
    return utility


def look(running: Utility, table: DynamicTable, *names: str, **known: object) -> LiveAudit:
    question = AuditRequest(table=table, names=names, **known)
    return audit_tables([question], running.target, running.source, Stop())[table.name]


def judge(running: Utility, table: DynamicTable, name: str, **known: object) -> AuditResult:
    (result,) = look(running, table, name, **known).audits
    assert result.name == name
    return result


@pytest.mark.parametrize("table", [FAULTS, FEEDERS], ids=lambda table: table.name)
def test_a_synced_table_passes_all(running, table):
    everything = look(
        running, table, "columns", "row_count", "not_null", "unique", "within", "derived", "relationships"
    )
    assert [result.name for result in everything.audits if not result.passed] == []


def test_positions_that_are_none_are_counted_by_kind(running, sql):
    places = ("NULL, 29", "'NaN', 29", "0, 0", "29, -95", "-95.2, 29.2")
    running.tell("".join(fault(10 + number, place) for number, place in enumerate(places)))
    running.synced()
    found = judge(running, FAULTS, "within")
    assert (found.passed, found.severity) == (False, "WARN")
    kinds = {name: found.numbers.get(name) for name in ("missing", "not_a_number", "zero_zero", "out_of_range")}
    assert kinds == {"missing": 1, "not_a_number": 1, "zero_zero": 1, "out_of_range": 1}
    assert found.numbers["offending_rows"] == 4
    assert any(key.startswith("F12: zero_zero") for key in found.sample)
    assert len(sql(found.sql)) == 4


def test_rows_of_others_fail_the_row_count(running, sql):
    sql("INSERT INTO faults (fault_id) VALUES ('X')")
    found = judge(running, FAULTS, "row_count")
    assert (found.passed, found.severity) == (False, "ERROR")
    assert (found.numbers["rows"], found.numbers["rows_of_last_sync"]) == (2, 1)


def test_the_row_count_says_what_vanished_and_how_much_may(running):
    found = judge(running, FAULTS, "row_count", vanished=3, allowed=20.4)
    assert found.numbers == {"rows": 1, "vanished": 3, "allowed_to_vanish": 20}


def test_doubled_and_missing_keys_are_found_where_the_key_is_gone(running, sql):
    sql("ALTER TABLE faults DROP CONSTRAINT faults_pkey")
    sql("ALTER TABLE faults ALTER fault_id DROP NOT NULL")
    sql("INSERT INTO faults (fault_id) VALUES ('F1'), (NULL)")
    assert judge(running, FAULTS, "unique").sample == ("fault_id = F1, 2 times",)
    assert judge(running, FAULTS, "not_null").numbers["offending_rows"] == 1


def test_missing_columns_are_named_with_what_was_looked_for(running):
    found = judge(running, FEEDERS, "columns", missing=("title", "homes"))
    assert (found.passed, found.severity) == (False, "WARN")
    assert found.sample == ("title is NULL: FEEDERS has no TITLE", "homes is filled from assets: FEEDERS has no HOMES")


def test_the_source_is_asked_for_its_columns_when_nobody_knows(running):
    running.tell("ALTER TABLE FEEDERS DROP COLUMN TITLE")
    assert judge(running, FEEDERS, "columns").numbers["missing"] == 1


def test_a_source_that_is_gone_is_an_error_of_the_columns(running):
    running.tell("DROP TABLE FEEDERS")
    found = judge(running, FEEDERS, "columns")
    assert (found.passed, found.severity) == (False, "ERROR")
    assert "FEEDERS" in found.sample[0]


def test_rows_without_what_they_are_computed_from_have_their_share_told(running, sql):
    running.tell("".join(f"INSERT INTO FEEDERS SELECT '{name}', 'x', 1;" for name in "BCD"))
    running.synced()
    found = judge(running, FEEDERS, "derived")
    assert (found.passed, found.severity) == (False, "WARN")
    assert (found.numbers["not_in_assets"], found.numbers["share_not_in_assets"]) == (3, 0.75)
    assert found.numbers["found_in_assets"] == 1
    assert sorted(found.sample) == [f"{name}: not in assets: feeder {name}" for name in "BCD"]
    assert len(sql(found.sql)) == 3
    sql("DROP TABLE assets")
    assert judge(running, FEEDERS, "derived").numbers["share_not_in_assets"] == 1.0


def test_open_rows_that_belong_to_none_are_told_with_what_was_meant(running, sql):
    """Blanks of a CHAR column, small letters of another entry screen, a circuit that is gone, and none at all."""
    running.tell(fault(2, feeder="A  ") + fault(3, feeder=" A\t") + fault(4, feeder="a") + fault(5, feeder="Q"))
    running.tell("INSERT INTO FAULTS SELECT 'F6', NULL, 'OPEN', SYSDATE(), 5, -95.1, 29.1")
    running.tell("INSERT INTO FAULTS SELECT 'F7', 'GONE', 'SHUT', SYSDATE(), 5, -95.1, 29.1")
    running.synced()
    assert sql("SELECT faults FROM feeders WHERE feeder = 'A'") == [(1,)]
    found = judge(running, FAULTS, "all_assigned")
    assert (found.passed, found.severity) == (False, "WARN")
    numbers = {"offending_rows": 5, "not_in_feeders": 5, "differ_in_blanks_or_case": 3}
    assert found.numbers == {"judged": "all 7 rows"} | numbers
    assert sorted(found.sample) == [
        "F2: not in feeders: feeder 'A  '; apart from blanks and capitals it is 'A'",
        "F3: not in feeders: feeder ' A\t'; apart from blanks and capitals it is 'A'",
        "F4: not in feeders: feeder 'a'; apart from blanks and capitals it is 'A'",
        "F5: not in feeders: feeder Q",
        "F6: not in feeders: feeder NULL",
    ]
    assert {row[0] for row in sql(found.sql)} == {"F2", "F3", "F4", "F5", "F6"}


@pytest.mark.parametrize("blank", ["\v", "\u00a0", "\u2003", "\u200b", "\ufeff"], ids=ascii)
def test_what_nobody_sees_around_a_value_is_a_blank(running, blank):
    running.tell(fault(2, feeder=f"{blank}A{blank}"))
    running.synced()
    (said,) = judge(running, FAULTS, "all_assigned").sample
    assert said == f"F2: not in feeders: feeder '{blank}A{blank}'; apart from blanks and capitals it is 'A'"


def test_a_value_of_nothing_or_blanks_is_told_in_quotes(running):
    running.tell(fault(2, feeder="") + fault(3, feeder="   ") + fault(4, feeder="A B"))
    running.synced()
    found = judge(running, FAULTS, "all_assigned")
    assert sorted(found.sample) == [
        "F2: not in feeders: feeder ''",
        "F3: not in feeders: feeder '   '",
        "F4: not in feeders: feeder 'A B'",
    ]


def test_rows_of_one_value_are_told_together_and_a_table_that_is_not_there_holds_nobody_up(running, sql):
    running.tell("".join(fault(number, feeder="a") for number in range(2, 7)))
    running.synced()
    (said,) = judge(running, FAULTS, "all_assigned").sample
    assert re.fullmatch(r"F\d, F\d, F\d, …: not in feeders: feeder 'a'; .* it is 'A'", said)
    sql("DROP TABLE feeders")
    found = judge(running, FAULTS, "all_assigned")
    assert (found.passed, found.numbers["not_there"]) == (True, "feeders")


def test_a_look_up_by_a_key_tells_what_was_meant(running, sql):
    named = Derived(
        target="title", from_table="names", here="feeder", there="feeder", function="any", of_column="name", fills=True
    )
    sql("CREATE TABLE names AS SELECT 'a '::text AS feeder, 'Feeder A'::text AS name")
    found = judge(running, replace(FEEDERS, derived=(*FEEDERS.derived, named)), "derived")
    assert found.sample == ("A: not in names: feeder 'A'; apart from blanks and capitals it is 'a '",)
    assert (found.numbers["not_in_names"], found.numbers["share_not_in_names"]) == (1, 1.0)


def test_the_version_changes_with_the_rows_alone(running):
    first = look(running, FAULTS).version
    running.synced()
    assert look(running, FAULTS).version == first
    running.tell(fault(2))
    running.synced()
    assert look(running, FAULTS).version != first


VIEW = "ALTER TABLE faults RENAME TO elsewhere; CREATE VIEW faults AS SELECT * FROM elsewhere"


@pytest.mark.parametrize(
    ("happens", "said", "remedy", "judged"),
    [
        ("DROP TABLE faults", "was synced and is gone", "Sync it: it is made and filled again.", set()),
        (VIEW, "not an ordinary table", "Rename it", set()),
        (
            "ALTER TABLE faults RENAME COLUMN geom TO shape",
            "lacks geom",
            "Sync it: what is missing is added",
            {"unique"},
        ),
        ("ALTER TABLE faults ALTER lat TYPE text", "column lat is text", "Run `flux-assets adopt faults`", {"unique"}),
    ],
)
def test_what_is_wrong_with_a_table_is_told_and_hides_nothing_else(running, sql, happens, said, remedy, judged):
    for statement in happens.split(";"):
        sql(statement)
    names = {"lag", "columns", "unique", "within"}
    questions = [AuditRequest(table=table, names=names) for table in (FAULTS, FEEDERS)]
    looks = audit_tables(questions, running.target, running.source, Stop())
    assert said in looks["faults"].error.problem
    assert looks["faults"].error.remedy.startswith(remedy)
    assert {audit.name for audit in looks["faults"].audits} == {"columns", "lag", *judged}
    assert looks["feeders"].error is None
    assert {audit.name for audit in looks["feeders"].audits} == {"columns", "lag", "unique"}


def test_a_table_that_is_not_there_yet_says_so(utility):
    found = look(utility, FAULTS, "unique", "lag")
    assert (found.error.problem, found.error.remedy) == ("public.faults has not been synced yet.", "Sync it first.")
    assert [audit.passed for audit in found.audits] == [False]


def test_a_table_that_is_locked_hides_no_other(running, target, monkeypatch):
    monkeypatch.setattr(live_audit, "_LIMITS", "SET lock_timeout = '50ms'")
    questions = [AuditRequest(table=table, names={"lag", "unique"}) for table in (FAULTS, FEEDERS)]
    with target.session("other") as other:
        other.execute("BEGIN; LOCK faults")
        looks = audit_tables(questions, running.target, running.source, Stop())
    assert "another session holds a lock" in str(looks["faults"].error)
    assert {name: [audit.name for audit in look.audits] for name, look in looks.items()} == {
        "faults": ["lag"], "feeders": ["lag", "unique"],
    }  # fmt: skip


def test_a_server_that_fails_is_an_error_of_ours(running, sql):
    sql("ALTER TABLE postgres_sync.sync_state RENAME TO elsewhere")
    with pytest.raises(SyncError, match=r"sync_state"):
        look(running, FAULTS, "within")
