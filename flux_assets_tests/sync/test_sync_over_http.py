"""Whole runs of sync_all_dynamic with an account that answers as Snowflake does where the stand-in cannot.

A proxy before the stand-in gives those answers, and notes what the real connector asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from flux_assets.definitions import defs
from flux_assets.postgis.session import Target
from flux_assets.sample.cluster import Cluster
from flux_assets.sample.simulation.seeding import seed
from flux_assets.settings import load_settings
from flux_assets.snowflake.account import Account
from flux_assets.tables import dynamic_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.faulting_proxy import LOGIN, Fault, Proxy, faulting_proxy
from flux_assets_tests.running import Run, run_job
from flux_assets_tests.sample.test_simulation import NOON, grid
from flux_assets_tests.snowflake_answers import instant, refused, tokens
from flux_assets_tests.synced import Utility, settings_of

CIRCUITS, OUTAGES, ORDERS = "circuit_status_realtime", "outage_restoration_tracker", "work_orders"
ASKS_TOKENS, ASKS_INSTANT, TRAVELS = "SYSTEM$LAST_CHANGE_COMMIT_TIME", "SELECT SYSDATE()", " AT(TIMESTAMP => "
# Where the query of rows travels to; the question whether it can says CURRENT_TIMESTAMP() there.
THERE = re.compile(r" AT\(TIMESTAMP => '([^']+)'::TIMESTAMP_TZ\)")
# What the documentation of the function shows.
BEGINNING = 1_661_920_053_987_000_000
TOKENS = """SELECT
    SYSTEM$LAST_CHANGE_COMMIT_TIME('{0}.PRODUCTION."CIRCUIT_METADATA"') AS "circuit_status_realtime",
    SYSTEM$LAST_CHANGE_COMMIT_TIME('{0}.PRODUCTION."OUTAGE_RESTORATION_TRACKER"') AS "outage_restoration_tracker",
    SYSTEM$LAST_CHANGE_COMMIT_TIME('{0}.PRODUCTION."WORK_ORDERS"') AS "work_orders\""""
OBJECTS = {CIRCUITS: "CIRCUIT_METADATA", OUTAGES: "OUTAGE_RESTORATION_TRACKER", ORDERS: "WORK_ORDERS"}
LEDGER = "SELECT layer_name, sync_type, status FROM postgres_sync.sync_status WHERE run_id = %s ORDER BY 1"


@dataclass
class Snowflake:
    """The account: its change tokens by table, and the statements that the last tick ran, or had compiled alone."""

    utility: Utility
    proxy: Proxy
    instance: dg.DagsterInstance
    tokens: dict[str, int | None]
    asked: list[str] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)

    def tick(self) -> Run:
        """A run of the schedule's job."""
        before, compiled = len(self.proxy.statements), len(self.proxy.described)
        # Once: a second question would come to the stand-in, which refuses it.
        self.proxy.faults.append(Fault("say", holding=ASKS_TOKENS, said=tokens(self.tokens)))
        run = run_job(defs.resolve_job_def("sync_all_dynamic"), self.instance)
        self.asked, self.compiled = self.proxy.statements[before:], self.proxy.described[compiled:]
        return run

    @property
    def read(self) -> set[str]:
        """The tables whose objects the last tick read."""
        told = "\n".join(text for text in self.asked if ASKS_TOKENS not in text)
        return {name for name, source in OBJECTS.items() if f'"{source}"' in told}

    def place(self, statement: str) -> int:
        """Which of the last tick's statements is the first that holds this text."""
        return next(number for number, text in enumerate(self.asked) if statement in text)


