"""From what is wrong to incidents: one for each cause, from its beginning to its end. No clock, no database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flux_assets.alerting.incident import Incident, Kind, Observation, Observed, Policy, decide

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ALL: set[Kind] = {"sync", "load", "layer", "check", "late", "run", "schedule", "daemon", "dagster"}


def wrong(kind: Kind = "sync", cause: str = "Snowflake cannot be reached", *tables: str, **more) -> Observation:
    given = {"problem": f"{cause}.", "remedy": "Wait.", "since": NOON} | more
    return Observation(kind=kind, cause=cause, tables=tables, **given)


def late(*tables: str) -> Observation:
    return wrong("late", "late", *tables, symptom=True)


def after(so_far: list[Incident], *observed: Observation, now: datetime = NOON, watched: set[Kind] = ALL) -> list:
    """What is decided, numbered as a store would."""
    found = decide(so_far, Observed(observed, watched, now))
    return [replace(each, id=each.id or place) for place, each in enumerate(found, start=1)]


def test_what_has_one_cause_is_one_incident():
    (one,) = after([], *(wrong("sync", "Snowflake cannot be reached", name, ticks=3) for name in "abc"))
    assert (one.tables, one.failing, one.ticks) == (("a", "b", "c"), ("a", "b", "c"), 3)


def test_what_has_another_cause_is_another():
    guard = wrong("sync", "many rows have vanished", "b")
    assert [each.tables for each in after([], wrong("sync", "x", "a", "c"), guard)] == [("a", "c"), ("b",)]


def test_the_first_failures_are_waited_out():
    young = [wrong("sync", "Snowflake is away", name, ready=False) for name in "ab"]
    assert after([], *young) == []
    assert [each.tables for each in after([], *young, wrong("sync", "Snowflake is away", "c"))] == [("a", "b", "c")]


def test_what_is_late_already_is_not_waited_for():
    (one,) = after([], wrong("sync", "Snowflake is away", "a", ready=False), late("a"))
    assert one.kind == "sync"


def test_that_a_table_is_late_follows_from_its_not_being_synced():
    (one,) = after([], wrong("sync", "Snowflake is away", "a"), late("a"))
    assert one.kind == "sync"
    (still,) = after([], late("a", "b"))
    assert (still.kind, still.tables) == ("late", ("a", "b"))


def test_of_several_late_tables_those_without_a_cause_are_told():
    found = after([], wrong("sync", "Snowflake is away", "a"), late("a", "b"))
    assert [(each.kind, each.tables) for each in found] == [("sync", ("a",)), ("late", ("b",))]


@pytest.mark.parametrize("kind", ["schedule", "daemon"])
def test_nobody_who_starts_syncs_makes_tables_late(kind: Kind):
    assert [each.kind for each in after([], late("a", "b"), wrong(kind, kind, "a", "b"))] == [kind]


def test_a_single_failure_does_not_explain_a_failing_check():
    lags = wrong("check", "lag", "a", symptom=True)
    assert [each.kind for each in after([], wrong("sync", "x", "a", ready=False), lags)] == ["check"]
    assert [each.kind for each in after([], wrong("sync", "x", "a"), lags)] == ["sync"]


def test_late_goes_on_when_its_cause_comes_out():
    """That it is not news any more does not mean that it is over."""
    opened = after([], late("a"))
    both = after(opened, late("a"), wrong("sync", "Snowflake is away", "a"))
    assert [(each.kind, each.resolved_at) for each in both] == [("late", None), ("sync", None)]


def test_it_is_over_when_nothing_of_it_is_wrong_any_more():
    opened = after([], wrong("sync", "x", "a", "b"))
    (same,) = after(opened, wrong("sync", "x", "a"), now=NOON + MINUTE)
    assert (same.resolved_at, same.failing, same.tables) == (None, ("a",), ("a", "b"))
    (over,) = after([same], now=NOON + 2 * MINUTE)
    assert over.resolved_at == NOON + 2 * MINUTE


def test_what_was_not_looked_for_is_not_over():
    opened = after([], wrong("check", "unique", "a"))
    (still,) = after(opened, watched={"sync", "load"})
    assert still.resolved_at is None


def test_failing_for_another_reason_is_no_recovery():
    opened = after([], wrong("sync", "Snowflake is away", "a", "b"))
    (same,) = after(opened, wrong("sync", "Snowflake is busy", "a", "b", since=NOON - MINUTE), now=NOON + MINUTE)
    assert (same.id, same.cause, same.resolved_at) == (opened[0].id, "Snowflake is busy", None)
    assert same.since == NOON - MINUTE


def test_a_second_reason_is_told_once_it_has_lasted():
    opened = after([], wrong("sync", "Snowflake is away", "a", "b"))
    fresh = wrong("sync", "a column is missing", "b", settled=False)
    assert len(after(opened, wrong("sync", "Snowflake is away", "a"), fresh)) == 1
    lasting = replace(fresh, settled=True)
    first, second = after(opened, wrong("sync", "Snowflake is away", "a"), lasting)
    assert (first.failing, second.failing, second.cause) == (("a",), ("b",), "a column is missing")


def test_two_incidents_that_come_to_have_one_cause_both_stay():
    opened = after([], wrong("sync", "x", "a"), wrong("sync", "y", "b"))
    assert [each.resolved_at for each in after(opened, wrong("sync", "Snowflake is away", "a", "b"))] == [None, None]


def test_layers_of_one_run_that_fail_alike_are_one_and_others_their_own():
    alike = "the host cannot be reached"
    found = after(
        [], wrong("load", alike, "a", apart="run-1"), wrong("load", alike, "b", apart="run-1"),
        wrong("load", alike, "c", apart="run-2"), wrong("load", "line # is damaged", "d", apart="run-1"),
    )  # fmt: skip
    assert [each.tables for each in found] == [("a", "b"), ("c",), ("d",)]


def test_loading_again_in_vain_is_the_same_incident():
    opened = after([], wrong("load", "line # is damaged", "a", apart="run-1"))
    (same,) = after(opened, wrong("load", "line # is damaged", "a", apart="run-2", run_id="run-2"))
    assert (same.id, same.run_id) == (opened[0].id, "run-2")


def test_what_is_over_stays_over_and_comes_back_as_another():
    over = after(after([], wrong("sync", "x", "a")), now=NOON + MINUTE)
    again = after(over, wrong("sync", "x", "a"), now=NOON + 2 * MINUTE)
    assert [each.resolved_at for each in again] == [NOON + MINUTE, None]


def test_minutes_can_be_waited_instead_of_ticks():
    patient = Policy(after=timedelta(minutes=20))
    assert not patient.reached(9, NOON, NOON + 19 * MINUTE)
    assert patient.reached(1, NOON, NOON + 20 * MINUTE)
    assert not Policy(after=3).reached(2, NOON, NOON + timedelta(days=1))
    assert Policy(after=3).patience == timedelta(minutes=15)
