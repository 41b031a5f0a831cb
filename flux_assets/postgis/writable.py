"""Whether a session can write at all, asked before anything is done in it.

Here: a standby, and sessions that are read-only by a setting, each with where it is set. Not here: rights.
"""

from __future__ import annotations

import psycopg

from flux_assets.errors import TargetError

_NAME = "default_transaction_read_only"
_STANDBY = (
    "The target server is a standby, which takes no writes.",
    "Name the primary in FLUX_POSTGRES_URL (of several hosts, target_session_attrs=read-write finds it).",
)
_SET_IN = {
    "user": "It is set for the role. Run ALTER ROLE {user} RESET default_transaction_read_only.",
    "database": "It is set for the database. Run ALTER DATABASE {database} RESET default_transaction_read_only.",
    "database user": "It is set for the role in this database. Run ALTER ROLE {user} IN DATABASE {database} RESET"
    " default_transaction_read_only.",
    "client": "The connection asks for it: remove it from the options in FLUX_POSTGRES_URL or PGOPTIONS.",
}
_SERVER_WIDE = (
    "It is set for the whole server (some providers do so when its disk is nearly full). Run ALTER ROLE"
    " {user} SET default_transaction_read_only = off, or turn it off there."
)


def require_writable(session: psycopg.Connection) -> None:
    """Raise TargetError when the session takes no writes. Costs no round trip when it does: the server has told."""
    if why := why_not_writable(session):
        raise TargetError(*why)


def why_not_writable(session: psycopg.Connection) -> tuple[str, str] | None:
    """The sentence and the remedy; None where the session can write, or a pooler hides what the server says."""
    told = session.info.parameter_status
    return explained(session, standby=told("in_hot_standby") == "on", read_only=told(_NAME) == "on")


def explained(session: psycopg.Connection, *, standby: bool, read_only: bool) -> tuple[str, str] | None:
    """The sentence and the remedy of a server in this state; None when it takes writes."""
    if standby:
        return _STANDBY
    if not read_only:
        return None
    row = session.execute("SELECT source FROM pg_settings WHERE name = %s", [_NAME]).fetchone()
    remedy = _SET_IN.get(row[0] if row else "", _SERVER_WIDE)
    return (
        f"Sessions in the target database are read-only: {_NAME} is on.",
        remedy.format(user=f'"{session.info.user}"', database=f'"{session.info.dbname}"'),
    )
