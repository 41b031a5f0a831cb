"""One table brought into step with its source, each step in one round trip; rows that are equal are not written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from flux_assets.checks.audit import SAMPLE_KEYS, AuditResult
from flux_assets.errors import SyncError, abbreviated, plainly
from flux_assets.postgis import relations
from flux_assets.postgis.relations import LiveTable, own_rows, same_by_value, values_of
from flux_assets.postgis.session import affected, run
from flux_assets.sqlfiles import query
from flux_assets.sync import parking
from flux_assets.sync.derived_columns import NOW, bookkeeping, in_place, incoming, refreshed_rows, wanted_rows

# Statistics are not collected for the temporary tables of a sync; whole tables are compared, so one pass is right.
_WHOLE_TABLES = sql.SQL("SET LOCAL enable_nestloop = off; SET LOCAL work_mem = '64MB'")

# While rows are written, triggers of others run, and what they write to may have policies that hold for us. No policy
# hides rows of the tables that we read: they were read before, within the same transaction, with row_security off.
_POLICIES_ON, _POLICIES_OFF = sql.SQL("SET LOCAL row_security = on"), sql.SQL("SET LOCAL row_security = off")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How many rows are to be inserted, updated and deleted."""

    inserts: int
    updates: int
    deletes: int

    @property
    def rows(self) -> int:
        """How many rows are to be written."""
        return self.inserts + self.updates + self.deletes


NO_DIFFERENCE = Difference(inserts=0, updates=0, deletes=0)


def stage(session: psycopg.Connection, live: LiveTable, before: sql.Composable, chunks: Iterable[bytes]) -> None:
    """COPY the source's rows, a binary stream of the columns that the source fills, into a temporary table.

    `before` is run first, in the same round trip. Temporary tables write no WAL, and end with the session: dropping
    them with the transaction would put off its commit.
    """
    types = {column.name: relations.type_name(column) for column in live.table.columns}
    columns = (sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(types[name])) for name in live.table.source_filled)
    create = sql.SQL("CREATE TEMP TABLE {} ({})").format(incoming(live), sql.SQL(", ").join(columns))
    run(session, [before, create])
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        incoming(live), relations.names(live.table.source_filled)
    )
    with session.cursor().copy(copy_in) as copy:
        for chunk in chunks:
            copy.write(chunk)


def compare(
    session: psycopg.Connection, live: LiveTable, present: Mapping[str, str], before: Sequence[sql.Composable]
) -> Difference:
    """Find what differs between the staged rows and the table; `before` is run first, in the same round trip.

    Raises SyncError for NULL or duplicate keys, named.
    """
    script = [*before, _WHOLE_TABLES, locking(live), _faulty_keys(live), _difference(live, present), _counts(live)]
    [[faulty]], [found] = run(session, script)
    if faulty:
        missing, doubled = run(session, _key_faults(live))
        _refuse_keys(live, missing, doubled)
    return Difference(inserts=found[0], updates=found[1], deletes=found[2])


def locking(live: LiveTable) -> sql.Composed:
    """Make a statement that keeps others from writing the table until the transaction ends; readers may go on.

    What they committed before is compared and put right; what they would write meanwhile would pass for ours.
    """
    return sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(live.own_rows)


def deleted_keys(session: psycopg.Connection, live: LiveTable) -> list[tuple[Any, ...]]:
    """Return the keys of the rows that the source gives no longer."""
    deleted = sql.SQL("SELECT {} FROM {} WHERE flux_action = 'delete'")
    return session.execute(deleted.format(relations.names(live.table.key), _differences(live))).fetchall()


