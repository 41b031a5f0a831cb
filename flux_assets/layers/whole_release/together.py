"""Layers published in one transaction, or none of them: each load waits here, and the last one publishes all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Condition, Semaphore

import psycopg

from flux_assets.checks import audits
from flux_assets.checks.audit import AuditResult, Case
from flux_assets.errors import AuditError, FluxError, LayerError, reported
from flux_assets.layers import publish, versions
from flux_assets.layers.finishing import REFERENCES, describe_audit
from flux_assets.layers.publish import Publication
from flux_assets.layers.versions import Version
from flux_assets.postgis.connect import Target
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.names import version_table

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
            found = self._judged(connection, list(self._arrived.values()), patience)
            if self._refused:
                self._failures = {each: f"{each} failed" for each in self._refused}
                return
            locked_ms = publish.publish(connection, self.target, found, patience)
        except BaseException as error:
            reason = error.problem if isinstance(error, FluxError) else str(error)
            self._failures[name] = f"publishing it failed: {reported(reason)}"
            raise
        self._published = {each.layer.name: (locked_ms, each.swap.version) for each in found}

    def _judged(
        self, connection: psycopg.Connection, found: Sequence[Publication], patience: LockRetries
    ) -> list[Publication]:
        """Return the publications with their references judged again, now that it is known what they will point at."""
        staged = {each.layer.name: version_table(each.swap.version.relation) for each in found}
        judged = []
        for each in found:
            case = Case(
                connection=connection,
                layer=each.layer,
                relation=staged[each.layer.name],
                rows=each.swap.version.rows or 0,
                staged=staged,
            )
            result = audits.run_audit(case, REFERENCES)
            if result is not None and not result.passed:
                patience.log(describe_audit(each.layer, result))
                if self.strict:
                    self._refused[each.layer.name] = AuditError(
                        f"{each.layer.title}: {'; '.join(result.sample[:3])}, which are in no layer of the release.",
                        "Fix the release and load it again; no layer was published.",
                        [result],
                    )
            judged.append(each if result is None else _with(connection, each, result))
        return judged


def _with(connection: psycopg.Connection, publication: Publication, result: AuditResult) -> Publication:
    version = publication.swap.version
    stored = [result.as_json() if audit["name"] == result.name else audit for audit in version.audits]
    judged = versions.judged(
        connection,
        publication.layer,
        version,
        state=version.state,
        rows=version.rows or 0,
        extent=version.extent,
        audits=stored,
    )
    return replace(publication, swap=replace(publication.swap, version=judged))
