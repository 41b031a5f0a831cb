"""The sample city as release files: gzip CSV a layer, and a manifest, as a published release has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flux_assets.errors import EmbeddedError, SettingError
from flux_assets.release.release import MANIFEST, FileEntry
from flux_assets.release.writing import UNFINISHED, GzipWriter, write_manifest
from flux_assets.sample.city import csv_text
from flux_assets.sample.city.counts import checked_scale, row_counts
from flux_assets.sample.city.layers import KNOWN_LAYERS, Layers
from flux_assets.spec import StaticTable

Progress = Callable[[str, int, int], None]


def write_release(
    out: Path, tables: Sequence[StaticTable], *, scale: float, seed: int, progress: Progress | None = None
) -> None:
    """Write a release of the sample city into the folder `out`, the same bytes for the same scale and seed.

    `tables` are the declared layers; those that the city does not know are left out, and columns that it does not
    know are NULL. `progress` is told (table, rows done, rows in all). The files take their names when all are
    complete, the manifest last, so that a broken-off run leaves no half release.
    Raises SettingError for a scale or seed that cannot be, EmbeddedError where the folder cannot be written.
    """
    checked_scale(scale)
    _refuse_nonsense(out, tables, seed)
    layers = Layers(counts=row_counts(tables, scale), scale=scale, seed=seed)
    with _clear_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        known = [table for table in tables if table.name in KNOWN_LAYERS]
        try:
            written = [_write_table(out, table, layers, progress) for table in known]
            _reveal(out, written, known, scale=scale, seed=seed)
        finally:
            for leftover in out.glob(f"*{UNFINISHED}"):
                leftover.unlink()


def _refuse_nonsense(out: Path, tables: Sequence[StaticTable], seed: int) -> None:
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out} is a file, and a release is a folder.", "Name a folder, new or existing.")
    if seed < 0:
        raise SettingError(f"The seed {seed} is negative.", "Give a whole number from 0 upwards.")
    if missing := set(KNOWN_LAYERS) - {table.name for table in tables}:
        raise SettingError(
            f"The sample city is planned as a whole, and layers are not declared: {', '.join(sorted(missing))}.",
            "Declare them in flux_assets/tables/.",
        )


@contextmanager
def _clear_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedError(
            f"The sample city cannot be written to {out}: {error.strerror or error}.",
            "Free space there or name another folder.",
        ) from error


def _write_table(out: Path, table: StaticTable, layers: Layers, progress: Progress | None) -> FileEntry:
    total, done = layers.counts[table.name], 0
    with (out / f"{table.file_name}{UNFINISHED}").open("wb") as file:
        packed = GzipWriter(file)
        packed.write((",".join(table.column_names) + "\n").encode())
        for chunk in layers.chunks(table.name):
            packed.write(csv_text.lines(table.column_names, chunk.columns, chunk.count).encode())
            done += chunk.count
            if progress:
                progress(table.name, done, total)
        packed.finish()
    return FileEntry(
        table=table.name, file=table.file_name, rows=done, bytes=packed.size, sha256=packed.digest.hexdigest()
    )


def _reveal(out: Path, written: Sequence[FileEntry], tables: Sequence[StaticTable], *, scale: float, seed: int) -> None:
    """Give the finished files their names. A manifest of an earlier release goes first and the new one comes last."""
    (out / MANIFEST).unlink(missing_ok=True)
    for file in written:
        (out / f"{file.file}{UNFINISHED}").replace(out / file.file)
    write_manifest(
        out, written, tables, tag=f"sample-{scale:g}-{seed}", generator="flux-assets sample", scale=scale, seed=seed
    )
