"""Server errors as sentences: what PostgreSQL refused, and what to do about it.

Here: SQLSTATEs that a statement can meet, translated to our errors. Not here: a session that is refused (refusals.py),
and errors about a record (loading/copy_faults.py finds its line in the release file).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors

from flux_assets.errors import FluxError, LayerError, SyncError, TargetError, reported
from flux_assets.postgis.connect import Stop
from flux_assets.postgis.layer import PublicTable
from flux_assets.postgis.refusals import STANDBY_REMEDY

_AGAIN = "Run again; what was there before stays."
_RECURS = "Run again. If it recurs, see pg_stat_activity for what the statement waits for, or"


@contextmanager
def translated(layer: PublicTable, stop: Stop) -> Iterator[None]:
    """Raise what psycopg raises within the block as an error of ours; the block's own errors pass through."""
    try:
        yield
    except psycopg.Error as error:
        raise ours(layer.title, error, stop) from error


def ours(
    title: str, error: psycopg.Error, stop: Stop, kind: type[LayerError] | type[SyncError] = LayerError
) -> FluxError:
    """What the server said of `title` as an error of ours: TargetError for its own state, else one of `kind`."""
    if stop.asked and isinstance(error, errors.QueryCanceled):
        return kind(f"{title}: stopped on request; what was there before stays.")
    said = reported(error.diag.message_primary or error)
    if fault := _fault_of(error):
        return TargetError(f"{title}: {fault.problem}: {said}.", fault.remedy)
    detail = f" {reported(error.diag.message_detail)}." if error.diag.message_detail else ""
    return kind(f"{title}: PostgreSQL refused with {error.sqlstate}: {said}.{detail}")


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """A state of the server: the SQLSTATE or its class, and words of the report where several share it."""

    state: str
    problem: str
    remedy: str
    words: str = ""


def _fault_of(error: psycopg.Error) -> _Fault | None:
    """The first that fits. A server that says it in another language is met by the last of a state."""
    state = error.sqlstate or ""
    said = f"{error.diag.message_primary} {error.diag.message_hint}"
    found = next((each for each in _FAULTS if state.startswith(each.state) and each.words in said), None)
    if found is None and isinstance(error, psycopg.OperationalError):
        return _FAILING if state else _LOST
    return found


_LOST = _Fault(
    state="08",
    problem="the connection to the database was lost or refused",
    remedy="Run again when the server answers; the next run clears up what this one left.",
)
_FAILING = _Fault(
    state="",
    problem="the database server failed",
    remedy="See the server's log, and run again when the cause is removed.",
)
_FAULTS = (
    _Fault(
        state="42501",
        problem="the database user lacks a right",
        remedy="Grant it, or run `flux-assets doctor` for the list of rights that a load needs.",
    ),
    _Fault(
        state="25006",
        problem="the database takes no writes in this session",
        remedy=f"{STANDBY_REMEDY} If it is the primary, default_transaction_read_only is on: `flux-assets doctor` says"
        " where it is set.",
    ),
    _Fault(
        state="53100",
        problem="the database server's disk is full",
        remedy="Make room on the server; the half-made version is gone already and what was published stays.",
    ),
    _Fault(
        state="53200",
        words="max_locks_per_transaction",
        problem="the database server's table of locks is full",
        remedy="Raise max_locks_per_transaction in postgresql.conf and restart the server.",
    ),
    _Fault(
        state="53200",
        problem="the database server ran out of memory",
        remedy="Lower work_mem and maintenance_work_mem of the database user, or FLUX_PARALLEL_LAYERS; or give the"
        " server more memory.",
    ),
    _Fault(
        state="53400",
        problem="a statement needed more temporary files than temp_file_limit allows",
        remedy="Raise it for the database user as a superuser (ALTER ROLE … SET temp_file_limit = …), or raise work_mem"
        " and maintenance_work_mem, so that less is written to files.",
    ),
    _LOST,
    _Fault(
        state="25P03",
        problem="the server ended the session because this process was silent within a transaction",
        remedy="Run again. If it recurs, this machine stalls (suspended, short of memory), or a pooler sets"
        " idle_in_transaction_session_timeout.",
    ),
    _Fault(
        state="25P04",
        problem="the server ended the session because its transaction took longer than transaction_timeout",
        remedy=f"{_RECURS} for who sets transaction_timeout (a role, the database or a pooler).",
    ),
    _Fault(
        state="57P05",
        problem="the server ended the session because it was idle for longer than idle_session_timeout",
        remedy="Run again. If it recurs, a pooler sets idle_session_timeout: turn it off for the database user.",
    ),
    _Fault(
        state="57P01",
        problem="an administrator ended the session, or the database server is shutting down",
        remedy="Run again when the server is up; the next run clears up what this one left.",
    ),
    _Fault(
        state="57P03",
        problem="the database server does not accept sessions now",
        remedy="Run again when it is up.",
    ),
    _Fault(
        state="55P03",
        problem="another session holds a lock that this had to wait for too long",
        remedy="Run again when that session's transaction has ended.",
    ),
    _Fault(state="40P01", problem="the server ended a statement because of a deadlock", remedy=_AGAIN),
    _Fault(
        state="57014",
        words="statement timeout",
        problem="a statement took longer than statement_timeout",
        remedy=f"{_RECURS} for who sets statement_timeout (a role, the database or a pooler).",
    ),
    _Fault(
        state="57014",
        words="user request",
        problem="an administrator cancelled a statement",
        remedy=f"Somebody called pg_cancel_backend. {_AGAIN}",
    ),
    _Fault(state="57014", problem="the server ended a statement", remedy=f"A time limit or an administrator. {_AGAIN}"),
)
