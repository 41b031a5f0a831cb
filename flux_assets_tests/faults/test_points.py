"""Every fault at every point of loads, rollbacks, syncs, and of adopting and ejecting tables."""

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
# A computed layer and one that takes a table over are loads: the steps that these do otherwise.
COMPUTE = (
    "load.resolved", "load.leased", "load.created", "load.copying", "load.copied", "load.before_swap", "load.swapped",
)  # fmt: skip
ADOPT = (
    "load.leased", "load.reconciled", "load.staged", "load.judged", "load.before_swap", "load.swapped", "load.tidied",
)  # fmt: skip
EJECT = ("run.opened", "run.recorded", "eject.leased", "eject.prepared", "eject.swapped")
REPLACE = ("sync.gated", "sync.begun", "sync.written:feeders")
# Statements that a run sends, whatever else goes with them in the same round trip.
SENT: dict[Kind, tuple[str, ...]] = {
    "load": ("sql:CREATE INDEX", "sql:DETACH PARTITION", "sql:LOCK TABLE ONLY"),
    "rollback": ("sql:DETACH PARTITION",),
    "release": ("sql:DETACH PARTITION",),
    "sync": ("sql:COPY", "sql:LOCK TABLE", 'sql:UPDATE ONLY "public"', "sql:COMMIT"),
    "compute": ("sql:COPY (SELECT", "sql:DETACH PARTITION"),
    "adopt": (
        "sql:AS SELECT NULL::", "sql:ATTACH PARTITION", "sql:REFRESH MATERIALIZED VIEW flux_versions.spans",
        "sql:flux.swap",
    ),
    "eject": (
        "sql:AS SELECT NULL::", 'sql:RENAME TO "towers"', "sql:REFRESH MATERIALIZED VIEW flux_versions.towers",
        "sql:flux.swap", 'sql:of_layer" DETACH PARTITION',
    ),
    "replace": ("sql:TO STDOUT (FORMAT binary)", "sql:FREEZE", "sql:flux.swap"),
}  # fmt: skip
POINTS: dict[Kind, tuple[str, ...]] = {
    "load": LOAD, "rollback": ROLLBACK, "release": RELEASE, "sync": SYNC,
    "compute": COMPUTE, "adopt": ADOPT, "eject": EJECT, "replace": REPLACE,
}  # fmt: skip
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
    ("load.copied", "SIGSTOP, overtaken, SIGCONT"),
    ("eject.prepared", "kill -9"),
    ("eject.prepared", "SIGSTOP, woken amid the next run"),
    ("eject.swapped", "kill -9"),
}
WHILE_SENT = EVERYWHERE.keys() - {"SIGTERM", "PostgreSQL stopped at once"}
# No time-out of the server's ends a session whose client is frozen in the midst of a COPY into a table.
NEVER = {("replace", "sql:FREEZE", fault) for fault in EVERYWHERE if "SIGSTOP" in fault}
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
    if (kind, point, fault) not in NEVER
]


@pytest.mark.parametrize(("kind", "point", "fault"), CASES)
def test_nothing_is_lost_and_the_next_run_needs_no_hand(
    world: World, judged: Judged, tmp_path: Path, kind: Kind, point: str, fault: str
) -> None:
    judged(run_case(world, kind, point, fault, EVERYWHERE[fault], tmp_path))
