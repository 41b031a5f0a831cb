"""The stand-in of one FLUX_HOME: start on demand, stop by its own process file, how to connect."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from flux_assets.errors import EmbeddedError, SettingError
from flux_assets.release.release import Release
from flux_assets.sample.processes import accepts, alone, command_line
from flux_assets.sample.stand_in.door import HELLO, USER
from flux_assets.sample.stand_in.layout import Layout, Listening
from flux_assets.settings import STAND_IN
from flux_assets.snowflake.account import Account
from flux_assets.spec import DynamicTable

NAME = STAND_IN
DATABASE, SCHEMA = "FLUX_DB", "PRODUCTION"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")
_DAEMON = "flux_assets.sample.stand_in.daemon"
_NEEDED = ("fakesnow", "uvicorn", "starlette")
_WAIT_SECONDS = 60
_STOP_SECONDS = 15
_GREETING_SECONDS = 30
# The connector retries at the old port for ever; a slow answer is waited for all the same.
_RETRIED_SECONDS = 2
_LOG_LIMIT_BYTES = 10_000_000


@dataclass(frozen=True)
class StandIn:
    """The stand-in's server for one FLUX_HOME. Every method may be called by several processes at once."""

    home: Path

    @cached_property
    def layout(self) -> Layout:
        """The files of the stand-in."""
        return Layout(folder=self.home.absolute() / "snowflake")

    @property
    def running(self) -> bool:
        """Whether the server accepts connections now."""
        listening = self.layout.read_listening()
        return listening is not None and self._is_ours(listening.pid) and accepts(listening.port)

    def start(self) -> None:
        """Start the server if it does not run, and wait until it answers.

        Raises EmbeddedError with the last lines of the log, or naming what to install.
        """
        if self._answers():
            return
        try:
            with alone(self.layout.lock):
                if not self._answers():
                    self._start()
        except OSError as error:
            raise EmbeddedError(
                f"The Snowflake stand-in cannot use {self.layout.folder}: {error}.",
                "Free space or correct the folder's rights, or set FLUX_HOME to another folder.",
            ) from error

    def ensure(
        self,
        release: Callable[[], Release] | None = None,
        *,
        database: str = DATABASE,
        schema: str = SCHEMA,
        outside: Iterable[DynamicTable] = (),
    ) -> Account:
        """Start the server, fill the tables of the schema if that was never done, and return how to connect.

        They are filled from `release`, called only then; by default from the sample city under FLUX_HOME. The sources
        of tables declared `outside`, which nothing simulates, are there without rows. Raises
        EmbeddedError as `start` does, SettingError for illegal names, and ReleaseError when the release is unavailable.
        """
        from flux_assets.sample.simulation.seeding import ensure_empty, ensure_seeded

        names = {"database": _plain("SNOWFLAKE_DATABASE", database), "schema": _plain("SNOWFLAKE_SCHEMA", schema)}
        self.start()
        account = self.account(**names)
        ensure_seeded(self.layout, release or self._sample, account)
        ensure_empty(self.layout, account, outside)
        return account

    def stop(self) -> None:
        """Stop the server and its sessions, if it runs; data stays."""
        if self.layout.folder.is_dir():
            with alone(self.layout.lock):
                self._stop()
                shutil.rmtree(self.layout.temporary, ignore_errors=True)

    def account(self, *, database: str = DATABASE, schema: str = SCHEMA) -> Account:
        """Return how to connect to the started server. Raises SettingError for illegal names."""
        database, schema = _plain("SNOWFLAKE_DATABASE", database), _plain("SNOWFLAKE_SCHEMA", schema)
        listening = self.layout.read_listening()
        if listening is None:
            raise EmbeddedError(f"There is no Snowflake stand-in in {self.home}.", "Run `flux-assets up`.")
        return Account(
            account=NAME,
            user=USER,
            password=SecretStr(self._password()),
            database=database,
            schema=schema,
            host="127.0.0.1",
            port=listening.port,
            protocol="http",
            stand_in=True,
            network_timeout=_RETRIED_SECONDS,
        )

    def _sample(self) -> Release:
        from flux_assets.sample.release import sample_release

        folder = sample_release(self.home.absolute(), lambda _: None)
        return Release(str(folder), None, self.home.absolute() / "releases")

    def _start(self) -> None:
        _check_installed()
        self.layout.ensure_password()
        if self._log_size() > _LOG_LIMIT_BYTES:
            self.layout.log.replace(self.layout.log.with_suffix(".log.1"))
        # One that hangs or is ending: two servers cannot open the same files.
        self._stop()
        start, process = self._log_size(), self._launch()
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._answers():
            if not self._is_ours(process) or time.monotonic() > deadline:
                raise self._failure("The Snowflake stand-in does not start", start)
            time.sleep(0.02)

    def _launch(self) -> int:
        """Return the id of the new process, which is detached from this one."""
        command = [sys.executable, "-m", _DAEMON, str(self.layout.folder)]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
            env=_environment(),
            check=False,
        )
        if not done.stdout.strip().isdigit():
            raise EmbeddedError(
                f"The Snowflake stand-in does not start: {done.stderr.strip()}", "Correct what it names."
            )
        return int(done.stdout)

    def _stop(self) -> None:
        listening = self.layout.read_listening()
        if listening is None or not self._is_ours(listening.pid):
            return
        # Commits are on disk, so that even SIGKILL loses nothing.
        for order, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _STOP_SECONDS)):
            with suppress(ProcessLookupError):
                os.kill(listening.pid, order)
            if self._gone(listening.pid, seconds):
                self.layout.forget_listening(listening.pid)
                return
        raise EmbeddedError(
            f"The Snowflake stand-in (process {listening.pid}) does not stop.", f"Run `kill -9 {listening.pid}`."
        )

    def _gone(self, process: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._is_ours(process):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _is_ours(self, process: int) -> bool:
        """Return whether a process is this server, by its command: after a reboot its id may be another program's."""
        return process > 0 and command_line(process).rstrip().endswith(f"-m {_DAEMON} {self.layout.folder}")

    def _answers(self) -> bool:
        """Return whether the server answers; one that was just killed accepts connections a moment longer."""
        listening = self.layout.read_listening()
        return self.running and listening is not None and _greeting(listening) == str(self.layout.folder)

    def _password(self) -> str:
        try:
            return self.layout.password()
        except PermissionError:
            raise EmbeddedError(
                f"The stand-in's password in {self.layout.secret} belongs to another user.",
                "Run as that user, or set FLUX_HOME to another folder.",
            ) from None

    def _log_size(self) -> int:
        return self.layout.log.stat().st_size if self.layout.log.exists() else 0

    def _failure(self, problem: str, log_start: int) -> EmbeddedError:
        text = ""
        if self.layout.log.exists():
            with self.layout.log.open("rb") as log:
                log.seek(log_start)
                text = log.read().decode(errors="replace").strip()
        lines = "\n".join(f"  {line}" for line in text.splitlines()[-12:])
        remedy = f"The whole log is {self.layout.log}. Correct what it names and try again."
        return EmbeddedError(f"{problem}. Its log says:\n{lines}\n", remedy)


def _plain(setting: str, name: str) -> str:
    """Return a name as Snowflake reads it. fakesnow uses names unquoted in SQL and as file names."""
    if not _PLAIN.fullmatch(name):
        raise SettingError(
            f"{setting} = {name!r} is not a name that the Snowflake stand-in can have.",
            "Use letters, digits and _, beginning with a letter, such as FLUX_DB; or set SNOWFLAKE_ACCOUNT and the"
            " other SNOWFLAKE_* settings for a real account.",
        )
    return name.upper()


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise EmbeddedError(
            f"The Snowflake stand-in needs {', '.join(missing)}, which this Python lacks.",
            "Run `pip install 'flux_assets[embedded]'`, or set SNOWFLAKE_ACCOUNT and the other SNOWFLAKE_* settings.",
        )


def _greeting(listening: Listening) -> str | None:
    """Return the folder that the server names; the answer may take long while it packs a large result."""
    connection = http.client.HTTPConnection("127.0.0.1", listening.port, timeout=_GREETING_SECONDS)
    try:
        connection.request("GET", HELLO)
        return str(json.loads(connection.getresponse().read())["folder"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def _environment() -> dict[str, str]:
    """Return the environment without settings of the connector and of fakesnow, and with English messages."""
    dropped = ("SNOWFLAKE_", "FAKESNOW_", "LC_", "LANG")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | {"LC_ALL": "C.UTF-8"}
