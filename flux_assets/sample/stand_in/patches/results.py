"""fakesnow keeps the result of every query that it ever answered for RESULT_SCAN; here the newest are kept.

Upstream: `results_cache` of https://github.com/tekumara/fakesnow/blob/v0.12.1/fakesnow/instance.py.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

KEPT_RESULTS = 100
KEPT_BYTES = 64_000_000
# As fakesnow keeps it: the Arrow table of the result, then how it was made.
Result = tuple[Any, ...]


class RecentResults(OrderedDict[str, Result]):
    """The newest results by query id, bounded in number and in bytes; the newest one is kept whatever its size.

    Queries are answered on several threads.
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
