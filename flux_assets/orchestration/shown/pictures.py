"""Pictures among the metadata of a materialisation: a map of the table, and a line of its last loads or syncs.

The UI shows what the newest materialisation has and no more, so a picture that need not be drawn again is handed on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from flux_assets.orchestration.names import Names
from flux_assets.postgis.session import Target
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.sync.result import TableResult

if TYPE_CHECKING:
    from flux_assets.layers.load import LoadResult

_Metadata = dict[str, Any]
_SECONDS_BETWEEN_PREVIEWS = 3600
_LONGEST_SECONDS = 86400
_DRAWN_AT, _EVENT_AT, _ROWS, _CHANGES = "preview_drawn_at", "preview_event_at", "preview_rows", "preview_changes"
# Of the rows when it was drawn; of a handful of outages every tick changes a fifth.
_MUCH_SHARE, _MUCH_ROWS = 0.2, 10
# Event times are stored to the microsecond.
_MOMENT = 0.001


def layer_pictures(
    context: dg.AssetExecutionContext, names: Names, table: StaticTable, target: Target, result: LoadResult
) -> _Metadata:
    """Return those of a layer: drawn after a publish, else those of the last materialisation."""
    if not result.rows_changed:
        return _Last.of(context, names.key(table.name)).handed_on("preview", "history")
    preview = _tried(context, table.name, "preview", lambda: _map_of(table, names, target, result.rows))
    return {**preview, **_history(context, table.name, target, result.rows)}


def sync_pictures(
    context: dg.AssetExecutionContext, names: Names, table: DynamicTable, target: Target, done: TableResult
) -> _Metadata:
    """Return those of a dynamic table: the map, if it has one, and a line, which is drawn when rows changed."""
    last = _Last.of(context, names.key(table.name))
    shown = _live_map(context, names, table, target, done, last) if table.picture else {}
    if done.outcome == "unchanged":
        return {**shown, **last.handed_on("history")}
    return {**shown, **_history(context, table.name, target, done.rows)}


def _live_map(
    context: dg.AssetExecutionContext,
    names: Names,
    table: DynamicTable,
    target: Target,
    done: TableResult,
    last: _Last,
) -> _Metadata:
    """Return the map, which is large, or a link to the event that has it."""
    drawn = _drawn_picture(context.instance, done, last)
    kept = names.settings().flux_keep_runs_for.total_seconds()
    due = drawn.is_due(done, kept) if drawn else done.outcome != "unchanged" or _DRAWN_AT in last.metadata
    if due and (shown := _tried(context, table.name, "preview", lambda: _map_of(table, names, target, done.rows))):
        return {**shown, _DRAWN_AT: dg.MetadataValue.timestamp(time.time()), _ROWS: dg.MetadataValue.int(done.rows)}
    return drawn.link(last.key) if drawn else {}


@dataclass(frozen=True, kw_only=True)
class _DrawnPicture:
    """A picture of `rows` rows in the event of `event_at`, and how many `changes` of rows it lacks by now."""

    drawn_at: float
    event_at: float
    rows: int
    changes: int

    def is_due(self, done: TableResult, kept_seconds: float) -> bool:
        """Return whether to draw it again: hourly when rows changed, at once when many did.

        An old one is drawn again before its event is pruned, after `kept_seconds` or more.
        """
        age = time.time() - self.drawn_at
        longest = min(_LONGEST_SECONDS, max(_SECONDS_BETWEEN_PREVIEWS, kept_seconds / 2))
        lacks_much = self.changes >= max(_MUCH_ROWS, _MUCH_SHARE * self.rows)
        changed = done.outcome != "unchanged"
        return (changed and age >= _SECONDS_BETWEEN_PREVIEWS) or lacks_much or age > longest

    def link(self, key: dg.AssetKey) -> _Metadata:
        """Return the metadata that leads to the list of events, up to the one that has the picture."""
        moment = datetime.fromtimestamp(self.drawn_at, UTC)
        until = math.floor(self.event_at * 1000) + 1
        return {
            "preview": dg.MetadataValue.md(
                f"[as of {moment:%H:%M} UTC](/assets/{'/'.join(key.path)}?view=events&time={until})"
            ),
            _DRAWN_AT: dg.MetadataValue.timestamp(self.drawn_at),
            _EVENT_AT: dg.MetadataValue.float(self.event_at),
            _ROWS: dg.MetadataValue.int(self.rows),
            _CHANGES: dg.MetadataValue.int(self.changes),
        }


def _drawn_picture(instance: dg.DagsterInstance, done: TableResult, last: _Last) -> _DrawnPicture | None:
    """Return the picture that the last materialisation has or links to; None where no event has it."""
    names = {_DRAWN_AT, _EVENT_AT, _ROWS, _CHANGES} & last.metadata.keys()
    numbers = {key: float(last.metadata[key].value) for key in names}
    has_it = _has_picture(last.metadata)
    event_at = last.recorded_at if has_it else numbers.get(_EVENT_AT, 0.0)
    if _DRAWN_AT not in numbers or not (has_it or _is_there(instance, last.key, event_at)):
        return None
    return _DrawnPicture(
        drawn_at=numbers[_DRAWN_AT],
        event_at=event_at,
        rows=int(numbers.get(_ROWS, 0)),
        changes=int(numbers.get(_CHANGES, 0)) + done.inserted + done.updated + done.deleted,
    )


def _is_there(instance: dg.DagsterInstance, key: dg.AssetKey, event_at: float) -> bool:
    """Return whether the event exists: pruning the history removes it, and so does wiping the asset."""
    wanted = dg.AssetRecordsFilter(
        asset_key=key, after_timestamp=event_at - _MOMENT, before_timestamp=event_at + _MOMENT
    )
    found = instance.fetch_materializations(wanted, limit=1).records if event_at else ()
    return any((made := record.asset_materialization) is not None and _has_picture(made.metadata) for record in found)


def _has_picture(metadata: Mapping[str, object]) -> bool:
    """Return whether it is the picture itself that the event has, and no link to one."""
    preview = metadata.get("preview")
    return isinstance(preview, dg.MarkdownMetadataValue) and str(preview.value).startswith("![")


class _Last(NamedTuple):
    """The metadata of an asset's last materialisation, and when it was recorded."""

    key: dg.AssetKey
    metadata: _Metadata
    recorded_at: float

    @staticmethod
    def of(context: dg.AssetExecutionContext, key: dg.AssetKey) -> _Last:
        entry = context.instance.get_latest_materialization_event(key)
        found = entry.asset_materialization if entry else None
        return _Last(key, dict(found.metadata), entry.timestamp) if entry and found else _Last(key, {}, 0.0)

    def handed_on(self, *names: str) -> _Metadata:
        return {name: self.metadata[name] for name in names if name in self.metadata}


def _map_of(table: StaticTable | DynamicTable, names: Names, target: Target, rows: int) -> str | None:
    from flux_assets.previews.maps import as_markdown, draw, draw_live

    grounds = names.catalogue.grounds
    if isinstance(table, StaticTable):
        picture = draw(table, target, rows, grounds)
    else:
        picture = draw_live(table, target, grounds)
    return as_markdown(table, picture) if picture else None


def _history(context: dg.AssetExecutionContext, name: str, target: Target, rows: int) -> _Metadata:
    from flux_assets.ledger.status import Past
    from flux_assets.previews.sparkline import sparkline

    def line() -> str | None:
        with target.session(f"history {name}") as session:
            return sparkline(Past.recent(session, target.schema, name, rows))

    return _tried(context, name, "history", line)


def _tried(context: dg.AssetExecutionContext, name: str, what: str, draw: Callable[[], str | None]) -> _Metadata:
    try:
        drawn = draw()
    except Exception as error:  # noqa: BLE001 - a picture is no reason to fail a load, whatever drawing it meets
        context.log.warning(f"{name}: up to date; only its {what} could not be drawn: {error}")
        return {}
    return {what: dg.MetadataValue.md(drawn)} if drawn else {}
