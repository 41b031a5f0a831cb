"""Why PostgreSQL refused a session or a statement, as a sentence with a remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg
from psycopg import errors

from flux_assets.errors import FluxError, LayerError, SyncError, TargetError, reported
from flux_assets.postgis.liveness import Stop

STANDBY_REMEDY = (
    "If the server is a standby, name the primary in FLUX_POSTGRES_URL (of several hosts,"
    " target_session_attrs=read-write finds it)."
)


@dataclass(frozen=True)
class _Refusal:
    """A way to be refused: a regular expression of the report, what is wrong, what to do."""

    words: str
    problem: str
    remedy: str


# The first that fits.
_REFUSALS = (
    _Refusal(
        "password authentication failed",
        "The target database refuses the password or the user",
        "Correct user and password in FLUX_POSTGRES_URL (or PGPASSWORD, ~/.pgpass).",
    ),
    _Refusal(
        "no password supplied",
        "The target database asks for a password and none is set",
        "Put it into FLUX_POSTGRES_URL, PGPASSWORD or ~/.pgpass.",
    ),
    _Refusal(
        "role .* does not exist",
        "The target database has no such user",
        "Create the role (sql/postgis/roles.sql), or correct the user in FLUX_POSTGRES_URL.",
    ),
    _Refusal(
        "role .* is not permitted to log in",
        "The target database's role may not sign in",
        "Run ALTER ROLE … LOGIN, or name another user in FLUX_POSTGRES_URL.",
    ),
    _Refusal(
        "permission denied for database",
        "The user may not connect to the target database",
        "Run GRANT CONNECT ON DATABASE … TO the user, as the database's owner.",
    ),
    _Refusal(
        "too many connections for role",
        "The target database's role has as many sessions as its connection limit allows",
        "End some (pg_stat_activity), or run ALTER ROLE … CONNECTION LIMIT …; a load takes up to three sessions a layer"
        " (FLUX_PARALLEL_LAYERS).",
    ),
    _Refusal(
        "too many connections for database",
        "The target database has as many sessions as its connection limit allows",
        "End some (pg_stat_activity), or run ALTER DATABASE … CONNECTION LIMIT …; a load takes up to three sessions a"
        " layer (FLUX_PARALLEL_LAYERS).",
    ),
    _Refusal(
        "too many clients already|remaining connection slots",
        "All connections of the target server are taken",
        "End some (pg_stat_activity), raise max_connections, or lower FLUX_PARALLEL_LAYERS.",
    ),
    _Refusal(
        "not currently accepting connections",
        "The target database lets nobody in",
        "Run ALTER DATABASE … ALLOW_CONNECTIONS true, or name another database in FLUX_POSTGRES_URL.",
    ),
    _Refusal(
        "unsupported startup parameter",
        "The target database is behind a pooler that refuses a parameter of the address",
        "Remove it (options=… above all) from FLUX_POSTGRES_URL or PGOPTIONS, connect past the pooler, or name it in"
        " PgBouncer's ignore_startup_parameters.",
    ),
    _Refusal(
        "conversion between .* is not supported",
        "The target database's encoding cannot hold every text; flux_assets needs UTF8",
        "Make a database in UTF8 (CREATE DATABASE … ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0), copy the"
        " contents of this one (pg_dump, psql), and name the new one in FLUX_POSTGRES_URL.",
    ),
    _Refusal(
        "database .* does not exist",
        "The target database does not exist",
        "Create the database (CREATE DATABASE …, then CREATE EXTENSION postgis in it), or correct its name in"
        " FLUX_POSTGRES_URL.",
    ),
    _Refusal(
        "no pg_hba.conf entry|pg_hba.conf rejects",
        "The target server's pg_hba.conf lets this user in neither from here nor in this way",
        "Add a line for user, database, this machine's address and TLS to its pg_hba.conf, and reload it.",
    ),
    _Refusal(
        "starting up|recovery mode|not (yet )?accepting connections",
        "The target server is starting up or recovering",
        "Run again when it is up. A standby with hot_standby = off never is: name the primary.",
    ),
    _Refusal("shutting down", "The target server is shutting down", "Start it again, and run this again."),
    _Refusal(
        "session is read-only|server is in hot standby mode",
        "None of the hosts takes writes, and target_session_attrs asks for one that does",
        "Name the primary in FLUX_POSTGRES_URL, or promote a standby.",
    ),
    _Refusal(
        "does not support SSL",
        "The target server offers no TLS",
        "Turn it on (ssl = on): a host that is not local needs it.",
    ),
    _Refusal(
        "root certificate",
        "The target server's certificate cannot be verified",
        "Put the server's root certificate into ~/.postgresql/root.crt, or name it: sslrootcert=…",
    ),
    _Refusal(
        "certificate",
        "The target server's certificate does not fit",
        "Correct the host's name, or name the certificate's root: sslrootcert=…",
    ),
)


_UNKNOWN = _Refusal(
    "",
    "The target database cannot be reached",
    "Run `flux-assets doctor`, which tests FLUX_POSTGRES_URL piece by piece.",
)


def refused(error: psycopg.OperationalError) -> TargetError:
    """Return the error that says why no session could be opened."""
    report = reported(error).rstrip("?.")
    refusal = next((each for each in _REFUSALS if re.search(each.words, report)), _UNKNOWN)
    return TargetError(f"{refusal.problem}: {report}.", refusal.remedy)


def translate_error(
    title: str, error: psycopg.Error, stop: Stop, kind: type[LayerError] | type[SyncError] = LayerError
) -> FluxError:
    """Return what the server reported of `title`: a TargetError for the server's own state, else an error of `kind`."""
    if stop.asked and isinstance(error, errors.QueryCanceled):
        return kind(f"{title}: stopped on request; what was there before stays.")
    report = f"{reported(error.diag.message_primary or error)}.{_details(error)}"
    known, in_function = _known(error), _within_function(error)
    # A function of the database may raise any SQLSTATE, also one that ends sessions, and mean something else by it.
    is_raised = in_function and error.diag.severity_nonlocalized == "ERROR"
    if known and known.problem and not (is_raised and known.ends_session):
        is_right = known.state == "42501" and is_raised
        return TargetError(f"{title}: {known.problem}: {report}", _RIGHTS_OF_A_FUNCTION if is_right else known.remedy)
    remedy = _remedy_within_function(error) if in_function else known.remedy if known else _REPORT_IT
    if error.sqlstate is None:  # psycopg's own, before anything was sent
        return kind(f"{title}: {report}", remedy)
    return kind(f"{title}: PostgreSQL refused with {error.sqlstate}: {report}", remedy.format(table=title))


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


