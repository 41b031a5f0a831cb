"""The results that the stand-in remembers for RESULT_SCAN. Not here: answering with them, which fakesnow does.

fakesnow would keep those of every query that it ever answered.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

KEPT_RESULTS = 100
KEPT_BYTES = 64_000_000
# As fakesnow keeps it: the result's Arrow table, then how it came about.
Result = tuple[Any, ...]


class RecentResults(OrderedDict[str, Result]):
    """By query id the newest results, at most so many and of so many bytes together; the newest one whatever its size.

    Queries are answered side by side on threads.
    """

    def __init__(self, *, results: int = KEPT_RESULTS, size_bytes: int = KEPT_BYTES) -> None:
        super().__init__()
        self._most, self._most_bytes = results, size_bytes
        self._bytes = 0
        self._lock = Lock()

    def __setitem__(self, key: str, value: Result) -> None:
        with self._lock:
            super().__setitem__(key, value)
            self._bytes += value[0].nbytes
            while len(self) > 1 and (len(self) > self._most or self._bytes > self._most_bytes):
                _, dropped = self.popitem(last=False)
                self._bytes -= dropped[0].nbytes
