"""Tables compared with those of the same names in another schema, where the old system goes on, before the switch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import psycopg

from flux_assets.compare import match
from flux_assets.compare.difference import Side, TableDifference
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import PublicTable, own_rows
from flux_assets.postgis.session import Target, translated
from flux_assets.spec import Declaration


def compare_schemas(
    tables: Sequence[Declaration], schema: str, target: Target, ignored: Collection[str], stop: Stop
) -> Iterator[TableDifference]:
    """Compare each table with its namesake in another schema of the database, as of one snapshot; change nothing.

    Columns that are `ignored` are left out altogether; of times that a sync notes, only the values are. Values are
    compared as the declared type.
    """
    with match.comparing(target, "old schema", stop) as session:
        for table in tables:
            stop.check()
            ours, theirs = PublicTable(target.schema, table), PublicTable(schema, table)
            with translated(ours.title, stop), session.transaction():
                here, there = (_side(session, public) for public in (ours, theirs))
                if here is None or there is None:
                    absent = (public.title for public, side in ((ours, here), (theirs, there)) if side is None)
                    yield TableDifference(name=table.name, absent=tuple(absent))
                else:
                    yield TableDifference.between(session, table, there, here, ignored=ignored)


def _side(session: psycopg.Connection, public: PublicTable) -> Side | None:
    relation = Relation.find(session, public.schema, public.name)
    return Side.of(public.table, relation, own_rows(public.public, relation.kind)) if relation else None
