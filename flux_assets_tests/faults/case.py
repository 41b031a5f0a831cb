"""One case: a run that stops at a point, what is done to it there, the next run, and the verdict."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic, sleep

import psycopg

from flux_assets.errors import FluxError
from flux_assets.layers.context import LoadOptions
from flux_assets.layers.load import load_layer
from flux_assets.layers.rollback import unpin
from flux_assets.postgis.session import Target
from flux_assets.release.release import Release
from flux_assets_tests.faults.child import COMPUTED, GIVEN_BACK, PLAIN, Child, Job, Kind, Outcome
from flux_assets_tests.faults.oracle import HUNG_ON_ANSWER, LAYER_ANSWER, RELEASE_ANSWER, SYNC_ANSWER, State
from flux_assets_tests.faults.readers import Readers, Seen
from flux_assets_tests.faults.standby import Standby
from flux_assets_tests.faults.wire import Wire, wire_to
from flux_assets_tests.faults.world import BEFORE, NEW, OLD, World
from flux_assets_tests.made_layers import made_up

# Nothing that goes on takes a tenth of this. What is still under way then hangs.
HANG_SECONDS = 60
# What a reader may wait beyond the machine's noise, whatever happens to us.
PROMISED_MS = 100
_LEFT_SECONDS = 20
_LEFTOVERS = {
    "RUNNING rows": "SELECT layer_name FROM postgres_sync.sync_status WHERE status = 'RUNNING'",
    "tables without a version": """
        SELECT relname FROM pg_class AS c WHERE relnamespace = 'flux_versions'::regnamespace AND relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT FROM postgres_sync.layer_versions AS v WHERE v.relation = c.relname
                        AND v.state IN ('staged', 'published'))
    """,
    "versions without a table": """
        SELECT relation FROM postgres_sync.layer_versions
        WHERE state <> 'dropped' AND to_regclass(format('flux_versions.%I', relation)) IS NULL
    """,
}
_LEFTOVERS["tables and views half-way"] = """
    SELECT relname FROM pg_class WHERE relnamespace = 'flux_versions'::regnamespace AND relkind IN ('m', 'v')
    OR relname ~ '_of_layer|_tally_before_flux|_before_flux_[0-9]'
"""
_SESSIONS = """
SELECT pid, application_name, state, left(query, 60) FROM pg_stat_activity
WHERE application_name LIKE 'flux_assets%' AND datname = current_database()
"""


@dataclass(kw_only=True)
class Verdict:
    """What a case came to, as the table of docs/reliability.md shows it."""

    case: str
    fault: str
    lost: int = 0
    mixed: int = 0
    refused: list[str] = field(default_factory=list)
    hung: str = ""
    wait_ms: float = 0.0
    noise_ms: float = 0.0
    next_run: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Everything that a promise forbids."""
        found = list(self.notes)
        if self.lost:
            found.append(f"{self.lost} rows lost or wrong")
        if self.mixed:
            found.append(f"{self.mixed} answers of readers were neither the old nor a new state")
        if self.refused:
            found.append(f"{len(self.refused)} reads were refused: {self.refused[0]}")
        if self.hung:
            found.append(f"{self.hung} hung")
        if self.wait_ms > PROMISED_MS + self.noise_ms:
            found.append(f"a reader waited {self.wait_ms:.0f} ms; on the control table {self.noise_ms:.0f} ms")
        return found


