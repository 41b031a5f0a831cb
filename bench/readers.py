"""Processes that read a table again and again while something happens to it, and what they noted.

`python -m bench.readers READER` runs one, READER being JSON; FLUX_BENCH_TARGET holds the conninfo. It reads until its
input is closed and then prints a JSON list of [seconds, answer or error].
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count

import psycopg

from flux_assets.postgis.session import Target
from flux_assets.settings import REPOSITORY

Notes = dict[str, list[tuple[float, object]]]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How one kind of user reads: every `pause` seconds, as `role`, or in a `snapshot` that has read another table."""

    query: str
    values: list[str] | None = None
    prepare: bool | None = None
    pause: tuple[float, float] = (0.1, 0.3)
    role: str = ""
    snapshot: str = ""


COUNT = Reader(query="SELECT count(*) FROM work_orders", pause=(0.002, 0.002))


@dataclass
class Phase:
    """What was done, how often, and what each kind of reader noted meanwhile; a look-up by key finds 1 row."""

    name: str
    times: int
    right: set[int]
    notes: Notes = field(default_factory=dict)
    locked_ms: list[float] = field(default_factory=list)

    @classmethod
    def joined(cls, name: str, right: set[int], seen: Sequence[Notes]) -> Phase:
        """What was done as often as there are notes."""
        return cls(name, len(seen), right, {kind: [note for notes in seen for note in notes[kind]] for kind in seen[0]})

    def answers(self) -> list[tuple[str, object]]:
        return [(kind, answer) for kind, notes in self.notes.items() for _, answer in notes]

    def errors(self) -> list[str]:
        return [answer for _, answer in self.answers() if isinstance(answer, str)]

    def wrong(self) -> int:
        """Answers that are not right; errors are apart."""
        right = {"key": {1}}
        return sum(isinstance(each, int) and each not in right.get(kind, self.right) for kind, each in self.answers())

    def milliseconds(self, *, by_key: bool) -> list[float]:
        return sorted(took * 1000 for kind in self.notes if (kind == "key") == by_key for took, _ in self.notes[kind])

    def counted(self) -> tuple[int, int, float]:
        """Counts read, those that were wrong or failed, and the milliseconds of the longest."""
        return len(self.answers()), self.wrong() + len(self.errors()), self.milliseconds(by_key=False)[-1]


@contextmanager
def reading(target: Target, readers: Mapping[str, Reader]) -> Iterator[Notes]:
    """Readers run while the block runs; their notes are there at its end."""
    environment = os.environ | {"FLUX_BENCH_TARGET": target.conninfo}
    processes = {}
    for kind, reader in readers.items():
        command = [sys.executable, "-m", "bench.readers", json.dumps(asdict(reader))]
        processes[kind] = subprocess.Popen(
            command, cwd=REPOSITORY, text=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.readline()  # it reads now
    notes: Notes = {}
    try:
        yield notes
    finally:
        said = {kind: process.communicate()[0] for kind, process in processes.items()}
    notes |= {kind: [tuple(note) for note in json.loads(text)] for kind, text in said.items()}


def main() -> None:
    reader = Reader(**json.loads(sys.argv[1]))
    notes: list[tuple[float, object]] = []
    session = _session(reader)
    for number in count():
        if select.select([sys.stdin], [], [], 0)[0]:
            break
        if session.closed or session.broken:
            session = _session(reader)
        notes.append(_read(session, reader))
        if number == 2:
            print(flush=True)
        time.sleep(random.uniform(*reader.pause))
    print(json.dumps(notes))


def _session(reader: Reader) -> psycopg.Connection:
    session = psycopg.connect(os.environ["FLUX_BENCH_TARGET"], autocommit=True)
    if reader.role:
        session.execute(f"SET ROLE {reader.role}".encode())
    return session


def _read(session: psycopg.Connection, reader: Reader) -> tuple[float, object]:
    if reader.snapshot:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute(reader.snapshot.encode())
        time.sleep(random.uniform(0.3, 1.5))  # the table is published again under the open snapshot
    begun = time.monotonic()
    try:
        row = session.execute(reader.query.encode(), reader.values, prepare=reader.prepare).fetchone()
        answer: object = row[0] if row else -1
    except psycopg.Error as error:
        answer = str(error).splitlines()[0]
    took = time.monotonic() - begun
    if not session.closed and session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        session.execute("ROLLBACK")
    return took, answer


if __name__ == "__main__":
    main()