@pytest.fixture
def snowflake(
    source: Account,
    target: Target,
    cluster: Cluster,
    database: str,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Snowflake]:
    utility = Utility(account=source, target=target, tables=dynamic_tables())
    with utility.connected() as connection:
        # So long ago that what has closed has left its window, and nothing is about to.
        seed(connection, grid(), now=NOON)
    with faulting_proxy(source.port or 0) as proxy:
        places = {"FLUX_POSTGRES_URL": cluster.url(database), "SNOWFLAKE_PORT": str(proxy.port)}
        for name, value in {**settings_of(source), **places}.items():
            monkeypatch.setenv(name, value)
        load_settings.cache_clear()
        yield Snowflake(utility, proxy, instance, dict.fromkeys(OBJECTS, BEGINNING))


def shown(run: Run) -> dict[str, dict]:
    """Each table's metadata."""
    return {name: {key: each.value for key, each in m.metadata.items()} for name, m in run.materialized().items()}


# Change tokens.


def test_a_tick_without_news_runs_the_question_for_tokens_and_nothing_else(snowflake: Snowflake, sql: Sql) -> None:
    first = snowflake.tick()
    assert {figures["gate"] for figures in shown(first).values()} == {"first sync"}
    assert snowflake.read == OBJECTS.keys()
    assert sql("SELECT DISTINCT token FROM postgres_sync.sync_state") == [("1661920053987000000",)]
    second = snowflake.tick()
    assert second.succeeded
    place = f"{snowflake.utility.account.database}.PRODUCTION"
    assert snowflake.asked == [TOKENS.format(snowflake.utility.account.database)]
    assert snowflake.compiled == [f'SELECT * FROM {place}."{source}"' for source in OBJECTS.values()]
    assert {figures["gate"] for figures in shown(second).values()} == {"nothing changed"}
    assert sql(LEDGER, second.run_id) == [(name, "UNCHANGED", "SUCCESS") for name in sorted(OBJECTS)]


def test_only_what_has_another_token_is_read(snowflake: Snowflake) -> None:
    snowflake.tick()
    # Less than floating-point numbers of this size tell apart.
    snowflake.tokens[ORDERS] += 1
    figures = shown(snowflake.tick())
    assert snowflake.read == {ORDERS}
    gates = {name: figures[name]["gate"] for name in OBJECTS}
    assert gates == {CIRCUITS: "nothing changed", OUTAGES: "nothing changed", ORDERS: "the source's rows are the same"}
    snowflake.tick()
    assert snowflake.read == set(), "the new token was noted"


def test_the_instant_is_asked_for_after_the_tokens_and_before_any_row(snowflake: Snowflake) -> None:
    """What changes between the tokens and the instant would be lost the other way round."""
    snowflake.tick()
    assert snowflake.place(ASKS_TOKENS) < snowflake.place(ASKS_INSTANT)
    assert snowflake.place(ASKS_INSTANT) < min(snowflake.place(f'"{source}"\n') for source in OBJECTS.values())


def test_an_object_without_a_token_is_read_at_every_tick(snowflake: Snowflake) -> None:
    """NULL is what the function gives for some kinds of objects."""
    snowflake.tokens[CIRCUITS] = None
    snowflake.tick()
    assert {figures["gate"] for figures in shown(snowflake.tick()).values()} == {"the source's rows are the same"}
    assert snowflake.read == OBJECTS.keys()