@dataclass
class Case:
    """A case under way, as its fault sees it."""

    world: World
    kind: Kind
    point: str
    database: str
    folder: Path
    wire: Wire
    verdict: Verdict
    child: Child = field(init=False)
    # How the run that was harmed ended.
    outcome: Outcome = field(init=False)
    # What readers see once it has ended (any whole state, unless a fault says more), and after the next run.
    after: list[int] | None = None
    # Of the table that the run changes, or of one of those.
    table: str = field(init=False)
    final: int = NEW
    # The server that took the place of the first one.
    standby: Standby | None = None

    def __post_init__(self) -> None:
        named = {"compute": COMPUTED.name, "adopt": PLAIN.name, "eject": GIVEN_BACK.name}
        self.table = "faults" if self.is_sync else named.get(self.kind, "poles")
        if self.kind == "eject":
            self.final = OLD  # whatever becomes of it, the rows are the same

    @property
    def state(self) -> list[State]:
        return self.world.states[self.kind]

    @property
    def is_sync(self) -> bool:
        return self.kind in {"sync", "replace"}

    @property
    def whole_states(self) -> list[State]:
        """What readers may see: the old state, what the run brings, and what runs after it bring."""
        first = BEFORE if self.kind == "rollback" else OLD
        return self.state[first : self.final + 1]

    @property
    def brought(self) -> State:
        """What the run brings when nothing stops it."""
        return self.state[{"rollback": BEFORE, "eject": OLD}.get(self.kind, NEW)]

    @property
    def settled(self) -> list[State]:
        """What readers may see once the run that was harmed has ended."""
        return self.whole_states if self.after is None else [self.state[number] for number in self.after]

    def address(self, *, admin: bool = False) -> str:
        """How everybody else connects."""
        server = self.standby or self.world
        return server.conninfo(self.database, admin=admin)

    @property
    def question(self) -> str:
        if self.is_sync:
            return SYNC_ANSWER
        if self.kind in {"adopt", "eject"}:
            return HUNG_ON_ANSWER.format(self.table)
        return RELEASE_ANSWER if self.kind == "release" else LAYER_ANSWER.replace("poles", self.table)

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        """A superuser's session in the case's database."""
        conninfo = self.address(admin=True)
        with psycopg.connect(conninfo, autocommit=True, application_name="fault suite") as session:
            yield session

    def job(self, state: int = NEW, **more: object) -> Job:
        """An ordinary run that brings this state, by the direct way."""
        job = Job(
            kind=self.kind, conninfo=self.address(), folder=str(self.folder),
            account=self.world.accounts[state],
        )  # fmt: skip
        return replace(job, **more)  # type: ignore[arg-type]

    def release(self, state: int) -> None:
        """Let the release hold this state; a run that is reading its file goes on reading the old one.

        What a layer is computed from is loaded, which the run must not hold up.
        """
        self.folder.mkdir(exist_ok=True)
        for file in self.world.releases[state].parent.glob("*.csv.gz"):
            fresh = shutil.copy(file, self.folder / "fresh")
            fresh.replace(self.folder / file.name)
        if self.kind == "compute":
            release = Release(str(self.folder), self.folder.name, self.folder / ".cache")
            options = LoadOptions(publish_wait=timedelta(seconds=10))
            try:
                load_layer(made_up(), release, Target(conninfo=self.address()), options, lambda _: None)
            except FluxError as error:
                self.verdict.notes.append(f"the layer that it is computed from could not be loaded: {error}")

    def prepare(self) -> None:
        """Let the run find what it is for."""
        self.release(NEW)
        if self.kind == "replace":
            with self.session() as session:
                session.execute("ALTER TABLE feeders ALTER homes TYPE numeric")

    @property
    def outlived(self) -> bool:
        """Whether the fault is one that the run's sessions outlive."""
        return (self.is_sync or "AS SELECT NULL" in self.point) and any(
            word in self.verdict.fault for word in ("SIGSTOP", "whole network")
        )

    def faulty(self, point: str = "", **more: object) -> Job:
        """The run that is to be harmed."""
        idle_seconds = 2 if self.outlived else None
        conninfo = self.world.conninfo(self.database, port=self.wire.port)
        return self.job(conninfo=conninfo, point=point, idle_seconds=idle_seconds, **more)

    def start(self, point: str, **more: object) -> None:
        """Start the run that is to be harmed, and wait until it is at the point."""
        self.child = Child(self.faulty(point, **more))
        if early := self.child.wait_at_point(HANG_SECONDS):
            self.verdict.notes.append(f"it never came to {point}: {early.word} {early.said}")

    def finish(self) -> None:
        """Let it go on, to its end."""
        self.child.go_on()
        self.outcome = self.ended(self.child, "the run")

    def refused(self, job: Job, said: str) -> None:
        """A run that must fail, and say why in words that the pattern knows."""
        self.outcome = self.ended(Child(job), "the run")
        self.demand(self.outcome.word == "failed", f"it did not fail: {self.outcome}")
        self.demand(re.search(said, self.outcome.said) is not None, f"it did not say {said!r}: {self.outcome.said}")

    def demand(self, kept: bool, otherwise: str) -> None:
        if not kept:
            self.verdict.notes.append(otherwise)

    def harm_at(self, text: bytes, harm: Harm) -> None:
        """Freeze the run when it sends such a statement, which the server gets all the same, and harm it then."""
        came = Event()
        # A network that falls silent does so before what it swallows.
        first = harm if "silent" in self.verdict.fault else None

        def act() -> None:
            os.kill(self.child.pid, signal.SIGSTOP)
            if first:
                first(self)
            came.set()

        self.wire.watch(text, act)
        if not came.wait(HANG_SECONDS):
            self.verdict.notes.append(f"it never sent {text.decode()}")
        elif not first:
            harm(self)

    @contextmanager
    def readers(self) -> Iterator[None]:
        """Readers for as long as the block lasts; what they saw goes into the verdict."""
        readers = Readers(self.world.conninfo(self.database, admin=True), self.question)
        try:
            yield
        finally:
            seen, noise = readers.stop()
            self._judge(seen, noise)

    @property
    def again(self) -> Kind:
        """What brings what the run was to bring, or what comes after it."""
        return "load" if self.kind == "rollback" else self.kind

    def run_again(self, name: str = "the next run", kind: Kind | None = None) -> Outcome:
        """The next run, which needs no hand: nobody cleans up or ends a session before it."""
        kind = kind or self.again
        self.unpin()
        outcome = self.ended(Child(self.job(self.final, kind=kind)), name)
        if not outcome.ended_well:
            self.verdict.notes.append(f"{name} {outcome.word}: {outcome.said}")
        return outcome

    def settle(self) -> None:
        """What is there after the fault is whole, and the next run brings what it has to bring."""
        self.look("after the fault", self.settled)
        self.let_a_minute_pass()
        self.verdict.next_run = self.run_again().word
        self.look("after the next run", [self.state[self.final]])

    def unpin(self) -> None:
        """A layer that was rolled back stays so until somebody says otherwise."""
        if self.kind == "rollback":
            unpin(made_up(), Target(conninfo=self.address()))

    def look(self, when: str, allowed: Sequence[State]) -> None:
        """The oracle's look at all tables: rows that are not those of any allowed state are lost."""
        with self.session() as session:
            lost = min(state.lost(session) for state in allowed)
            self.verdict.lost += lost
            if lost:
                self.verdict.notes.append(f"{lost} rows are wrong {when}")
            if not self.world.control_is_untouched(session):
                self.verdict.notes.append(f"the control table is another one {when}")

    def look_for_leftovers(self) -> None:
        """Nothing of dead runs is left: no ledger rows, no tables, no sessions."""
        with self.session() as session:
            deadline = monotonic() + _LEFT_SECONDS
            while (left := session.execute(_SESSIONS).fetchall()) and monotonic() < deadline:
                sleep(0.05)
            found = {"sessions": left} | {name: session.execute(query).fetchall() for name, query in _LEFTOVERS.items()}
        self.verdict.notes += [f"{name} are left: {rows}" for name, rows in found.items() if rows]

    def _judge(self, seen: Seen, noise: Seen) -> None:
        whole = {state.answer for state in self.whole_states}
        wrong = {answer: times for answer, times in seen.answers.items() if answer not in whole}
        self.verdict.mixed += sum(wrong.values()) + seen.torn
        self.verdict.refused += seen.refused
        self.verdict.wait_ms, self.verdict.noise_ms = seen.longest_ms, noise.longest_ms
        if wrong:
            self.verdict.notes.append(f"readers saw {wrong}")
        if not seen.answers:
            self.verdict.notes.append("readers saw nothing at all")

    def ended(self, child: Child, name: str) -> Outcome:
        outcome = child.outcome(HANG_SECONDS)
        if outcome.word == "hung":
            self.verdict.hung = self.verdict.hung or name
        return outcome

    def let_a_minute_pass(self) -> None:
        """A holder that is frozen gives no sign of life for longer than anybody waits for one, and the server has had
        enough of the transaction that it left open."""
        with self.session() as session:
            told = session.execute(
                "SELECT DISTINCT format('%I.%I', table_schema, table_name) FROM information_schema.columns"
                " WHERE table_schema = 'postgres_sync' AND column_name = 'seen_at'"
            )
            for (table,) in told.fetchall():
                session.execute(f"UPDATE {table} SET seen_at = seen_at - interval '10 minutes'")
            deadline = monotonic() + HANG_SECONDS
            while self.outlived and session.execute(_LEFT_OPEN).fetchall():
                if monotonic() > deadline:
                    self.verdict.hung = self.verdict.hung or "a transaction that was left open"
                    return
                sleep(0.05)


