"""Incidents in words, and in the two forms in which they are sent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flux_assets.alerting.delivery import Letterhead, length
from flux_assets.alerting.incident import Incident, Kind

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOME = Letterhead(schema="public", ui_url="https://dagster.example.com/")
SLACK = replace(HOME, form="slack")
AWAY = Incident(
    id=17, kind="sync", cause="Snowflake cannot be reached", apart="",
    problem="Snowflake at acme cannot be reached.", remedy="It is tried again.",
    tables=("a", "b", "c"), failing=("a", "b"), since=NOON, not_before=NOON, ticks=3, settled=True, run_id="run-1",
)  # fmt: skip
OVER = replace(AWAY, resolved_at=NOON + timedelta(hours=2, minutes=5, seconds=9))


def test_a_message_says_what_since_when_which_tables_and_where():
    assert HOME.payload("opened", AWAY, NOON + timedelta(minutes=11))["text"].split("\n") == [
        "2 tables cannot be synced",
        "Snowflake at acme cannot be reached.",
        "To do: It is tried again.",
        "About: the last attempt; published data is unchanged",
        "Tables: a, b (schema public)",
        "Since: 2026-03-01 12:00 UTC, for 11 min, 3 failures in a row",
        "Run: https://dagster.example.com/runs/run-1",
    ]


def test_a_recovery_says_how_long_it_lasted():
    assert HOME.payload("recovered", OVER, NOON)["text"].split("\n") == [
        "Recovered: 3 tables cannot be synced",
        "It was: Snowflake at acme cannot be reached.",
        "Tables: a, b, c (schema public)",
        "It lasted 2 h 5 min, since 2026-03-01 12:00 UTC, 3 failures in a row",
    ]


def test_the_generic_form():
    message = HOME.payload("recovered", OVER, NOON)
    assert json.loads(json.dumps(message)) == message
    assert message | {"text": ""} == {
        "source": "flux_assets", "event": "recovered", "incident": 17, "kind": "sync", "about": "attempt",
        "schema": "public",
        "title": "Recovered: 3 tables cannot be synced", "problem": "Snowflake at acme cannot be reached.",
        "remedy": "It is tried again.", "tables": ["a", "b", "c"], "failing": [], "since": "2026-03-01T12:00:00+00:00",
        "until": "2026-03-01T14:05:09+00:00", "lasted_seconds": 7509, "failures": 3, "run_id": "run-1",
        "run_url": "https://dagster.example.com/runs/run-1", "text": "",
    }  # fmt: skip


def test_where_several_share_a_receiver_each_says_who_it_is():
    message = replace(HOME, utility="austin").payload("opened", AWAY, NOON)
    assert (message["utility"], message["title"]) == ("austin", "austin: 2 tables cannot be synced")
    assert message["text"].startswith("austin: 2 tables cannot be synced\n")
    assert replace(SLACK, utility="austin").payload("opened", AWAY, NOON)["text"] == message["title"]


def test_without_a_ui_the_run_is_named():
    lone = Letterhead(schema="public")
    assert "Run: run-1" in lone.payload("opened", AWAY, NOON)["text"]
    assert lone.payload("opened", AWAY, NOON)["run_url"] is None


def test_slacks_form():
    message = SLACK.payload("opened", AWAY, NOON)
    assert message["text"] == "2 tables cannot be synced"
    (block,) = message["blocks"]
    assert (block["type"], block["text"]["type"]) == ("section", "mrkdwn")
    assert block["text"]["text"].startswith(":red_circle: *2 tables cannot be synced*\nSnowflake at acme")


def test_an_error_cannot_call_everybody():
    loud = replace(AWAY, problem="<!channel> & <https://evil|x>")
    (block,) = SLACK.payload("opened", loud, NOON)["blocks"]
    assert "&lt;!channel&gt; &amp; &lt;https://evil|x&gt;" in block["text"]["text"]


def test_slack_takes_three_thousand_characters():
    long = replace(AWAY, problem="x" * 5000)
    (block,) = SLACK.payload("opened", long, NOON)["blocks"]
    assert len(block["text"]["text"]) <= 3000


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sync", "a cannot be synced"),
        ("load", "a could not be loaded"),
        ("layer", "a is not what was published"),
        ("check", "a fails a check"),
        ("late", "a is late"),
        ("run", "a run of nightly failed"),
        ("schedule", "Syncs are not started"),
        ("daemon", "Dagster's daemon is dead"),
        ("dagster", "Dagster cannot be used"),
        ("target", "PostGIS cannot be used"),
    ],
)
def test_every_kind_has_a_title(kind: Kind, expected: str):
    one = replace(AWAY, kind=kind, cause="nightly", failing=("a",), tables=("a",))
    assert one.title("opened") == expected
    assert one.title("reminder") == f"Still: {expected}"
    assert one.title("changed") == f"For another reason: {expected}"
    assert one.title("recovered") == f"Recovered: {expected}"
    assert replace(one, failing=("a", "b")).title("opened")


@pytest.mark.parametrize(
    ("kind", "about", "line"),
    [
        ("load", "attempt", "About: the last attempt; published data is unchanged"),
        ("check", "published", "About: published data"),
        ("target", "service", None),
    ],
)
def test_a_message_says_whether_it_is_about_an_attempt_or_about_what_readers_see(
    kind: Kind, about: str, line: str | None
) -> None:
    one = replace(AWAY, kind=kind)
    assert HOME.payload("opened", one, NOON)["about"] == about
    told = [each for each in HOME.payload("opened", one, NOON)["text"].split("\n") if each.startswith("About:")]
    assert told == ([line] if line else [])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min"), (3600, "1 h"), (90061, "1 d 1 h"), (86460, "1 d 1 min")],
)
def test_spans_as_people_say_them(seconds, words):
    assert length(timedelta(seconds=seconds)) == words
