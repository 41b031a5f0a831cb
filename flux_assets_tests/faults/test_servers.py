"""Servers on bad days: full, read-only, out of connections or of room for sorting, gone and replaced by a standby."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flux_assets_tests.faults import small_disk
from flux_assets_tests.faults.case import Case, started
from flux_assets_tests.faults.child import Kind
from flux_assets_tests.faults.plugin import Judged
from flux_assets_tests.faults.standby import following
from flux_assets_tests.faults.world import World
from flux_assets_tests.made_layers import ReleaseFolder, made_up, rows

pytestmark = pytest.mark.faults


@dataclass(frozen=True)
class Refusing:
    """A setting of the server that a run cannot do its work under, and what the run has to say of it."""

    name: str
    kind: Kind
    on: str
    off: str
    said: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"

    @contextmanager
    def set_for(self, case: Case) -> Iterator[None]:
        with case.session() as session:
            session.execute(self.on.format(case.database))
            try:
                yield
            finally:
                session.execute(self.off.format(case.database))


READ_ONLY = "ALTER DATABASE {{}} SET default_transaction_read_only = {}".format
LIMIT = "ALTER ROLE flux CONNECTION LIMIT {}".format
REFUSING = [
    *(Refusing("read-only database", kind, READ_ONLY("on"), READ_ONLY("off"), "read-only")
      for kind in ("load", "rollback", "sync", "compute", "adopt", "eject", "replace")),
    *(Refusing(f"{limit} connections", kind, LIMIT(limit), LIMIT(-1), "too many connections")
      for kind, limit in (("load", 0), ("load", 1), ("rollback", 0), ("sync", 0), ("compute", 1), ("eject", 0))),
]  # fmt: skip
SORTING = Refusing(
    "temp_file_limit", "load",
    "ALTER ROLE flux IN DATABASE {0} SET temp_file_limit = 0; ALTER DATABASE {0} SET maintenance_work_mem = '1MB'",
    "ALTER ROLE flux IN DATABASE {0} RESET temp_file_limit; ALTER DATABASE {0} RESET maintenance_work_mem",
    "temp_file_limit",
)  # fmt: skip


@pytest.mark.parametrize("refusing", REFUSING, ids=str)
def test_a_server_that_refuses_is_named(world: World, judged: Judged, tmp_path: Path, refusing: Refusing) -> None:
    with (
        started(world, refusing.kind, f"a whole {refusing.kind}", refusing.name, tmp_path) as case,
        refusing.set_for(case),
    ):
        case.refused(case.job(), refusing.said)
    judged(case.verdict)


def test_no_room_for_sorting(world: World, judged: Judged, tmp_path: Path) -> None:
    """With a layer whose indexes do not fit into memory."""
    ReleaseFolder(tmp_path / "large").write(made_up(), rows(60_000, tag="e"))
    with started(world, "load", "a whole load", SORTING.name, tmp_path) as case, SORTING.set_for(case):
        case.refused(case.job(folder=str(tmp_path / "large")), SORTING.said)
    judged(case.verdict)


@pytest.mark.parametrize("kind", ["load", "rollback", "sync", "compute", "adopt", "eject", "replace"])
def test_a_standby_is_named_as_one(world: World, judged: Judged, tmp_path: Path, kind: Kind) -> None:
    with started(world, kind, f"a whole {kind}", "sent to a standby", tmp_path) as case, following(world) as standby:
        standby.catch_up()
        case.refused(case.job(conninfo=standby.conninfo(case.database)), "standby|read-only|recovery")
    judged(case.verdict)


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("load", "load.copying"), ("load", "load.before_swap"), ("load", "load.swapped"),
        ("rollback", "rollback.before_swap"), ("sync", "sync.read"), ("sync", "sync.written:faults"),
        ("sync", "sync.before_commit"), ("sync", "sync.committed"),
        ("compute", "load.before_swap"), ("adopt", "load.swapped"),
        ("eject", "eject.prepared"), ("eject", "eject.swapped"),
    ],
)  # fmt: skip
def test_a_failover_to_a_standby(world: World, judged: Judged, tmp_path: Path, kind: Kind, point: str) -> None:
    """The server is gone at the point, and what takes its place has all that it had committed."""
    with started(world, kind, point, "failover to a standby", tmp_path) as case, following(world) as standby:
        case.start(point)
        with standby.promoted():
            case.standby, case.wire.upstream = standby, standby.port
            case.finish()
            case.settle()
            case.look_for_leftovers()
    judged(case.verdict)


@pytest.mark.mounts
@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("load", "load.created"), ("load", "load.copying"), ("load", "load.copied"), ("load", "load.staged"),
        ("sync", "sync.read"), ("sync", "sync.staged:feeders"),
        ("compute", "load.copying"), ("adopt", "load.judged"), ("eject", "eject.leased"),
        ("replace", "sync.gated"),
    ],
)  # fmt: skip
def test_a_full_disk(world: World, judged: Judged, tmp_path: Path, kind: Kind, point: str) -> None:
    """Somebody else fills it at the point."""
    with small_disk.mounted(world) as disk, started(world, kind, point, "full disk", tmp_path) as case:
        disk.use(case)
        case.start(point)
        with disk.full():
            case.finish()
        case.demand("disk is full" in case.outcome.said, f"it did not say that the disk is full: {case.outcome}")
    judged(case.verdict)
