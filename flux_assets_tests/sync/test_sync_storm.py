"""The guard against the simulated utility: a storm's mass closing passes, a source that lost its rows is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import snowflake.connector

from flux_assets.postgis.session import Target
from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.simulation.seeding import seed
from flux_assets.sample.simulation.tick import Ticked, tick
from flux_assets.snowflake.account import Account
from flux_assets.tables import dynamic_tables
from flux_assets_tests.conftest import Sql
from flux_assets_tests.sample.test_simulation import STEP, grid
from flux_assets_tests.synced import Utility

OUTAGES = "outage_restoration_tracker"
COUNTS_AGREE = """
SELECT count(*) FROM circuit_status_realtime AS c WHERE outage_count IS DISTINCT FROM (
    SELECT count(*) FROM outage_restoration_tracker AS o
    WHERE o.circuit_id = c.circuit_id AND o.status IN ('ACTIVE', 'ASSIGNED', 'IN_PROGRESS'))
"""


@pytest.fixture
def city(source: Account, target: Target) -> Utility:
    """All declared tables, from a source that the simulation fills."""
    return Utility(account=source, target=target, tables=dynamic_tables())


def begun(city: Utility, now: datetime) -> Callable[..., Ticked]:
    """The city as of `now`; what is returned takes one step more each time, in whatever weather."""
    with city.connected() as connection:
        seed(connection, grid(), now=now)
    steps = iter(range(1, 100))

    def step(**weather: bool) -> Ticked:
        number = next(steps)
        with snowflake.connector.connect(**city.account.arguments()) as connection:
            return tick(connection, random_stream(3, number), now + number * STEP, **weather)

    return step


def today() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def test_a_storm_may_end_all_at_once(city: Utility, sql: Sql) -> None:
    """It began before the window does: whatever closes leaves, and is still in the source."""
    step = begun(city, today() - timedelta(days=60))
    city.synced()
    struck = step(storm=True)
    assert struck.begun > 20
    assert city.synced()[OUTAGES].inserted >= struck.begun
    assert sql(COUNTS_AGREE) == [(0,)]
    restored = step(calm=True).restored
    assert restored > 20
    said = city.synced()[OUTAGES]
    assert (said.deleted >= restored, said.vanished) == (True, 0)
    assert said.deleted > said.rows, "most of the table"
    assert sql(COUNTS_AGREE) == [(0,)]


@pytest.mark.parametrize(
    "lost", ["TRUNCATE TABLE {}", "DELETE FROM {} WHERE MOD(CUSTOMERS_AFFECTED, 2) = 0"], ids=["truncated", "half"]
)
def test_a_source_that_is_emptied_in_a_storm_is_refused_until_it_is_accepted(
    city: Utility, sql: Sql, lost: str
) -> None:
    step = begun(city, today() - 10 * STEP)
    step(storm=True)
    before = city.synced()[OUTAGES].rows
    rows = "SELECT md5(string_agg(o::text, '' ORDER BY outage_id)) FROM outage_restoration_tracker AS o"
    held = sql(rows)
    city.tell(lost.format("OUTAGE_RESTORATION_TRACKER"))
    step(calm=True)
    for _ in range(2):
        failed = city.failed()
        assert failed.keys() == {OUTAGES}
        assert f"of its {before:,} rows are gone from OUTAGE_RESTORATION_TRACKER" in failed[OUTAGES]
        assert "accept_vanished: true" in failed[OUTAGES]
        assert sql(rows) == held
        assert sql(COUNTS_AGREE) == [(0,)], "the circuits go on, and show the outages as they stand here"
    said = city.synced(accept_vanished=True)[OUTAGES]
    assert said.deleted > 0.2 * before
    assert sql(COUNTS_AGREE) == [(0,)]
    assert city.synced()[OUTAGES].outcome == "unchanged"
