"""States of the server that a statement can meet, each with its sentence and its remedy.

Here: SQLSTATEs that say something about the server, a session or the user, whatever was asked. Not here: refusals of
a statement for what it does (refused_statements.py), and of a session (refusals.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from flux_assets.postgis.session.refusals import STANDBY_REMEDY

_AGAIN = "Run again; what was there before stays."
_RECURS = "Run again. If it recurs, see pg_stat_activity for what the statement waits for, or"


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """A state of the server: the SQLSTATE or its class, and words of the report where several share it."""

    state: str
    problem: str
    remedy: str
    words: str = ""

    @property
    def ends_session(self) -> bool:
        """Whether there is no session after it, but where a function of the database says it of something else."""
        return self.state.startswith(("08", "57P0"))


def server_state_of(error: psycopg.Error) -> ServerState | None:
    """Find the first that fits. A server that says it in another language is met by the last of a state.

    A connection is lost where the server could say nothing any more, or says so itself.
    """
    state = error.sqlstate
    if state is None:
        return _LOST if isinstance(error, psycopg.OperationalError) else None
    said = f"{error.diag.message_primary} {error.diag.message_hint}"
    return next((each for each in _STATES if state.startswith(each.state) and each.words in said), None)


_LOST = ServerState(
    state="08",
    problem="the connection to the database was lost or refused",
    remedy="Run again when the server answers; the next run clears up what this one left.",
)
_STATES = (
    ServerState(
        state="08P01",
        words="query_wait_timeout",
        problem="the pooler had no server connection for a session in time",
        remedy="Raise default_pool_size in the pooler (a load takes up to three sessions a layer and one to watch over"
        " them), lower FLUX_PARALLEL_LAYERS, or connect past the pooler.",
    ),
    ServerState(
        state="42501",
        words="row-level security policy",
        problem="row-level security would hide rows from the database user",
        remedy="Run ALTER TABLE … NO FORCE ROW LEVEL SECURITY on the table that it names, as its owner; where the user"
        " is not the owner, ALTER ROLE … BYPASSRLS as a superuser.",
    ),
    ServerState(
        state="42501",
        problem="the database user lacks a right",
        remedy="Grant it, or run `flux-assets doctor` for the list of rights that a load needs.",
    ),
    ServerState(
        state="25006",
        problem="the database takes no writes in this session",
        remedy=f"{STANDBY_REMEDY} If it is the primary, default_transaction_read_only is on: `flux-assets doctor` says"
        " where it is set.",
    ),
    ServerState(
        state="53100",
        problem="the database server's disk is full",
        remedy="Make room on the server; the half-made version is gone already and what was published stays.",
    ),
    ServerState(
        state="53200",
        words="max_locks_per_transaction",
        problem="the database server's table of locks is full",
        remedy="Raise max_locks_per_transaction in postgresql.conf and restart the server.",
    ),
    ServerState(
        state="53200",
        problem="the database server ran out of memory",
        remedy="Lower work_mem and maintenance_work_mem of the database user, or FLUX_PARALLEL_LAYERS; or give the"
        " server more memory.",
    ),
    ServerState(
        state="53400",
        problem="a statement needed more temporary files than temp_file_limit allows",
        remedy="Raise it for the database user as a superuser (ALTER ROLE … SET temp_file_limit = …), or raise work_mem"
        " and maintenance_work_mem, so that less is written to files.",
    ),
    _LOST,
    ServerState(
        state="25P03",
        problem="the server ended the session because this process was silent within a transaction",
        remedy="Run again. If it recurs, this machine stalls (suspended, short of memory), or a pooler sets"
        " idle_in_transaction_session_timeout.",
    ),
    ServerState(
        state="25P04",
        problem="the server ended the session because its transaction took longer than transaction_timeout",
        remedy=f"{_RECURS} for who sets transaction_timeout (a role, the database or a pooler).",
    ),
    ServerState(
        state="57P05",
        problem="the server ended the session because it was idle for longer than idle_session_timeout",
        remedy="Run again. If it recurs, a pooler sets idle_session_timeout: turn it off for the database user.",
    ),
    ServerState(
        state="57P01",
        problem="an administrator ended the session, or the database server is shutting down",
        remedy="Run again when the server is up; the next run clears up what this one left.",
    ),
    ServerState(
        state="57P02",
        problem="the server ended the session because another of its processes crashed",
        remedy="See the server's log, and run again when it is up; the next run clears up what this one left.",
    ),
    ServerState(
        state="57P03",
        problem="the database server does not accept sessions now",
        remedy="Run again when it is up.",
    ),
    ServerState(
        state="55P03",
        problem="another session holds a lock that this had to wait for too long",
        remedy="Run again when that session's transaction has ended.",
    ),
    ServerState(state="40P01", problem="the server ended a statement because of a deadlock", remedy=_AGAIN),
    ServerState(
        state="57014",
        words="statement timeout",
        problem="a statement took longer than statement_timeout",
        remedy=f"{_RECURS} for who sets statement_timeout (a role, the database or a pooler).",
    ),
    ServerState(
        state="57014",
        words="user request",
        problem="an administrator cancelled a statement",
        remedy=f"Somebody called pg_cancel_backend. {_AGAIN}",
    ),
    ServerState(
        state="57014", problem="the server ended a statement", remedy=f"A time limit or an administrator. {_AGAIN}"
    ),
)
