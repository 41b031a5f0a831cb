"""Pictures among the metadata of a materialisation: a map of the table, and a line of its last loads or syncs.

The UI shows what the newest materialisation has and no more, so a picture that need not be drawn again is handed on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from flux_assets.postgis.session import Target
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
    """Return those of a layer: drawn after a publish, else those of the last materialisation."""
    if not result.rows_changed:
        last = _last(context, table.name)
        return {name: last[name] for name in ("preview", "history") if name in last}
    preview = _tried(context, table.name, "preview", lambda: _map_of(table, target, result.rows))
    return {**preview, **_history(context, table.name, target, result.rows)}


def sync_pictures(
    context: dg.AssetExecutionContext, table: DynamicTable, target: Target, done: TableResult
) -> Metadata:
    """Return those of a dynamic table: the map, if it has one, and a line, which is drawn when rows changed."""
    shown = _live_map(context, table, target, done) if table.picture else {}
    if done.outcome != "unchanged":
        return {**shown, **_history(context, table.name, target, done.rows)}
    last = _last(context, table.name)
    return {**shown, **({"history": last["history"]} if "history" in last else {})}


def _live_map(context: dg.AssetExecutionContext, table: DynamicTable, target: Target, done: TableResult) -> Metadata:
    """Return the map, which is large, or a link to the event that has it."""
    before = _drawn_picture(context.instance, table.name)
    drawn = before.after(done.inserted + done.updated + done.deleted) if before else None
    if _is_due(drawn, done, linked=DRAWN_AT in _last(context, table.name)):
        shown = _tried(context, table.name, "preview", lambda: _live_map_of(table, target))
        if shown:
            drawn_at = {DRAWN_AT: dg.MetadataValue.timestamp(time.time()), ROWS: dg.MetadataValue.int(done.rows)}
            return {**shown, **drawn_at}
    return {"preview": drawn.link(table.name), **drawn.metadata()} if drawn else {}


def _is_due(drawn: _DrawnPicture | None, done: TableResult, *, linked: bool) -> bool:
    """Return whether to draw the map: hourly when rows changed; at once when many did, or when no event has it.

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
    """Return the metadata of the last materialisation."""
    entry = context.instance.get_latest_materialization_event(dg.AssetKey(name))
    found = entry.asset_materialization if entry else None
    return dict(found.metadata) if found else {}


def _map_of(table: StaticTable, target: Target, rows: int) -> str | None:
    from flux_assets.previews.maps import as_markdown, draw

    picture = draw(table, target, rows, grounds())
    return as_markdown(table, picture) if picture else None


def _live_map_of(table: DynamicTable, target: Target) -> str | None:
    from flux_assets.previews.maps import as_markdown, draw_live

    picture = draw_live(table, target, grounds())
    return as_markdown(table, picture) if picture else None


def _history(context: dg.AssetExecutionContext, name: str, target: Target, rows: int) -> Metadata:
    return _tried(context, name, "history", lambda: _line_of(name, target, rows))


def _line_of(name: str, target: Target, rows: int) -> str | None:
    from flux_assets.ledger.status import recent
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


DRAWN_AT, EVENT_AT, ROWS, CHANGES = "preview_drawn_at", "preview_event_at", "preview_rows", "preview_changes"
# Of the rows when it was drawn; of a handful of outages every tick changes a fifth.
MUCH_SHARE, MUCH_ROWS = 0.2, 10
# Event times are stored to the microsecond.
_MOMENT = 0.001


@dataclass(frozen=True, kw_only=True)
class _DrawnPicture:
    """A picture of `rows` rows in the event of `event_at`, and how many `changes` of rows it lacks by now."""

    drawn_at: float
    event_at: float
    rows: int
    changes: int

    @property
    def age_seconds(self) -> float:
        return time.time() - self.drawn_at

    @property
    def lacks_much(self) -> bool:
        """Return whether so much has changed that it misleads."""
        return self.changes >= max(MUCH_ROWS, MUCH_SHARE * self.rows)

    def after(self, changes: int) -> _DrawnPicture:
        return replace(self, changes=self.changes + changes)

    def link(self, name: str) -> dg.MarkdownMetadataValue:
        """Return a link to the list of events, up to the one that has the picture."""
        moment = datetime.fromtimestamp(self.drawn_at, UTC)
        until = math.floor(self.event_at * 1000) + 1
        return dg.MetadataValue.md(f"[as of {moment:%H:%M} UTC](/assets/{name}?view=events&time={until})")

    def metadata(self) -> dict[str, dg.MetadataValue]:
        """Return the metadata of the next materialisation, which has the link alone."""
        return {
            DRAWN_AT: dg.MetadataValue.timestamp(self.drawn_at),
            EVENT_AT: dg.MetadataValue.float(self.event_at),
            ROWS: dg.MetadataValue.int(self.rows),
            CHANGES: dg.MetadataValue.int(self.changes),
        }


def _drawn_picture(instance: dg.DagsterInstance, name: str) -> _DrawnPicture | None:
    """Return the picture that the last materialisation has or links to; None where no event has it."""
    entry = instance.get_latest_materialization_event(dg.AssetKey(name))
    last = entry.asset_materialization if entry else None
    if entry is None or last is None or DRAWN_AT not in last.metadata:
        return None
    event_at = entry.timestamp if _is_picture(last) else _number(last, EVENT_AT)
    if not _is_picture(last) and not _is_there(instance, name, event_at):
        return None
    return _DrawnPicture(
        drawn_at=_number(last, DRAWN_AT),
        event_at=event_at,
        rows=int(_number(last, ROWS)),
        changes=int(_number(last, CHANGES)),
    )


def _number(materialization: dg.AssetMaterialization, name: str) -> float:
    found = materialization.metadata.get(name)
    return float(str(found.value)) if found is not None else 0.0


def _is_picture(materialization: dg.AssetMaterialization) -> bool:
    """Return whether it holds the picture itself, and no link to one."""
    preview = materialization.metadata.get("preview")
    return isinstance(preview, dg.MarkdownMetadataValue) and str(preview.value).startswith("![")


def _is_there(instance: dg.DagsterInstance, name: str, event_at: float) -> bool:
    """Return whether the event exists: pruning the history removes it, and so does wiping the asset."""
    wanted = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(name), after_timestamp=event_at - _MOMENT, before_timestamp=event_at + _MOMENT
    )
    found = instance.fetch_materializations(wanted, limit=1).records if event_at else ()
    return any((made := record.asset_materialization) is not None and _is_picture(made) for record in found)
