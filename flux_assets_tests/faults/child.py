"""One load, rollback or sync in a process of its own, which stops at a failpoint and waits there for its parent.

What becomes of it there is the parent's doing: a signal, a cut connection, a server that is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from flux_assets.errors import FluxError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.eject import eject
from flux_assets.layers.load import load_layer
from flux_assets.layers.rollback import rollback
from flux_assets.layers.whole_release.load import load_release
from flux_assets.ledger import runs
from flux_assets.postgis import liveness
from flux_assets.postgis.liveness import Limits, Stop
from flux_assets.postgis.probing import Prober
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets.snowflake.account import Account
from flux_assets.snowflake.overrides import Overrides
from flux_assets.snowflake.source import Source
from flux_assets.spec.facts import Computed
from flux_assets.sync import gate
from flux_assets.sync.result import SyncOptions
from flux_assets.sync.sync import sync_tables
from flux_assets.sync.table import Family
from flux_assets_tests.faults import clocks
from flux_assets_tests.made_layers import made_up
from flux_assets_tests.synced import FAULTS, FEEDERS

# A load also of a layer that is computed (`compute`), or that takes a plain table over (`adopt`); `adopt again` is the
# latter for the layer that `eject` made a plain table. A sync also of a plain table that it has to replace (`replace`).
Kind = Literal["load", "rollback", "release", "sync", "compute", "adopt", "eject", "adopt again", "replace"]
SYNCED = (FAULTS, FEEDERS)
# Loaded with the first layer as one release.
SECOND = made_up("masts")
# Computed from the first layer, and with the same rows.
COMPUTED = made_up("shades", computed=Computed(inputs=("poles",), query="SELECT * FROM poles"), file="none")
# A plain table of others, on which views hang, is in the place of one; the other was one, and is a layer by now.
PLAIN, GIVEN_BACK = made_up("spans"), made_up("towers")
# So that nobody has to wait for what takes a minute otherwise; a busy machine answers within less than `unreachable`.
SOON = Limits(silence=1, probe=0.5, unreachable=15, cancel=2, beat=0.5)
# Forked from a server that has imported all of the above: a start costs milliseconds, and no thread is copied.
PROCESSES = multiprocessing.get_context("forkserver")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run, where, and the point to stop at; `publish_wait` is in seconds, `clock_off` shifts this side's clock.

    After `idle_seconds` the server ends a transaction of a sync that is left open. With `is_unanswered`, nobody answers
    a run that asks about a silent connection.
    """

    kind: Kind
    conninfo: str
    folder: str = ""
    account: Account | None = None
    point: str = ""
    publish_wait: float = 20
    idle_seconds: float | None = None
    clock_off: timedelta = timedelta()
    force: bool = False
    is_unanswered: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: `published`, `unchanged`, `rolled back`, `ejected`, `synced`, `busy`, or `failed` with what its
    error says; `gone` when its process was killed, `hung` when it did not end."""

    word: str
    said: str = ""

    @property
    def ended_well(self) -> bool:
        return self.word in {"published", "unchanged", "rolled back", "ejected", "synced"}


@dataclass
class Child:
    """A run under way, seen from its parent."""

    job: Job
    pipe: Connection = field(init=False)
    process: multiprocessing.process.BaseProcess = field(init=False)
    _outcome: Outcome | None = None

    def __post_init__(self) -> None:
        self.pipe, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=main, args=(self.job, theirs), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def wait_at_point(self, seconds: float) -> Outcome | None:
        """None once it has stopped at its point; how it ended when it never came there."""
        said = self._next(seconds)
        if said == "here":
            return None
        self._outcome = said if isinstance(said, Outcome) else Outcome(word="hung")
        return self._outcome

    def go_on(self) -> None:
        """Let it leave the point, or the state, in which it was stopped."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
        with suppress(OSError):
            self.pipe.send("go")

    def outcome(self, seconds: float) -> Outcome:
        """How it ended, within the deadline; a process that hangs is killed."""
        while self._outcome is None:
            said = self._next(seconds)
            if said != "here":
                self._outcome = said if isinstance(said, Outcome) else Outcome(word="hung")
        self.end()
        return self._outcome

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.join()
        self.pipe.close()

    def _next(self, seconds: float) -> object:
        try:
            return self.pipe.recv() if self.pipe.poll(seconds) else None
        except (EOFError, ConnectionError):
            return Outcome(word="gone")


