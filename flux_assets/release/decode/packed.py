"""The compressed bytes of a file, given out in small parts that can be given back; counted, and digested as read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

_READ = 1 << 18
_PART = 1 << 14  # what is unused of a part is copied at the end of each member, and a member may be of 20 bytes


class PackedBytes:
    """What `read` gives, in parts, up to `most` bytes of it.

    `total` counts the bytes read so far, `position` those given out and not given back.
    """

    def __init__(self, read: Callable[[int], bytes], *, digested: bool, most: int | None = None) -> None:
        self._read, self._most = read, most
        self._digest = hashlib.sha256() if digested else None
        self._buffer, self._at = b"", 0
        self.total = 0

    @property
    def position(self) -> int:
        return self.total - len(self._buffer) + self._at

    @property
    def sha256(self) -> str | None:
        """Digest (hex) of all that was read, where it was asked for."""
        return self._digest.hexdigest() if self._digest else None

    def take(self) -> bytes:
        """The next part, empty at the end of the file."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self._more(), 0
        part = self._buffer[self._at : self._at + _PART]
        self._at += len(part)
        return part

    def give_back(self, part: bytes) -> None:
        """Have the end of the part that was taken last given out again."""
        self._at -= len(part)

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer than `size` at the end of the file; nothing is given out."""
        while len(self._buffer) - self._at < size and (more := self._more()):
            self._buffer, self._at = self._buffer[self._at :] + more, 0
        return self._buffer[self._at : self._at + size]

    def skip_zeros(self) -> bool:
        """Skip zero bytes; whether there were some within this part."""
        part = self.take()
        kept = part.lstrip(b"\0")
        self.give_back(kept)
        return len(kept) < len(part)

    def _more(self) -> bytes:
        data = self._read(_READ if self._most is None else min(_READ, self._most - self.total))
        self.total += len(data)
        if self._digest is not None:
            self._digest.update(data)
        return data
