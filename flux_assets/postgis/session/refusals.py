"""Why a session was refused, in a sentence with its remedy.

Before a session is open, libpq reports no SQLSTATE, so refusals are recognised by their words; a server that speaks
another language gets the general sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

from flux_assets.errors import TargetError, reported

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
