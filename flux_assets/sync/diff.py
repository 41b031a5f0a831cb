"""One table brought into step with its source, each step in one round trip; rows that are equal are not written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.sql import Composable, Composed, Identifier

from flux_assets.checks.audit import AuditResult
from flux_assets.errors import SyncError, abbreviated, reported
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.relations import LiveTable, own_rows, same_by_value, values_of
from flux_assets.postgis.session import affected, run
from flux_assets.sqlfiles import query
from flux_assets.sync.derived_columns import NOW, refreshed_rows, wanted_rows
from flux_assets.sync.gate import mark_of

# While rows are written, triggers of others run, and what they write to may have policies that hold for us. No policy
# hides rows of the tables that we read: they were read before, within the same transaction, with row_security off.
_POLICIES_ON, _POLICIES_OFF = sql.SQL("SET LOCAL row_security = on"), sql.SQL("SET LOCAL row_security = off")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How many rows are to be inserted, updated and deleted."""

    inserts: int = 0
    updates: int = 0
    deletes: int = 0

    @property
    def rows(self) -> int:
        return self.inserts + self.updates + self.deletes


@dataclass(frozen=True)
class TableMerge:
    """A table of the target in the sync's transaction, with its source's rows and the differences beside it.

    Rows that exchange values under a unique index of others are taken out and put back: PostgreSQL looks for a double
    row by row, unless the constraint is deferrable, so that of two rows that swap values the first is refused.
    """

    session: psycopg.Connection
    live: LiveTable

    @property
    def incoming(self) -> Identifier:
        """The temporary table that holds the source's rows."""
        return self._temporary("incoming")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose change is a change of the row: all but the bookkeeping times."""
        return tuple(name for name in self.live.table.column_names if name not in self.live.table.bookkeeping)

    def stage(self, before: Composable, chunks: Iterable[bytes]) -> None:
        """COPY the source's rows, a binary stream of the columns that the source fills, into a temporary table.

        `before` is run first, in the same round trip. Temporary tables write no WAL, and end with the session:
        dropping them with the transaction would put off its commit.
        """
        filled, columns = self.live.table.source_filled, self.live.table.table.columns
        typed = [sql.SQL("{} {}").format(Identifier(n), sql.SQL(relations.type_name(columns[n]))) for n in filled]
        run(self.session, [before, sql.SQL("CREATE TEMP TABLE {} ({})").format(self.incoming, _listed(typed))])
        copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(self.incoming, relations.names(filled))
        with self.session.cursor().copy(copy_in) as copy:
            for chunk in chunks:
                copy.write(chunk)

    def compare(self, present: Mapping[str, str], before: Sequence[Composable]) -> Difference:
        """Find what differs between the staged rows and the table; `before` is run first, in the same round trip.

        Raises SyncError for NULL or duplicate keys, named.
        """
        key = self.live.table.key
        faulty = sql.SQL("SELECT EXISTS (SELECT FROM {} GROUP BY {} HAVING count(*) > 1 OR {})").format(
            self.incoming, relations.names(key), self._is_incomplete()
        )
        values = [name for name in self.columns if name not in key]
        keys = [sql.SQL("coalesce(w.{c}, t.{c}) AS {c}").format(c=Identifier(name)) for name in key]
        difference = query("sync", "difference").format(
            rows=self._differences,
            first=Identifier(key[0]),
            columns=_listed([*keys, *(Identifier("w", name) for name in values)]),
            table=self.live.own_rows,
            wanted=wanted_rows(self.live, self.incoming, present),
            same=self._same("t", "w"),
            differ=self._differ(values, "t", "w"),
            # Rows too whose bookkeeping times others emptied, or that are older than the columns.
            untimed=Composed(
                [sql.SQL(" OR t.{} IS NULL").format(Identifier(name)) for name in self.live.table.bookkeeping]
            ),
        )
        counts = query("sync", "difference_counts").format(rows=self._differences)
        [[is_faulty]], [(inserts, updates, deletes)] = run(
            self.session, [*before, query("match", "whole_tables"), self.locking(), faulty, difference, counts]
        )
        if is_faulty:
            self._refuse_keys()
        return Difference(inserts=inserts, updates=updates, deletes=deletes)

    def locking(self) -> Composed:
        """Make a statement that keeps others from writing the table until the transaction ends; readers may go on.

        What they committed before is compared and put right; what they would write meanwhile would pass for ours.
        """
        return sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(self.live.own_rows)

    def deleted_keys(self) -> list[tuple[Any, ...]]:
        """Return the keys of the rows that the source gives no longer."""
        deleted = sql.SQL("SELECT {} FROM {} WHERE flux_action = 'delete'")
        return self.session.execute(deleted.format(relations.names(self.live.table.key), self._differences)).fetchall()

    def write(self, found: Difference, collision: psycopg.IntegrityError | None = None) -> None:
        """Write the differences found, and nothing else. Raises SyncError when the table did not take each of them.

        After a `collision` of rows under a unique index of others, those that change are taken out and put back.
        """
        times = self.live.table.bookkeeping
        sets = self._assignments(self.columns)
        if arrived := self.live.table.arrived_column:
            sets.append(sql.SQL("{c} = coalesce(t.{c}, {now})").format(c=Identifier(arrived), now=NOW))
        parts = {
            **self._parts(_listed(sets)),
            "columns": relations.names((*self.columns, *times)),
            "values": _listed([*map(Identifier, self.columns), *(NOW for _ in times)]),
        }
        delete, update, insert = (
            sql.SQL(statement).format(**parts)
            for statement in (
                "DELETE FROM {own} AS t USING {rows} AS d WHERE d.flux_action = 'delete' AND {same}",
                "UPDATE {own} AS t SET {set} FROM {rows} AS d WHERE d.flux_action = 'update' AND {same}",
                "INSERT INTO {table} ({columns}) SELECT {values} FROM {rows} WHERE flux_action = 'insert'",
            )
        )
        updates = self._exchanging(parts, collision) if collision else [update]
        _, deleted, *written, inserted, _ = affected(
            self.session, [_POLICIES_ON, delete, *updates, insert, _POLICIES_OFF]
        )
        updated = min(written)
        if (deleted, updated, inserted) != (found.deletes, found.updates, found.inserts):
            raise SyncError(
                f"{self.live.title} took {deleted:,} of {found.deletes:,} rows to be deleted, {updated:,} of"
                f" {found.updates:,} to be updated and {inserted:,} of {found.inserts:,} to be inserted.",
                "A trigger, rule or row-level policy of the table swallows the others: remove it; the table is as it"
                " was.",
            )

    def refresh(
        self, origins: Mapping[str, str], before: Composable, collision: psycopg.IntegrityError | None = None
    ) -> tuple[int, str]:
        """Bring the columns derived from `origins` up to date where they differ; `before` is run first.

        Returns how many rows changed, and the table's mark once nobody else could write it. Hidden rows of an origin
        refuse it. After a `collision` the rows that change are taken out and put back.
        """
        columns, present = refreshed_rows(self.live, origins)
        parts = {
            **self._parts(_listed(self._assignments(columns))),
            "query": present,
            "differ": self._differ(columns, "t", "d"),
        }
        locking = [before, self.locking(), mark_of(self.live)]
        if collision is None:
            seen = [
                sql.SQL("SELECT FROM {} WHERE false").format(own_rows(Identifier(self.live.schema, name), kind))
                for name, kind in origins.items()
            ]
            update = "UPDATE {own} AS t SET {set} FROM ({query}) AS d WHERE {same} AND {differ} RETURNING 1"
            statements = [*seen, _POLICIES_ON, sql.SQL(update).format(**parts), _POLICIES_OFF]
            [(mark,)], *_, changed = run(self.session, [*locking, *statements])
            return len(changed), mark
        [[(mark,)]] = run(self.session, locking)
        note = (
            "CREATE TEMP TABLE {rows} AS SELECT 'update' AS flux_action, d.* FROM {own} AS t, ({query}) AS d"
            " WHERE {same} AND {differ}"
        )
        exchange = self._exchanging(parts, collision)
        statements = [sql.SQL(note).format(**parts), _POLICIES_ON, *exchange, _POLICIES_OFF]
        return affected(self.session, statements)[-2], mark

    def is_own(self, error: psycopg.IntegrityError) -> bool:
        """Tell whether rows of this very table collided, and not those of one that a trigger writes to."""
        return (error.diag.schema_name, error.diag.table_name) == (self.live.schema, self.live.name)

    def describe_collision(self, collision: psycopg.IntegrityError) -> SyncError:
        """Return the error of rows that collide however they are written."""
        title = self.live.title
        return SyncError(
            f"{title}: rows of {self.live.table.source} collide under {collision.diag.constraint_name}, which is not of"
            f" the declaration.{_detail(collision)}",
            f"Remove the double in Snowflake, or drop that index or constraint of {title}; the table is as it was.",
        )

    def _exchanging(self, parts: Mapping[str, Composable], collision: psycopg.IntegrityError) -> list[Composed]:
        """Make statements that replace the UPDATE: note the changed rows whole, change the notes, take out, put back.

        The last two write the table. Raises SyncError where others would take that for rows that are gone.
        """
        title = self.live.title
        relation = Relation.find(self.session, self.live.schema, self.live.name) or Relation(self.session, 0)
        obstacles = [f"the foreign key of {key}" for key in relation.kin("inbound_keys")]
        obstacles += [who for (who,) in self.session.execute(query("sync", "watchers"), {"oid": relation.oid})]
        if obstacles:
            raise SyncError(
                f"{title}: rows that change collide under {collision.diag.constraint_name}.{_detail(collision)} Where"
                f" they only exchange values, they would have to be taken out in between, and {', '.join(obstacles)}"
                " would take them for deleted, and not for changed.",
                f"Make it a deferrable constraint (ALTER TABLE {title} … ADD CONSTRAINT … UNIQUE (…) DEFERRABLE), or"
                " drop it; where the source holds a double, remove that in Snowflake. The table is as it was.",
            )
        columns = [Identifier(column.name) for column in relation.columns() if not column.generated]
        given = {**parts, "notes": self._temporary("parked"), "all": _listed(columns)}
        statements = (
            "CREATE TEMP TABLE {notes} AS SELECT t.* FROM {own} AS t, {rows} AS d"
            " WHERE d.flux_action = 'update' AND {same}",
            "UPDATE {notes} AS t SET {set} FROM {rows} AS d WHERE d.flux_action = 'update' AND {same}",
            "DELETE FROM {own} AS t USING {rows} AS d WHERE d.flux_action = 'update' AND {same}",
            "INSERT INTO {table} ({all}) OVERRIDING SYSTEM VALUE SELECT {all} FROM {notes}",
        )
        return [sql.SQL(statement).format(**given) for statement in statements]

    def _refuse_keys(self) -> None:
        """Raise SyncError for rows without a complete key, or for keys that are there more than once."""
        table, key = self.live.table, ", ".join(self.live.table.key)
        missing_query = sql.SQL("SELECT count(*) OVER (), i::text FROM {} AS i WHERE {} LIMIT {}").format(
            self.incoming, self._is_incomplete(), AuditResult.SAMPLE_KEYS
        )
        doubled_query = query("sync", "doubled_keys").format(
            key=relations.names(table.key), rows=self.incoming, limit=AuditResult.SAMPLE_KEYS
        )
        missing, doubled = run(self.session, [missing_query, doubled_query])
        if missing:
            count, sample = missing[0][0], [abbreviated(row, bare=True) for _, row in missing]
            shown = "; ".join(abbreviated(row) for _, row in missing[:3])
            problem = f"{count:,} rows of {table.source} have no {key}: {shown}."
            remedy = "Give them a key in Snowflake, or leave them out with a view named in FLUX_CONFIG"
            name, claim, numbers = "not_null", f"Every row has a {key}.", {"null_rows": count}
        else:
            sample = [f"{abbreviated(keys, bare=True)} ({times} times)" for keys, times, _ in doubled]
            problem = f"{table.source} holds {key} more than once: {', '.join(sample)}."
            remedy = "Remove the duplicates in Snowflake, or name a view without them in FLUX_CONFIG"
            name, claim, numbers = "unique", f"No two rows share {key}.", {"doubled_values": doubled[0][2]}
        failed = AuditResult(
            name=name, passed=False, severity="ERROR", description=claim, numbers=numbers, sample=tuple(sample)
        )
        raise SyncError(f"{self.live.title}: {problem}", f"{remedy}; the table is as it was.", [failed])

    @property
    def _differences(self) -> Identifier:
        return self._temporary("difference")

    def _temporary(self, purpose: str) -> Identifier:
        return Identifier("pg_temp", f"{purpose}_{self.live.name}"[:63])

    def _parts(self, sets: Composed) -> dict[str, Composable]:
        parts = {"table": self.live.public, "own": self.live.own_rows, "rows": self._differences}
        return {**parts, "same": self._same("t", "d"), "set": sets}

    def _is_incomplete(self) -> Composed:
        return sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(Identifier(name)) for name in self.live.table.key)

    def _assignments(self, columns: Collection[str]) -> list[Composable]:
        changed = [name for name in columns if name not in self.live.table.key]
        sets: list[Composable] = [sql.SQL("{} = {}").format(Identifier(n), Identifier("d", n)) for n in changed]
        if self.live.table.changed_column:
            sets.append(sql.SQL("{} = {}").format(Identifier(self.live.table.changed_column), NOW))
        return sets

    def _same(self, left: str, right: str) -> Composed:
        return same_by_value(self.live.table.table, self.live.table.key, left, right)

    def _differ(self, columns: Sequence[str], left: str, right: str) -> Composed:
        """Compare row by row, NULL equal to NULL; the fields one after another until two differ."""
        sides = (_listed(values_of(self.live.table.table, columns, side)) for side in (left, right))
        return sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(*sides)


def _listed(parts: Iterable[Composable]) -> Composed:
    return sql.SQL(", ").join(parts)


def _detail(collision: psycopg.IntegrityError) -> str:
    return f" {reported(collision.diag.message_detail)}." if collision.diag.message_detail else ""
