"""What is done to a run that has stopped at a point."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from flux_assets_tests.faults.case import HANG_SECONDS, Case
from flux_assets_tests.faults.child import Child
from flux_assets_tests.faults.world import NEWER

# Before these a run holds no lease: woken after them, it is one that came later.
_UNLEASED = {"run.opened", "run.recorded", "load.resolved", "sync.opened"}
_TERMINATE = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE application_name LIKE 'flux_assets%' AND datname = current_database()
"""


def killed(case: Case) -> None:
    """kill -9: the process is gone at once."""
    os.kill(case.child.pid, signal.SIGKILL)
    case.child.process.join()


def terminated(case: Case) -> None:
    """SIGTERM: the process is asked to stop."""
    os.kill(case.child.pid, signal.SIGTERM)


def sessions_ended(case: Case) -> None:
    """An administrator ends all of the run's sessions."""
    with case.session() as session:
        session.execute(_TERMINATE)


def server_crashed(case: Case) -> None:
    """PostgreSQL stops at once, and comes back."""
    case.world.crash()


def cut(case: Case) -> None:
    """The network resets the run's connections."""
    case.wire.cut()


def silent_up(case: Case) -> None:
    """What the run says does not arrive."""
    case.wire.silence("up")


def silent_down(case: Case) -> None:
    """What the server answers does not arrive."""
    case.wire.silence("down")


def frozen(case: Case) -> None:
    """SIGSTOP; another run overtakes; SIGCONT, with the session alive: what is newer stays."""
    with _stopped(case):
        case.run_again("the run that overtakes")


def woken_amid(case: Case) -> None:
    """SIGSTOP; another run overtakes; SIGCONT in the midst of it, and the two end side by side."""
    amid = {"eject": "eject.prepared"}.get(case.kind, "sync.compared:faults" if case.is_sync else "load.staged")
    with _stopped(case):
        case.unpin()
        other = Child(case.job(NEWER, kind=case.again, point=amid))
        early = other.wait_at_point(HANG_SECONDS)
    case.child.go_on()
    case.outcome = case.ended(case.child, "the run that was woken")
    other.go_on()
    outcome = early or case.ended(other, "the run that overtook")
    if not outcome.ended_well:
        case.verdict.notes.append(f"the run that overtook {outcome.word}: {outcome.said}")


@contextmanager
def _stopped(case: Case) -> Iterator[None]:
    """The run is frozen for longer than anybody waits for a sign of life; what is brought meanwhile stays."""
    os.kill(case.child.pid, signal.SIGSTOP)
    case.let_a_minute_pass()
    if case.kind != "eject":
        case.final = NEWER
        case.release(NEWER)
        if case.kind not in {"rollback", "sync", "replace"} or case.point not in _UNLEASED:
            case.after = [NEWER]
    try:
        yield
    finally:
        os.kill(case.child.pid, signal.SIGCONT)
