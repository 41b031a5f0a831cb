"""Why PostgreSQL refused a session or a statement, as a sentence with a remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import psycopg
from psycopg import errors

from flux_assets.errors import FluxError, LayerError, SyncError, TargetError, reported
from flux_assets.postgis.liveness import Stop

_Said = TypeVar("_Said")

# Before a session is open, libpq reports no SQLSTATE, so refusals are recognised by their words, in English: the first
# regular expression that fits says what is wrong and what to do.
_REFUSALS = {
    "password authentication failed": (
        "The target database refuses the password or the user",
        "Correct user and password in FLUX_POSTGRES_URL (or PGPASSWORD, ~/.pgpass).",
    ),
    "no password supplied": (
        "The target database asks for a password and none is set",
        "Put it into FLUX_POSTGRES_URL, PGPASSWORD or ~/.pgpass.",
    ),
    "role .* does not exist": (
        "The target database has no such user",
        "Create the role (sql/postgis/roles.sql), or correct the user in FLUX_POSTGRES_URL.",
    ),
    "role .* is not permitted to log in": (
        "The target database's role may not sign in",
        "Run ALTER ROLE … LOGIN, or name another user in FLUX_POSTGRES_URL.",
    ),
    "permission denied for database": (
        "The user may not connect to the target database",
        "Run GRANT CONNECT ON DATABASE … TO the user, as the database's owner.",
    ),
    "too many connections for role": (
        "The target database's role has as many sessions as its connection limit allows",
        "End some (pg_stat_activity), or run ALTER ROLE … CONNECTION LIMIT …; a load takes up to three sessions a"
        " layer (FLUX_PARALLEL_LAYERS).",
    ),
    "too many connections for database": (
        "The target database has as many sessions as its connection limit allows",
        "End some (pg_stat_activity), or run ALTER DATABASE … CONNECTION LIMIT …; a load takes up to three sessions"
        " a layer (FLUX_PARALLEL_LAYERS).",
    ),
    "too many clients already|remaining connection slots": (
        "All connections of the target server are taken",
        "End some (pg_stat_activity), raise max_connections, or lower FLUX_PARALLEL_LAYERS.",
    ),
    "not currently accepting connections": (
        "The target database lets nobody in",
        "Run ALTER DATABASE … ALLOW_CONNECTIONS true, or name another database in FLUX_POSTGRES_URL.",
    ),
    "unsupported startup parameter": (
        "The target database is behind a pooler that refuses a parameter of the address",
        "Remove it (options=… above all) from FLUX_POSTGRES_URL or PGOPTIONS, connect past the pooler, or name it"
        " in PgBouncer's ignore_startup_parameters.",
    ),
    "conversion between .* is not supported": (
        "The target database's encoding cannot hold every text; flux_assets needs UTF8",
        "Make a database in UTF8 (CREATE DATABASE … ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0), copy the"
        " contents of this one (pg_dump, psql), and name the new one in FLUX_POSTGRES_URL.",
    ),
    "database .* does not exist": (
        "The target database does not exist",
        "Create the database (CREATE DATABASE …, then CREATE EXTENSION postgis in it), or correct its name in"
        " FLUX_POSTGRES_URL.",
    ),
    "no pg_hba.conf entry|pg_hba.conf rejects": (
        "The target server's pg_hba.conf lets this user in neither from here nor in this way",
        "Add a line for user, database, this machine's address and TLS to its pg_hba.conf, and reload it.",
    ),
    "starting up|recovery mode|not (yet )?accepting connections": (
        "The target server is starting up or recovering",
        "Run again when it is up. A standby with hot_standby = off never is: name the primary.",
    ),
    "shutting down": (
        "The target server is shutting down",
        "Start it again, and run this again.",
    ),
    "session is read-only|server is in hot standby mode": (
        "None of the hosts takes writes, and target_session_attrs asks for one that does",
        "Name the primary in FLUX_POSTGRES_URL, or promote a standby.",
    ),
    "does not support SSL": (
        "The target server offers no TLS",
        "Turn it on (ssl = on): a host that is not local needs it.",
    ),
    "root certificate": (
        "The target server's certificate cannot be verified",
        "Put the server's root certificate into ~/.postgresql/root.crt, or name it: sslrootcert=…",
    ),
    "certificate": (
        "The target server's certificate does not fit",
        "Correct the host's name, or name the certificate's root: sslrootcert=…",
    ),
}
_UNREACHABLE = (
    "The target database cannot be reached",
    "Run `flux-assets doctor`, which tests FLUX_POSTGRES_URL piece by piece.",
)


def refused(error: psycopg.OperationalError) -> TargetError:
    """Return the error that says why no session could be opened."""
    report = reported(error).rstrip("?.")
    found = (said for words, said in _REFUSALS.items() if re.search(words, report))
    problem, remedy = next(found, _UNREACHABLE)
    return TargetError(f"{problem}: {report}.", remedy)


# An object that a statement or a function names is missing.
_MISSING = ("42P01", "42703", "42704", "42883", "3F000")
_RIGHTS_OF_A_FUNCTION = (
    "A function of the database does what the database user may not: grant that right, or make the function SECURITY"
    " DEFINER (with SET search_path = …)."
)
_SEARCH_PATH_OF_A_FUNCTION = (
    "A function of the database does not find what it names: write the schema before the name, or run ALTER FUNCTION …"
    " SET search_path = …. Sessions of flux_assets look in pg_catalog, in PostGIS's schema, and then where role and"
    " database have set search_path, but in no schema where PUBLIC may create."
)
_REFUSED_BY_A_FUNCTION = (
    "A function of the database refused it: correct the function, or disable its trigger (ALTER TABLE … DISABLE"
    " TRIGGER …), and run again."
)
_REPORT_IT = "Fix what the message names; where that is nothing of yours, report this message."
_AGAIN = "Run again; what was there before stays."
_RECURS = "Run again. If it recurs, see pg_stat_activity for what the statement waits for, or"
_LOST = (
    "the connection to the database was lost or refused",
    "Run again when the server answers; the next run cleans up what this one left.",
)
# By an SQLSTATE or its class, and a word of the report where several share it; the first that fits. A report in another
# language matches the last of its SQLSTATE, which has no word. These concern the server, the session or the user:
_OF_THE_SERVER = {
    ("08P01", "query_wait_timeout"): (
        "the pooler had no server connection for a session in time",
        "Raise default_pool_size in the pooler (a load takes up to three sessions a layer and one that watches"
        " them), lower FLUX_PARALLEL_LAYERS, or connect past the pooler.",
    ),
    ("42501", "row-level security policy"): (
        "row-level security would hide rows from the database user",
        "Run ALTER TABLE … NO FORCE ROW LEVEL SECURITY on the table that the message names, as its owner; where the"
        " user is not the owner, ALTER ROLE … BYPASSRLS as a superuser.",
    ),
    ("42501", ""): (
        "the database user lacks a right",
        "Grant it, or run `flux-assets doctor` for the list of rights that a load needs.",
    ),
    ("25006", ""): (
        "the database takes no writes in this session",
        "If the server is a standby, name the primary in FLUX_POSTGRES_URL (of several hosts,"
        " target_session_attrs=read-write finds it). If it is the primary, default_transaction_read_only is on:"
        " `flux-assets doctor` says where it is set.",
    ),
    ("53100", ""): (
        "the database server's disk is full",
        "Free space on the server. The unfinished version was discarded; published data is intact.",
    ),
    ("53200", "max_locks_per_transaction"): (
        "the database server's table of locks is full",
        "Raise max_locks_per_transaction in postgresql.conf and restart the server.",
    ),
    ("53200", ""): (
        "the database server ran out of memory",
        "Lower work_mem and maintenance_work_mem of the database user, or FLUX_PARALLEL_LAYERS; or give the server"
        " more memory.",
    ),
    ("53400", ""): (
        "a statement needed more temporary files than temp_file_limit allows",
        "Raise it for the database user as a superuser (ALTER ROLE … SET temp_file_limit = …), or raise work_mem"
        " and maintenance_work_mem, so that less is written to files.",
    ),
    ("08", ""): _LOST,
    ("25P03", ""): (
        "the server ended the session because this process was silent within a transaction",
        "Run again. If it recurs, this machine stalls (suspended, short of memory), or a pooler sets"
        " idle_in_transaction_session_timeout.",
    ),
    ("25P04", ""): (
        "the server ended the session because its transaction took longer than transaction_timeout",
        f"{_RECURS} for who sets transaction_timeout (a role, the database or a pooler).",
    ),
    ("57P05", ""): (
        "the server ended the session because it was idle for longer than idle_session_timeout",
        "Run again. If it recurs, a pooler sets idle_session_timeout: turn it off for the database user.",
    ),
    ("57P01", ""): (
        "an administrator ended the session, or the database server is shutting down",
        "Run again when the server is up; the next run cleans up what this one left.",
    ),
    ("57P02", ""): (
        "the server ended the session because another of its processes crashed",
        "See the server's log, and run again when it is up; the next run cleans up what this one left.",
    ),
    ("57P03", ""): (
        "the database server does not accept sessions now",
        "Run again when it is up.",
    ),
    ("55P03", ""): (
        "another session holds a lock that this one waited for too long",
        "Run again when that session's transaction has ended.",
    ),
    ("40P01", ""): (
        "the server ended a statement because of a deadlock",
        _AGAIN,
    ),
    ("57014", "statement timeout"): (
        "a statement took longer than statement_timeout",
        f"{_RECURS} for who sets statement_timeout (a role, the database or a pooler).",
    ),
    ("57014", "user request"): (
        "an administrator cancelled a statement",
        f"Somebody called pg_cancel_backend. {_AGAIN}",
    ),
    ("57014", ""): (
        "the server ended a statement",
        f"A time limit or an administrator. {_AGAIN}",
    ),
}
# and these the statement and what it refers to.
_OF_THE_STATEMENT = {
    ("55000", "replica identity"): (
        "A publication sends the table's updates and deletes, which takes a replica identity: run ALTER TABLE {table}"
        " REPLICA IDENTITY DEFAULT (or FULL), or take the table out of the publication."
    ),
    ("55", ""): "Fix what the message names, and run again.",
    ("23", ""): "Correct the row where it comes from, or change the constraint, and run again.",
    ("44", ""): "Correct the row where it comes from, or change the view, and run again.",
    ("40", ""): _AGAIN,
    ("53", ""): "Raise the limit that the message names, or free what is taken, and run again.",
    ("54", ""): "Raise the limit that the message names if it is a setting, and run again.",
    **{(state, ""): "See the server's log, remove the cause, and run again." for state in ("57", "58", "F0", "XX")},
    ("0A", ""): "Change what the message names of the table, and run again.",
    ("P0", ""): "Do what the message asks for, and run again.",
    **{
        (state, ""): "Run `flux-assets doctor`, which finds what is missing of the ledger or of PostGIS; otherwise"
        " report this message."
        for state in _MISSING
    },
}


def translate_error(
    title: str, error: psycopg.Error, stop: Stop, kind: type[LayerError] | type[SyncError] = LayerError
) -> FluxError:
    """Return what the server reported of `title`: a TargetError for the server's own state, else an error of `kind`."""
    if stop.asked and isinstance(error, errors.QueryCanceled):
        return kind(f"{title}: stopped on request; what was there before stays.")
    report = f"{reported(error.diag.message_primary or error)}.{_details(error)}"
    state, in_function = error.sqlstate, _within_function(error)
    # A function of the database may raise any SQLSTATE, also one that ends sessions, and mean something else by it.
    is_raised = in_function and error.diag.severity_nonlocalized == "ERROR"
    if state is None:  # the connection was lost before the server could report anything, or nothing was sent
        of_server = _LOST if isinstance(error, psycopg.OperationalError) else None
    else:
        of_server = _fitting(_OF_THE_SERVER, error)
    if of_server and not (is_raised and state and state.startswith(("08", "57P0"))):
        problem, remedy = of_server
        return TargetError(
            f"{title}: {problem}: {report}", _RIGHTS_OF_A_FUNCTION if is_raised and state == "42501" else remedy
        )
    remedy = _remedy_within_function(error) if in_function else _fitting(_OF_THE_STATEMENT, error) or _REPORT_IT
    if state is None:
        return kind(f"{title}: {report}", remedy)
    return kind(f"{title}: PostgreSQL refused with {state}: {report}", remedy.format(table=title))


