"""What the last syncs left, and what stands there now: shapes, versions of origins, declarations the database knows.

Here: the questions, which go into another's round trip or one of their own, and their answers. Not here: what they mean
(syncing/work.py), and what the rows of a table say (sync_gate.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from flux_assets.ledger.registry import Known, known_in
from flux_assets.postgis.batch import Rows, run
from flux_assets.spec import DynamicTable

# Types by number: writing one out would load PostGIS into the session, a quarter of an unchanged sync of few rows.
# Indexes from the catalog alone: pg_get_indexdef waits for whoever has locked the table.
_SHAPE = sql.SQL("""
SELECT c.relname AS name, c.relkind::text AS kind, md5(concat_ws(E'\\n', c.relkind,
    (SELECT string_agg(concat_ws(' ', attnum, attname, atttypid, atttypmod, attcollation, attnotnull, atthasdef,
                                 attgenerated),
                       E'\\n' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(concat_ws(' ', i.relname, i.relam, x.indkey, x.indclass, x.indcollation, x.indoption, x.indexprs,
                                 x.indpred, x.indisunique, x.indisvalid, x.indisprimary), E'\\n' ORDER BY indexrelid)
     FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid))) AS shape,
    ARRAY(SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = c.oid ORDER BY 1) AS heirs
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = {schema} AND c.relname = ANY ({names})
""")
_STATE = sql.SQL("""
SELECT layer_name, declaration, token, mapping, fingerprint, origins, mark, shape, rows, source_instant,
       source_changed_at, changed_at, read_at
FROM postgres_sync.sync_state WHERE schema_name = {schema} AND layer_name = ANY ({names})
""")
_ORIGINS = sql.SQL("""
SELECT layer_name, version FROM postgres_sync.layer_versions
WHERE current AND schema_name = {schema} AND layer_name = ANY ({names})
""")
_UNDER_WAY = sql.SQL("""
SELECT EXISTS (SELECT FROM postgres_sync.sync_status
               WHERE status = 'RUNNING' AND schema_name = {schema} AND layer_name = ANY ({names}))
""")


@dataclass(frozen=True, kw_only=True)
class LastSync:
    """A row of postgres_sync.sync_state."""

    layer_name: str
    declaration: str
    token: str | None
    mapping: str | None
    fingerprint: str
    origins: dict[str, str | None]
    mark: str
    shape: str
    rows: int
    source_instant: datetime
    source_changed_at: datetime
    changed_at: datetime
    read_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TargetState:
    """The target before a sync: last syncs, shapes as they are now, versions of origins, and the declarations known.

    `kinds` are those of pg_class.relkind, `heirs` the tables that inherit from each. `under_way`: the ledger has a row
    of one of the tables that is RUNNING, if only of a process that died.
    """

    last: dict[str, LastSync]
    shapes: dict[str, str]
    kinds: dict[str, str]
    heirs: dict[str, tuple[str, ...]]
    versions: dict[str, str]
    known: Known
    under_way: bool

    def origins(self, table: DynamicTable, family: Collection[str]) -> dict[str, str | None]:
        """Versions and shapes of tables outside the family that columns are derived from; None where one is missing.

        A version stays in the register when a view, or another table, takes the place of its layer.
        """
        static = [name for name in table.origins if name not in family]
        return {
            name: f"{self.versions.get(name, 'of others')} {self.shapes[name]}" if name in self.shapes else None
            for name in static
        }


def questions(schema: str, tables: Sequence[DynamicTable]) -> list[sql.Composed]:
    """The queries whose answers `answered` takes."""
    names = [table.name for table in tables]
    origins = sorted({name for table in tables for name in table.origins})
    asked = ((_SHAPE, [*names, *origins]), (_STATE, names), (_ORIGINS, origins), (_UNDER_WAY, names))
    script = [part.format(schema=sql.Literal(schema), names=sql.Literal(wanted)) for part, wanted in asked]
    return [*script, known_in(schema)]


def answered(answers: Sequence[Rows]) -> TargetState:
    """What the rows of the `questions` say."""
    found, states, versions, [(under_way,)], known = answers
    last = [LastSync(**dict(zip(LastSync.__dataclass_fields__, row, strict=True))) for row in states]
    return TargetState(
        last={row.layer_name: row for row in last}, shapes={name: shape for name, _, shape, _ in found},
        kinds={name: kind for name, kind, _, _ in found}, heirs={name: tuple(heirs) for name, _, _, heirs in found},
        versions=dict(versions), known=frozenset(known), under_way=under_way,
    )  # fmt: skip


def before(session: psycopg.Connection, schema: str, tables: Sequence[DynamicTable]) -> TargetState:
    """What the last syncs left, and what now stands there."""
    return answered(run(session, questions(schema, tables)))
