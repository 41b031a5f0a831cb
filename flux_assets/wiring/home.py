"""Which homes may stand in for what is not configured: those made on this machine, and not by a worker."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flux_assets.errors import EmbeddedError

# Dagster's launchers and executors for Kubernetes, Docker and ECS set it in the containers that they start.
_IN_CONTAINER = "DAGSTER_RUN_JOB_NAME"
_MACHINE_ID = Path("/etc/machine-id")


@dataclass(frozen=True)
class Home:
    """A FLUX_HOME. A file in it names the machine that it was made on."""

    path: Path

    def claim(self) -> None:
        """Note that it was made on this machine."""
        if not self._is_claimed():
            with suppress(OSError):  # whoever makes something in it says what is wrong with it
                self.path.mkdir(parents=True, exist_ok=True)
                self._marker.write_text(self.machine())

    def require(self, what: str, setting: str, created_on: str | None = None) -> None:
        """Claim it, so that `what` may be made in it; a worker may only use one that was claimed on its machine.

        A worker runs steps of a run that was created elsewhere, such as on the machine `created_on`: nobody would read
        what it made here. Raises EmbeddedError, which names the `setting` that is missing.
        """
        worker = _worker() or ("a run from another machine" if created_on not in {None, self.machine()} else None)
        if worker is None:
            self.claim()
        elif not self._is_claimed():
            raise EmbeddedError(
                f"{setting} names no {what}, and in {worker} none is made: FLUX_HOME = {str(self.path)!r} was not made"
                f" on this machine, {socket.gethostname()}.",
                f"Set {setting} where steps run. Where all of them run on this machine, `flux-assets up` makes the"
                " home.",
            )

    @staticmethod
    def machine() -> str:
        """Return what tells machines and containers apart: containers may share the id, which is nobody's business."""
        try:
            own = _MACHINE_ID.read_text().strip()
        except OSError:
            own = ""
        return f"{socket.gethostname()}-{hashlib.sha256(own.encode()).hexdigest()[:8]}"

    @property
    def _marker(self) -> Path:
        return self.path / "machine"

    def _is_claimed(self) -> bool:
        try:
            return self._marker.read_text() == self.machine()
        except OSError:
            return False


def _worker() -> str | None:
    """Return what runs the steps of this process, where they belong to a run that was started elsewhere."""
    if _IN_CONTAINER in os.environ:
        return "a container of Dagster's"
    celery = sys.modules.get("celery")
    # Reading happens on threads of their own, of which Celery does not know that they belong to a task.
    if celery is not None and ("worker" in sys.argv[1:] or getattr(celery, "current_task", None)):
        return "a Celery worker"
    return None
