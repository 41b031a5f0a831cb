"""Pictures among the metadata of a materialisation: a map of the table, and a line of its last loads or syncs.

Here: when they are drawn, and how they are handed on while they need not be drawn again: the UI shows what the newest
materialisation says, and no more. Without them a table is as good, so their failure is only told. Not here: drawing
(pictures/preview.py, pictures/sync_preview.py, pictures/sparkline.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from flux_assets.orchestration.drawn_pictures import DRAWN_AT, ROWS, DrawnPicture, drawn_picture
from flux_assets.postgis.connect import Target
from flux_assets.settings import load_settings
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sync.result import TableResult
from flux_assets.tables import grounds

if TYPE_CHECKING:
    from flux_assets.layers.load import LoadResult

SECONDS_BETWEEN_PREVIEWS = 3600
LONGEST_SECONDS = 86400
Metadata = dict[str, Any]


def layer_pictures(
    context: dg.AssetExecutionContext, table: StaticTable, target: Target, result: LoadResult
) -> Metadata:
    """Those of a layer: drawn after a publish, else those of the last materialisation again."""
    if not result.rows_changed:
        last = _last(context, table.name)
        return {name: last[name] for name in ("preview", "history") if name in last}
    preview = _tried(context, table.name, "preview", lambda: _map_of(table, target, result.rows))
    return {**preview, **_history(context, table.name, target, result.rows)}


def sync_pictures(
    context: dg.AssetExecutionContext, table: DynamicTable, target: Target, done: TableResult
) -> Metadata:
    """Those of a dynamic table: the map of what has one, and a line, which is drawn when rows changed."""
    shown = _live_map(context, table, target, done) if table.picture else {}
    if done.outcome != "unchanged":
        return {**shown, **_history(context, table.name, target, done.rows)}
    last = _last(context, table.name)
    return {**shown, **({"history": last["history"]} if "history" in last else {})}


def _live_map(context: dg.AssetExecutionContext, table: DynamicTable, target: Target, done: TableResult) -> Metadata:
    """The map, which is not small, or else a link to the event that has it."""
    before = drawn_picture(context.instance, table.name)
    drawn = before.after(done.inserted + done.updated + done.deleted) if before else None
    if _is_due(drawn, done, linked=DRAWN_AT in _last(context, table.name)):
        shown = _tried(context, table.name, "preview", lambda: _live_map_of(table, target))
        if shown:
            said = {DRAWN_AT: dg.MetadataValue.timestamp(time.time()), ROWS: dg.MetadataValue.int(done.rows)}
            return {**shown, **said}
    return {"preview": drawn.link(table.name), **drawn.metadata()} if drawn else {}


def _is_due(drawn: DrawnPicture | None, done: TableResult, *, linked: bool) -> bool:
    """Once an hour when rows changed; at once when much did, as in a storm, and when no event has the picture any more.

    An old one is drawn again before its event is pruned.
    """
    changed = done.outcome != "unchanged"
    if drawn is None:
        return changed or linked
    kept = load_settings().flux_keep_runs_for.total_seconds() / 2
    longest = min(LONGEST_SECONDS, max(SECONDS_BETWEEN_PREVIEWS, kept))
    return (
        (changed and drawn.age_seconds >= SECONDS_BETWEEN_PREVIEWS) or drawn.lacks_much or drawn.age_seconds > longest
    )


def _last(context: dg.AssetExecutionContext, name: str) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata of the last materialisation."""
    entry = context.instance.get_latest_materialization_event(dg.AssetKey(name))
    found = entry.asset_materialization if entry else None
    return dict(found.metadata) if found else {}


def _map_of(table: StaticTable, target: Target, rows: int) -> str | None:
    from flux_assets.previews.layer_preview import as_markdown, draw

    picture = draw(table, target, rows, grounds())
    return as_markdown(table, picture) if picture else None


def _live_map_of(table: DynamicTable, target: Target) -> str | None:
    from flux_assets.previews.layer_preview import as_markdown
    from flux_assets.previews.sync_preview import draw_live

    picture = draw_live(table, target, grounds())
    return as_markdown(table, picture) if picture else None


def _history(context: dg.AssetExecutionContext, name: str, target: Target, rows: int) -> Metadata:
    return _tried(context, name, "history", lambda: _line_of(name, target, rows))


def _line_of(name: str, target: Target, rows: int) -> str | None:
    from flux_assets.ledger.recent_runs import recent
    from flux_assets.previews.sparkline import sparkline

    with target.session(f"history {name}") as session:
        return sparkline(recent(session, target.schema, name, rows))


def _tried(
    context: dg.AssetExecutionContext, name: str, what: str, draw: Callable[[], str | None]
) -> dict[str, dg.MarkdownMetadataValue]:
    try:
        drawn = draw()
    except Exception as error:  # noqa: BLE001
        context.log.warning(f"{name}: up to date; only its {what} could not be drawn: {error}")
        return {}
    return {what: dg.MetadataValue.md(drawn)} if drawn else {}
