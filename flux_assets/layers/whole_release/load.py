"""A whole release: all of its layers are staged and audited, and then published in one transaction, or none is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Condition, Semaphore

import psycopg
from psycopg import sql

from flux_assets.checks.audit import Case
from flux_assets.checks.audits import audits_of
from flux_assets.errors import AuditError, FluxError, LayerError, reported
from flux_assets.layers import publish
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import LoadResult, load_layer
from flux_assets.layers.publish import Publication
from flux_assets.layers.versions import Version
from flux_assets.ledger.runs import leased
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.spec import StaticTable

_LOOK_SECONDS = 0.2


@dataclass(kw_only=True)
class Together:
    """The loads of `expected` layers. At most `parallel` of them work at a time; those that wait here do not count.

    With `strict`, a reference to a row that is in none of the versions keeps the release from being published.
    """

    target: Target
    expected: set[str]
    parallel: int
    strict: bool = False
    _changed: Condition = field(default_factory=Condition)
    _arrived: dict[str, Publication] = field(default_factory=dict)
    _published: dict[str, tuple[float, Version]] = field(default_factory=dict)
    _failures: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, AuditError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slots = Semaphore(self.parallel)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Enclose one layer's load, from its first step to its last."""
        self._slots.acquire()
        try:
            yield
        except BaseException:
            if name not in self._arrived:
                self._failures[name] = f"{name} failed"
            raise
        finally:
            self._await_no_longer(name)
            self._slots.release()

    def hold(self, name: str) -> None:
        """Say that a layer is pinned to another version."""
        self._failures[name] = f"{name} is pinned (`flux-assets unpin {name}` lets it go)"

    def publish(
        self, connection: psycopg.Connection, publication: Publication, patience: LockRetries
    ) -> tuple[float, Version]:
        """Wait for the other layers, and publish all together.

        Returns the milliseconds for which names were locked, and the version with what its audits found beside the
        others. Raises what publishing them raised, LayerError where another layer kept it from that.
        """
        name = publication.layer.name
        self._arrived[name] = publication
        self._slots.release()
        try:
            self._await_no_longer(name)
            with self._changed:
                while self.expected:
                    # Before the wait, after which all may be published.
                    patience.stop.check()
                    self._changed.wait(_LOOK_SECONDS)
                if not self._failures and not self._published:
                    # The others wait for the lock that is ours.
                    self._publish_all(connection, patience, name)
        finally:
            self._slots.acquire()
        if name in self._refused:
            raise self._refused[name]
        if name not in self._published:
            raise LayerError(
                f"{publication.layer.title} was not published, because the release is published as a whole and"
                f" {', '.join(self._failures.values())}.",
                "Load it again when that is fixed; its version is staged and audited.",
            )
        return self._published[name]

    def _await_no_longer(self, name: str) -> None:
        with self._changed:
            self.expected.discard(name)
            self._changed.notify_all()

    def _publish_all(self, connection: psycopg.Connection, patience: LockRetries, name: str) -> None:
        try:
            staged = {name: each.version.table for name, each in self._arrived.items()}
            found = [self._judged(connection, each, staged, patience.log) for each in self._arrived.values()]
            if self._refused:
                self._failures = {each: f"{each} failed" for each in self._refused}
                return
            locked_ms = publish.publish(connection, self.target, found, patience)
        except BaseException as error:
            reason = error.problem if isinstance(error, FluxError) else str(error)
            self._failures[name] = f"publishing it failed: {reported(reason)}"
            raise
        self._published = {each.layer.name: (locked_ms, each.version) for each in found}

    def _judged(
        self,
        connection: psycopg.Connection,
        publication: Publication,
        staged: Mapping[str, sql.Identifier],
        log: Callable[[str], None],
    ) -> Publication:
        """Return a publication with its references judged again, now that it is known what they will point at."""
        layer, version = publication.layer, publication.version
        case = Case(
            connection=connection,
            layer=layer,
            relation=staged[layer.name],
            rows=version.rows or 0,
            staged=staged,
        )
        result = next((audit.run(case) for audit in audits_of(layer.table) if audit.name == "relationships"), None)
        if result is None:
            return publication
        if not result.passed:
            log(result.failure(layer.title))
            if self.strict:
                self._refused[layer.name] = AuditError(
                    f"{layer.title}: {'; '.join(result.sample[:3])}, which are in no layer of the release.",
                    "Fix the release and load it again; no layer was published.",
                    [result],
                )
        audits = [result.as_json() if audit["name"] == result.name else audit for audit in version.audits]
        return replace(publication, version=replace(version, audits=audits).judged(connection, layer))


def load_release(
    tables: Mapping[StaticTable, LoadOptions],
    release: Release,
    target: Target,
    log: Callable[[str], None],
    *,
    parallel: int,
    strict: bool,
) -> dict[str, LoadResult | FluxError]:
    """Load these layers of a release as one; by name what became of each.

    At most `parallel` of them are staged at a time. With `strict`, references between layers that lead nowhere keep
    all of them from being published. Raises BusyError while another process loads a whole release for longer than
    the layers may wait, TargetError when there is no database.
    """
    if not tables:
        return {}
    stop = next(iter(tables.values())).stop
    seconds = max(options.publish_wait.total_seconds() for options in tables.values())
    together = Together(target=target, expected={table.name for table in tables}, parallel=parallel, strict=strict)

    def load(table: StaticTable) -> LoadResult | FluxError:
        try:
            with together.part(table.name):
                result = load_layer(table, release, target, replace(tables[table], stop=stop), log, together.publish)
                if result.outcome == "pinned":
                    together.hold(table.name)
                return result
        except FluxError as error:
            return error

    largest_first = sorted(tables, key=lambda table: -table.release_rows)
    with target.prepared(f"Release {release.tag}", "release", stop) as session:
        with (
            leased(session, target, LockRetries(seconds=seconds, log=log, stop=stop)),
            # A thread each, for those that wait for the others take none of the places of those that work.
            ThreadPoolExecutor(len(tables), thread_name_prefix="release") as pool,
        ):
            results = pool.map(load, largest_first)
            try:
                found = dict(zip(largest_first, results, strict=True))
            except BaseException:  # Ctrl-C: the pool waits for its threads
                stop.request()
                raise
        try:
            _note_unchanged(session, target, release.tag, found)
        except psycopg.Error as error:
            log(
                f"Release {release.tag} is published; which versions belong to it too is left to the next run, because"
                f" of: {reported(error)}"
            )
    return {table.name: result for table, result in found.items()}


def _note_unchanged(
    session: psycopg.Connection, target: Target, tag: str, found: Mapping[StaticTable, LoadResult | FluxError]
) -> None:
    """Note that versions that were live before belong to this release too, once all of it is published."""
    results = {table: result for table, result in found.items() if isinstance(result, LoadResult)}
    if len(results) < len(found) or any(result.outcome == "pinned" for result in results.values()):
        return
    for table, result in results.items():
        if result.outcome == "unchanged":
            layer = Layer(target.schema, table)
            version = Version.live(session, layer)
            # Somebody may have published another one since this release met it.
            if version is not None and version.version == result.version:
                for statement in version.noting_release(layer, tag):
                    session.execute(statement)
