"""From a tick to what readers see: the real `sync_all_dynamic`, from the command's start to the ledger's commit.

Here: the command, against what it costs to import Dagster and its Snowflake library alone, and the share of it that is
ours. Not here: the sync closely (sync_speed.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import psycopg

from bench import published
from bench.ground import Ground
from bench.results import Goal, Section
from bench.timing import Run, Runs, Side, Spread, alternated, cpu, seconds
from bench.whole import command as load_layers
from flux_assets.orchestration.resources import connect
from flux_assets.postgis.connect import Target
from flux_assets.release.release import Release
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import REPOSITORY
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import open_source
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.sync import Family, sync_tables
from flux_assets.tables import dynamic_tables

SCALE = 0.05
JOB = "sync_all_dynamic"
IMPORTS, COMMAND = "imports of dagster and dagster_snowflake", "the whole command"
SYNC, OWN_IMPORTS = "the sync alone, all imported", "imports of our modules after those"
MOST_OVER_IMPORTS, MOST_OF_OURS = 4.0, 1.0
_JOB = [sys.executable, "-m", "dagster", "job", "execute", "-m", "flux_assets.definitions", "-j", JOB]
_CHANGE = [sys.executable, "-c", "from flux_assets.cli.main import main; main()", "simulate", "--tick"]
_THEIRS = "import dagster, dagster_snowflake, time; "
_OURS = """
begun = time.perf_counter()
import flux_assets.definitions, flux_assets.sync.sync, flux_assets.sync.live_audit, flux_assets.previews.sync_preview
import flux_assets.wiring.source, flux_assets.wiring.target, flux_assets.snowflake.source
print(time.perf_counter() - begun)
"""
_WRITTEN = "SELECT sync_type, completed_at FROM postgres_sync.sync_status WHERE started_at > %s AND status = 'SUCCESS'"


def measure(ground: Ground, release: Release, pairs: int) -> Section:
    """Layers and a first sync, then the sides in turn; something has changed in the source before each sync."""
    environment = ground.environment() | {"FLUX_RELEASE": str(release.address)}
    target = ground.fresh_map_database()
    ground.cluster.ensure_plain_database()
    load_layers(ground, release)
    stand_in = StandIn(ground.cluster.home)
    try:
        published.run(_JOB, environment, REPOSITORY)
        change = partial(_change, environment)
        sides = [
            Side(name=IMPORTS, run=lambda: _python(environment, _THEIRS)),
            Side(name=COMMAND, run=lambda: _tick(environment, target), ready=change),
            Side(name=SYNC, run=lambda: _sync(stand_in, target), ready=change),
            Side(name=OWN_IMPORTS, run=lambda: _python(environment, _THEIRS + _OURS)),
        ]
        return _section(alternated(sides, pairs, ground), pairs)
    finally:
        stand_in.stop()


def _change(environment: dict[str, str]) -> None:
    published.run(_CHANGE, environment, REPOSITORY)


def _python(environment: dict[str, str], code: str) -> dict[str, float]:
    """A fresh Python with this code, which may print seconds."""
    said, _ = published.run([sys.executable, "-c", code], environment, REPOSITORY)
    return {"took": float(said)} if said else {}


def _tick(environment: dict[str, str], target: Target) -> dict[str, float]:
    """The whole command; when, from its start, the ledger says that the tables were written."""
    begun = datetime.now(UTC)
    published.run(_JOB, environment, REPOSITORY)
    with psycopg.connect(target.conninfo) as session:
        rows = session.execute(_WRITTEN, [begun]).fetchall()
    if not any(kind == "DELTA" for kind, _ in rows):
        raise RuntimeError(f"the sync was to write something: {rows}")
    return {"visible": (max(at for _, at in rows).astimezone(UTC) - begun).total_seconds()}


def _sync(stand_in: StandIn, target: Target) -> None:
    """The sync as the step runs it, through dagster-snowflake, where all is imported."""
    tables, opening = dynamic_tables(), partial(open_source, stand_in.account(), Overrides(), connect=connect)
    result = sync_tables([each.name for each in tables], Family(tables=tables), opening, target, SyncOptions(), print)
    if failed := [each.error for each in result.tables if each.error]:
        raise failed[0]


def _section(runs: Runs, pairs: int) -> Section:
    visible, sync, own = _steps(runs, COMMAND, "visible"), seconds(runs[SYNC]), _steps(runs, OWN_IMPORTS, "took")
    over = Spread(tuple(run.steps["visible"] - alone.seconds for run, alone in _together(runs, COMMAND, IMPORTS)))
    ours = Spread(tuple(run.seconds + alone.steps["took"] for run, alone in _together(runs, SYNC, OWN_IMPORTS)))
    return Section(
        title=f"Tick to visible: {JOB} at sample scale {SCALE:g}, {pairs} rounds in turn",
        columns=["what", "seconds", "CPU s, client + server"],
        rows=[
            [IMPORTS, seconds(runs[IMPORTS]).text(), cpu(runs[IMPORTS])],
            [f"{COMMAND}, start to commit", visible.text(), ""],
            [f"{COMMAND}, start to end", seconds(runs[COMMAND]).text(), cpu(runs[COMMAND])],
            [SYNC, sync.text(3), cpu(runs[SYNC])],
            [OWN_IMPORTS, own.text(3), ""],
        ],
        goals=[
            Goal(
                claim="tick to visible, beyond the imports of dagster and dagster_snowflake",
                wanted=f"≤ {MOST_OVER_IMPORTS:g} s", measured=f"{over.text()} s", met=over.median <= MOST_OVER_IMPORTS,
            ),
            Goal(
                claim="of it ours: the sync and our imports", wanted=f"≤ {MOST_OF_OURS:g} s",
                measured=f"{ours.text()} s", met=ours.median <= MOST_OF_OURS,
            ),
        ],
        notes=[
            "each in a fresh process but the sync alone; the simulated utility takes a step before each sync",
            "visible: when the sync closed its row in the ledger, in the transaction that wrote the tables",
            "our imports: what our modules import that those two have not, third-party packages included",
        ],
        values={name: [vars(run) for run in found] for name, found in runs.items()},
    )  # fmt: skip


def _steps(runs: Runs, name: str, step: str) -> Spread:
    return Spread(tuple(run.steps[step] for run in runs[name]))


def _together(runs: Runs, left: str, right: str) -> Iterator[tuple[Run, Run]]:
    """Runs of the same round."""
    return zip(runs[left], runs[right], strict=True)
