"""Standbys that commits wait for, and publications that hold layers: what subscribers get of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.postgis.names import VERSIONS, Layer
from flux_assets.sqlfiles import query

_SERVER, _LAYERS = Group("Target database"), Group("Layers")


def standbys(session: psycopg.Connection) -> Iterator[Finding]:
    """Yield which synchronous standbys commits wait for."""
    row = session.execute(query("doctor", "synchronous_standbys")).fetchone()
    if row is None or not row[0] or row[1] in {"off", "local"}:
        return
    names, level, senders = row
    settings = f"synchronous_standby_names = '{names}', synchronous_commit = {level}"
    if not senders:
        yield _SERVER.failed(
            f"each commit waits for a synchronous standby, and none is connected ({settings})",
            "Start the standby, or run ALTER SYSTEM SET synchronous_standby_names = '' and SELECT pg_reload_conf() as a"
            " superuser.",
        )
        return
    yield _SERVER.note(
        f"each commit waits for synchronous standbys ({settings})",
        "A publish does not block readers of this server meanwhile; loads and syncs take as long as the standbys"
        " do. For"
        " readers of a standby see docs/for-map-applications.md.",
    )


def publications(session: psycopg.Connection, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Yield a warning for each publication whose subscribers keep the rows of a replaced version."""
    schema = layers[0].schema if layers else ""
    asked = {"schema": schema, "names": [layer.name for layer in layers], "versions": VERSIONS}
    for publication, everything, names, whole_schema in session.execute(
        query("doctor", "publications"), asked
    ).fetchall():
        if names:
            yield _LAYERS.warning(
                f"publication {publication} holds {', '.join(names)}: logical replication does not tell a subscriber"
                " that a version was attached, so it keeps the rows that it had, and gets none of a new version",
                _remedy(publication, is_with_versions=everything or whole_schema),
            )
        elif whole_schema:
            yield _LAYERS.note(
                f"publication {publication} holds the schema {VERSIONS}: a subscriber gets a version once it has"
                " created"
                " the version's table and refreshed its subscription",
                "docs/reliability.md has the statements for a subscriber.",
            )


def _remedy(publication: str, *, is_with_versions: bool) -> str:
    by_hand = (
        "After a load, on the subscriber: DROP SUBSCRIPTION …; TRUNCATE the table; CREATE SUBSCRIPTION … again, which"
        " copies it."
    )
    if is_with_versions:
        return f"Have the subscriber create each version's table and refresh (docs/reliability.md). {by_hand}"
    return (
        f"Publish the versions: CREATE PUBLICATION … FOR TABLES IN SCHEMA {VERSIONS} (docs/reliability.md has the"
        f" statements for a subscriber), in place of {publication}. {by_hand}"
    )
