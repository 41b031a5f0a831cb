"""What PostgreSQL reports of a statement, as a sentence with a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import errors

from flux_assets.errors import FluxError, LayerError, SyncError, TargetError, reported
from flux_assets.postgis.connect import Stop
from flux_assets.postgis.names import PublicTable
from flux_assets.postgis.session.refusals import STANDBY_REMEDY


@contextmanager
def translated(layer: PublicTable, stop: Stop) -> Iterator[None]:
    """Raise what psycopg raises within the block as an error of ours; the block's own errors pass through."""
    try:
        yield
    except psycopg.Error as error:
        raise translate_error(layer.title, error, stop) from error


def translate_error(
    title: str, error: psycopg.Error, stop: Stop, kind: type[LayerError] | type[SyncError] = LayerError
) -> FluxError:
    """What the server said of `title` as an error of ours: TargetError for its own state, else one of `kind`."""
    if stop.asked and isinstance(error, errors.QueryCanceled):
        return kind(f"{title}: stopped on request; what was there before stays.")
    said = f"{reported(error.diag.message_primary or error)}.{_details(error)}"
    of_a_function = _within_function(error) and error.diag.severity_nonlocalized == "ERROR"
    if (state := _server_state_of(error)) and not (state.ends_session and of_a_function):
        remedy = _remedy_of(error, title) if state.state == "42501" and of_a_function else state.remedy
        return TargetError(f"{title}: {state.problem}: {said}", remedy)
    if error.sqlstate is None:  # psycopg's own, before anything was sent
        return kind(f"{title}: {said}", _remedy_of(error, title))
    return kind(f"{title}: PostgreSQL refused with {error.sqlstate}: {said}", _remedy_of(error, title))


# A function's line in the context, in any language; the block of ours that swaps versions is none of the database's.
_FUNCTION = re.compile(r'\b(?:PL/\S+|SQL) function "?(?!inline_code_block)')


@dataclass(frozen=True)
class _Kind:
    """Refusals of an SQLSTATE, or of its class, and what to do; `words` of the message where several share it."""

    state: str
    remedy: str
    words: str = ""


_AGAIN = "Run again; what was there before stays."
_SERVER = "See the server's log, and run again when the cause is removed."
# Parts of the ledger or of PostGIS that are gone, doctor finds.
_GONE = ("42P01", "42703", "42704", "42883", "3F000")
_DOCTOR = "Run `flux-assets doctor`, which finds what of the ledger or of PostGIS is gone; else report this message."
_REPORT = "Put right what it names; where that is nothing of yours, report this message."
_OF_RIGHTS = (
    "A function of the database does what the database user may not: grant that, or make the function SECURITY DEFINER"
    " (with SET search_path = …)."
)
_KINDS = (
    _Kind(
        "55000",
        "A publication sends the table's updates and deletes, which takes a replica identity: run ALTER TABLE {table}"
        " REPLICA IDENTITY DEFAULT (or FULL), or take the table out of the publication.",
        words="replica identity",
    ),
    _Kind("55", "Put right what it names, and run again."),
    _Kind("23", "Correct the row where it comes from, or change the constraint, and run again."),
    _Kind("44", "Correct the row where it comes from, or change the view, and run again."),
    _Kind("40", _AGAIN),
    _Kind("53", "Raise the limit that it names, or free what is taken, and run again."),
    _Kind("54", "Raise the limit that it names if it is a setting, and run again."),
    *(_Kind(state, _SERVER) for state in ("57", "58", "F0", "XX")),
    _Kind("0A", "Change what the table has that it names, and run again."),
    _Kind("P0", "Put right what it asks for, and run again."),
)
_OF_A_FUNCTION = (
    "A function of the database refused it: correct the function, or disable its trigger (ALTER TABLE … DISABLE"
    " TRIGGER …), and run again."
)
# What a function names without a schema is looked for where the session looks.
_OF_A_SEARCH_PATH = (
    "A function of the database does not find what it names: write the schema before the name, or run ALTER FUNCTION …"
    " SET search_path = …. Sessions of flux_assets look in pg_catalog, in PostGIS's schema, and then where role and"
    " database have set search_path, but in no schema where PUBLIC may create."
)


def _within_function(error: psycopg.Error) -> bool:
    """Tell whether a function of the database's own met it, that of a trigger above all."""
    return _FUNCTION.search(error.diag.context or "") is not None


def _details(error: psycopg.Error) -> str:
    """Everything that the server says besides the message: detail, hint, and where it was."""
    context = error.diag.context
    if context and "inline_code_block" in context and not _within_function(error):
        context = None
    said = (
        reported(error.diag.message_detail or ""),
        f"Hint: {reported(error.diag.message_hint)}" if error.diag.message_hint else "",
        f"Where: {reported(context)}" if context else "",
    )
    return "".join(f" {each}." for each in said if each)


def _remedy_of(error: psycopg.Error, table: str) -> str:
    """Say what to do about a statement that was refused."""
    state, said = error.sqlstate or "", error.diag.message_primary or ""
    if _within_function(error):
        if state == "42501":
            return _OF_RIGHTS
        return _OF_A_SEARCH_PATH if state in _GONE else _OF_A_FUNCTION
    found = next((each for each in _KINDS if state.startswith(each.state) and each.words in said), None)
    if found:
        return found.remedy.format(table=table)
    return _DOCTOR if state in _GONE else _REPORT