def main(job: Job, pipe: Connection) -> None:
    """Run the job and say how it ended."""
    liveness.LIMITS = SOON
    if job.idle_seconds is not None:
        gate._IDLE_LIMIT = timedelta(seconds=job.idle_seconds)
    stop = Stop()
    # As Dagster's executor does with SIGTERM, and with Terminate in its UI.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop.request).start())
    if job.point:
        _stop_at(job.point, pipe)
    if job.is_unanswered:
        liveness.LIMITS = replace(SOON, unreachable=2)
        Prober._look = lambda *_: threading.Event().wait()  # type: ignore[assignment,method-assign]
    try:
        with clocks.shifted(job.clock_off):
            word, said = _run(job, stop)
    except FluxError as error:
        word, said = "failed", f"{type(error).__name__}: {error}"
    with suppress(OSError):
        pipe.send(Outcome(word=word, said=said))


def _stop_at(point: str, pipe: Connection) -> None:
    first = threading.Lock()

    def hook(reached: str) -> None:
        # Of several layers, the first that comes there stays, and the others go on.
        if reached == point and first.acquire(blocking=False):
            pipe.send("here")
            pipe.recv()

    runs.hooks.append(hook)


def _run(job: Job, stop: Stop) -> tuple[str, str]:
    target = Target(conninfo=job.conninfo)
    if job.kind in {"sync", "replace"}:
        return _sync(job, target, stop)
    options = LoadOptions(publish_wait=timedelta(seconds=job.publish_wait), stop=stop, force=job.force)
    if job.kind == "rollback":
        return "rolled back", rollback(made_up(), target, options, _quiet).version
    if job.kind == "eject":
        eject(GIVEN_BACK, target, options, _quiet)
        return "ejected", ""
    if job.kind == "compute":
        computed = load_layer(COMPUTED, None, target, options, _quiet)
        return computed.outcome, computed.version
    folder = Path(job.folder)
    release = Release(job.folder, folder.name, folder / ".cache")
    if job.kind == "release":
        return _release(release, target, options)
    table = {"adopt": PLAIN, "adopt again": GIVEN_BACK}.get(job.kind)
    options = replace(options, take_over=table is not None)
    loaded = load_layer(table or made_up(), release, target, options, _quiet)
    return loaded.outcome, loaded.version


def _release(release: Release, target: Target, options: LoadOptions) -> tuple[str, str]:
    asked = dict.fromkeys((made_up(), SECOND), options)
    found = load_release(asked, release, target, _quiet, parallel=2, strict=False)
    if failed := [f"{name}: {result}" for name, result in found.items() if isinstance(result, FluxError)]:
        return "failed", "; ".join(failed)
    outcomes = {result.outcome for result in found.values() if not isinstance(result, FluxError)}
    return ("published" if "published" in outcomes else "unchanged"), ""


def _sync(job: Job, target: Target, stop: Stop) -> tuple[str, str]:
    assert job.account is not None
    account, overrides = job.account, Overrides()
    family = Family(tables=[overrides.applied_to(table, SYNCED) for table in SYNCED])
    names = [table.name for table in SYNCED]
    options = SyncOptions(stop=stop, force=job.force, take_over=job.kind == "replace")
    result = sync_tables(names, family, lambda: Source.open(account, overrides), target, options, _quiet)
    if result.busy:
        return "busy", result.busy
    failed = [f"{table.table}: {table.error}" for table in result.tables if table.error]
    return ("failed", "; ".join(failed)) if failed else ("synced", "")


def _quiet(line: str) -> None:
    """Keep nothing: what a run did is asked of the database."""
