"""Every fault at every point of a load, of a release that is loaded whole, of a rollback and a sync."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_assets_tests.faults import harms
from flux_assets_tests.faults.case import Harm, run_case
from flux_assets_tests.faults.child import Kind
from flux_assets_tests.faults.plugin import Judged
from flux_assets_tests.faults.world import World

LOAD = (
    "run.opened", "run.recorded", "load.resolved", "load.leased", "load.reconciled", "load.cleaned", "load.fetched",
    "load.registered", "load.created", "load.copying", "load.copied", "load.staged", "load.indexed", "load.analyzed",
    "load.audited", "load.judged", "load.before_swap", "load.swapped", "load.tidied", "load.done",
)  # fmt: skip
ROLLBACK = (
    "run.opened", "run.recorded", "rollback.leased", "rollback.reconciled", "rollback.before_swap", "rollback.swapped",
    "rollback.analyzed",
)  # fmt: skip
SYNC = (
    "sync.opened", "sync.gated", "sync.begun", "sync.looked", "sync.read", "sync.staged:faults", "sync.compared:faults",
    "sync.written:faults", "sync.staged:feeders", "sync.compared:feeders", "sync.written:feeders", "sync.refreshed",
    "sync.before_commit", "sync.committed", "sync.analyzed",
)  # fmt: skip
# Where several layers are loaded as one, one is at the point, and the others wait for it or are published with it.
RELEASE = ("load.staged", "load.before_swap", "load.swapped")
# Statements that a run sends, whatever else goes with them in the same round trip.
SENT: dict[Kind, tuple[str, ...]] = {
    "load": ("sql:CREATE INDEX", "sql:DETACH PARTITION", "sql:LOCK TABLE ONLY"),
    "rollback": ("sql:DETACH PARTITION",),
    "release": ("sql:DETACH PARTITION",),
    "sync": ("sql:COPY", "sql:LOCK TABLE", 'sql:UPDATE ONLY "public"', "sql:COMMIT"),
}
POINTS: dict[Kind, tuple[str, ...]] = {"load": LOAD, "rollback": ROLLBACK, "release": RELEASE, "sync": SYNC}
EVERYWHERE: dict[str, Harm] = {
    "kill -9": harms.killed,
    "SIGTERM": harms.terminated,
    "SIGSTOP, overtaken, SIGCONT": harms.frozen,
    "sessions terminated": harms.sessions_ended,
    "connection cut": harms.cut,
    "silent towards the server": harms.silent_up,
    "silent towards the run": harms.silent_down,
    "PostgreSQL stopped at once": harms.server_crashed,
    "SIGSTOP, woken amid the next run": harms.woken_amid,
}
QUICK = {
    ("load.copying", "kill -9"),
    ("load.before_swap", "SIGSTOP, overtaken, SIGCONT"),
    ("sync.before_commit", "kill -9"),
    ("sync.written:faults", "connection cut"),
    ("rollback.before_swap", "sessions terminated"),
}
WHILE_SENT = EVERYWHERE.keys() - {"SIGTERM", "PostgreSQL stopped at once"}
CASES = [
    pytest.param(
        kind, point, fault, id=f"{kind}-{point}-{fault}", marks=() if (point, fault) in QUICK else pytest.mark.faults
    )
    for kind, points in POINTS.items()
    for point in points
    for fault in EVERYWHERE
] + [
    pytest.param(
        kind, point, fault, id=f"{kind}-{point}-{fault}", marks=() if (point, fault) in QUICK else pytest.mark.faults
    )
    for kind, points in SENT.items()
    for point in points
    for fault in sorted(WHILE_SENT)
]


@pytest.mark.parametrize(("kind", "point", "fault"), CASES)
def test_nothing_is_lost_and_the_next_run_needs_no_hand(
    world: World, judged: Judged, tmp_path: Path, kind: Kind, point: str, fault: str
) -> None:
    judged(run_case(world, kind, point, fault, EVERYWHERE[fault], tmp_path))
