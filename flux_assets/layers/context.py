"""A run about one layer: what may be asked of it, what its steps share, and its row of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg

from flux_assets.errors import FluxError
from flux_assets.ledger.runs import Entry, StepTimer, reach, register_declarations
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, prepare, run, translated


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What may be asked of a load. `disk_limit` is in bytes, `keep_bytes` bounds all kept earlier versions of a layer.

    `quarantine` is how many records may be refused without refusing the file. `run_id` is noted in ledger and register.
    `brought_along` says that a layer follows one that it is computed from: it stays when another was never loaded.
    """

    force: bool = False
    accept_fewer_rows: bool = False
    accept_schema_change: bool = False
    take_over: bool = False
    drop_foreign_keys: bool = False
    publish_wait: timedelta = timedelta(minutes=10)
    keep_versions: int = 1
    keep_bytes: int | None = None
    disk_limit: int | None = None
    quarantine: int = 0
    brought_along: bool = False
    index_sessions: int = 2
    run_id: str | None = None
    stop: Stop = field(default_factory=Stop)

    def patience(self, log: Callable[[str], None]) -> LockRetries:
        """Return how long a publish tries, with where to say so."""
        return LockRetries(seconds=self.publish_wait.total_seconds(), log=log, stop=self.stop)


@dataclass(frozen=True, kw_only=True)
class VersionContext:
    """What every step of making a version needs: the layer, where it goes to, its ledger row, and how to report.

    `joined` says that the version is published with those of other layers, or not at all.
    """

    layer: Layer
    target: Target
    control: psycopg.Connection
    entry: Entry
    options: LoadOptions
    log: Callable[[str], None]
    joined: bool = False
    clock: StepTimer = field(default_factory=StepTimer)

    @property
    def patience(self) -> LockRetries:
        """How long a publish tries, with where to say so."""
        return self.options.patience(self.log)


@contextmanager
def recorded(
    title: str,
    layers: Sequence[Layer],
    target: Target,
    options: LoadOptions,
    log: Callable[[str], None],
    sync_type: str,
) -> Iterator[tuple[psycopg.Connection, list[VersionContext]]]:
    """Open a session and a RUNNING ledger row for each layer; all become FAILED when the block raises.

    Rows of runs that died are closed first, whatever this run will find to do. psycopg's errors are raised as errors
    about `title`.
    """
    purpose = f"{sync_type.lower()} {layers[0].name if len(layers) == 1 else 'together'}"
    with translated(title, options.stop), target.session(purpose, options.stop, is_set=False) as control:
        prepare(control, target.schema)
        reach("run.opened")
        opening = Entry.opening(layers, sync_type, options.run_id) if layers else []
        declaring = register_declarations(target.schema, target.declared, [layer.table for layer in layers])
        entries = Entry.opened(sync_type, next(iter(run(control, [*declaring, *opening])), []))
        contexts = [
            VersionContext(
                layer=layer,
                target=target,
                control=control,
                entry=entries[layer.name],
                options=options,
                log=log,
                clock=StepTimer(labels={"table": layer.name}),
            )
            for layer in layers
        ]
        try:
            reach("run.recorded")
            with translated(title, options.stop):
                yield control, contexts
        except BaseException as error:
            _fail(target, entries.values(), error)
            raise


def _fail(target: Target, entries: Iterable[Entry], error: BaseException) -> None:
    """Close rows as FAILED, through a session of their own: the run's may be broken."""
    try:
        with target.session("ledger") as session:
            for entry in entries:
                entry.fail(session, str(error).strip() or type(error).__name__)
    except (FluxError, psycopg.Error):
        error.add_note("The ledger could not be reached; its RUNNING row is closed by the next run of this layer.")
