"""Where the files of the embedded cluster lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from flux_assets.sample.os_user import OsUser

ELSEWHERE = Path("/var/lib/flux_assets")
# sockaddr_un holds 104 bytes on macOS and 108 on Linux, with the name `.s.PGSQL.<port>` and a closing NUL.
_LONGEST_SOCKET_FOLDER = 104 - len("/.s.PGSQL.65535") - 1


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the server listens: a TCP port on 127.0.0.1, and the folder of its Unix socket."""

    port: int
    socket_folder: str

    @property
    def socket(self) -> Path:
        """The Unix socket itself."""
        return Path(self.socket_folder) / f".s.PGSQL.{self.port}"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The paths of the cluster of one FLUX_HOME."""

    home: Path

    @property
    def folder(self) -> Path:
        """What this user writes of the cluster: log, secrets, address, and usually the data."""
        return self.home / "postgres"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets.json"

    @property
    def pointer(self) -> Path:
        """The file that names the data folder where the server's user cannot reach FLUX_HOME."""
        return self.folder / "data-is-elsewhere"

    @property
    def data(self) -> Path:
        """The server's data folder."""
        if self.pointer.exists():
            return ELSEWHERE / hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:16] / "data"
        return self.folder / "data"

    @property
    def process_file(self) -> Path:
        return self.data / "postmaster.pid"

    def choose_data_folder(self, account: OsUser) -> None:
        """Point elsewhere when the account cannot traverse FLUX_HOME (a repository in /root, for example)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.data.exists() and not self.pointer.exists() and not account.can_reach(self.folder):
            self.pointer.touch()
            self.pointer.write_text(f"{self.data}\n")
        if self.pointer.exists():
            self.data.parent.mkdir(parents=True, exist_ok=True)

    def socket_folder(self, account: OsUser) -> str:
        """Return the folder of the Unix socket, created if necessary: beside the data, or a short temporary one."""
        beside = self.data.parent / "socket"
        if len(os.fsencode(beside)) <= _LONGEST_SOCKET_FOLDER:
            beside.mkdir(exist_ok=True, mode=0o700)
            account.own(beside)
            return str(beside)
        address = self.read_address()
        if address is not None and Path(address.socket_folder).is_dir():
            return address.socket_folder
        # Not TMPDIR, which may be as deep; mkdtemp makes the folder private.
        short = Path(tempfile.mkdtemp(prefix="flux-", dir="/tmp"))
        account.own(short)
        return str(short)

    def read_address(self) -> Address | None:
        """Return the address of the last start; None before the first."""
        try:
            return Address(**json.loads((self.folder / "address.json").read_text()))
        except FileNotFoundError:
            return None

    def write_address(self, address: Address) -> None:
        replace_text(self.folder / "address.json", json.dumps(asdict(address)), mode=0o644)

    def remove(self) -> None:
        """Delete every folder of the cluster, those outside FLUX_HOME too."""
        address = self.read_address()
        folders = [self.data.parent, self.folder, *([Path(address.socket_folder)] if address else [])]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from creating, starting or stopping the cluster; the lock ends with its process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            flock(file, LOCK_EX)
            yield


def replace_text(path: Path, text: str, *, mode: int, account: OsUser | None = None) -> None:
    """Write a file completely or not at all, with its mode and owner from the first byte on."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    if account is not None:
        account.own(fresh)
    fresh.replace(path)
