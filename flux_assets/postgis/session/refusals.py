"""Why a session was refused, in a sentence with its remedy.

Here: what libpq and the server say before a session is open. They tell no SQLSTATE then, so it is told apart by words;
a server that says it in another language gets the general sentence. Not here: errors of statements (faults.py).
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
_UNREACHABLE = "The target database cannot be reached"
_DOCTOR = "Run `flux-assets doctor`, which tests FLUX_POSTGRES_URL piece by piece."


@dataclass(frozen=True)
class SessionRefusal:
    """A way to be refused: how it is told (a regular expression), what is wrong, what to do."""

    words: str
    problem: str
    remedy: str


UNKNOWN = SessionRefusal("", _UNREACHABLE, _DOCTOR)
# The first that fits.
REFUSALS = (
    SessionRefusal(
        "password authentication failed",
        "The target database refuses the password or the user",
        "Correct user and password in FLUX_POSTGRES_URL (or PGPASSWORD, ~/.pgpass).",
    ),
    SessionRefusal(
        "no password supplied",
        "The target database asks for a password and none is set",
        "Put it into FLUX_POSTGRES_URL, PGPASSWORD or ~/.pgpass.",
    ),
    SessionRefusal(
        "role .* does not exist",
        "The target database has no such user",
        "Create the role (sql/postgis/roles.sql), or correct the user in FLUX_POSTGRES_URL.",
    ),
    SessionRefusal(
        "role .* is not permitted to log in",
        "The target database's role may not sign in",
        "Run ALTER ROLE … LOGIN, or name another user in FLUX_POSTGRES_URL.",
    ),
    SessionRefusal(
        "permission denied for database",
        "The user may not connect to the target database",
        "Run GRANT CONNECT ON DATABASE … TO the user, as the database's owner.",
    ),
    SessionRefusal(
        "too many connections for role",
        "The target database's role has as many sessions as its connection limit allows",
        "End some (pg_stat_activity), or run ALTER ROLE … CONNECTION LIMIT …; a load takes up to three sessions a layer"
        " (FLUX_PARALLEL_LAYERS).",
    ),
    SessionRefusal(
        "too many connections for database",
        "The target database has as many sessions as its connection limit allows",
        "End some (pg_stat_activity), or run ALTER DATABASE … CONNECTION LIMIT …; a load takes up to three sessions a"
        " layer (FLUX_PARALLEL_LAYERS).",
    ),
    SessionRefusal(
        "too many clients already|remaining connection slots",
        "All connections of the target server are taken",
        "End some (pg_stat_activity), raise max_connections, or lower FLUX_PARALLEL_LAYERS.",
    ),
    SessionRefusal(
        "not currently accepting connections",
        "The target database lets nobody in",
        "Run ALTER DATABASE … ALLOW_CONNECTIONS true, or name another database in FLUX_POSTGRES_URL.",
    ),
    SessionRefusal(
        "unsupported startup parameter",
        "A pooler stands before the target database and refuses a parameter of the address",
        "Remove it (options=… above all) from FLUX_POSTGRES_URL or PGOPTIONS, connect past the pooler, or name it in"
        " PgBouncer's ignore_startup_parameters.",
    ),
    SessionRefusal(
        "conversion between .* is not supported",
        "The target database's encoding cannot hold every text; flux_assets needs UTF8",
        "Make a database in UTF8 (CREATE DATABASE … ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0), bring over"
        " what is in this one (pg_dump, psql), and name the new one in FLUX_POSTGRES_URL.",
    ),
    SessionRefusal(
        "database .* does not exist",
        "The target database does not exist",
        "Create the database (CREATE DATABASE …, then CREATE EXTENSION postgis in it), or correct its name in"
        " FLUX_POSTGRES_URL.",
    ),
    SessionRefusal(
        "no pg_hba.conf entry|pg_hba.conf rejects",
        "The target server's pg_hba.conf lets this user in neither from here nor in this way",
        "Add a line for user, database, this machine's address and TLS to its pg_hba.conf, and reload it.",
    ),
    SessionRefusal(
        "starting up|recovery mode|not (yet )?accepting connections",
        "The target server is starting up or recovering",
        "Run again when it is up. A standby with hot_standby = off never is: name the primary.",
    ),
    SessionRefusal("shutting down", "The target server is shutting down", "Start it again, and run this again."),
    SessionRefusal(
        "session is read-only|server is in hot standby mode",
        "None of the hosts takes writes, and target_session_attrs asks for one that does",
        "Name the primary in FLUX_POSTGRES_URL, or promote a standby.",
    ),
    SessionRefusal(
        "does not support SSL",
        "The target server offers no TLS",
        "Turn it on (ssl = on): a host that is not local needs it.",
    ),
    SessionRefusal(
        "root certificate",
        "The target server's certificate cannot be verified",
        "Put the server's root certificate into ~/.postgresql/root.crt, or name it: sslrootcert=…",
    ),
    SessionRefusal(
        "certificate",
        "The target server's certificate does not fit",
        "Correct the host's name, or name the certificate's root: sslrootcert=…",
    ),
)


def refusal_of(said: str) -> SessionRefusal:
    """What libpq or the server says, understood; UNKNOWN where it is not."""
    return next((each for each in REFUSALS if re.search(each.words, said)), UNKNOWN)


def refused(error: psycopg.OperationalError) -> TargetError:
    """Why no session could be opened, as an error of ours."""
    said = reported(error).rstrip("?.")
    refusal = refusal_of(said)
    return TargetError(f"{refusal.problem}: {said}.", refusal.remedy)
