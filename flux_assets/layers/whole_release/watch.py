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
from flux_assets.release.release import FileEntry, Glance, Release
from flux_assets.spec import StaticTable

# Where manifest.json is gone an upload may have begun; where nothing moves for so long, there is to be none.
_STILL_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A file as it was last seen. `sha256` is of the state last decided about, None where nobody has told it, and
    `mapping` what FLUX_CONFIG mapped of it.

    `settling` says that the state is new and may still be a part of an upload; `asked` is when the state last decided
    about was asked for (seconds since 1970), None where it was loaded already.
    """

    stamp: str = ""
    sha256: str | None = None
    mapping: str = ""
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
    files: Mapping[str, _Seen] = field(default_factory=dict)

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
        nothing = Memory(address=address, began=now)
        try:
            stored = json.loads(text or "")
            files = {table: _Seen(**seen) for table, seen in stored.pop("files").items()}
            memory = Memory(**stored, files=files)
        except (ValueError, TypeError, KeyError, AttributeError):
            return nothing
        return memory if memory.address == address else nothing


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What was last loaded of a layer, with which mapping of FLUX_CONFIG, and when (seconds since 1970)."""

    sha256: str
    at: float
    mapping: str = ""


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
        return _Look(release, release.manifest(), memory, loaded, now, pinned).at(tables)
    except ManifestError as error:
        return News(memory=memory, told=(f"Waiting: the release is not whole yet, or its manifest is wrong. {error}",))


@dataclass
class _Look:
    """One look, and what it has found so far."""

    release: Release
    manifest: Mapping[str, FileEntry] | None
    memory: Memory
    loaded: Mapping[str, Loaded]
    now: float
    pinned: Collection[str]
    missing: list[str] = field(default_factory=list)
    settling: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)

    def at(self, tables: Sequence[StaticTable]) -> News:
        glances = {table: glance for table in tables if (glance := self._glance(table))}
        together = "\n".join(f"{table.name} {glance.stamp}" for table, glance in glances.items())
        stamps, memory = hashlib.sha256(together.encode()).hexdigest(), self.memory
        if stamps != memory.stamps:
            memory = replace(memory, stamps=stamps, moved=self.now)
        if memory.manifest and self.manifest is None and self.now - memory.moved < _STILL_SECONDS:
            word = "Waiting: manifest.json is gone. Files count without it when none has changed for an hour."
            return News(memory=memory, told=(word,))
        files = {table.name: self._seen(table, glance) for table, glance in glances.items()}
        undeclared = self.release.undeclared([table.name for table in tables])
        runs = memory.runs + bool(self.wanted)
        memory = replace(memory, manifest=self.manifest is not None, runs=runs, files=files)
        return News(memory=memory, wanted=tuple(self.wanted), told=tuple(self._told(files, undeclared)))

    def _glance(self, table: StaticTable) -> Glance | None:
        try:
            return self.release.glance(table.file_name, table.name)
        except MissingError as error:
            if self.manifest and self.manifest.get(table.name):
                raise ManifestError(f"The manifest names a file of {table.name}. {error.problem}") from error
            if table.file == "required":
                self.missing.append(table.name)
            return None

    def _seen(self, table: StaticTable, glance: Glance) -> _Seen:
        if table.name in self.pinned:
            # Decided about, whatever it is by then, at the first look after it is unpinned.
            return _Seen(stamp=glance.stamp, settling=True)
        entry = self.manifest.get(table.name) if self.manifest else None
        known, promised = self.memory.files.get(table.name), entry.sha256 if entry else None
        is_same = known is not None and known.stamp == glance.stamp
        if known and is_same and not known.settling and promised in {None, known.sha256}:
            return known
        # What a manifest vouches for is whole; anything else is when it has stopped changing. Nothing is asked for at
        # the first look, so that its memory is stored, and with it the name of its first run, before there is one.
        if known and (promised or (is_same and known.settling)):
            return self._decided(table, known, glance, promised)
        self.settling.append(table.name)
        return replace(known or _Seen(), stamp=glance.stamp, settling=True)

    def _decided(self, table: StaticTable, known: _Seen, glance: Glance, promised: str | None) -> _Seen:
        sha256 = glance.sha256
        if self.release.is_local:  # a file that is new here, whose bytes are read, once
            file = self.release.resolve(table.file_name, table.name)
            if promised:
                self.release.fetch(file)
            sha256 = file.sha256
        now = _Seen(stamp=glance.stamp, sha256=sha256, mapping=glance.mapping)
        loaded, state = self.loaded.get(table.name), (sha256, glance.mapping)
        if loaded and (loaded.sha256, loaded.mapping) == state:
            return now
        # Of a remote file the digest is a promise: where it is another file by now, it may have come true.
        if self.release.is_local and (known.sha256, known.mapping) == state:
            return replace(now, asked=known.asked)
        self.wanted.append(table.name)
        return replace(now, asked=self.now)

    def _told(self, files: Mapping[str, _Seen], undeclared: Sequence[str]) -> list[str]:
        waited = [name for name, seen in files.items() if name not in self.wanted and self._is_waited_for(name, seen)]
        told = {
            "New, or seen for the first time; asked for when still the same at the next look": self.settling,
            "Pinned, so not asked for until `flux-assets unpin`": [name for name in files if name in self.pinned],
            "Not in the release": self.missing,
            "In the release, and not declared, so not loaded": undeclared,
            "Asked for and not loaded since: look at its run, then materialise it by hand": waited,
        }
        return [f"{text}: {', '.join(names)}." for text, names in told.items() if names]

    def _is_waited_for(self, name: str, seen: _Seen) -> bool:
        loaded = self.loaded.get(name)
        return seen.asked is not None and (loaded is None or loaded.at < seen.asked)
