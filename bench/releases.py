"""Release files to load: the sample city, made once a scale, and files that differ from its own."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from flux_assets.release.release import Release
from flux_assets.sample.city.release_writer import write_release
from flux_assets.settings import default_home
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables

WORK = default_home() / "bench"
FETCHED = WORK / "fetched"
LAYER = "building_footprints"


def layer() -> StaticTable:
    """The largest layer, which most experiments load."""
    return next(table for table in static_tables() if table.name == LAYER)


def city(say: Callable[[str], None], scale: float, seed: int) -> Release:
    """The sample city of a scale."""

    def write(folder: Path) -> None:
        say(f"making the sample city of scale {scale:g} in {folder}; this happens once")
        write_release(folder, static_tables(), scale=scale, seed=seed)

    return _once(f"release-{scale:g}-{seed}", write)


def first_rows(whole: Release, rows: int) -> Release:
    """The release with the first rows of the largest layer."""
    return _with_lines(whole, f"first-{rows}", lambda lines: islice(lines, rows))


def keys_in_order(whole: Release) -> Release:
    """The release with the largest layer's keys in the file's order (`BLDG-00000001`), as wide as before.

    The best case for a table that has its key before its rows.
    """
    return _with_lines(whole, "in-order", lambda lines: map(_numbered, range(1, 1 << 60), lines))


def path_of(release: Release, table: StaticTable) -> Path:
    """Where the file of a layer lies."""
    return release.fetch(release.resolve(table.file_name, table.name))


def opened(folder: Path) -> Release:
    """A release in a folder."""
    return Release(str(folder), None, FETCHED)


def _with_lines(whole: Release, name: str, change: Callable[[Iterator[bytes]], Iterable[bytes]]) -> Release:
    """The release with other lines in the largest layer's file; its rows hold no newlines within values."""
    old = path_of(whole, layer())

    def write(folder: Path) -> None:
        folder.mkdir()
        with gzip.open(old, "rb") as source, gzip.open(folder / old.name, "wb", 4) as out:
            out.write(next(source))
            out.writelines(change(source))
        for file in old.parent.glob("*.csv.gz"):
            if file.name != old.name:
                (folder / file.name).hardlink_to(file)  # a link that leads out of a release is refused

    return _once(f"{Path(str(whole.address)).name}-{name}", write)


def _numbered(number: int, line: bytes) -> bytes:
    key, _, rest = line.partition(b",")
    stem, _, mixed = key.rpartition(b"-")
    return b"%s-%0*d,%s" % (stem, len(mixed), number, rest)


def _once(name: str, write: Callable[[Path], None]) -> Release:
    folder = WORK / name
    if not folder.is_dir():
        unfinished = folder.with_name(f"{name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        write(unfinished)
        unfinished.rename(folder)
    return opened(folder)
