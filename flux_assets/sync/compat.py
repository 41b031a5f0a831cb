"""The views that show synced tables under the names of older applications too, in a schema of their own."""

from __future__ import annotations

import psycopg
from psycopg import sql

from flux_assets.errors import FluxError, reported
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import LiveTable
from flux_assets.postgis.session import run
from flux_assets.sqlfiles import query


def keep_view(session: psycopg.Connection, live: LiveTable, patience: LockRetries) -> bool:
    """Make the view of a table that declares aliases as declared; return whether anything was done.

    Whoever may read the table may read the view, for rights and policies are those of who asks. A view that cannot be
    made is logged and no reason not to sync.
    """
    relation = Relation.find(session, live.schema, live.name) if live.table.aliases else None
    if relation is None:
        return False
    view, wanted = sql.Identifier(live.compat_schema, live.name), _selecting(live, relation)
    parts = {"view": view, "schema": sql.Identifier(live.compat_schema), "wanted": wanted, "comment": _comment(live)}
    named = {"of_schema": live.compat_schema, "of_view": live.name}
    title = f"{live.compat_schema}.{live.name}"
    try:
        asking = [query("compat", name).format(**parts, **named) for name in ("try", "is_kept", "forget")]
        [[(is_kept,)]] = run(session, asking)
        if is_kept:
            return False
        making = [query("compat", "make").format(**parts)]
        old = Relation.find(session, live.compat_schema, live.name)
        waiting_for, doing = [old.oid] if old else [], f"making the view {title}"
        patience.briefly(session, lambda: making, waiting_for=waiting_for, doing=doing)
    except (FluxError, psycopg.Error) as error:
        if session.closed or session.broken:
            raise
        patience.log(
            f"{title}, which older applications read, is not as declared and could not be made: {reported(error)}."
            f" {live.title} is synced all the same. Remove what is in the way, or GRANT CREATE ON DATABASE, and run the"
            " job setup_dynamic_tables."
        )
        return False
    patience.log(f"{title}: made")
    return True


def _selecting(live: LiveTable, relation: Relation) -> sql.Composed:
    """Make the view's query: all columns that the table has, and the aliases, which may take a column's place."""
    # Expressions belong to declarations, whose DDL is no safer.
    aliases = {alias.name: sql.SQL(alias.expression) for alias in live.table.aliases}
    columns = {column.name: sql.Identifier(column.name) for column in relation.columns()}
    shown = [sql.SQL("{} AS {}").format(what, sql.Identifier(name)) for name, what in (columns | aliases).items()]
    return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(shown), live.public)


def _comment(live: LiveTable) -> str:
    return f"{live.title} under its own names and those of older applications; kept as declared by every set-up."
