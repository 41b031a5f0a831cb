"""A layer and a synced table that move on while a client reads them: every row says which version it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread

from flux_assets_tests.made_layers import Loader, made_up, rows
from flux_assets_tests.synced import Utility

VERSIONS = 10
POLES, FAULTS = 400, 60


@dataclass
class Moving:
    """`poles`, published again and again, and `faults`, synced as often; a number in each row is the version."""

    loader: Loader
    utility: Utility
    version: int = 0

    def begin(self) -> None:
        """Make both tables, in version 0."""
        values = ",".join(
            f"('{number}', 'A', 'OPEN', CURRENT_TIMESTAMP(), 0, {10 + number / 1e4}, {50 + number / 1e4})"
            for number in range(FAULTS)
        )
        self.utility.tell(f"INSERT INTO FAULTS VALUES {values}")
        self._publish()

    def go_on(self) -> None:
        """Publish another version of the layer, and sync another of the table."""
        self.version += 1
        self.utility.tell(f"UPDATE FAULTS SET HOMES = {self.version}")
        self._publish()

    def _publish(self) -> None:
        # A share: the layer's audits want it between 0 and 1.
        self.loader.load(made_up(), [row | {"score": self.version / 100} for row in rows(POLES)])
        self.utility.synced()


@dataclass
class Reader:
    """A client that reads without end, in a thread. `read` returns how many rows it saw, and of which versions."""

    read: Callable[[], tuple[int, set[int]]]
    rows: int
    seen: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    reads: int = 0

    def __enter__(self) -> Reader:
        self._over, self._thread = Event(), Thread(target=self._work)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            self.reads += 1
            try:
                count, versions = self.read()
            except Exception as error:  # noqa: BLE001 - whatever it is, a client would have met it
                self.wrong.append(repr(error))
                continue
            if count != self.rows or len(versions) != 1:
                self.wrong.append(f"{count} rows of versions {sorted(versions)}")
            self.seen |= versions


def follow(moving: Moving, *readers: Reader) -> None:
    """Move on ten times, each time once every reader has seen the version before."""
    for reader in readers:
        reader.__enter__()
    try:
        for _ in range(VERSIONS):
            _await(moving, readers)
            moving.go_on()
        _await(moving, readers)
    finally:
        for reader in readers:
            reader.__exit__()
    assert [reader.wrong for reader in readers if reader.wrong] == []
    assert [reader.seen for reader in readers] == [set(range(VERSIONS + 1))] * len(readers)


def _await(moving: Moving, readers: tuple[Reader, ...]) -> None:
    pause = Event()
    while any(moving.version not in reader.seen and len(reader.wrong) < 10 for reader in readers):
        pause.wait(0.01)