def write(
    session: psycopg.Connection, live: LiveTable, found: Difference, collision: parking.Collision | None = None
) -> None:
    """Write the differences found, and nothing else. Raises SyncError when the table did not take each of them.

    After a `collision` of rows under a unique index of others, those that change are taken out and put back.
    """
    parts: dict[str, sql.Composable] = {
        "table": live.public,
        "own": live.own_rows,
        "rows": _differences(live),
        "same": _same(live, "t", "d"),
        "columns": relations.names((*in_place(live), *bookkeeping(live))),
        "values": sql.SQL(", ").join([*map(sql.Identifier, in_place(live)), *(NOW for _ in bookkeeping(live))]),
        "set": sql.SQL(", ").join([*_arrival(live), _assignments(live, in_place(live))]),
    }
    delete, update, insert = (
        sql.SQL(statement).format(**parts)
        for statement in (
            "DELETE FROM {own} AS t USING {rows} AS d WHERE d.flux_action = 'delete' AND {same}",
            "UPDATE {own} AS t SET {set} FROM {rows} AS d WHERE d.flux_action = 'update' AND {same}",
            "INSERT INTO {table} ({columns}) SELECT {values} FROM {rows} WHERE flux_action = 'insert'",
        )
    )
    updates = parking.exchanging(session, live, parts, collision) if collision else [update]
    _, deleted, *written, inserted, _ = affected(session, [_POLICIES_ON, delete, *updates, insert, _POLICIES_OFF])
    updated = min(written)
    if (deleted, updated, inserted) != (found.deletes, found.updates, found.inserts):
        raise SyncError(
            f"{live.title} took {deleted:,} of {found.deletes:,} rows to be deleted, {updated:,} of {found.updates:,}"
            f" to be updated and {inserted:,} of {found.inserts:,} to be inserted.",
            "A trigger, rule or row-level policy of the table swallows the others: remove it; the table is as it was.",
        )


def refresh(live: LiveTable, origins: Mapping[str, str]) -> sql.Composed | None:
    """Make statements that bring the columns derived from `origins` up to date where they differ.

    The last that returns rows returns one for each row that it changed; those before are refused where rows are hidden.
    """
    columns, present = refreshed_rows(live, origins)
    if not columns:
        return None
    seen = [
        sql.SQL("SELECT FROM {} WHERE false").format(own_rows(sql.Identifier(live.schema, name), kind))
        for name, kind in origins.items()
    ]
    update = sql.SQL("UPDATE {table} AS t SET {set} FROM ({query}) AS d WHERE {same} AND {differ} RETURNING 1").format(
        table=live.own_rows,
        set=_assignments(live, columns),
        query=present,
        same=_same(live, "t", "d"),
        differ=_differ(live, columns, "t", "d"),
    )
    return sql.SQL("; ").join([*seen, _POLICIES_ON, update, _POLICIES_OFF])


def refresh_in_two_steps(
    session: psycopg.Connection, live: LiveTable, origins: Mapping[str, str], collision: parking.Collision
) -> int:
    """Do what `refresh` does after a `collision` of rows under a unique index of others; returns how many changed."""
    columns, present = refreshed_rows(live, origins)
    parts: dict[str, sql.Composable] = {
        "table": live.public,
        "own": live.own_rows,
        "rows": _differences(live),
        "same": _same(live, "t", "d"),
        "set": _assignments(live, columns),
        "query": present,
        "differ": _differ(live, columns, "t", "d"),
    }
    note = "CREATE TEMP TABLE {rows} AS SELECT 'update' AS flux_action, d.* FROM {own} AS t, ({query}) AS d"
    noting = sql.SQL(note + " WHERE {same} AND {differ}").format(**parts)
    exchange = parking.exchanging(session, live, parts, collision)
    return affected(session, [noting, _POLICIES_ON, *exchange, _POLICIES_OFF])[-2]


def _difference(live: LiveTable, present: Mapping[str, str]) -> sql.Composed:
    key, columns = live.table.key, in_place(live)
    keys = [sql.SQL("coalesce(w.{c}, t.{c}) AS {c}").format(c=sql.Identifier(name)) for name in key]
    others = [sql.Identifier("w", name) for name in columns if name not in key]
    first = sql.Identifier(key[0])
    return query("sync", "difference").format(
        rows=_differences(live),
        first=first,
        columns=sql.SQL(", ").join([*keys, *others]),
        table=live.own_rows,
        wanted=wanted_rows(live, incoming(live), present),
        same=_same(live, "t", "w"),
        differ=_differ(live, tuple(name for name in columns if name not in key), "t", "w"),
        untimed=_untimed(live),
    )


