"""Telling caches that what readers see has changed: NOTIFY on the channel flux_published.

The statement belongs into the transaction that makes the change, so that it is heard when, and only when, the change
can be seen.
"""

from __future__ import annotations

import json
from typing import Literal

from psycopg import sql

from flux_assets.postgis.names import PublicTable

CHANNEL = "flux_published"
Kind = Literal["published", "rolled back", "synced"]


def announcing(
    table: PublicTable, kind: Kind, *, version: str | None = None, sync_id: int | None = None
) -> sql.Composed:
    """Make a statement that tells of a table's new `version`, or of the ledger's row whose sync changed it.

    `sync_id` is None where a table only followed another that was synced.
    """
    what = {"sync_id": sync_id} if kind == "synced" else {"version": version}
    payload = json.dumps({"schema": table.schema, "table": table.name, "kind": kind, **what})
    return sql.SQL("NOTIFY {}, {}").format(sql.Identifier(CHANNEL), sql.Literal(payload))
