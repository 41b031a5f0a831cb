"""A gzip file as pieces of plain bytes, in flat memory whatever the file holds.

Here: members, padding, checksums, and what a damaged or foreign file is told. Not here: what the bytes mean
(blocks.py cuts them into records). isal does the work: a quarter of gunzip's time, and its output can be bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from isal import igzip_lib

from flux_assets.errors import ManifestError, ReleaseError

_READ = 1 << 18
_Read = Callable[[int], bytes]
_DamageError = cast("type[Exception]", igzip_lib.IsalError)
_SAMPLE = 1 << 22
_MAGIC = b"\x1f\x8b"
_AGAIN = "Fetch or write the file again; `gzip -t` tells whether a copy is whole."


class GunzippedFile:
    """One pass over the plain bytes of a gzip file; every member of it, checksums compared.

    `gz_bytes` and `csv_bytes` count what has been read and given so far. With `sha256`, the compressed bytes that
    were really read must have that digest: a file that is swapped while it is read is not taken for the other one.
    """

    def __init__(self, path: Path, name: str, *, piece: int = 1 << 20, sha256: str | None = None) -> None:
        self._path, self._name, self._piece, self._sha256 = path, name, piece, sha256
        self._digest = hashlib.sha256()
        self._rest = b""
        self.gz_bytes = 0
        self.csv_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of about `piece` bytes, never more than twice that.

        Raises ReleaseError, naming the file and the byte, when it cannot be opened, is empty, is not gzip, is
        truncated or damaged, or goes on after its end; ManifestError when it is not the file of `sha256`.
        """
        try:
            with self._path.open("rb", buffering=0) as file:
                yield from _gathered(self._members(file.read), self._piece)
        except OSError as error:
            raise ReleaseError(f"{self._name}: cannot be read: {error.strerror or error}.", _AGAIN) from error

    def _members(self, read: _Read) -> Iterator[bytes]:
        self._rest = self._more(read)
        if not self._rest:
            raise ReleaseError(f"{self._name}: the file is empty, not even a gzip header.", _AGAIN)
        while self._rest:
            yield from self._member(read)
            self._rest = self._next_member(read)
        if self._sha256 is not None and self._digest.hexdigest() != self._sha256:
            raise ManifestError(
                f"{self._name}: sha256 is {self._digest.hexdigest()}, expected {self._sha256}.",
                "The file changed while it was read, or is another one; run again.",
            )

    def _member(self, read: _Read) -> Iterator[bytes]:
        start = self.gz_bytes - len(self._rest)
        while len(self._rest) < 2 and (more := self._more(read)):
            self._rest += more
        if not self._rest.startswith(_MAGIC):
            raise self._foreign(start)
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        given = self._rest
        while not member.eof:
            sound = self.gz_bytes - len(given)
            try:
                plain = member.decompress(given, self._piece)
            except _DamageError as error:
                raise self._damaged(sound, str(error)) from error
            if plain:
                self.csv_bytes += len(plain)
                yield plain
            given = b""
            if member.needs_input and not member.eof:
                given = self._more(read)
                if not given:
                    raise ReleaseError(
                        f"{self._name}: the gzip data is truncated: it stops at byte {self.gz_bytes}, before its end.",
                        _AGAIN,
                    )
        self._rest = member.unused_data

    def _next_member(self, read: _Read) -> bytes:
        """What follows a member: nothing, or another one. Zeros are padding, as for gzip itself."""
        rest = self._rest.lstrip(b"\0")
        while not rest and (more := self._more(read)):
            rest = more.lstrip(b"\0")
        return rest

    def _more(self, read: _Read) -> bytes:
        data = read(_READ)
        self.gz_bytes += len(data)
        if self._sha256 is not None:
            self._digest.update(data)
        return data

    def _foreign(self, start: int) -> ReleaseError:
        if start == 0:
            return ReleaseError(
                f"{self._name}: this is not a gzip file; it begins with {self._rest[:8]!r}.",
                "A release holds gzip CSV: compress the file with gzip.",
            )
        return ReleaseError(f"{self._name}: the gzip data ends at byte {start} and something else follows.", _AGAIN)

    def _damaged(self, sound: int, reason: str) -> ReleaseError:
        return ReleaseError(f"{self._name}: the gzip data is damaged, somewhere after byte {sound} ({reason}).", _AGAIN)


def expanded_bytes(path: Path) -> int:
    """About how many plain bytes the file holds, judged by its first megabytes; 0 when that cannot be told.

    For estimates only: what gzip itself notes down counts modulo 4 GB, and for its last member alone.
    """
    sample = GunzippedFile(path, path.name)
    try:
        for _ in sample:
            if sample.gz_bytes >= _SAMPLE:
                break
        return int(sample.csv_bytes / sample.gz_bytes * path.stat().st_size)
    except ReleaseError:
        return 0


def _gathered(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Small pieces joined, so that a file of many small members costs no more than one of a single member."""
    waiting: list[bytes] = []
    held = 0
    for piece in pieces:
        waiting.append(piece)
        held += len(piece)
        if held >= size // 2:
            yield piece if len(waiting) == 1 else b"".join(waiting)
            waiting, held = [], 0
    if waiting:
        yield b"".join(waiting)
