"""A session whose rows in the ledger, one for each of several layers, end alike.

Here: opening them, and closing them all as FAILED. Not here: one layer alone (run_record.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from flux_assets.layers.context import LoadOptions
from flux_assets.layers.run import record_failure
from flux_assets.ledger.entries import Entry, closing_dead, opening
from flux_assets.postgis.batch import run
from flux_assets.postgis.bootstrap import prepare
from flux_assets.postgis.connect import Target
from flux_assets.postgis.names import Layer


@contextmanager
def recorded_together(
    layers: Sequence[Layer], target: Target, options: LoadOptions, sync_type: str
) -> Iterator[tuple[psycopg.Connection, dict[str, Entry]]]:
    """A session and a RUNNING row for each layer, by its name; all become FAILED when the block raises."""
    with target.session(f"{sync_type.lower()} together", options.stop) as control:
        prepare(control, target.schema)
        found: list[tuple[int, str]] = []
        if layers:
            (found,) = run(control, [closing_dead(layers), opening(layers, sync_type, options.run_id)])
        entries = {name: Entry(sync_id, sync_type) for sync_id, name in found}
        try:
            yield control, entries
        except BaseException as error:
            for entry in entries.values():
                record_failure(target, entry, error)
            raise
