"""Limits of the target server that a load can exceed: sessions and temporary files."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.sqlfiles import query
from flux_assets.words import megabytes

_GROUP = Group("Limits")
# A session for the layer and two that build indexes; besides them one for a sync and one for alerts.
_OF_A_LAYER, _OTHERS = 3, 2


def findings(session: psycopg.Connection, parallel_layers: int) -> Iterator[Finding]:
    """Yield how many sessions are allowed, and how large temporary files may be."""
    row = session.execute(query("doctor", "limits")).fetchone()
    if row is None:
        return
    of_role, of_database, of_server, temporary_bytes = row
    yield _sessions(session, parallel_layers, of_role, of_database, of_server)
    if temporary_bytes is not None:
        yield _GROUP.note(
            f"temp_file_limit is {megabytes(temporary_bytes)}: a statement that needs larger temporary files fails",
            f'If a load fails because of it, run ALTER ROLE "{session.info.user}" SET temp_file_limit = … as a'
            " superuser.",
        )


def _sessions(
    session: psycopg.Connection, parallel_layers: int, of_role: int, of_database: int, of_server: int
) -> Finding:
    needed = _OF_A_LAYER * parallel_layers + _OTHERS
    user, database = f'"{session.info.user}"', f'"{session.info.dbname}"'
    limits = (
        (
            of_role,
            f"the connection limit of role {user}",
            f"Run ALTER ROLE {user} CONNECTION LIMIT {needed} as a superuser",
        ),
        (
            of_database,
            f"the connection limit of database {database}",
            f"Run ALTER DATABASE {database} CONNECTION LIMIT {needed} as its owner",
        ),
        (of_server, "max_connections, less those reserved for superusers,", "Raise max_connections"),
    )
    # A negative limit means no limit.
    for limit, name, remedy in limits:
        if 0 <= limit < needed:
            return _GROUP.warning(
                f"{name} is {limit}, and a load of {parallel_layers} layers at once takes up to {needed} sessions",
                f"{remedy}, or lower FLUX_PARALLEL_LAYERS.",
            )
    return _GROUP.ok(f"{needed} sessions, as many as a load takes, are allowed")
