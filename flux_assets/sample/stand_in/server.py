"""The stand-in of one FLUX_HOME as its users see it: start, stop, how to connect.

Here: starting on demand, whatever state the last life left, and stopping by its own process file alone.
Not here: the process itself (daemon.py) and what its tables hold (simulation/).
"""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

NAME = STAND_IN
DATABASE, SCHEMA = "FLUX_DB", "PRODUCTION"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,60}")
_DAEMON = "flux_assets.sample.stand_in.daemon"
_NEEDED = ("fakesnow", "uvicorn", "starlette")
_WAIT_SECONDS = 60
_STOP_SECONDS = 15
_GREETING_SECONDS = 30
# The connector's own retries go to the old port for ever; an answer that takes its time is waited for all the same.
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
        """Whether the server takes connections now."""
        listening = self.layout.read_listening()
        return listening is not None and self._is_ours(listening.pid) and accepts(listening.port)

    def start(self) -> None:
        """Start the server if it does not run, and wait until it answers.

        Raises EmbeddedError with the log's last lines, or saying what to install.
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
        self, release: Callable[[], Release] | None = None, *, database: str = DATABASE, schema: str = SCHEMA
    ) -> Account:
        """Start the server, fill the schema's three tables if they never were, and say how to connect.

        They are filled from `release`, by default the sample city under FLUX_HOME; it is asked for only then.
        Raises EmbeddedError as `start` does, SettingError for names that it cannot have, and ReleaseError when the
        release cannot be read.
        """
        from flux_assets.sample.simulation.seeding import ensure_seeded

        names = {"database": _plain("SNOWFLAKE_DATABASE", database), "schema": _plain("SNOWFLAKE_SCHEMA", schema)}
        self.start()
        account = self.account(**names)
        ensure_seeded(self, release or self._sample, account)
        return account

    def stop(self) -> None:
        """Stop the server, ending its sessions; data stays. Nothing happens when it does not run."""
        if self.layout.folder.is_dir():
            with alone(self.layout.lock):
                self._stop()
                shutil.rmtree(self.layout.temporary, ignore_errors=True)

    def account(self, *, database: str = DATABASE, schema: str = SCHEMA) -> Account:
        """How to connect to the server, which has been started. Raises SettingError for names that it cannot have."""
        database, schema = _plain("SNOWFLAKE_DATABASE", database), _plain("SNOWFLAKE_SCHEMA", schema)
        listening = self.layout.read_listening()
        if listening is None:
            raise EmbeddedError(f"There is no Snowflake stand-in in {self.home}.", "Run `flux-assets up`.")
        return Account(
            account=NAME, user=USER, password=SecretStr(self._password()), database=database, schema=schema,
            host="127.0.0.1", port=listening.port, protocol="http", stand_in=True, network_timeout=_RETRIED_SECONDS,
        )  # fmt: skip

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Held by whoever fills or simulates: one at a time, or their transactions would collide."""
        with alone(self.layout.folder / "writing"):
            yield

    def _sample(self) -> Release:
        from flux_assets.sample.release import sample_release

        folder = sample_release(self.home.absolute(), lambda _: None)
        return Release(str(folder), None, self.home.absolute() / "releases")

    def _start(self) -> None:
        _check_installed()
        self.layout.ensure_password()
        if self._log_size() > _LOG_LIMIT_BYTES:
            self.layout.log.replace(self.layout.log.with_suffix(".log.1"))
        # One that hangs or is just ending: two servers on the same files would refuse each other.
        self._stop()
        start, process = self._log_size(), self._launch()
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._answers():
            if not self._is_ours(process) or time.monotonic() > deadline:
                raise self._failure("The Snowflake stand-in does not start", start)
            time.sleep(0.02)

    def _launch(self) -> int:
        """The number of the new process, which is nobody's child and holds nothing of ours."""
        command = [sys.executable, "-m", _DAEMON, str(self.layout.folder)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=Path(__file__).parents[3],
            env=_environment(), check=False,
        )  # fmt: skip
        if not done.stdout.strip().isdigit():
            raise EmbeddedError(
                f"The Snowflake stand-in does not start: {done.stderr.strip()}", "Correct what it names."
            )
        return int(done.stdout)

    def _stop(self) -> None:
        listening = self.layout.read_listening()
        if listening is None or not self._is_ours(listening.pid):
            return
        # What is committed is on disk, so that even the last resort loses nothing.
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
        """By its command: after a reboot the number may be another program's."""
        return process > 0 and command_line(process).rstrip().endswith(f"-m {_DAEMON} {self.layout.folder}")

    def _answers(self) -> bool:
        """More than taking connections: one that has just been killed takes them for a moment longer."""
        listening = self.layout.read_listening()
        return self.running and listening is not None and _greeting(listening) == str(self.layout.folder)

    def _password(self) -> str:
        try:
            return self.layout.password()
        except PermissionError:
            raise EmbeddedError(
                f"The stand-in's password in {self.layout.secret} belongs to another user.",
                "Run as that user, or set FLUX_HOME to a folder of your own.",
            ) from None

    def _log_size(self) -> int:
        return self.layout.log.stat().st_size if self.layout.log.exists() else 0

    def _failure(self, problem: str, log_start: int) -> EmbeddedError:
        said = ""
        if self.layout.log.exists():
            with self.layout.log.open("rb") as log:
                log.seek(log_start)
                said = log.read().decode(errors="replace").strip()
        lines = "\n".join(f"  {line}" for line in said.splitlines()[-12:])
        remedy = f"The whole log is {self.layout.log}. Correct what it names and try again."
        return EmbeddedError(f"{problem}. Its log says:\n{lines}\n", remedy)


def _plain(setting: str, name: str) -> str:
    """The name as Snowflake reads it. fakesnow writes names into DuckDB's SQL without quotes, and into file names."""
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
            f"The Snowflake stand-in needs {', '.join(missing)}, which this Python has not.",
            "Run `pip install 'flux_assets[embedded]'`, or set SNOWFLAKE_ACCOUNT and the other SNOWFLAKE_* settings.",
        )


def _greeting(listening: Listening) -> str | None:
    """What the server says who it is; while it packs a large result it may take its time."""
    connection = http.client.HTTPConnection("127.0.0.1", listening.port, timeout=_GREETING_SECONDS)
    try:
        connection.request("GET", HELLO)
        return str(json.loads(connection.getresponse().read())["folder"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()


def _environment() -> dict[str, str]:
    """Without settings of the connector or of fakesnow, which the daemon imports, and with English messages."""
    dropped = ("SNOWFLAKE_", "FAKESNOW_", "LC_", "LANG")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | {"LC_ALL": "C.UTF-8"}
