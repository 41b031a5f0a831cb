"""A tablespace on a disk of a few megabytes, which can be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from flux_assets.sample.cluster import OWNER
from flux_assets.sample.os_user import server_account
from flux_assets_tests.faults.case import Case
from flux_assets_tests.faults.world import World

_NAME = "small_disk"
_BYTES = 32 << 20


@dataclass(frozen=True)
class Disk:
    """The disk, mounted."""

    folder: Path

    def use(self, case: Case) -> None:
        """Let everything that is made in the case's database from now on lie there."""
        with case.session() as session:
            for setting in ("default_tablespace", "temp_tablespaces"):
                change = sql.SQL("ALTER DATABASE {} SET {} = {}")
                session.execute(change.format(sql.Identifier(case.database), sql.SQL(setting), sql.Identifier(_NAME)))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Somebody else's file takes all the room while the block runs."""
        filling = self.folder / "filling"
        with suppress(OSError), filling.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        with suppress(OSError), filling.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        try:
            yield
        finally:
            filling.unlink()


@contextmanager
def mounted(world: World) -> Iterator[Disk]:
    """The disk with its tablespace, for as long as the block lasts; only root may mount one."""
    folder = world.scratch() / _NAME
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_BYTES},mode=755", "tmpfs", folder], check=True)
    try:
        space = folder / "space"
        space.mkdir(mode=0o700)
        server_account(world.cluster.data).own(space)
        name = sql.Identifier(_NAME)
        with world.cluster.admin_session() as admin:
            admin.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(name, sql.Literal(str(space))))
            admin.execute(sql.SQL("GRANT CREATE ON TABLESPACE {} TO {}").format(name, sql.Identifier(OWNER)))
        yield Disk(folder)
        with world.cluster.admin_session() as admin:
            admin.execute(sql.SQL("DROP TABLESPACE {}").format(name))
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()
