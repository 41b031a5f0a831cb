"""What a watcher of a release remembers from one check to the next, and its form as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A file as it was last seen. `sha256` is of the state last decided about, None where nobody has told it.

    `settling` says that the state is new and may still be a part of an upload; `asked` is when the state last decided
    about was asked for (seconds since 1970), None where it was loaded already.
    """

    stamp: str
    sha256: str | None = None
    settling: bool = False
    asked: float | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is remembered of one address. `runs` counts those asked for since `began`: the two name the next one.

    `manifest` says that there was one, `stamps` what all files together looked like, `moved` since when they do.
    """

    address: str
    began: float
    runs: int = 0
    manifest: bool = False
    stamps: str = ""
    moved: float = 0
    files: Mapping[str, Seen] = field(default_factory=dict)

    @property
    def run_key(self) -> str:
        """Names the run that was asked for last; the same again when the same look is repeated after a crash."""
        return f"{self.began:.3f}-{self.runs}"

    def text(self) -> str:
        """Return the memory as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def read(text: str | None, address: str, now: float) -> Memory:
        """Return what `text` says of this address; nothing when it is of another address, or not in this form."""
        try:
            stored = json.loads(text or "")
            files = {table: Seen(**seen) for table, seen in stored.pop("files").items()}
            memory = Memory(**stored, files=files)
        except (ValueError, TypeError, KeyError, AttributeError):
            return Memory(address=address, began=now)
        return memory if memory.address == address else Memory(address=address, began=now)
