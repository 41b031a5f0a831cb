"""Readers of a table that is being synced: `python -m bench.sync_reader KIND TABLE`, and what they noted.

Here: a process that counts all rows, or looks one up by its key, again and again with hardly a pause, and `reading`,
which runs some while a block runs. FLUX_BENCH_TARGET holds the conninfo. Not here: who syncs meanwhile.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from flux_assets.postgis.connect import Target
from flux_assets.settings import REPOSITORY

_QUERIES = {
    "count": "SELECT count(*) FROM {}",
    "key": "SELECT 1 FROM {} WHERE work_order_id > %s ORDER BY work_order_id LIMIT 1",
}
_PAUSE = 0.002
Note = tuple[float, float, object]


@dataclass
class Notes:
    """When each read began, how many seconds it took and what it gave, by kind of reader."""

    kinds: dict[str, list[Note]] = field(default_factory=dict)

    def reads(self, kind: str = "count") -> int:
        return len(self.kinds[kind])

    def wrong(self, right: int) -> int:
        """Counts that are not the number of rows; errors are wrong too."""
        return sum(answer != right for _, _, answer in self.kinds["count"])

    def least(self) -> object:
        return min((answer for _, _, answer in self.kinds["count"] if isinstance(answer, int)), default=None)

    def longest_ms(self, kind: str = "count") -> float:
        return max((took for _, took, _ in self.kinds[kind]), default=0.0) * 1000

    def milliseconds(self, kind: str) -> list[float]:
        return sorted(took * 1000 for _, took, _ in self.kinds[kind])


@contextmanager
def reading(target: Target, kinds: Sequence[str] = ("count",), table: str = "work_orders") -> Iterator[Notes]:
    """Readers run while the block runs; the notes are filled at its end."""
    environment = dict(os.environ) | {"FLUX_BENCH_TARGET": target.conninfo}
    processes = {
        kind: subprocess.Popen(
            [sys.executable, "-m", "bench.sync_reader", kind, table], env=environment, cwd=REPOSITORY,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for kind in kinds
    }  # fmt: skip
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.readline()  # it reads now
    notes = Notes()
    try:
        yield notes
    finally:
        said = {kind: process.communicate("\n")[0] for kind, process in processes.items()}
    notes.kinds = {kind: [tuple(note) for note in json.loads(text)] for kind, text in said.items()}


def main() -> None:
    query = _QUERIES[sys.argv[1]].format(sys.argv[2])
    notes: list[Note] = []
    with psycopg.connect(os.environ["FLUX_BENCH_TARGET"], autocommit=True) as session:
        while not select.select([sys.stdin], [], [], 0)[0]:
            notes.append(_read(session, query))
            if len(notes) == 5:
                print(flush=True)
            time.sleep(_PAUSE)
    print(json.dumps(notes))


def _read(session: psycopg.Connection, query: str) -> Note:
    begun = time.monotonic()
    try:
        row = session.execute(query.encode(), ["WO-"] if "%s" in query else None).fetchone()
        answer: object = row[0] if row else None
    except psycopg.Error as error:
        answer = str(error).splitlines()[0]
    return begun, time.monotonic() - begun, answer


if __name__ == "__main__":
    main()
