"""Publishing several layers in one transaction: all of them or none.

Here: their locks, taken together under the bound that one layer has, and their swaps. Not here: what a swap is
(publish.py), and which layers go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from flux_assets.postgis import publish, register
from flux_assets.postgis.layer import Layer, version_table
from flux_assets.postgis.locking import LOCK_TIMEOUT_MS, Patience, in_short_transaction
from flux_assets.postgis.publish import Swap
from flux_assets.postgis.round_trip import run
from flux_assets.postgis.shape import Public

# A reader of the table that is locked first waits for the locks of all others: they share the time that one layer has.
_LOCK = """
DO $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '{milliseconds} ms';
    title text;
BEGIN
    FOREACH title IN ARRAY {tables}::text[] LOOP
        PERFORM set_config('lock_timeout', ceil(greatest(1, 1000 * extract(epoch FROM deadline - clock_timestamp())))
                           || 'ms', true);
        EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', title);
    END LOOP;
    PERFORM set_config('lock_timeout', '{milliseconds}ms', true);
END
$$
"""


@dataclass(frozen=True)
class Publication:
    """A layer, its public table as found, and what to swap in."""

    layer: Layer
    public: Public
    swap: Swap


def publish_together(
    connection: psycopg.Connection,
    publications: Sequence[Publication],
    patience: Patience,
    besides: Sequence[sql.Composed] = (),
) -> None:
    """Swap all versions in, in one transaction, in which the statements `besides` run too.

    Readers of each layer wait for no longer than for the publish of one. Raises as publish() does; then none is
    published.
    """
    found = sorted(publications, key=lambda each: each.layer.title)
    old = [register.default_partition(connection, each.layer) for each in found]
    pairs = list(zip(found, old, strict=True))
    waiting_for = [
        table.oid for each, before in pairs for table in publish.locked_tables(connection, each.layer, before)
    ]
    statements = [_locking(pairs)]
    for each, before in pairs:
        statements += publish.swapping(each.layer, each.public, each.swap, before)

    def work() -> None:
        for each in found:
            publish.record(connection, each.layer, each.public, each.swap)
        for statement in besides:
            connection.execute(statement)
        run(connection, statements)

    titles = ", ".join(each.layer.title for each in found)
    in_short_transaction(connection, work, patience, waiting_for=waiting_for, doing=f"publishing {titles}")


def _locking(pairs: Sequence[tuple[Publication, tuple[str, str] | None]]) -> sql.Composed:
    """One statement that locks every public table, then every partition that goes or comes."""
    public = [each.layer.public for each, _ in pairs if each.public.oid is not None]
    going = [sql.Identifier(*before) for _, before in pairs if before is not None]
    coming = [version_table(each.swap.version.relation) for each, _ in pairs]
    tables = [table.as_string() for table in (*public, *going, *coming)]
    return sql.SQL(_LOCK).format(milliseconds=sql.SQL(str(LOCK_TIMEOUT_MS)), tables=sql.Literal(tables))
