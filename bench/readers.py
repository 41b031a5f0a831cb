"""Processes that read a table again and again while something happens to it, and what they noted.

`python -m bench.readers READER` runs one, READER being JSON; FLUX_BENCH_TARGET holds the conninfo. It reads until its
input is closed and then prints a JSON list of [when, seconds, answer or error].
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from statistics import median

import psycopg

from bench.results import Section
from flux_assets.postgis.session import Target
from flux_assets.settings import REPOSITORY

Notes = dict[str, list[tuple[float, float, object]]]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How one kind of user reads: every `pause` seconds, as `role`, or in a `snapshot` that has read another table."""

    query: str
    values: list[str] | None = None
    prepare: bool | None = None
    pause: tuple[float, float] = (0.1, 0.3)
    role: str = ""
    snapshot: str = ""
    keep_zeros: bool = True


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
        return [(kind, answer) for kind, notes in self.notes.items() if kind != "locks" for *_, answer in notes]

    def counts(self) -> list[int]:
        return [answer for kind, answer in self.answers() if kind != "key" and isinstance(answer, int)]

    def errors(self) -> list[str]:
        return [answer for _, answer in self.answers() if isinstance(answer, str)]

    def wrong(self) -> int:
        """Answers that are not right; errors are apart."""
        right = {"key": {1}}
        return sum(isinstance(each, int) and each not in right.get(kind, self.right) for kind, each in self.answers())

    def failed(self) -> int:
        """Answers that are not right, and errors."""
        return self.wrong() + len(self.errors())

    def milliseconds(self, *, by_key: bool) -> list[float]:
        kinds = [kind for kind in self.notes if kind != "locks" and (kind == "key") == by_key]
        return sorted(took * 1000 for kind in kinds for _, took, _ in self.notes[kind])

    def seen_locked(self) -> list[float]:
        """Milliseconds for which an exclusive lock was seen from outside, each time; looks are about 0.5 ms apart."""
        spans: list[list[float]] = []
        for at, took, _ in self.notes.get("locks", []):
            if spans and at - spans[-1][1] < 0.02:
                spans[-1][1] = at + took
            else:
                spans.append([at, at + took])
        return [(end - start) * 1000 for start, end in spans]


def seen_by_readers(title: str, phases: Sequence[Phase], goals: Sequence[Sequence[str]], *notes: str) -> Section:
    """What the readers of each phase saw."""
    longest = [f"longest {what} ms (99.9 %, median)" for what in ("count", "look-up by key")]
    locked = [f"locked ms ({by})" for by in ("its own clock", "seen from outside")]
    return Section(
        title=title,
        columns=["while", "times", "answers", "wrong", "errors", "least count", *longest, *locked],
        rows=[
            [
                each.name, str(each.times), f"{len(each.answers()):,}", f"{each.wrong():,}", f"{len(each.errors()):,}",
                f"{min(each.counts()):,}", *(_longest(each.milliseconds(by_key=by_key)) for by_key in (False, True)),
                *(f"{median(ms):.1f} (max {max(ms):.1f})" if ms else "" for ms in (each.locked_ms, each.seen_locked())),
            ]
            for each in phases
        ],
        goals=goals,
        notes=[*notes, *(f"{each.name}: {text}" for each in phases for text in sorted(set(each.errors()))[:5])],
        values={
            each.name: {
                "locked_ms": each.locked_ms, "seen_locked_ms": each.seen_locked(),
                "longest_ms": {kind: max((took for _, took, _ in found), default=0.0) * 1000
                               for kind, found in each.notes.items()},
            }
            for each in phases
        },
    )  # fmt: skip


def _longest(times: list[float]) -> str:
    rare, middle = (times[min(len(times) - 1, round(len(times) * share))] for share in (0.999, 0.5))
    return f"{times[-1]:.1f} ({rare:.1f}, {middle:.1f})"


@contextmanager
def reading(target: Target, readers: Mapping[str, Reader]) -> Iterator[Notes]:
    """Readers run while the block runs; their notes are there at its end."""
    processes = {
        kind: subprocess.Popen(
            [sys.executable, "-m", "bench.readers", json.dumps(asdict(reader))], cwd=REPOSITORY, text=True,
            env=os.environ | {"FLUX_BENCH_TARGET": target.conninfo}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for kind, reader in readers.items()
    }  # fmt: skip
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.readline()  # it reads now
    notes: Notes = {}
    try:
        yield notes
    finally:
        said = {kind: process.communicate()[0] for kind, process in processes.items()}
    notes |= {kind: [tuple(note) for note in json.loads(text)] for kind, text in said.items()}


def under(target: Target, readers: Mapping[str, Reader], work: Callable[[], object]) -> Notes:
    """Do something under readers; their notes."""
    with reading(target, readers) as notes:
        work()
    return notes


def main() -> None:
    reader = Reader(**json.loads(sys.argv[1]))
    notes: list[tuple[float, float, object]] = []
    session = _session(reader)
    for number in count():
        if select.select([sys.stdin], [], [], 0)[0]:
            break
        if session.closed or session.broken:
            session = _session(reader)
        note = _read(session, reader)
        notes += [note] if reader.keep_zeros or note[2] else []
        if number == 2:
            print(flush=True)
        time.sleep(random.uniform(*reader.pause))
    print(json.dumps(notes))


def _session(reader: Reader) -> psycopg.Connection:
    session = psycopg.connect(os.environ["FLUX_BENCH_TARGET"], autocommit=True)
    if reader.role:
        session.execute(f"SET ROLE {reader.role}".encode())
    return session


def _read(session: psycopg.Connection, reader: Reader) -> tuple[float, float, object]:
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
    return begun, took, answer


if __name__ == "__main__":
    main()
