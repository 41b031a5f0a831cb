"""Working ahead: an iterator runs in a thread of its own, a few items before its reader.

Here: the bounded hand-over between two threads, errors included, and its end. Not here: what is handed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from threading import Condition, Thread
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Iterates `source` in a thread, at most `depth` items ahead.

    An error of the source is raised where the items are read. `close` ends the thread, and the source with it, whether
    or not all has been read; leaving a `with` block does that too. The thread closes the source itself, so a
    generator's `finally` runs in the thread that ran its body.
    """

    def __init__(self, source: Generator[T, None, None], name: str, depth: int = 4) -> None:
        self._source, self._depth = source, depth
        self._items: deque[T] = deque()
        self._changed = Condition()
        self._done = self._closed = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._done or self._closed)
            if self._items and not self._closed:
                self._changed.notify_all()
                return self._items.popleft()
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and wait for it; nothing can be read afterwards. May be called twice, from any thread."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with closing(self._source):
                for item in self._source:
                    if not self._put(item):
                        break
        except BaseException as caught:  # noqa: BLE001 - it is raised again, in the thread that reads
            error = caught
        with self._changed:
            self._error, self._done = error, True
            self._changed.notify_all()

    def _put(self, item: T) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._depth or self._closed)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed
