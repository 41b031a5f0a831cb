"""Whether a database can hold every text of a release or a source: only one in UTF8 can."""

from __future__ import annotations

import psycopg

from flux_assets.errors import TargetError

_NEEDED = "UTF8"
_INTO_ANOTHER = (
    "Make a database in UTF8 beside it (CREATE DATABASE {new} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0, or"
    " with another UTF-8 locale of the server), bring over what is in this one (pg_dump{said} {old} | psql {new}), and"
    " name the new one in FLUX_POSTGRES_URL."
)
# Such a database does not know what its bytes mean: whoever reads them has to say it.
_OF_BYTES = " --encoding=LATIN1, or whatever the bytes in it mean,"


def require_utf8(session: psycopg.Connection) -> None:
    """Raise TargetError for a database in another encoding. Costs no round trip: the server has told at sign-in."""
    encoding = session.info.parameter_status("server_encoding") or _asked(session)
    if encoding == _NEEDED:
        return
    name = session.info.dbname
    remedy = _INTO_ANOTHER.format(
        old=f'"{name}"', new=f'"{name}_utf8"', said=_OF_BYTES if encoding == "SQL_ASCII" else ""
    )
    raise TargetError(
        f'The encoding of database "{name}" is {encoding}, which cannot hold every text; flux_assets needs UTF8.',
        remedy,
    )


def _asked(session: psycopg.Connection) -> str:
    """Ask it where a pooler does not pass on what the server tells."""
    row = session.execute("SHOW server_encoding").fetchone()
    return str(row[0]) if row else ""
