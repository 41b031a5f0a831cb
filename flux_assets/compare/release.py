"""Published layers compared with the release files that they were loaded from, row by row.

The file is staged before the layer is locked: a publish waits for the end of the transaction that reads the layer, so
that lasts no longer than one or two passes over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from flux_assets.checks.audit import AuditResult, Numbers
from flux_assets.compare import match
from flux_assets.compare.match import MATCHES_RELEASE, Comparison, Match, judged
from flux_assets.compare.staging import Staging
from flux_assets.errors import FluxError, LayerError
from flux_assets.layers.quarantine import QuarantinedRecord, VersionQuarantine
from flux_assets.layers.versions import Pin, Version
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import Layer
from flux_assets.postgis.session import Target, translated
from flux_assets.release.release import Release, ReleaseFile
from flux_assets.release.stopping import stoppable
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

_STAGED = sql.Identifier("pg_temp", "release_rows")
_ATTEMPTS = 3
_DIFFERS = "Not so: somebody changed the table. Load it with force: true to restore the file's rows."
_READ_OTHERWISE = "Not so: FLUX_CONFIG or the declaration has changed since it was loaded. Load it."
_OTHER_COLUMNS = (
    "Not so: its columns are not the declared ones, so its rows were not compared. Load the layer, with"
    " accept_schema_change: true where it asks for that."
)


@dataclass(frozen=True, kw_only=True)
class _Context:
    session: psycopg.Connection
    target: Target
    release: Release
    stop: Stop
    log: Callable[[str], None]


def match_release(
    tables: Sequence[StaticTable], release: Release, target: Target, stop: Stop, log: Callable[[str], None]
) -> Iterator[tuple[str, AuditResult | FluxError]]:
    """Compare each layer with its file, in one session; yield its name with what was found, or why it could not be.

    Raises TargetError for the database, LayerError when stopped.
    """
    with match.comparing(target, "release", stop) as session:
        context = _Context(session=session, target=target, release=release, stop=stop, log=log)
        for table in tables:
            yield table.name, _outcome(context, Layer(target.schema, table))


def _outcome(context: _Context, layer: Layer) -> AuditResult | FluxError:
    """Compare one layer; return what goes wrong with its file or table, so that the others are compared too."""
    context.stop.check()
    try:
        with stoppable(context.stop.check), translated(layer.title, context.stop):
            return _compared(context, layer)
    except FluxError as error:
        if context.stop.asked or context.session.closed or context.session.broken:
            raise
        return error


def _compared(context: _Context, layer: Layer) -> AuditResult:
    for _ in range(_ATTEMPTS):
        version = _live(context, layer)
        origin: Numbers = {
            "version": version.version,
            "sha256": version.sha256,
            "release_tag": version.release_tag,
        }
        file = context.release.resolve(layer.table.file_name, layer.name)
        if file.sha256 != version.sha256:
            now: Numbers = {"sha256_now": file.sha256, "release_tag_now": context.release.tag, "compared_rows": 0}
            return judged(MATCHES_RELEASE, origin | now, _another_file(context, layer, file), severity="WARN")
        if others := _other_columns(context.session, layer):
            return judged(MATCHES_RELEASE, origin, _OTHER_COLUMNS, sample=others)
        held = VersionQuarantine(context.session, layer, version).records()
        _stage(context, layer, file, held)
        if (found := _matched(context, layer, version)) is not None:
            replayed = sum(one.replayed for one in held)
            aside: Numbers = {"quarantined": len(held) - replayed, "replayed": replayed} if held else {}
            numbers = found.numbers("release") | origin | aside
            is_read_alike = version.holds(Version.id_of(file.identity, layer.table))
            differs = _DIFFERS if is_read_alike else _READ_OTHERWISE
            return judged(MATCHES_RELEASE, numbers, "" if found.same else differs, found=found)
        context.log(f"{layer.title} was published anew meanwhile; it is compared with its new file.")
    raise LayerError(
        f"{layer.title} was published anew {_ATTEMPTS} times while it was compared.", "Run the check again."
    )


def _live(context: _Context, layer: Layer) -> Version:
    """Return the version that was published last, whatever was done to its rows since."""
    version = next((version for version in Version.known(context.session, layer) if version.current), None)
    if version is None or Relation.find(context.session, layer.schema, layer.name) is None:
        raise LayerError(f"{layer.title} has not been published yet.", "Load it first.")
    return version


def _another_file(context: _Context, layer: Layer, file: ReleaseFile) -> str:
    """Say that the layer's own file is gone: to report every row as different would be no help."""
    said = f"Unknown: {file.address} is another file by now, so the rows were not compared."
    if pin := Pin.of(context.session, layer):
        return (
            f"{said} The layer is {pin}. Run `flux-assets unpin {layer.name}` and load it, or set FLUX_RELEASE to the"
            " release that it came from."
        )
    return f"{said} Load the layer, or set FLUX_RELEASE to the release that it was loaded from."


def _other_columns(session: psycopg.Connection, layer: Layer) -> tuple[str, ...]:
    """Name the declared columns that the table does not have as declared: then no row can be compared."""
    relation = Relation.find(session, layer.schema, layer.name)
    live = {column.name: column.bare_type for column in relation.columns()} if relation else {}
    declared = {column.name: relations.type_name(column) for column in layer.table.columns}
    return tuple(
        f"{name} is {live.get(name, 'missing')}, declared as {kind}"
        for name, kind in declared.items()
        if live.get(name) != kind
    )


def _stage(context: _Context, layer: Layer, file: ReleaseFile, held: Sequence[QuarantinedRecord]) -> None:
    staging = Staging(session=context.session, target=context.target, stop=context.stop)
    staging.put_file(_STAGED, context.release, file, layer.table, held)


def _matched(context: _Context, layer: Layer, version: Version) -> Match | None:
    """Compare as of one snapshot; None when the layer holds another version by now."""
    session = context.session
    with session.transaction():
        # Locked before the snapshot is taken, so that the version that is read is the one that the register names.
        session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(layer.public))
        if _live(context, layer).lease != version.lease:
            return None
        session.execute(query("match", "whole_tables"))
        relation = Relation.find(session, layer.schema, layer.name)
        key = relation.primary_key() if relation else ()
        pair = Comparison(
            table=layer.table,
            expected=_STAGED,
            actual=layer.public,
            columns=layer.table.column_names,
            exact=True,
            keyed=bool(key) and key == layer.table.key,
        )
        return pair.match(session)
