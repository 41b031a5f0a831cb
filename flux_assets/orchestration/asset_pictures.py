"""Pictures among the metadata of a materialisation: a map of the table, and a line of its last loads or syncs.

Here: when they are drawn, and how they are handed on while they need not be drawn again: the UI shows what the newest
materialisation says, and no more. Without them a table is as good, so their failure is only told. Not here: drawing
(pictures/preview.py, pictures/sync_preview.py, pictures/sparkline.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from flux_assets.postgis.connect import Target
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.syncing.result import TableSync
from flux_assets.tables import grounds

if TYPE_CHECKING:
    from flux_assets.load import LoadResult

SECONDS_BETWEEN_PREVIEWS = 3600
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


def sync_pictures(context: dg.AssetExecutionContext, table: DynamicTable, target: Target, done: TableSync) -> Metadata:
    """Those of a dynamic table.

    The line is drawn when rows changed. The map, which is not small, at most once an hour; in between there is a link
    to the event that has it.
    """
    last, changed = _last(context, table.name), done.outcome != "unchanged"
    drawn = last.get("preview_drawn_at")
    drawn_at = drawn.value if isinstance(drawn, dg.TimestampMetadataValue) else None
    shown: Metadata = {}
    if table.picture and changed and (drawn_at is None or time.time() - drawn_at >= SECONDS_BETWEEN_PREVIEWS):
        shown = _tried(context, table.name, "preview", lambda: _live_map_of(table, target))
        drawn_at = time.time() if shown else drawn_at
    if drawn_at is not None:
        shown.setdefault("preview", _link(table.name, drawn_at))
        shown["preview_drawn_at"] = dg.MetadataValue.timestamp(drawn_at)
    if changed:
        return {**shown, **_history(context, table.name, target, done.rows)}
    return {**shown, **({"history": last["history"]} if "history" in last else {})}


def _last(context: dg.AssetExecutionContext, name: str) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata of the last materialisation."""
    entry = context.instance.get_latest_materialization_event(dg.AssetKey(name))
    found = entry.asset_materialization if entry else None
    return dict(found.metadata) if found else {}


def _link(name: str, drawn_at: float) -> dg.MarkdownMetadataValue:
    """To the newest event of the minute in which the picture was drawn."""
    moment, until = datetime.fromtimestamp(drawn_at, UTC), round((drawn_at + 60) * 1000)
    return dg.MetadataValue.md(f"[as of {moment:%H:%M} UTC](/assets/{name}?view=events&time={until})")


def _map_of(table: StaticTable, target: Target, rows: int) -> str | None:
    from flux_assets.pictures.preview import as_markdown, draw

    picture = draw(table, target, rows, grounds())
    return as_markdown(table, picture) if picture else None


def _live_map_of(table: DynamicTable, target: Target) -> str | None:
    from flux_assets.pictures.preview import as_markdown
    from flux_assets.pictures.sync_preview import draw_live

    picture = draw_live(table, target, grounds())
    return as_markdown(table, picture) if picture else None


def _history(context: dg.AssetExecutionContext, name: str, target: Target, rows: int) -> Metadata:
    return _tried(context, name, "history", lambda: _line_of(name, target, rows))


def _line_of(name: str, target: Target, rows: int) -> str | None:
    from flux_assets.pictures.sparkline import sparkline
    from flux_assets.postgis.recent import recent

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
