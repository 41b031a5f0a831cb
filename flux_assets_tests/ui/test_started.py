"""`make ui` has the sync's schedule running and, on the stand-in, a gentle simulation; whichever way it is stopped,
nothing of it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from uuid import uuid4

import pytest
import snowflake.connector

from flux_assets.sample.simulation.store import SourceTables
from flux_assets.sample.stand_in.server import StandIn
from flux_assets_tests.ui.opened import OWN, PATIENCE, Place, opened

pytestmark = pytest.mark.ui

SCHEDULES = """{ schedulesOrError(repositorySelector: {
    repositoryName: "__repository__", repositoryLocationName: "flux_assets"
}) { ... on Schedules { results { name scheduleState { status } } } } }"""
GENTLY = "flux-assets simulate --every 60 --minutes-per-tick 1"


def running_schedules(place: Place) -> set[str]:
    body = json.dumps({"query": SCHEDULES}).encode()
    request = urllib.request.Request(f"{place.address}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        found = json.load(answer)["data"]["schedulesOrError"]["results"]
    return {schedule["name"] for schedule in found if schedule["scheduleState"]["status"] == "RUNNING"}


def steps_simulated(place: Place) -> int:
    """As the source remembers them."""
    with snowflake.connector.connect(**StandIn(place.home).account().arguments()) as connection:
        return SourceTables(connection).clock().ticks


def commands_of(group: int) -> list[str]:
    """Of the processes of a group, without those that have ended and only wait to be noticed."""
    listed = subprocess.run(["ps", "-ww", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    found = (line.split(maxsplit=2) for line in listed.stdout.splitlines())
    return [args for pgid, state, args in found if int(pgid) == group and not state.startswith("Z")]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def simulates(group: int) -> bool:
    return any(command.endswith(GENTLY) for command in commands_of(group))


@pytest.mark.parametrize(
    ("stop", "sent"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"]
)
def test_the_sync_is_scheduled_and_the_source_changes_until_it_is_stopped(
    stop: Callable[[int, int], None], sent: signal.Signals
) -> None:
    with opened(scale=0.005, within=OWN / "homes" / uuid4().hex[:8]) as place:
        group = place.process
        assert {"dynamic_sync_schedule", "prune_history_schedule"} <= running_schedules(place)
        wait_until(lambda: steps_simulated(place) > 0)
        assert simulates(group), commands_of(group)
        stop(group, sent)
        # Noticed by its parent, which is this process: until then it looks alive to what watches it.
        wait_until(lambda: os.waitpid(group, os.WNOHANG) != (0, 0))
        wait_until(lambda: not commands_of(group))
