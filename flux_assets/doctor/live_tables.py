"""The dynamic tables in the target database: whether they exist as declared, and a sync can write them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.ledger.leases import SYNC, holder
from flux_assets.postgis import catalog
from flux_assets.postgis.names import LiveTable
from flux_assets.spec import DynamicTable
from flux_assets.sync import setup

_GROUP = Group("Synced tables")
_NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE")


def findings(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> Iterator[Finding]:
    """Yield the findings about single tables, then about the lock that all syncs share."""
    synced = _synced(session, schema)
    found = [finding for table in tables for finding in _of_table(session, LiveTable(schema, table), synced)]
    yield from found
    if not any(finding.outcome == "failed" for finding in found):
        yield _GROUP.ok(f"nothing prevents syncing the {len(tables)} tables", _existing(session, schema, tables))
    if _may_read(session, "layer_leases") and (who := holder(session, schema, SYNC)):
        yield _GROUP.note(f"a sync is running: {who}")


def _synced(session: psycopg.Connection, schema: str) -> frozenset[str]:
    """Return the tables that a sync has ever written; none where the user may not read the ledger."""
    if not _may_read(session, "sync_state"):
        return frozenset()
    names = session.execute("SELECT layer_name FROM postgres_sync.sync_state WHERE schema_name = %s", [schema])
    return frozenset(name for (name,) in names)


def _existing(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> str:
    there = [table.name for table in tables if catalog.find(session, schema, table.name)]
    new = [table.name for table in tables if table.name not in there]
    parts = [f"exist: {', '.join(there)}"] if there else []
    return "; ".join([*parts, f"created by the next sync: {', '.join(new)}"] if new else parts)


def _of_table(session: psycopg.Connection, live: LiveTable, synced: Collection[str]) -> Iterator[Finding]:
    relation = catalog.find(session, live.schema, live.name)
    if relation is None:
        if live.name in synced:
            gone = setup.absent(live, synced=True)
            yield _GROUP.warning(gone.problem, gone.remedy)
        return
    if error := setup.fault(session, live):
        yield _GROUP.error(error)
        return
    if heirs := catalog.heirs(session, relation.oid):
        yield _GROUP.warning(
            f"{', '.join(heirs)} {'inherits' if len(heirs) == 1 else 'inherit'} from {live.title}: a query of it also"
            " returns their rows, which do not come from the source. A sync does not touch them.",
            f"Read FROM ONLY {live.title}, or run ALTER TABLE {heirs[0]} NO INHERIT {live.title}.",
        )
    if names := setup.lacking(session, live):
        lack = setup.incomplete(live, names)
        yield _GROUP.warning(lack.problem, lack.remedy)
    if (names or setup.lacking_indexes(session, live)) and (owner := _owner(session, relation.oid)):
        yield _GROUP.failed(
            f"{live.title} belongs to {owner}, and only its owner can add the missing columns and indexes",
            f'Run ALTER TABLE {live.title} OWNER TO "{session.info.user}", or GRANT "{owner}" TO'
            f' "{session.info.user}".',
        )
    lacking = [right for right in _NEEDED if not _may(session, relation.oid, right)]
    if lacking:
        yield _GROUP.failed(
            f"user {session.info.user} may not {', '.join(lacking)} on {live.title}",
            f"Run GRANT {', '.join(lacking)} ON {live.title} TO {session.info.user}; as its owner.",
        )


def _owner(session: psycopg.Connection, oid: int) -> str | None:
    """Return the owner of a table where that is another role."""
    query = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = %s AND NOT pg_has_role(relowner, 'USAGE')"
    row = session.execute(query, [oid]).fetchone()
    return row[0] if row else None


def _may_read(session: psycopg.Connection, name: str) -> bool:
    """Return whether a table of the ledger exists and the user may read it."""
    found = catalog.find(session, "postgres_sync", name)
    return found is not None and _may_use(session, "postgres_sync") and _may(session, found.oid, "SELECT")


def _may(session: psycopg.Connection, oid: int, right: str) -> bool:
    row = session.execute("SELECT has_table_privilege(%s::oid, %s)", [oid, right]).fetchone()
    return bool(row and row[0])


def _may_use(session: psycopg.Connection, schema: str) -> bool:
    row = session.execute("SELECT has_schema_privilege(%s, 'USAGE')", [schema]).fetchone()
    return bool(row and row[0])
