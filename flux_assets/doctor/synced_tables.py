"""The dynamic tables at both ends: as they are in the target database, and the source that feeds them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.doctor.layers import hanging_on
from flux_assets.errors import FluxError
from flux_assets.ledger.runs import Holder, Lease
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.relations import LiveTable
from flux_assets.settings import Settings
from flux_assets.snowflake.mapping import Mapping
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import Source
from flux_assets.spec import DynamicTable
from flux_assets.sqlfiles import query
from flux_assets.sync.setup import TableSetup
from flux_assets.sync.takeover import Takeover
from flux_assets.tables import unsimulated
from flux_assets.wiring.source import snowflake_account, stand_in_is_made

_TARGET, _SOURCE = Group("Synced tables"), Group("Snowflake")
_NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE")


def targets(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> Iterator[Finding]:
    """Yield whether each table exists as declared and a sync can write it, then who holds the lock of all syncs."""
    synced: Collection[str] = ()
    if _may_read(session, "sync_state"):
        rows = session.execute("SELECT layer_name FROM postgres_sync.sync_state WHERE schema_name = %s", [schema])
        synced = {name for (name,) in rows}
    found = [finding for table in tables for finding in _of_table(session, LiveTable(schema, table), synced)]
    yield from found
    if not any(finding.outcome == "failed" for finding in found):
        there = [table.name for table in tables if Relation.find(session, schema, table.name)]
        named = {
            "exist": there,
            "created by the next sync": [table.name for table in tables if table.name not in there],
        }
        details = "; ".join(f"{state}: {', '.join(names)}" for state, names in named.items() if names)
        yield _TARGET.ok(f"nothing prevents syncing the {len(tables)} tables", details)
    if _may_read(session, "layer_leases") and (who := Holder.of(session, schema, Lease.SYNC)):
        yield _TARGET.note(f"a sync is running: {who}")


def _of_table(session: psycopg.Connection, live: LiveTable, synced: Collection[str]) -> Iterator[Finding]:
    user = session.info.user
    relation = Relation.find(session, live.schema, live.name)
    setup = TableSetup(session, live)
    if relation is None:
        if live.name in synced:
            gone = setup.absent(synced=True)
            yield _TARGET.warning(gone.problem, gone.remedy)
        return
    if error := setup.fault():
        plan = Takeover.planned(session, live, relation.oid) if relation.kind == "r" else None
        details = "".join(f"\n{kind} {name}: {outcome}" for kind, name, outcome in plan.outcomes) if plan else ""
        yield _TARGET.failed(error.problem, f"{error.remedy}{details}")
        return
    yield from hanging_on(_TARGET, session, live, relation.kind)
    if heirs := relation.kin("heirs"):
        yield _TARGET.warning(
            f"{', '.join(heirs)} {'inherits' if len(heirs) == 1 else 'inherit'} from {live.title}: a query of it also"
            " returns their rows, which do not come from the source. A sync does not touch them.",
            f"Read FROM ONLY {live.title}, or run ALTER TABLE {heirs[0]} NO INHERIT {live.title}.",
        )
    if lack := setup.incomplete():
        yield _TARGET.warning(lack.problem, lack.remedy)
    if lack or setup.missing_indexes:
        for (owner,) in session.execute(query("doctor", "owner_if_another"), [relation.oid]).fetchall():
            yield _TARGET.failed(
                f"{live.title} belongs to {owner}, and only its owner can add the missing columns and indexes",
                f'Run ALTER TABLE {live.title} OWNER TO "{user}", or GRANT "{owner}" TO "{user}".',
            )
    if live.table.aliases and live.name in synced and not Relation.find(session, live.compat_schema, live.name):
        yield _TARGET.warning(
            f"the view {live.compat_schema}.{live.name}, which shows {live.title} under the names of older"
            " applications, is missing",
            "Run the job setup_dynamic_tables, whose log says why where it cannot be made.",
        )
    if lacking := ", ".join(right for right in _NEEDED if not relation.may(right)):
        yield _TARGET.failed(
            f"user {user} may not {lacking} on {live.title}",
            f"Run GRANT {lacking} ON {live.title} TO {user}; as its owner.",
        )


def _may_read(session: psycopg.Connection, name: str) -> bool:
    """Return whether a table of the ledger exists and the user may read it."""
    found = Relation.find(session, "postgres_sync", name)
    if found is None:
        return False
    usage = session.execute("SELECT has_schema_privilege('postgres_sync', 'USAGE')").fetchone()
    return usage == (True,) and found.may("SELECT")


def sources(settings: Settings, tables: Sequence[DynamicTable]) -> Iterator[Finding]:
    """Yield what a sync needs of its source; the stand-in is started where it is the source.

    There is no finding about a source that is neither set nor provided: the configuration reports it.
    """
    if settings.snowflake_account is None and (settings.target_is_set or settings.flux_profile == "production"):
        return
    if settings.source_is_stand_in and not stand_in_is_made(settings):
        yield _SOURCE.note("the first sync starts the stand-in and fills it from the sample city")
        return
    try:
        overrides = Overrides.load(settings.flux_config)
        applied = [overrides.applied_to(table, tables) for table in tables]
        account = replace(snowflake_account(settings), layer="doctor")
        user, role = account.user, f", role {account.role}" if account.role else ""
        with Source.open(account, overrides, log=lambda _: None) as source:
            who = "the embedded stand-in: its user" if account.stand_in else f"account {account.account}: user {user}"
            yield _SOURCE.ok(f"{who}{'' if account.stand_in else role} signs in")
            if not source.has_warehouse:
                yield _SOURCE.failed(
                    f"user {user} has no warehouse: SNOWFLAKE_WAREHOUSE is not set, and there is no default",
                    f"Set SNOWFLAKE_WAREHOUSE, or run ALTER USER {user} SET DEFAULT_WAREHOUSE = '…';",
                )
            mapped = [finding for table in applied for finding in _mapped(source, table)]
            if any(finding.outcome == "ok" for finding in mapped):
                yield from _capabilities(source, applied)
            yield from mapped
            yield from _uncounted(overrides, applied)
            if account.stand_in and (empty := unsimulated(settings)):
                yield _SOURCE.note(
                    f"nothing is simulated of {', '.join(table.name for table in empty)}: the stand-in has"
                    f" {', '.join(table.source for table in empty)} without rows",
                    "Set SNOWFLAKE_ACCOUNT and the other SNOWFLAKE_* settings to sync real rows.",
                )
    except FluxError as error:
        yield _SOURCE.error(error)


def _mapped(source: Source, table: DynamicTable) -> Iterator[Finding]:
    try:
        mapping = source.mapping(table)
        source.ask_travel(mapping.object)
    except FluxError as error:
        yield _SOURCE.error(error)
        return
    rule = table.row_filter
    which = f"{rule.description}; times in {mapping.time_zone}" if rule else "every row"
    yield _SOURCE.ok(f"{table.name} is fed by {mapping.object} ({which})", "\n".join(_origins(mapping)))
    if mapping.missing:
        missing = ", ".join(f"{name} is {table.without_source(name)}" for name in mapping.missing)
        yield _SOURCE.warning(
            f"{table.name}: {mapping.object} has no source for some columns: {missing}",
            "Name columns or expressions for them in FLUX_CONFIG where there are any.",
        )


def _origins(mapping: Mapping) -> Iterator[str]:
    """Yield one line for all columns named as in the source, and one for each other, those computed here included."""
    same = [column.target for column in mapping.columns if column.sources == (column.target.upper(),)]
    yield f"same name in the source: {', '.join(same)}"
    for mapped in mapping.columns:
        if mapped.target not in same and mapped.target not in mapping.missing:
            yield f"{mapped.target} from {' else '.join(mapped.sources) or mapped.expression}"
    for position in mapping.table.positions:
        if position.same_as:
            yield f"{position.same_as} from {position.longitude}, {position.latitude}"
    for column in mapping.table.derived:
        what = f"{column.function} of {column.of_column}" if column.of_column else "count of rows"
        only = f" with {column.where_column} {', '.join(column.where_values)}" if column.where_column else ""
        filling = ", where the source has none" if column.fills else ""
        yield f"{column.target} from {column.from_table} by {column.there}: {what}{only}{filling}"


def _capabilities(source: Source, tables: Sequence[DynamicTable]) -> Iterator[Finding]:
    tokens = source.tokens(tables)
    able = source.capabilities
    if able.time_travel or able.snapshot_transaction:
        how = "time travel" if able.time_travel else "in one transaction"
        yield _SOURCE.ok(f"all tables are read as of one instant ({how})")
    else:
        yield _SOURCE.warning(
            "the tables cannot be read as of one instant, so their rows may be seconds apart",
            "Keep at least a day of Time Travel on the source tables (DATA_RETENTION_TIME_IN_DAYS = 1).",
        )
    if tokens is None:
        yield _SOURCE.note(
            "there are no change tokens, so every sync reads the tables to see whether they changed",
            "" if source.account.stand_in else "SYSTEM$LAST_CHANGE_COMMIT_TIME must work on each source object.",
        )
        return
    doubted = {table.source: doubt for table in tables if (doubt := source.doubt(table))}
    for name, doubt in doubted.items():
        yield _SOURCE.note(
            f"{name} is read at every sync and its change token is ignored: {doubt}",
            f"Set change_token or read_every under [{name}] in FLUX_CONFIG where that is not what you want.",
        )
    if len(doubted) < len(tables):
        yield _SOURCE.ok("change tokens show without a warehouse whether anything changed")


def _uncounted(overrides: Overrides, tables: Sequence[DynamicTable]) -> Iterator[Finding]:
    """Yield columns that do not count all statuses that FLUX_CONFIG calls open."""
    by_name = {table.name: table for table in tables}
    for column in (column for table in tables for column in table.derived if column.where_values):
        origin = by_name.get(column.from_table)
        own = overrides.sources.get(origin.source) if origin else None
        if origin is None or own is None or own.counted_statuses or not own.open_statuses:
            continue
        if left := [status for status in own.open_statuses if status not in column.where_values]:
            yield _SOURCE.warning(
                f"{column.target} does not count rows of {origin.name} whose status is {', '.join(left)}",
                f"Name the statuses that count in FLUX_CONFIG: counted_statuses under [{origin.source}].",
            )