_LEFT_OPEN = _SESSIONS + " AND state LIKE 'idle in transaction%'"
Harm = Callable[[Case], None]


def run_case(world: World, kind: Kind, point: str, fault: str, harm: Harm, folder: Path) -> Verdict:
    """Stop a run at the point, harm it there, let it go on, run once more; the verdict on all of it.

    A point that begins with `sql:` is where the run sends a statement that holds the text.
    """
    with started(world, kind, point, fault, folder) as case:
        try:
            if point.startswith("sql:"):
                case.child = Child(case.faulty())
                case.harm_at(point.removeprefix("sql:").encode(), harm)
            else:
                case.start(point)
                harm(case)
            case.finish()
        finally:
            case.child.end()
    return case.verdict


@contextmanager
def started(
    world: World,
    kind: Kind,
    point: str,
    fault: str,
    folder: Path,
    *,
    database: AbstractContextManager[str] | None = None,
) -> Iterator[Case]:
    """A case with readers for as long as the block lasts; then the next run, the oracle, and what is left."""
    more = {"release": "whole release", "compute": "derived layer", "replace": "adopted sync"}.get(kind, kind)
    named = kind in {"load", "sync"} or point.startswith(kind) or point.endswith(f"a whole {kind}")
    verdict = Verdict(case=point if named else f"{point} ({more})", fault=fault)
    with database or world.database() as name, wire_to(world.port) as wire:
        case = Case(world, kind, point, name, folder / "release", wire, verdict)
        case.prepare()
        with case.readers():
            yield case
            if case.standby is None:
                case.settle()
        wire.cut()
        if case.standby is None:
            if kind == "eject":
                case.final = NEW
            case.run_again("the last run", "adopt again" if kind == "eject" else None)
            case.look("in the end", [case.state[case.final]])
            case.look_for_leftovers()
