"""A second server that follows the first, and takes its place."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psycopg
from psycopg.conninfo import make_conninfo

from flux_assets.sample.os_user import server_account
from flux_assets_tests.faults.world import BARE, World, control

_CAUGHT_UP_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Standby:
    """A standby that runs."""

    world: World
    data: Path
    port: int

    def conninfo(self, database: str, *, admin: bool = False) -> str:
        return make_conninfo(self.world.conninfo(database, admin=admin), host="127.0.0.1", port=self.port)

    def catch_up(self) -> None:
        """Wait until it has all that the first server has committed."""
        with psycopg.connect(self.world.conninfo(BARE, admin=True), autocommit=True) as first:
            (there,) = first.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or (None,)
            first.execute("SELECT pg_switch_wal()")
        deadline = monotonic() + _CAUGHT_UP_SECONDS
        with psycopg.connect(self.conninfo(BARE, admin=True), autocommit=True) as other:
            while other.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [there]).fetchone() != (True,):
                assert monotonic() < deadline, "the standby does not follow"
                sleep(0.02)

    @contextmanager
    def promoted(self) -> Iterator[None]:
        """The first server is gone at once, and this one takes its place, for as long as the block lasts."""
        self.catch_up()
        self.world.stop("immediate")
        control(self.data, "promote")
        try:
            yield
        finally:
            self.world.cluster.start()


@contextmanager
def following(world: World) -> Iterator[Standby]:
    """A standby of the world's server, for as long as the block lasts."""
    data = world.scratch() / "standby"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    server_account(world.cluster.data).own(data)
    world.run_as_server(
        "pg_basebackup", "-D", str(data), "-R", "-X", "stream", "-c", "fast", "-d",
        world.for_programs("postgres"),
    )  # fmt: skip
    port = _free_port()
    control(data, "start", "-o", f"-c port={port} -c cluster_name=standby", "-l", str(data.with_name("standby.log")))
    try:
        yield Standby(world=world, data=data, port=port)
    finally:
        control(data, "stop", "-m", "immediate")
        shutil.rmtree(data, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
