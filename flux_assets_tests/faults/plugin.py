"""Fixtures of the fault suite, and the table that it writes of itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from flux_assets.snowflake.account import Account
from flux_assets_tests.faults import report
from flux_assets_tests.faults.case import Verdict
from flux_assets_tests.faults.child import PROCESSES
from flux_assets_tests.faults.world import World

Judged = Callable[[Verdict], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("the fault suite")
    group.addoption("--fault-table", metavar="FILE", help="write the table of all fault cases between FILE's markers")
    group.addoption("--soak-ticks", type=int, default=300, metavar="N", help="syncs under random faults (default 300)")
    group.addoption("--soak-seed", type=int, default=1, metavar="N", help="which faults (default 1)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only root may do; the table then has that many cases fewer."""
    if os.geteuid() != 0 and (left_out := [item for item in items if item.get_closest_marker("mounts")]):
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def world(source_server: Account, worker_id: str) -> Iterator[World]:
    """A cluster of this process's own, which the cases stop and crash."""
    PROCESSES.set_forkserver_preload(["flux_assets_tests.faults.child", "flux_assets_tests.faults.readers"])
    world = World.made(Path(os.environ["FLUX_HOME"]) / "homes" / f"faults-{worker_id}", source_server)
    yield world
    world.remove()


@pytest.fixture
def judged(record_property: Callable[[str, object], None]) -> Judged:
    """Hand a verdict in: it goes into the table, and must hold what is promised."""

    def judge(verdict: Verdict) -> None:
        record_property(report.PROPERTY, asdict(verdict) | {"problems": verdict.problems})
        assert verdict.problems == []

    return judge


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where all reports come together, write the table: of a whole run, neither interrupted nor narrowed down."""
    if exitstatus not in (0, 1) or session.config.getoption("keyword"):
        return
    path = session.config.getoption("--fault-table")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if path and reporter is not None and not hasattr(session.config, "workerinput"):
        reports = [each for kind in ("passed", "failed") for each in reporter.stats.get(kind, [])]
        report.write(Path(path), report.verdicts(reports))