def _counts(live: LiveTable) -> sql.Composed:
    return query("sync", "difference_counts").format(rows=_differences(live))


def _faulty_keys(live: LiveTable) -> sql.Composed:
    """Make a query for whether any key is incomplete or there more than once; which, is asked when there is one."""
    return sql.SQL("SELECT EXISTS (SELECT FROM {} GROUP BY {} HAVING count(*) > 1 OR {})").format(
        incoming(live), relations.names(live.table.key), _is_incomplete(live.table.key)
    )


def _is_incomplete(key: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in key)


def _key_faults(live: LiveTable) -> tuple[sql.Composed, sql.Composed]:
    """Make queries for rows without a complete key, as text, and for keys that are there more than once."""
    key, limit = relations.names(live.table.key), sql.Literal(SAMPLE_KEYS)
    null = _is_incomplete(live.table.key)
    missing = sql.SQL("SELECT count(*) OVER (), i::text FROM {} AS i WHERE {} LIMIT {}")
    doubled = query("sync", "doubled_keys").format(key=key, rows=incoming(live), limit=limit)
    return missing.format(incoming(live), null, limit), doubled


def _refuse_keys(live: LiveTable, missing: list[tuple[Any, ...]], doubled: list[tuple[Any, ...]]) -> None:
    key = ", ".join(live.table.key)
    if missing:
        shown = "; ".join(abbreviated(row) for _, row in missing[:3])
        raise SyncError(
            f"{live.title}: {missing[0][0]:,} rows of {live.table.source} have no {key}: {shown}.",
            "Give them a key in Snowflake, or leave them out with a view named in FLUX_CONFIG; the table is as it was.",
            [
                _refused(
                    "not_null", f"Every row has a {key}.", "null_rows", missing[0][0], [plainly(r) for _, r in missing]
                )
            ],
        )
    if doubled:
        sample = [f"{plainly(keys)} ({count} times)" for keys, count, _ in doubled]
        raise SyncError(
            f"{live.title}: {live.table.source} holds {key} more than once: {', '.join(sample)}.",
            "Remove the duplicates in Snowflake, or name a view without them in FLUX_CONFIG; the table is as it was.",
            [_refused("unique", f"No two rows share {key}.", "doubled_values", doubled[0][2], sample)],
        )


def _refused(name: str, claim: str, number: str, count: int, sample: Sequence[str]) -> AuditResult:
    return AuditResult(
        name=name, passed=False, severity="ERROR", description=claim, numbers={number: count}, sample=tuple(sample)
    )


def _differences(live: LiveTable) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"difference_{live.name}"[:63])


def _untimed(live: LiveTable) -> sql.Composed:
    """Take rows too whose bookkeeping times others emptied, or that are older than the columns."""
    return sql.Composed([sql.SQL(" OR t.{} IS NULL").format(sql.Identifier(name)) for name in bookkeeping(live)])


def _arrival(live: LiveTable) -> Iterator[sql.Composed]:
    if live.table.arrived_column:
        yield sql.SQL("{c} = coalesce(t.{c}, {now})").format(c=sql.Identifier(live.table.arrived_column), now=NOW)


def _assignments(live: LiveTable, columns: Collection[str]) -> sql.Composed:
    changed = [name for name in columns if name not in live.table.key]
    sets = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("d", name)) for name in changed]
    if live.table.changed_column:
        sets.append(sql.SQL("{} = {}").format(sql.Identifier(live.table.changed_column), NOW))
    return sql.SQL(", ").join(sets)


def _same(live: LiveTable, left: str, right: str) -> sql.Composed:
    return same_by_value(live.table.table, live.table.key, left, right)


def _differ(live: LiveTable, columns: tuple[str, ...], left: str, right: str) -> sql.Composed:
    """Compare row by row, NULL equal to NULL; the fields one after another until two differ."""
    sides = (sql.SQL(", ").join(values_of(live.table.table, columns, side)) for side in (left, right))
    return sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(*sides)