def _fitting(reports: Mapping[tuple[str, str], _Said], error: psycopg.Error) -> _Said | None:
    state, report = error.sqlstate or "", f"{error.diag.message_primary} {error.diag.message_hint}"
    return next((said for (known, word), said in reports.items() if state.startswith(known) and word in report), None)


# A function's line in the context, in any language; the block of ours that swaps versions is not one of the database.
_FUNCTION = re.compile(r'\b(?:PL/\S+|SQL) function "?(?!inline_code_block)')


def _within_function(error: psycopg.Error) -> bool:
    """Tell whether the error arose in a function of the database, such as that of a trigger."""
    return _FUNCTION.search(error.diag.context or "") is not None


def _details(error: psycopg.Error) -> str:
    """Return what the server reports besides the message: detail, hint, and where it was."""
    context = error.diag.context
    if context and "inline_code_block" in context and not _within_function(error):
        context = None
    details = (
        reported(error.diag.message_detail or ""),
        f"Hint: {reported(error.diag.message_hint)}" if error.diag.message_hint else "",
        f"Where: {reported(context)}" if context else "",
    )
    return "".join(f" {each}." for each in details if each)


def _remedy_within_function(error: psycopg.Error) -> str:
    if error.sqlstate == "42501":
        return _RIGHTS_OF_A_FUNCTION
    return _SEARCH_PATH_OF_A_FUNCTION if error.sqlstate in _MISSING else _REFUSED_BY_A_FUNCTION