def test_a_view_whose_rows_depend_on_the_clock_is_read_although_its_token_stands_still(
    snowflake: Snowflake, sql: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planned outages are published when they begin; here the clock that the view asks is a table of one row."""
    snowflake.utility.tell(
        "CREATE TABLE CLOCK (NOW TIMESTAMP_NTZ); INSERT INTO CLOCK SELECT '2000-01-01';"
        "CREATE VIEW OUTAGES_STARTED AS SELECT * FROM OUTAGE_RESTORATION_TRACKER"
        " WHERE OUTAGE_START_TIME <= (SELECT NOW FROM CLOCK)"
    )
    config = tmp_path / "flux.toml"
    config.write_text("[OUTAGE_RESTORATION_TRACKER]\nobject = 'OUTAGES_STARTED'\n")
    monkeypatch.setenv("FLUX_CONFIG", str(config))
    load_settings.cache_clear()
    assert snowflake.tick().succeeded
    assert sql(f"SELECT count(*) FROM {OUTAGES}") == [(0,)]
    snowflake.utility.tell("UPDATE CLOCK SET NOW = '2100-01-01'")
    figures = shown(snowflake.tick())
    assert {name: figures[name]["gate"] for name in OBJECTS} == {
        CIRCUITS: "nothing changed but what is computed from other tables", ORDERS: "nothing changed",
        OUTAGES: "the source has no change token",
    }  # fmt: skip
    assert figures[OUTAGES]["rows_inserted"] == sql(f"SELECT count(*) FROM {OUTAGES}")[0][0] > 0


# Time travel.


def travelled(snowflake: Snowflake) -> list[str]:
    """Where the last tick's statements travelled to."""
    return [match[1] for text in snowflake.asked if (match := THERE.search(text))]


def test_all_tables_are_read_as_of_the_instant_that_the_source_tells(snowflake: Snowflake) -> None:
    told = datetime(2026, 3, 1, 12, 34, 56, 789012, tzinfo=UTC)
    snowflake.proxy.faults += [
        Fault("say", holding=ASKS_INSTANT, said=instant(told)), Fault("untravelled", holding=TRAVELS, times=None),
    ]  # fmt: skip
    run = snowflake.tick()
    assert travelled(snowflake) == ["2026-03-01T12:34:56.789012+00:00"] * 3
    assert {figures["checked_at"] for figures in shown(run).values()} == {told.timestamp()}
    assert not [line for line in run.lines() if "as it is" in line]
    assert shown(run)[OUTAGES]["rows_read"] > 0


def test_what_cannot_be_read_as_of_the_instant_is_read_as_it_is_and_the_run_says_so(
    snowflake: Snowflake, sql: Sql
) -> None:
    """An object that was replaced since: whether it can travel was asked of it as it is now."""
    message = "Time travel data is not available for table WORK_ORDERS."
    gone = Fault("say", holding=f'"WORK_ORDERS"{TRAVELS}\'', times=None, said=refused("000707", message))
    snowflake.proxy.faults += [gone, Fault("untravelled", holding=TRAVELS, times=None)]
    run = snowflake.tick()
    assert run.succeeded
    assert len(travelled(snowflake)) == 3
    first, again = (text for text in snowflake.asked if '"WORK_ORDERS"' in text and "ORDER BY" in text)
    assert again == THERE.sub("", first) != first
    (told,) = (line for line in run.lines() if "as it is now" in line)
    assert f'"WORK_ORDERS" is read as it is now, not as of the common instant. {ORDERS}: ' in told
    assert "holds nothing as of that instant: 000707" in told
    assert message.rstrip(".") in told
    assert sql(f"SELECT count(*) FROM {ORDERS}") == [(shown(run)[ORDERS]["rows_read"],)]
    assert shown(run)[ORDERS]["rows_read"] > 0


# The sign-in.


def test_every_session_carries_its_run_and_layers_and_ends_what_hangs(snowflake: Snowflake) -> None:
    run = snowflake.tick()
    (sign_in,) = snowflake.proxy.asked(LOGIN)
    parameters = sign_in["data"]["SESSION_PARAMETERS"]
    assert json.loads(parameters["QUERY_TAG"]) == {
        "app": "flux_assets", "run_id": run.run_id,
        "layer": "circuit_status_realtime, outage_restoration_tracker, work_orders",
    }  # fmt: skip
    assert parameters["TIMEZONE"] == "UTC"
    assert parameters["STATEMENT_TIMEOUT_IN_SECONDS"] == 120
    assert parameters["STATEMENT_QUEUED_TIMEOUT_IN_SECONDS"] == 60
    assert parameters["ABORT_DETACHED_QUERY"] is True
    assert sign_in["data"]["CLIENT_ENVIRONMENT"]["APPLICATION"] == "flux_assets"
