"""All checks of all thirteen tables, of the live tables: the command that a user types, and each table's alone.

Here: loading once, then `dagster job execute` and the checks in this process, in turn. Not here: the checks that read
the release or Snowflake's rows again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from time import perf_counter

from bench import ours, published
from bench.ground import Ground
from bench.results import Goal, Section
from bench.timing import Runs, Side, Spread, alternated, cpu, seconds
from flux_assets.checks.audit import AuditResult
from flux_assets.checks.audits import all_audits_of
from flux_assets.checks.sync_audits import sync_audits
from flux_assets.layers.status import audit_live
from flux_assets.postgis.connect import Stop, Target
from flux_assets.release.release import Release
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import REPOSITORY
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sync.live_audit import AuditRequest, audit_tables

COMMAND, HERE = "dagster job execute -j check_all_tables", "the checks alone, two tables at once"
AT_ONCE = 2
BUDGET_SECONDS = 60
_DAGSTER = [sys.executable, "-m", "dagster"]
_CHECK = [*_DAGSTER, "job", "execute", "-m", "flux_assets.definitions", "-j", "check_all_tables"]
_SYNC = [*_DAGSTER, "asset", "materialize", "-m", "flux_assets.definitions", "--select", "group:dynamic_operations"]


def measure(
    ground: Ground, layers: Sequence[StaticTable], synced: Sequence[DynamicTable], release: Release, pairs: int
) -> Section:
    """Load and sync everything once, then run all checks, each way in turn."""
    target = ground.fresh_map_database()
    ground.cluster.ensure_plain_database()
    environment = ground.environment() | {"FLUX_RELEASE": str(release.address)}
    try:
        ground.say("  loading and syncing everything …")
        ours.load_all(layers, release, target, AT_ONCE)
        published.run(_SYNC, environment, REPOSITORY)
        sides = [
            Side(name=COMMAND, run=lambda: published.run(_CHECK, environment, REPOSITORY) and None),
            Side(name=HERE, run=partial(_all, layers, synced, target)),
        ]
        runs = alternated(sides, pairs, ground)
        slowest = _by_check(layers, target)
    finally:
        StandIn(ground.cluster.home).stop()
    return _section(runs, slowest, len(layers) + len(synced))


def _all(layers: Sequence[StaticTable], synced: Sequence[DynamicTable], target: Target) -> dict[str, float]:
    """All checks in this process; seconds by table."""
    longest_first = sorted(layers, key=lambda table: -table.release_rows)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        times = dict(pool.map(partial(_timed, target), longest_first))
    begun = perf_counter()
    questions = [AuditRequest(table=table, names={a.name for a in sync_audits(table)}, missing=()) for table in synced]
    looks = audit_tables(questions, target, _no_source, Stop())
    _trusted([audit for look in looks.values() for audit in look.audits])
    return {**times, "dynamic tables": perf_counter() - begun}


def _timed(target: Target, table: StaticTable) -> tuple[str, float]:
    begun = perf_counter()
    _trusted(audit_live(table, target))
    return table.name, perf_counter() - begun


def _no_source() -> AbstractContextManager[Source]:
    raise RuntimeError("the source was asked")


def _trusted(results: Sequence[AuditResult]) -> None:
    """Of the sample city every check passes, but that nobody syncs it while this runs."""
    if wrong := [f"{result.name}: {result.sample}" for result in results if not result.passed and result.name != "lag"]:
        raise RuntimeError(f"checks failed: {wrong}")


def _by_check(layers: Sequence[StaticTable], target: Target) -> dict[str, float]:
    """Seconds of each check of the largest layer, each in a session of its own that counts the rows first."""
    table = max(layers, key=lambda layer: layer.release_rows)
    times = {}
    for audit in all_audits_of(table):
        begun = perf_counter()
        audit_live(table, target, {audit.name})
        times[f"{table.name} {audit.name}"] = perf_counter() - begun
    return times


def _section(runs: Runs, by_check: dict[str, float], tables: int) -> Section:
    whole, steps = seconds(runs[COMMAND]), runs[HERE][0].steps
    medians = {name: Spread(tuple(run.steps[name] for run in runs[HERE])).median for name in steps}
    return Section(
        title=f"All checks of {tables} live tables, {len(runs[COMMAND])} rounds in turn",
        columns=["what", "seconds", "CPU s, client + server"],
        rows=[
            [COMMAND, whole.text(1), cpu(runs[COMMAND])],
            [HERE, seconds(runs[HERE]).text(1), cpu(runs[HERE])],
            *([f"  {name}", f"{took:.2f}", ""] for name, took in sorted(medians.items(), key=lambda item: -item[1])),
        ],
        goals=[
            Goal(
                claim=f"all checks of {tables} live tables, the whole command", wanted=f"≤ {BUDGET_SECONDS} s",
                measured=f"{whole.text(1)} s", met=max(whole.values) <= BUDGET_SECONDS,
            )
        ],
        notes=[f"{name}: {took:.2f} s, with its session" for name, took in by_check.items()],
        values={"by_check": by_check, **{name: [vars(run) for run in found] for name, found in runs.items()}},
    )  # fmt: skip
