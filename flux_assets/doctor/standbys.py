"""Standbys for which commits on the target server wait.

Here: who they are as the server names them, and whether any is there. Not here: a target that is a standby itself
(connection.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from flux_assets.doctor.finding import Finding, Group

_GROUP = Group("Target database")
# Everybody may see that there are senders, and not more.
_ASKED = """
SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
       (SELECT count(*) FROM pg_stat_replication)
"""


def findings(session: psycopg.Connection) -> Iterator[Finding]:
    """Say which standbys are waited for; nothing where none is."""
    row = session.execute(_ASKED).fetchone()
    if row is None or not row[0] or row[1] in {"off", "local"}:
        return
    names, level, senders = row
    settings = f"synchronous_standby_names = '{names}', synchronous_commit = {level}"
    if not senders:
        yield _GROUP.failed(
            f"each commit waits for a synchronous standby, and none is connected ({settings})",
            "Start the standby, or run ALTER SYSTEM SET synchronous_standby_names = '' and SELECT pg_reload_conf() as a"
            " superuser.",
        )
        return
    yield _GROUP.note(
        f"each commit waits for synchronous standbys ({settings})",
        "A publish holds up no reader of this server meanwhile; loads and syncs take as long as the standbys do. What"
        " readers of a standby meet: docs/for-map-applications.md.",
    )
