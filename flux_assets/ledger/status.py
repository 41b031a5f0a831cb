"""What the database says of each table right now, read without changing or making anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row

from flux_assets.errors import TargetError
from flux_assets.postgis.catalog import Relation
from flux_assets.sqlfiles import query

# A view of an earlier revision than 7 has loading, failed and interrupted among its states, and no last_attempt.
_State = Literal["live", "loading", "still", "late", "failed", "interrupted", "broken", "never loaded", "not synced"]
_Attempt = Literal["succeeded", "failed", "interrupted", "under way"]


@dataclass(frozen=True, kw_only=True)
class TableStatus:
    """One table: what readers see and, apart from that, how the last attempt to load or sync it ended.

    `state`, what it means here in a line (`detail`), and whether what readers see can be `trusted`; None where there is
    nothing. `last_attempt` and its detail say nothing about that: a load that failed has changed nothing.

    `version` and `release_tag` are those of a static layer that is live. The clocks: when the source last changed,
    when the table was last found or made equal to it, when what readers see last changed; their ages in seconds.
    `lag_seconds` is how old the picture is that a dynamic table gives of its source. `last_error` is the first line of
    the newest failure. `sync_id` and `run_id` are those of the last run, however it ended. `held_version` is what the
    newest load of a pinned layer did not publish. `rows_quarantined` records of the release file are missing, for they
    were refused. `others_wrote` says that others write the table, and how to stop them.
    """

    table: str
    kind: Literal["static", "dynamic"]
    state: _State
    trusted: bool | None = None
    detail: str = ""
    rows: int | None = None
    version: str | None = None
    release_tag: str | None = None
    source_changed_at: datetime | None = None
    source_age_seconds: float | None = None
    checked_at: datetime | None = None
    checked_age_seconds: float | None = None
    published_at: datetime | None = None
    published_age_seconds: float | None = None
    lag_seconds: float | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None
    failures_last_hour: int = 0
    sync_id: int | None = None
    run_id: str | None = None
    pinned_at: datetime | None = None
    pinned_by: str | None = None
    pin_reason: str | None = None
    held_version: str | None = None
    rows_quarantined: int = 0
    last_attempt: _Attempt | None = None
    last_attempt_at: datetime | None = None
    last_attempt_age_seconds: float | None = None
    last_attempt_detail: str = ""
    others_wrote_at: datetime | None = None
    others_wrote: str = ""

    @classmethod
    def read(cls, connection: psycopg.Connection, schema: str) -> dict[str, TableStatus]:
        """Return what the view says of each table that the database knows; nothing where no load was yet.

        Raises TargetError when the ledger was made by an earlier release, which any load or sync brings up to date.
        """
        if not cls.is_prepared(connection):
            return {}
        if Relation.find(connection, "postgres_sync", "v_table_status") is None:
            raise TargetError(
                "The ledger (schema postgres_sync) was made by an earlier release of flux_assets and lacks what this"
                " one reads.",
                "Any load or sync adds it: dagster job execute -m flux_assets.definitions -j setup_dynamic_tables",
            )
        with connection.cursor(row_factory=class_row(cls)) as cursor:
            return {status.table: status for status in cursor.execute(query("status", "status"), [schema]).fetchall()}

    @staticmethod
    def is_prepared(connection: psycopg.Connection) -> bool:
        """Tell whether any load has ever made our schemas here."""
        return Relation.find(connection, "postgres_sync", "layer_versions") is not None

    @property
    def wrong(self) -> bool:
        """Whether what readers see is not what it should be."""
        return self.trusted is False

    @property
    def attempt_failed(self) -> bool:
        """Whether the last load or sync did not end well; readers may see what they should all the same."""
        return self.last_attempt in {"failed", "interrupted"}


@dataclass(frozen=True)
class Past:
    """A load or sync that has ended: rows in the table after it, how long it took, how it ended."""

    rows: int
    seconds: float
    failed: bool

    @classmethod
    def recent(cls, session: psycopg.Connection, schema: str, name: str, rows: int) -> list[Past]:
        """Return the table's last 24 loads or syncs, oldest first; it has `rows` now.

        The rows after each are counted back from now: a load knows them, a sync only by how many they grew. Before
        others took rows out by hand there may seem to have been fewer than none.
        """
        found = []
        for status, seconds, loaded, grown in session.execute(query("recent_runs", "recent_runs"), [name, schema]):
            failed = status == "FAILED"
            rows = rows if loaded is None or failed else loaded
            found.append(cls(max(rows, 0), seconds or 0.0, failed))
            rows -= 0 if failed else grown or 0
        return found[::-1]
