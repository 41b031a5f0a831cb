"""The product's own programs as users start them, each in a group of processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from flux_assets.settings import REPOSITORY

_PROGRAMS = Path(sys.executable).parent
_LOAD = ("asset", "materialize", "-m", "flux_assets.definitions", "--select", "substations")
MATERIALIZE = ("dagster", *_LOAD)
FORCED = (*MATERIALIZE, "--config-json", '{"ops": {"substations": {"config": {"force": true}}}}')
SYNC = ("dagster", "job", "execute", "-m", "flux_assets.definitions", "-j", "sync_all_dynamic")
ROLLBACK = ("flux-assets", "rollback", "substations")
STATUS = ("flux-assets", "status", "--json")
# Starting Dagster takes seconds, and on a busy machine many.
PATIENCE_SECONDS = 180


@dataclass
class Program:
    """A program that runs."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        name, *arguments = self.command
        self.process = subprocess.Popen(
            [_PROGRAMS / name, *arguments], env=dict(self.environment), cwd=REPOSITORY, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until it has come to where something that can be asked for is so."""
        deadline = monotonic() + PATIENCE_SECONDS
        while not reached():
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            assert monotonic() < deadline, f"{self.command} did not come that far"
            sleep(0.05)

    def kill(self) -> None:
        """kill -9 for it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def end(self) -> tuple[int | None, str]:
        """Its exit code, None when it hangs, and what it printed."""
        try:
            printed, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None, "it hung"
        return self.process.returncode, printed
