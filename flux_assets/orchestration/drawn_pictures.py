"""The picture that a table's page has, while it need not be drawn again: which event has it, how old it is by now.

Here: finding the event, counting what changed since, and the link. Not here: drawing, and when (asset_pictures.py).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import dagster as dg

DRAWN_AT, EVENT_AT, ROWS, CHANGES = "preview_drawn_at", "preview_event_at", "preview_rows", "preview_changes"
# Of the rows when it was drawn; of a handful of outages every tick changes a fifth.
MUCH_SHARE, MUCH_ROWS = 0.2, 10
# Event times are stored to the microsecond.
_MOMENT = 0.001


@dataclass(frozen=True, kw_only=True)
class DrawnPicture:
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
        """Whether so much has changed that it misleads."""
        return self.changes >= max(MUCH_ROWS, MUCH_SHARE * self.rows)

    def after(self, changes: int) -> DrawnPicture:
        return replace(self, changes=self.changes + changes)

    def link(self, name: str) -> dg.MarkdownMetadataValue:
        """To the list of events, up to the one that has the picture."""
        moment = datetime.fromtimestamp(self.drawn_at, UTC)
        until = math.floor(self.event_at * 1000) + 1
        return dg.MetadataValue.md(f"[as of {moment:%H:%M} UTC](/assets/{name}?view=events&time={until})")

    def metadata(self) -> dict[str, dg.MetadataValue]:
        """For the next materialisation, which has the link alone."""
        return {
            DRAWN_AT: dg.MetadataValue.timestamp(self.drawn_at), EVENT_AT: dg.MetadataValue.float(self.event_at),
            ROWS: dg.MetadataValue.int(self.rows), CHANGES: dg.MetadataValue.int(self.changes),
        }  # fmt: skip


def drawn_picture(instance: dg.DagsterInstance, name: str) -> DrawnPicture | None:
    """The picture that the last materialisation has or links to; None where no event has it (any more)."""
    entry = instance.get_latest_materialization_event(dg.AssetKey(name))
    last = entry.asset_materialization if entry else None
    if entry is None or last is None or DRAWN_AT not in last.metadata:
        return None
    event_at = entry.timestamp if is_picture(last) else _number(last, EVENT_AT)
    if not is_picture(last) and not _is_there(instance, name, event_at):
        return None
    return DrawnPicture(
        drawn_at=_number(last, DRAWN_AT), event_at=event_at, rows=int(_number(last, ROWS)),
        changes=int(_number(last, CHANGES)),
    )  # fmt: skip


def _number(materialization: dg.AssetMaterialization, name: str) -> float:
    found = materialization.metadata.get(name)
    return float(found.value) if found is not None else 0.0  # type: ignore[arg-type]


def is_picture(materialization: dg.AssetMaterialization) -> bool:
    """Whether it holds the picture itself, and no link to one."""
    preview = materialization.metadata.get("preview")
    return isinstance(preview, dg.MarkdownMetadataValue) and str(preview.value).startswith("![")


def _is_there(instance: dg.DagsterInstance, name: str, event_at: float) -> bool:
    """Whether the event still is: pruning the history takes it along, and so does wiping the asset."""
    wanted = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(name), after_timestamp=event_at - _MOMENT, before_timestamp=event_at + _MOMENT
    )
    found = instance.fetch_materializations(wanted, limit=1).records if event_at else ()
    return any((made := record.asset_materialization) is not None and is_picture(made) for record in found)