_RECURS = "Run again. If it recurs, see pg_stat_activity for what the statement waits for, or"


@dataclass(frozen=True, kw_only=True)
class _ServerState:
    """A state of the server: the SQLSTATE or its class, and words of the report where several share it."""

    state: str
    problem: str
    remedy: str
    words: str = ""

    @property
    def ends_session(self) -> bool:
        """Whether there is no session after it, but where a function of the database says it of something else."""
        return self.state.startswith(("08", "57P0"))


def _server_state_of(error: psycopg.Error) -> _ServerState | None:
    """Find the first that fits. A server that says it in another language is met by the last of a state.

    A connection is lost where the server could say nothing any more, or says so itself.
    """
    state = error.sqlstate
    if state is None:
        return _LOST if isinstance(error, psycopg.OperationalError) else None
    said = f"{error.diag.message_primary} {error.diag.message_hint}"
    return next((each for each in _STATES if state.startswith(each.state) and each.words in said), None)


_LOST = _ServerState(
    state="08",
    problem="the connection to the database was lost or refused",
    remedy="Run again when the server answers; the next run clears up what this one left.",
)
_STATES = (
    _ServerState(
        state="08P01",
        words="query_wait_timeout",
        problem="the pooler had no server connection for a session in time",
        remedy="Raise default_pool_size in the pooler (a load takes up to three sessions a layer and one to watch over"
        " them), lower FLUX_PARALLEL_LAYERS, or connect past the pooler.",
    ),
    _ServerState(
        state="42501",
        words="row-level security policy",
        problem="row-level security would hide rows from the database user",
        remedy="Run ALTER TABLE … NO FORCE ROW LEVEL SECURITY on the table that it names, as its owner; where the user"
        " is not the owner, ALTER ROLE … BYPASSRLS as a superuser.",
    ),
    _ServerState(
        state="42501",
        problem="the database user lacks a right",
        remedy="Grant it, or run `flux-assets doctor` for the list of rights that a load needs.",
    ),
    _ServerState(
        state="25006",
        problem="the database takes no writes in this session",
        remedy=f"{STANDBY_REMEDY} If it is the primary, default_transaction_read_only is on: `flux-assets doctor` says"
        " where it is set.",
    ),
    _ServerState(
        state="53100",
        problem="the database server's disk is full",
        remedy="Make room on the server; the half-made version is gone already and what was published stays.",
    ),
    _ServerState(
        state="53200",
        words="max_locks_per_transaction",
        problem="the database server's table of locks is full",
        remedy="Raise max_locks_per_transaction in postgresql.conf and restart the server.",
    ),
    _ServerState(
        state="53200",
        problem="the database server ran out of memory",
        remedy="Lower work_mem and maintenance_work_mem of the database user, or FLUX_PARALLEL_LAYERS; or give the"
        " server more memory.",
    ),
    _ServerState(
        state="53400",
        problem="a statement needed more temporary files than temp_file_limit allows",
        remedy="Raise it for the database user as a superuser (ALTER ROLE … SET temp_file_limit = …), or raise work_mem"
        " and maintenance_work_mem, so that less is written to files.",
    ),
    _LOST,
    _ServerState(
        state="25P03",
        problem="the server ended the session because this process was silent within a transaction",
        remedy="Run again. If it recurs, this machine stalls (suspended, short of memory), or a pooler sets"
        " idle_in_transaction_session_timeout.",
    ),
    _ServerState(
        state="25P04",
        problem="the server ended the session because its transaction took longer than transaction_timeout",
        remedy=f"{_RECURS} for who sets transaction_timeout (a role, the database or a pooler).",
    ),
    _ServerState(
        state="57P05",
        problem="the server ended the session because it was idle for longer than idle_session_timeout",
        remedy="Run again. If it recurs, a pooler sets idle_session_timeout: turn it off for the database user.",
    ),
    _ServerState(
        state="57P01",
        problem="an administrator ended the session, or the database server is shutting down",
        remedy="Run again when the server is up; the next run clears up what this one left.",
    ),
    _ServerState(
        state="57P02",
        problem="the server ended the session because another of its processes crashed",
        remedy="See the server's log, and run again when it is up; the next run clears up what this one left.",
    ),
    _ServerState(
        state="57P03",
        problem="the database server does not accept sessions now",
        remedy="Run again when it is up.",
    ),
    _ServerState(
        state="55P03",
        problem="another session holds a lock that this had to wait for too long",
        remedy="Run again when that session's transaction has ended.",
    ),
    _ServerState(state="40P01", problem="the server ended a statement because of a deadlock", remedy=_AGAIN),
    _ServerState(
        state="57014",
        words="statement timeout",
        problem="a statement took longer than statement_timeout",
        remedy=f"{_RECURS} for who sets statement_timeout (a role, the database or a pooler).",
    ),
    _ServerState(
        state="57014",
        words="user request",
        problem="an administrator cancelled a statement",
        remedy=f"Somebody called pg_cancel_backend. {_AGAIN}",
    ),
    _ServerState(
        state="57014", problem="the server ended a statement", remedy=f"A time limit or an administrator. {_AGAIN}"
    ),
)
