"""Readers that go on all the while, in a process of their own: what they saw, and how long they had to wait.

Beside each reader of a published table goes one of a control table, which is locked now and then for as long as the
smallest possible transaction takes: what its readers waited is the machine's noise (its scheduler, its disk), and what
a reader of the published table may wait beyond it is the promise. Of the published table, reads count that met a lock.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from time import perf_counter

import psycopg

from flux_assets_tests.faults.child import PROCESSES

CONTROL = "SELECT count(*), sum(id) FROM control"
_PAUSE_SECONDS = 0.005
_LOCKED_EVERY_SECONDS = 0.2
_LOOK_SECONDS = 0.01
_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = ANY (%s)"
_LOCK = "BEGIN; LOCK TABLE control IN ACCESS EXCLUSIVE MODE; UPDATE other SET one = one + 1; COMMIT"


@dataclass
class Seen:
    """What the readers of one table saw: answers with their number, disagreeing transactions, the longest wait.

    They fail where the server is gone, and are refused where it is there.
    """

    answers: Counter[tuple[object, ...]] = field(default_factory=Counter)
    torn: int = 0
    longest_ms: float = 0.0
    failures: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        self.answers.update(other.answers)
        self.torn += other.torn
        self.longest_ms = max(self.longest_ms, other.longest_ms)
        self.failures += other.failures
        self.refused += other.refused


class Readers:
    """Readers under way, seen from their parent."""

    def __init__(self, conninfo: str, question: str) -> None:
        self._pipe, theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_main, args=(conninfo, question, theirs), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "reading"

    def stop(self) -> tuple[Seen, Seen]:
        """What was seen of the published table, and of the control table."""
        self._pipe.send("stop")
        seen: tuple[Seen, Seen] = self._pipe.recv()
        self._process.join()
        self._pipe.close()
        return seen


class _Reader(threading.Thread):
    """One connection that asks the same again and again; in pairs within a REPEATABLE READ snapshot, if so told."""

    def __init__(self, conninfo: str, question: str, done: threading.Event, *, repeatable: bool) -> None:
        super().__init__(daemon=True)
        self.seen = Seen()
        self.first = threading.Event()
        self._conninfo = conninfo
        self._question = question
        self._repeatable = repeatable
        self._done = done
        self._connection: psycopg.Connection | None = None
        self._asked_at: float | None = None
        self._locked_at = 0.0

    @property
    def pid(self) -> int:
        """Its server process, 0 while there is none."""
        connection = self._connection
        return 0 if connection is None or connection.closed else connection.info.backend_pid

    def note_lock(self) -> None:
        """It was seen waiting for a lock."""
        self._locked_at = perf_counter()

    def run(self) -> None:
        while not self._done.is_set():
            try:
                self._read()
            except psycopg.OperationalError as error:
                # The server is stopped in some of the cases, and a reader comes back as a map server does.
                self._asked_at = None
                if not self._done.is_set():
                    self.seen.failures.append(str(error).strip())
                    self._done.wait(0.05)
            except psycopg.Error as error:
                self.seen.refused.append(f"{type(error).__name__}: {error}")
                self._done.wait(0.05)

    def finish(self) -> Seen:
        """Count a wait that has not ended, too."""
        if (asked_at := self._asked_at) is not None:
            self._note_wait(asked_at)
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.cancel()
        self.join(10)
        return self.seen

    def _read(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True, application_name="fault suite reader") as connection:
            self._connection = connection
            connection.execute("SET ROLE flux_reader")
            connection.execute(self._question)
            self.first.set()
            while not self._done.wait(_PAUSE_SECONDS):
                if self._repeatable:
                    self._read_twice(connection)
                else:
                    self.seen.answers[self._ask(connection)] += 1

    def _read_twice(self, connection: psycopg.Connection) -> None:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SELECT clock_timestamp() FROM other LIMIT 1")  # the snapshot is taken here
        self._done.wait(_PAUSE_SECONDS)
        answers = [self._ask(connection), self._ask(connection)]
        connection.execute("COMMIT")
        self.seen.answers.update(answers)
        self.seen.torn += answers[0] != answers[1]

    def _ask(self, connection: psycopg.Connection) -> tuple[object, ...]:
        self._asked_at = perf_counter()
        answer = connection.execute(self._question).fetchone()
        asked_at, self._asked_at = self._asked_at, None
        self._note_wait(asked_at)
        return answer or ()

    def _note_wait(self, asked_at: float) -> None:
        waited_ms = (perf_counter() - asked_at) * 1000
        if self._question == CONTROL or self._locked_at > asked_at:
            self.seen.longest_ms = max(self.seen.longest_ms, waited_ms)


def _lock_now_and_then(conninfo: str, done: threading.Event) -> None:
    """Do to the control table what a swap cannot do without: an exclusive lock, and a commit that is on the disk."""
    while not done.is_set():
        with suppress(psycopg.Error), psycopg.connect(conninfo, autocommit=True, application_name="noise") as session:
            while not done.wait(_LOCKED_EVERY_SECONDS):
                session.execute(_LOCK)


def _look_for_locks(conninfo: str, readers: list[_Reader], done: threading.Event) -> None:
    """Tell readers that wait for a lock that they do: what takes long without one is the machine's doing."""
    while not done.is_set():
        with suppress(psycopg.Error), psycopg.connect(conninfo, autocommit=True, application_name="looker") as session:
            while not done.wait(_LOOK_SECONDS):
                waiting = {pid for (pid,) in session.execute(_WAITING, [[reader.pid for reader in readers]])}
                for reader in readers:
                    if reader.pid in waiting:
                        reader.note_lock()


def _main(conninfo: str, question: str, pipe: Connection) -> None:
    done = threading.Event()
    pairs = [
        [_Reader(conninfo, asked, done, repeatable=repeatable) for repeatable in (False, True)]
        for asked in (question, CONTROL)
    ]
    readers = [reader for pair in pairs for reader in pair]
    for reader in readers:
        reader.start()
    threading.Thread(target=_lock_now_and_then, args=(conninfo, done), daemon=True).start()
    threading.Thread(target=_look_for_locks, args=(conninfo, readers, done), daemon=True).start()
    for reader in readers:
        reader.first.wait(30)
    pipe.send("reading")
    pipe.recv()
    done.set()
    found = []
    for pair in pairs:
        seen = Seen()
        for reader in pair:
            seen.add(reader.finish())
        found.append(seen)
    pipe.send(tuple(found))
