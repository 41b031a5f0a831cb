"""Rows that exchange values under a unique index are taken out and put back, where an UPDATE would meet a double.

PostgreSQL looks for a double row by row, unless the constraint is deferrable, so that of two rows that swap values the
first is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import errors, sql

from flux_assets.errors import SyncError, reported
from flux_assets.postgis import catalog
from flux_assets.postgis.relations import LiveTable
from flux_assets.sqlfiles import query

Collision = errors.UniqueViolation | errors.ExclusionViolation


def is_of(live: LiveTable, error: Collision) -> bool:
    """Tell whether rows of this very table collided, and not those of one that a trigger writes to."""
    return (error.diag.schema_name, error.diag.table_name) == (live.schema, live.name)


def exchanging(
    session: psycopg.Connection, live: LiveTable, parts: dict[str, sql.Composable], collision: Collision
) -> list[sql.Composed]:
    """Make statements that replace the UPDATE: note the changed rows whole, change the notes, take out, put back.

    The last two write the table. Raises SyncError where others would take that for rows that are gone.
    """
    relation = catalog.find(session, live.schema, live.name)
    oid = relation.oid if relation else 0
    if obstacles := list(_obstacles(session, oid)):
        raise SyncError(
            f"{live.title}: rows that change collide under {collision.diag.constraint_name}.{_detail(collision)} Where"
            f" they only exchange values, they would have to be taken out in between, and {', '.join(obstacles)} would"
            " take them for deleted, and not for changed.",
            f"Make it a deferrable constraint (ALTER TABLE {live.title} … ADD CONSTRAINT … UNIQUE (…) DEFERRABLE), or"
            " drop it; where the source holds a double, remove that in Snowflake. The table is as it was.",
        )
    columns = [sql.Identifier(column.name) for column in catalog.columns(session, oid) if not column.generated]
    notes = sql.Identifier("pg_temp", f"parked_{live.name}"[:63])
    statements = (
        "CREATE TEMP TABLE {notes} AS SELECT t.* FROM {own} AS t, {rows} AS d"
        " WHERE d.flux_action = 'update' AND {same}",
        "UPDATE {notes} AS t SET {set} FROM {rows} AS d WHERE d.flux_action = 'update' AND {same}",
        "DELETE FROM {own} AS t USING {rows} AS d WHERE d.flux_action = 'update' AND {same}",
        "INSERT INTO {table} ({all}) OVERRIDING SYSTEM VALUE SELECT {all} FROM {notes}",
    )
    given = {**parts, "notes": notes, "all": sql.SQL(", ").join(columns)}
    return [sql.SQL(statement).format(**given) for statement in statements]


def describe_collision(live: LiveTable, collision: Collision) -> SyncError:
    """Return the error of rows that collide however they are written."""
    return SyncError(
        f"{live.title}: rows of {live.table.source} collide under {collision.diag.constraint_name}, which is not of the"
        f" declaration.{_detail(collision)}",
        f"Remove the double in Snowflake, or drop that index or constraint of {live.title}; the table is as it was.",
    )


def _obstacles(session: psycopg.Connection, oid: int) -> Iterator[str]:
    for key in catalog.kin(session, oid, "inbound_keys"):
        yield f"the foreign key of {key}"
    for (who,) in session.execute(query("sync", "watchers"), {"oid": oid}).fetchall():
        yield who


def _detail(collision: Collision) -> str:
    return f" {reported(collision.diag.message_detail)}." if collision.diag.message_detail else ""
