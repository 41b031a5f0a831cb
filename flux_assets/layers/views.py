"""Views of layers: made as declared, and made again where they are not what their declaration says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from flux_assets.errors import LayerError, reported
from flux_assets.layers.computing import MissingInputsError, searching, trusted
from flux_assets.layers.context import LoadOptions
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.relations import PublicTable
from flux_assets.postgis.session import Target, run
from flux_assets.spec import View
from flux_assets.sqlfiles import query


@dataclass(frozen=True)
class _Standing:
    """What has the view's name: whether it is as declared, and how a statement can change it into that."""

    oid: int
    kind: str
    is_as_declared: bool
    keeps_columns: bool
    readers: Sequence[str]
    grants: Sequence[str]
    options: Sequence[str]

    @property
    def can_be_replaced(self) -> bool:
        """Whether CREATE OR REPLACE VIEW changes it."""
        return self.kind == "v" and self.keeps_columns


def is_as_declared(view: View, target: Target, options: LoadOptions) -> bool:
    """Tell whether the view is what its declaration says. Raises LayerError where that fails, as make_view does."""
    with target.prepared(_title(view, target), f"look {view.name}", options.stop) as session:
        found = _compared(session, view, target)
        return found is not None and found.is_as_declared


def columns_of(view: View, target: Target, options: LoadOptions) -> list[tuple[str, str]]:
    """Return the names and types of the view's columns."""
    with target.prepared(_title(view, target), f"look {view.name}", options.stop) as session:
        found = Relation.find(session, target.schema, view.name)
        return [(column.name, column.bare_type) for column in found.columns()] if found else []


def make_view(view: View, target: Target, options: LoadOptions, log: Callable[[str], None]) -> bool:
    """Make the view what its declaration says; returns whether it was something else. Rights on it stay.

    Through a new one readers see a layer's rows as they would themselves: it has no rights of its own. One that was
    there keeps its options, for its readers may have rights on nothing else; a materialized view gives up its name.
    Raises MissingInputsError when an input has never been loaded, LayerError when the query fails, when something else
    has the view's name, or when others read what would be taken from them.
    """
    title = _title(view, target)
    with target.prepared(title, f"view {view.name}", options.stop) as session:
        found = _compared(session, view, target)
        if found and found.is_as_declared:
            return False
        name = sql.Identifier(target.schema, view.name)
        statements: list[sql.Composable] = [
            searching(target.schema),
            sql.SQL("CREATE OR REPLACE VIEW {}{} AS {}").format(name, _options(found), trusted(view.query)),
            sql.SQL("COMMENT ON VIEW {} IS {}").format(name, sql.Literal(view.description)),
        ]
        if found:
            old_name, _ = PublicTable.free_name(session, target.schema, view.name)
            statements = [*_giving_way(found, title, name, old_name), *statements, *_granting(found)]
            if found.kind == "m":
                log(f"{title} was a materialized view, which is {old_name} now")
        options.patience(log).briefly(
            session,
            lambda: statements,
            waiting_for=[found.oid] if found else [],
            doing=f"making the view {title}",
        )
        log(f"{title} is as declared now")
        return True


def _title(view: View, target: Target) -> str:
    return f"{target.schema}.{view.name}"


def _compared(session: psycopg.Connection, view: View, target: Target) -> _Standing | None:
    """Return what has the view's name, compared with a temporary view of the declaration, which is gone afterwards."""
    asking = query("computing", "view").format(schema=sql.Literal(target.schema), name=sql.Literal(view.name))
    temporary = sql.SQL("CREATE TEMP VIEW flux_view AS {}").format(trusted(view.query))
    try:
        found = run(session, [sql.SQL("BEGIN"), searching(target.schema), temporary, asking])[-1]
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        kind = MissingInputsError if isinstance(error, errors.UndefinedTable) else LayerError
        raise kind(
            f"The view {_title(view, target)} cannot be made: {reported(error.diag.message_primary or error)}.",
            f"Load what it reads ({', '.join(view.inputs)}), or fix its query.",
        ) from error
    finally:
        session.execute("ROLLBACK")
    return _Standing(*found[0]) if found else None


def _giving_way(found: _Standing, title: str, name: sql.Identifier, old_name: str) -> list[sql.Composable]:
    """Return what makes room for the view; raises LayerError when that takes something from others."""
    if found.kind not in {"v", "m"}:
        raise LayerError(
            f"The view {title} cannot be made, because something else has its name.",
            f"Give it another name, and its own to a view of it, in one transaction: ALTER TABLE {title} RENAME TO"
            f" {old_name}; CREATE VIEW {title} AS TABLE {old_name}; with the readers' rights. Then load again.",
        )
    if found.can_be_replaced:
        return []
    if found.readers:
        raise LayerError(
            f"The view {title} cannot be made as declared, because that takes what it was from"
            f" {', '.join(found.readers)}, which read{'s' if len(found.readers) == 1 else ''} it.",
            "Drop what reads it, load again, and make it anew.",
        )
    if found.kind == "m":
        return [sql.SQL("ALTER MATERIALIZED VIEW {} RENAME TO {}").format(name, sql.Identifier(old_name))]
    return [sql.SQL("DROP VIEW {}").format(name)]


def _options(found: _Standing | None) -> sql.Composable:
    """Return the options of a view that was there; through a materialized one readers saw what they had no right on."""
    options = ["security_invoker=true"] if found is None else found.options if found.kind == "v" else []
    return sql.SQL(" WITH ({})").format(sql.SQL(", ").join(map(sql.SQL, options))) if options else sql.SQL("")


def _granting(found: _Standing) -> list[sql.Composable]:
    return [] if found.can_be_replaced else [sql.SQL(grant) for grant in found.grants]
