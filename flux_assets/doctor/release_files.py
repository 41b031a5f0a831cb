"""The release that layers are loaded from, and the disk space that loading it takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import FluxError
from flux_assets.layers.staging import Need
from flux_assets.layers.versions import Version
from flux_assets.ledger import status
from flux_assets.postgis.relations import Layer
from flux_assets.release.decode.stream import GunzippedFile
from flux_assets.release.release import Release
from flux_assets.settings import Settings
from flux_assets.spec import StaticTable
from flux_assets.wiring.source import SAMPLE_SCALE, layer_release
from flux_assets.wiring.target import embedded_cluster
from flux_assets.words import megabytes

_RELEASE, _DISK = Group("Release"), Group("Disk")
# Most of a file is geometry in hexadecimal, which gzip shrinks to less than a quarter.
_USUAL_EXPANSION = 4


def findings(
    settings: Settings, session: psycopg.Connection | None, tables: Sequence[StaticTable]
) -> Iterator[Finding]:
    """Yield the findings about the release, then the disk; `session` is None where the target cannot be reached."""
    if not settings.release_is_set:
        if settings.release_is_sample:
            scale = f"the sample city at scale {SAMPLE_SCALE:g}"
            yield _RELEASE.ok(f"{scale}; the first load writes it if it does not exist")
        return
    try:
        release = layer_release(settings)
        manifest = release.manifest()
    except FluxError as error:
        yield _RELEASE.error(error)
        return
    yield _RELEASE.ok(f"{release.address}, release {release.tag}")
    listed = f"manifest.json lists {len(manifest)} files" if manifest is not None else ""
    yield _RELEASE.ok(listed or "there is no manifest.json, and none is required")
    sizes: dict[StaticTable, int] = {}
    for table in tables:
        try:
            sizes[table] = release.glance(table.file_name, table.name).size or 0
        except FluxError as error:
            yield _RELEASE.error(error)
    if sizes:
        total = megabytes(sum(sizes.values()), 1)
        yield _RELEASE.ok(f"the files of {len(sizes)} of {len(tables)} layers exist, {total}")
    if session is not None and sizes:
        yield from _disk(settings, session, release, sizes)


def _disk(
    settings: Settings, session: psycopg.Connection, release: Release, sizes: dict[StaticTable, int]
) -> Iterator[Finding]:
    needs = {table.name: _need(session, settings, release, table, packed) for table, packed in sizes.items()}
    largest, limit = max(needs, key=lambda name: needs[name].total), settings.flux_disk_limit
    need = f"{largest} needs the most space, about {megabytes(needs[largest].total)} ({needs[largest]})"
    if limit is None:
        yield _DISK.ok(f"{need}; FLUX_DISK_LIMIT is not set")
    elif needs[largest].total > limit:
        remedy = "Raise FLUX_DISK_LIMIT, lower FLUX_KEEP_VERSIONS, or free disk space."
        yield _DISK.failed(f"{need}, more than FLUX_DISK_LIMIT = {megabytes(limit)}", remedy)
    else:
        yield _DISK.ok(f"{need}, within FLUX_DISK_LIMIT = {megabytes(limit)}")
    if not settings.target_is_set:
        data, together = embedded_cluster(settings).data, sum(need.total for need in needs.values())
        free = shutil.disk_usage(data).free
        are = f"{megabytes(free)} are free under {data}, and all layers together need about {megabytes(together)}"
        remedy = "Free disk space, or set FLUX_HOME to another disk."
        yield _DISK.ok(are) if free > together else _DISK.failed(are, remedy)


def _need(session: psycopg.Connection, settings: Settings, release: Release, table: StaticTable, packed: int) -> Need:
    folder = Path(release.address).resolve()
    plain = GunzippedFile.expanded_bytes(folder / table.file_name) if folder.is_dir() else packed * _USUAL_EXPANSION
    layer = Layer(settings.flux_postgres_schema, table)
    found = Version.known(session, layer) if status.is_prepared(session) else []
    return Need.of_csv(plain, sum(version.bytes or 0 for version in found))
