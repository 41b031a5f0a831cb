"""The operating system's user that runs the embedded server: another one for root, which PostgreSQL refuses."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flux_assets.errors import EmbeddedError

_CANDIDATES = ("postgres", "_postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class OsUser:
    """A user that is not root; `other` says that it is not the one this process runs as."""

    uid: int
    gid: int
    other: bool

    def run(self, command: list[str], output: IO[bytes]) -> int:
        """Run a program as this user, in a separate session that Ctrl-C does not reach; return its exit code."""
        as_other = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.other else {}
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            check=False,
            **as_other,  # type: ignore[call-overload]
        )
        return int(done.returncode)

    def own(self, path: Path) -> None:
        """Hand a file or folder over to this user."""
        if self.other:
            os.chown(path, self.uid, self.gid)

    def can_reach(self, folder: Path) -> bool:
        """Return whether this user may traverse the folder and all its parents."""
        if not self.other:
            return True
        with Path(os.devnull).open("wb") as nowhere:
            return self.run(["test", "-x", str(folder)], nowhere) == 0


def server_account(data: Path) -> OsUser:
    """Return the owner of an existing cluster, else this process's user, else (for root) `postgres` or `nobody`.

    Raises EmbeddedError when the cluster belongs to somebody else.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in {None, os.geteuid()}:
            raise EmbeddedError(
                f"The embedded cluster in {data} belongs to another user (uid {owner}).",
                "Run as that user, or set FLUX_HOME to a folder of your own.",
            )
        return OsUser(uid=os.geteuid(), gid=os.getegid(), other=False)
    return _account(owner) if owner else _stand_in_for_root()


def _account(uid: int) -> OsUser:
    try:
        return OsUser(uid=uid, gid=pwd.getpwuid(uid).pw_gid, other=True)
    except KeyError:
        return OsUser(uid=uid, gid=uid, other=True)


def _stand_in_for_root() -> OsUser:
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsUser(uid=entry.pw_uid, gid=entry.pw_gid, other=True)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is no user postgres or nobody to run it as.",
        "Run as another user, or set FLUX_POSTGRES_URL.",
    )


def _environment() -> dict[str, str]:
    """Return an English environment without PG* variables: PGDATA, PGPORT and the like affect server programs too."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}
