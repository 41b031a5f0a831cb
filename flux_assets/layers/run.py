"""A session whose run is in the ledger from its first moment to its last, however it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from flux_assets.errors import FluxError
from flux_assets.layers.context import LoadOptions
from flux_assets.ledger import entries
from flux_assets.ledger.entries import Entry, closing_dead, opening, register_declarations
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, open_prepared, prepare, run, translated
from flux_assets.steps import reach


@contextmanager
def recorded(
    layer: Layer, target: Target, options: LoadOptions, sync_type: str
) -> Iterator[tuple[psycopg.Connection, Entry]]:
    """Open a session and a RUNNING ledger row, which becomes FAILED with the error's words when the block raises.

    Rows of runs that died are closed first, whatever this run will find to do.
    """
    with (
        translated(layer.title, options.stop),
        target.session(f"{sync_type.lower()} {layer.name}", options.stop, is_set=False) as control,
    ):
        open_prepared(control, target.schema)
        reach("run.opened")
        statements = [
            *register_declarations(target.schema, target.declared, [layer.table]),
            entries.closing_dead([layer]),
            entries.opening([layer], sync_type, options.run_id),
        ]
        [[(sync_id, _)]] = run(control, statements)
        entry = Entry(sync_id, sync_type)
        try:
            reach("run.recorded")
            with translated(layer.title, options.stop):
                yield control, entry
        except BaseException as error:
            _record_failure(target, entry, error)
            raise


def _record_failure(target: Target, entry: Entry, error: BaseException) -> None:
    """Close a row as FAILED, through a session of its own: the load's may be broken."""
    try:
        with target.session("ledger") as session:
            entries.fail(session, entry, str(error).strip() or type(error).__name__)
    except (FluxError, psycopg.Error):
        error.add_note("The ledger could not be reached; its RUNNING row is closed by the next run of this layer.")


@contextmanager
def recorded_together(
    layers: Sequence[Layer], target: Target, options: LoadOptions, sync_type: str
) -> Iterator[tuple[psycopg.Connection, dict[str, Entry]]]:
    """Open a session and a RUNNING row for each layer, by its name; all become FAILED when the block raises."""
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
                _record_failure(target, entry, error)
            raise
