"""The processes of the embedded cluster: initdb, start, stop, and whether the server runs."""

from __future__ import annotations

import secrets
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from flux_assets.errors import EmbeddedError
from flux_assets.sample import binaries
from flux_assets.sample.layout import Address, Layout, replace_text
from flux_assets.sample.os_user import OsUser, server_account
from flux_assets.sample.processes import command_line

ADMIN = "flux_admin"
FIRST_PORT = 15432
_WAIT_SECONDS = 120
_LOG_LIMIT_BYTES = 10_000_000
_ABSENT_PROCESS = 2_147_483_646
# Tuned for bulk loads on a small machine; everything that keeps data safe stays as PostgreSQL has it.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "max_locks_per_transaction": "256",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "4GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
    "log_lock_waits": "on",
    "password_encryption": "scram-sha-256",
    "cluster_name": "flux_assets",
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server of one layout, run by one account. Callers of all but `running` hold the layout's lock."""

    layout: Layout
    account: OsUser

    @classmethod
    def of(cls, layout: Layout) -> Server:
        """Return the server with the account that must run it, its data folder chosen."""
        account = server_account(layout.data)
        layout.choose_data_folder(account)
        return cls(layout=layout, account=account)

    def initialise(self, password: str) -> None:
        """Create the cluster with one superuser, completely or not at all. Raises EmbeddedError."""
        data = self.layout.data
        fresh = data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self.account.own(fresh)
        passwords = data.with_name("initdb-password")
        replace_text(passwords, password, mode=0o600, account=self.account)
        initdb = binaries.find().program("initdb")
        ctype = "UTF-8" if sys.platform == "darwin" else "C.UTF-8"
        start = self._log_size()
        code = self._run(
            [
                initdb,
                "-D",
                str(fresh),
                "-U",
                ADMIN,
                "-A",
                "scram-sha-256",
                f"--pwfile={passwords}",
                "-E",
                "UTF8",
                "--locale=C",
                f"--lc-ctype={ctype}",
            ]
        )
        passwords.unlink()
        if code != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise self._failure("The embedded PostGIS cluster could not be made", start)
        fresh.rename(data)

    def start(self) -> None:
        """Start the server and wait until it answers. Raises EmbeddedError with the last lines of the log."""
        programs = binaries.find(int((self.layout.data / "PG_VERSION").read_text()))
        self._rotate_log()
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            if self._settled(deadline):
                return
            self._forget_reused_process()
            self._configure(programs.postgis)
            start = self._log_size()
            if self._control(programs, "start") == 0:
                return
            if not self._worth_another_try(start) or time.monotonic() > deadline:
                raise self._failure("The embedded PostGIS does not start", start)
            time.sleep(0.2)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and its sessions, if it runs. Raises EmbeddedError.

        `mode` is pg_ctl's: `fast` leaves everything in order, `immediate` leaves it to the next start.
        """
        if not self._alive():
            return
        programs = binaries.find(int((self.layout.data / "PG_VERSION").read_text()))
        start = self._log_size()
        if self._control(programs, "stop", "-m", mode) != 0 and self._alive():
            raise self._failure("The embedded PostGIS does not stop", start)

    def running(self) -> bool:
        """Return whether the server accepts connections, in well under a millisecond, whatever PG* variables say."""
        address = self.layout.read_address()
        return address is not None and self._status() == "ready" and _accepts(address)

    def _control(self, programs: binaries.ServerBinaries, *action: str) -> int:
        data = str(self.layout.data)
        return self._run([programs.program("pg_ctl"), *action, "-s", "-w", "-t", str(_WAIT_SECONDS), "-D", data])

    def _run(self, command: list[str]) -> int:
        with self.layout.log.open("ab") as log:
            return self.account.run(command, log)

    def _settled(self, deadline: float) -> bool:
        """Wait for a server that is starting or stopping; return whether it then accepts connections."""
        while self._alive() and time.monotonic() < deadline:
            if self.running():
                return True
            if self._status() == "ready" and not self._reachable_later():
                self.stop()
            time.sleep(0.05)
        return False

    def _reachable_later(self) -> bool:
        """Return False when the socket is gone for good: something cleaned up the temporary folder."""
        address = self.layout.read_address()
        return address is not None and address.socket.exists()

    def _configure(self, postgis: str) -> None:
        address = self._free_address()
        self.layout.write_address(address)
        own = {"port": str(address.port), "unix_socket_directories": address.socket_folder}
        own["shared_preload_libraries"] = postgis  # or each session would read it anew
        text = "".join(
            f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in (_SETTINGS | own).items()
        )
        heading = "# Written by flux_assets at each start. Lasting changes of yours: ALTER SYSTEM.\n"
        replace_text(self.layout.data / "postgresql.conf", heading + text, mode=0o600, account=self.account)

    def _free_address(self) -> Address:
        last = self.layout.read_address()
        port = last.port if last is not None and _port_is_free(last.port) else _free_port()
        return Address(port=port, socket_folder=self.layout.socket_folder(self.account))

    def _worth_another_try(self, log_start: int) -> bool:
        """Return whether another try may succeed: the port was just taken, or backends of a killed server still run."""
        log = self._log_since(log_start)
        return any(
            reason in log for reason in ("Address already in use", "shared memory block", "another server might")
        )

    def _status(self) -> str:
        lines = self._process_lines()
        return lines[7].strip() if len(lines) > 7 else ""

    def _process_lines(self) -> list[str]:
        try:
            return self.layout.process_file.read_text().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _alive(self) -> bool:
        lines = self._process_lines()
        return bool(lines) and lines[0].isdigit() and str(self.layout.data) in command_line(int(lines[0]))

    def _forget_reused_process(self) -> None:
        """After a reboot the number in the lock files may be another program's, and PostgreSQL would not start.

        A killed server that nobody has reaped counts as alive for it too. Of postmaster.pid only the number is
        replaced: the rest of the file guards against backends of a killed server.
        """
        lines = self._process_lines()
        if not lines or self._alive():
            return
        text = "\n".join([str(_ABSENT_PROCESS), *lines[1:]]) + "\n"
        replace_text(self.layout.process_file, text, mode=0o600, account=self.account)
        if address := self.layout.read_address():
            for left in Path(address.socket_folder).glob(".s.PGSQL.*"):
                left.unlink()

    def _rotate_log(self) -> None:
        if self._log_size() > _LOG_LIMIT_BYTES:
            self.layout.log.replace(self.layout.log.with_suffix(".log.1"))

    def _log_size(self) -> int:
        return self.layout.log.stat().st_size if self.layout.log.exists() else 0

    def _log_since(self, start: int) -> str:
        with self.layout.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _failure(self, problem: str, log_start: int) -> EmbeddedError:
        log = self._log_since(log_start).strip()
        lines = "\n".join(f"  {line}" for line in log.splitlines()[-12:])
        if "No space left on device" in log or "File too large" in log:
            remedy = f"Free disk space under {self.layout.data.parent} and try again."
        else:
            remedy = f"The whole log is {self.layout.log}. Correct what it names and try again."
        return EmbeddedError(f"{problem}. Its log says:\n{lines}\n", remedy)


def new_password() -> str:
    """Return a password that needs no quoting anywhere."""
    return secrets.token_hex(20)


def _accepts(address: Address) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(address.socket))
        except OSError:
            return False
    return True


def _port_is_free(port: int) -> bool:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    """Return the first free port from 15432 on, which is below the range of outgoing connections."""
    for port in range(FIRST_PORT, FIRST_PORT + 1000):
        if _port_is_free(port):
            return port
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
