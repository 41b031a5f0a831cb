"""Which layers a release has news for: what is there now, compared with what was seen before and with what is loaded.

A check of an unchanged release costs a few bytes a file. A state of a file is asked for at most once, whatever became
of it: what failed is not tried again until the file is another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from flux_assets.errors import ManifestError
from flux_assets.release.files import MissingError
from flux_assets.release.release import Glance, Release
from flux_assets.spec import StaticTable


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


# Where manifest.json is gone an upload may have begun; where nothing moves for so long, there is to be none.
STILL_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was last loaded of a layer, and when (seconds since 1970)."""

    sha256: str
    at: float


@dataclass(frozen=True, kw_only=True)
class News:
    """What to remember, the names of the layers to ask for, and what else there is to tell."""

    memory: Memory
    wanted: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def check_release(
    release: Release,
    tables: Sequence[StaticTable],
    memory: Memory,
    loaded: Mapping[str, Loaded],
    now: float,
    *,
    pinned: Collection[str] = (),
) -> News:
    """Look at every file once. While the release is not whole, nothing is asked for; of a `pinned` layer nothing ever.

    Raises ReleaseError when the release cannot be looked at.
    """
    try:
        return _Look(release, memory, loaded, now, pinned).at(tables)
    except ManifestError as error:
        return News(memory=memory, told=(f"Waiting: the release is not whole yet, or its manifest is wrong. {error}",))


class _Look:
    """One look, and what it has found so far."""

    def __init__(
        self,
        release: Release,
        memory: Memory,
        loaded: Mapping[str, Loaded],
        now: float,
        pinned: Collection[str],
    ) -> None:
        self._release, self._memory, self._loaded, self._now = release, memory, loaded, now
        self._pinned = frozenset(pinned)
        self._manifest = release.manifest()
        self._missing: list[str] = []
        self._settling: list[str] = []
        self._wanted: list[str] = []

    def at(self, tables: Sequence[StaticTable]) -> News:
        glances = {table: glance for table in tables if (glance := self._glance(table))}
        memory = self._with_movement(glances)
        if memory.manifest and self._manifest is None and self._now - memory.moved < STILL_SECONDS:
            word = "Waiting: manifest.json is gone. Files count without it when none has changed for an hour."
            return News(memory=memory, told=(word,))
        files = {table.name: self._seen(table, glance) for table, glance in glances.items()}
        runs = memory.runs + (1 if self._wanted else 0)
        memory = replace(memory, manifest=self._manifest is not None, runs=runs, files=files)
        return News(memory=memory, wanted=tuple(self._wanted), told=tuple(self._told(files)))

    def _glance(self, table: StaticTable) -> Glance | None:
        try:
            return self._release.glance(table.file_name, table.name)
        except MissingError as error:
            if self._manifest and self._manifest.get(table.name):
                raise ManifestError(f"The manifest names a file of {table.name}. {error.problem}") from error
            self._missing.append(table.name)
            return None

    def _with_movement(self, glances: Mapping[StaticTable, Glance]) -> Memory:
        together = "\n".join(f"{table.name} {glance.stamp}" for table, glance in glances.items())
        stamps = hashlib.sha256(together.encode()).hexdigest()
        return self._memory if stamps == self._memory.stamps else replace(self._memory, stamps=stamps, moved=self._now)

    def _seen(self, table: StaticTable, glance: Glance) -> Seen:
        known, promised = self._memory.files.get(table.name), self._promised(table)
        if table.name in self._pinned:
            # Decided about, whatever it is by then, at the first look after it is unpinned.
            return Seen(stamp=glance.stamp, settling=True)
        is_same = known is not None and known.stamp == glance.stamp
        if known and is_same and not known.settling and promised in {None, known.sha256}:
            return known
        # What a manifest vouches for is whole; anything else is when it has stopped changing. Nothing is asked for at
        # the first look, so that its memory is stored, and with it the name of its first run, before there is one.
        if known and (promised or (is_same and known.settling)):
            return self._decided(table, known, glance)
        self._settling.append(table.name)
        return replace(known or Seen(stamp=""), stamp=glance.stamp, settling=True)

    def _promised(self, table: StaticTable) -> str | None:
        entry = self._manifest.get(table.name) if self._manifest else None
        return entry.sha256 if entry else None

    def _decided(self, table: StaticTable, known: Seen, glance: Glance) -> Seen:
        sha256 = self._digest(table) or glance.sha256
        now = Seen(stamp=glance.stamp, sha256=sha256)
        loaded = self._loaded.get(table.name)
        if loaded and loaded.sha256 == sha256:
            return now
        # Of a remote file the digest is a promise: where it is another file by now, it may have come true.
        if self._release.is_local and sha256 == known.sha256:
            return replace(now, asked=known.asked)
        self._wanted.append(table.name)
        return replace(now, asked=self._now)

    def _digest(self, table: StaticTable) -> str | None:
        """Return the digest of a local file that is new here; its bytes are read, once. May raise ManifestError."""
        if not self._release.is_local:
            return None
        file = self._release.resolve(table.file_name, table.name)
        if self._promised(table):
            self._release.fetch(file)
        return file.sha256

    def _told(self, files: Mapping[str, Seen]) -> list[str]:
        waited = [name for name, seen in files.items() if name not in self._wanted and self._is_waited_for(name, seen)]
        told = {
            "New, or seen for the first time; asked for when still the same at the next look": self._settling,
            "Pinned, so not asked for until `flux-assets unpin`": [name for name in files if name in self._pinned],
            "Not in the release": self._missing,
            "Asked for and not loaded since: look at its run, then materialise it by hand": waited,
        }
        return [f"{text}: {', '.join(names)}." for text, names in told.items() if names]

    def _is_waited_for(self, name: str, seen: Seen) -> bool:
        loaded = self._loaded.get(name)
        return seen.asked is not None and (loaded is None or loaded.at < seen.asked)