def _remedy_within_function(error: psycopg.Error) -> str:
    if error.sqlstate == "42501":
        return _RIGHTS_OF_A_FUNCTION
    return _SEARCH_PATH_OF_A_FUNCTION if error.sqlstate in _MISSING else _REFUSED_BY_A_FUNCTION


@dataclass(frozen=True)
class _Report:
    """An SQLSTATE or its class, and a word of the report where several share it.

    With a `problem`, it concerns the server, the session or the user; without, the statement and what it refers to.
    """

    state: str
    remedy: str
    problem: str = ""
    word: str = ""

    @property
    def ends_session(self) -> bool:
        return self.state.startswith(("08", "57P0"))


def _known(error: psycopg.Error) -> _Report | None:
    """Return the first that fits. A report in another language matches the last of its SQLSTATE, which has no word."""
    if error.sqlstate is None:  # the connection was lost before the server could report anything
        return _LOST if isinstance(error, psycopg.OperationalError) else None
    state, report = error.sqlstate, f"{error.diag.message_primary} {error.diag.message_hint}"
    return next((each for each in _REPORTS if state.startswith(each.state) and each.word in report), None)


_LOST = _Report(
    "08",
    problem="the connection to the database was lost or refused",
    remedy="Run again when the server answers; the next run cleans up what this one left.",
)
_OF_THE_SERVER = (
    _Report(
        "08P01",
        word="query_wait_timeout",
        problem="the pooler had no server connection for a session in time",
        remedy="Raise default_pool_size in the pooler (a load takes up to three sessions a layer and one that watches"
        " them), lower FLUX_PARALLEL_LAYERS, or connect past the pooler.",
    ),
    _Report(
        "42501",
        word="row-level security policy",
        problem="row-level security would hide rows from the database user",
        remedy="Run ALTER TABLE … NO FORCE ROW LEVEL SECURITY on the table that the message names, as its owner; where"
        " the user is not the owner, ALTER ROLE … BYPASSRLS as a superuser.",
    ),
    _Report(
        "42501",
        problem="the database user lacks a right",
        remedy="Grant it, or run `flux-assets doctor` for the list of rights that a load needs.",
    ),
    _Report(
        "25006",
        problem="the database takes no writes in this session",
        remedy=f"{STANDBY_REMEDY} If it is the primary, default_transaction_read_only is on: `flux-assets doctor` says"
        " where it is set.",
    ),
    _Report(
        "53100",
        problem="the database server's disk is full",
        remedy="Free space on the server. The unfinished version was discarded; published data is intact.",
    ),
    _Report(
        "53200",
        word="max_locks_per_transaction",
        problem="the database server's table of locks is full",
        remedy="Raise max_locks_per_transaction in postgresql.conf and restart the server.",
    ),
    _Report(
        "53200",
        problem="the database server ran out of memory",
        remedy="Lower work_mem and maintenance_work_mem of the database user, or FLUX_PARALLEL_LAYERS; or give the"
        " server more memory.",
    ),
    _Report(
        "53400",
        problem="a statement needed more temporary files than temp_file_limit allows",
        remedy="Raise it for the database user as a superuser (ALTER ROLE … SET temp_file_limit = …), or raise work_mem"
        " and maintenance_work_mem, so that less is written to files.",
    ),
    _LOST,
    _Report(
        "25P03",
        problem="the server ended the session because this process was silent within a transaction",
        remedy="Run again. If it recurs, this machine stalls (suspended, short of memory), or a pooler sets"
        " idle_in_transaction_session_timeout.",
    ),
    _Report(
        "25P04",
        problem="the server ended the session because its transaction took longer than transaction_timeout",
        remedy=f"{_RECURS} for who sets transaction_timeout (a role, the database or a pooler).",
    ),
    _Report(
        "57P05",
        problem="the server ended the session because it was idle for longer than idle_session_timeout",
        remedy="Run again. If it recurs, a pooler sets idle_session_timeout: turn it off for the database user.",
    ),
    _Report(
        "57P01",
        problem="an administrator ended the session, or the database server is shutting down",
        remedy="Run again when the server is up; the next run cleans up what this one left.",
    ),
    _Report(
        "57P02",
        problem="the server ended the session because another of its processes crashed",
        remedy="See the server's log, and run again when it is up; the next run cleans up what this one left.",
    ),
    _Report("57P03", problem="the database server does not accept sessions now", remedy="Run again when it is up."),
    _Report(
        "55P03",
        problem="another session holds a lock that this one waited for too long",
        remedy="Run again when that session's transaction has ended.",
    ),
    _Report("40P01", problem="the server ended a statement because of a deadlock", remedy=_AGAIN),
    _Report(
        "57014",
        word="statement timeout",
        problem="a statement took longer than statement_timeout",
        remedy=f"{_RECURS} for who sets statement_timeout (a role, the database or a pooler).",
    ),
    _Report(
        "57014",
        word="user request",
        problem="an administrator cancelled a statement",
        remedy=f"Somebody called pg_cancel_backend. {_AGAIN}",
    ),
    _Report("57014", problem="the server ended a statement", remedy=f"A time limit or an administrator. {_AGAIN}"),
)
_OF_THE_STATEMENT = (
    _Report(
        "55000",
        word="replica identity",
        remedy="A publication sends the table's updates and deletes, which takes a replica identity: run ALTER TABLE"
        " {table} REPLICA IDENTITY DEFAULT (or FULL), or take the table out of the publication.",
    ),
    _Report("55", "Fix what the message names, and run again."),
    _Report("23", "Correct the row where it comes from, or change the constraint, and run again."),
    _Report("44", "Correct the row where it comes from, or change the view, and run again."),
    _Report("40", _AGAIN),
    _Report("53", "Raise the limit that the message names, or free what is taken, and run again."),
    _Report("54", "Raise the limit that the message names if it is a setting, and run again."),
    *(_Report(each, "See the server's log, remove the cause, and run again.") for each in ("57", "58", "F0", "XX")),
    _Report("0A", "Change what the message names of the table, and run again."),
    _Report("P0", "Do what the message asks for, and run again."),
    *(
        _Report(
            each,
            "Run `flux-assets doctor`, which finds what is missing of the ledger or of PostGIS; otherwise report this"
            " message.",
        )
        for each in _MISSING
    ),
)
_REPORTS = (*_OF_THE_SERVER, *_OF_THE_STATEMENT)
