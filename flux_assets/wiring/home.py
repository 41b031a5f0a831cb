"""Which homes may stand in for what is not configured: those made on this machine, and not by a worker."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from flux_assets.errors import EmbeddedError

# Dagster's launchers and executors for Kubernetes, Docker and ECS set it in the containers that they start.
_IN_CONTAINER = "DAGSTER_RUN_JOB_NAME"
_MACHINE_ID = Path("/etc/machine-id")


def claim_home(home: Path) -> None:
    """Note in the home that it was made on this machine."""
    if not _is_claimed(home):
        with suppress(OSError):  # whoever makes something in the home says what is wrong with it
            home.mkdir(parents=True, exist_ok=True)
            _marker(home).write_text(_machine())


def require_own_home(home: Path, what: str, setting: str) -> None:
    """Claim the home, so that `what` may be made in it; a worker may only use one that was claimed on its machine.

    A worker runs steps of a run that was started elsewhere: nobody would read what it made here. Raises EmbeddedError,
    which names the `setting` that is missing.
    """
    worker = _worker()
    if worker is None:
        claim_home(home)
    elif not _is_claimed(home):
        raise EmbeddedError(
            f"{setting} names no {what}, and in {worker} none is made: FLUX_HOME = {str(home)!r} was not made on this"
            f" machine, {socket.gethostname()}.",
            f"Set {setting} where steps run. Where all of them run on this machine, `flux-assets up` makes the home.",
        )


def _worker() -> str | None:
    """Return what runs the steps of this process, where they belong to a run that was started elsewhere."""
    if _IN_CONTAINER in os.environ:
        return "a container of Dagster's"
    celery = sys.modules.get("celery")
    # Reading happens on threads of their own, of which Celery does not know that they belong to a task.
    if celery is not None and ("worker" in sys.argv[1:] or getattr(celery, "current_task", None)):
        return "a Celery worker"
    return None


def _marker(home: Path) -> Path:
    return home / "machine"


def _is_claimed(home: Path) -> bool:
    try:
        return _marker(home).read_text() == _machine()
    except OSError:
        return False


def _machine() -> str:
    """Return what tells machines and containers apart; containers may share the id of their image."""
    try:
        own = _MACHINE_ID.read_text().strip()
    except OSError:
        own = ""
    return f"{own} {socket.gethostname()}\n"
