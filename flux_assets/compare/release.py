"""Published layers against the release files that they were loaded from, row by row, without writing anything.

Here: the order of it: which version is live, its file decoded as a load does and copied into a temporary table, both
sides as of one snapshot. Not here: the comparison (postgis/matching.py), and dynamic tables (source.py).

The file is staged before the layer is looked at, so that the transaction that reads the layer, for whose end a publish
would wait, lasts no longer than one or two passes over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import psycopg
import pyarrow as pa
from psycopg import IsolationLevel, sql

from flux_assets.checks.audit import AuditResult, Numbers, Severity
from flux_assets.compare import match
from flux_assets.compare.match import CLAIMS, MATCHES_RELEASE, Comparison
from flux_assets.errors import FluxError, LayerError
from flux_assets.layers import pins, staging, versions
from flux_assets.layers.quarantine import records
from flux_assets.layers.quarantine.reading import read_again
from flux_assets.layers.quarantine.records import QuarantinedRecord
from flux_assets.layers.versions import Version
from flux_assets.postgis import catalog, ddl
from flux_assets.postgis.bootstrap import prepare
from flux_assets.postgis.connect import Stop, Target
from flux_assets.postgis.copy_texts import texts_of
from flux_assets.postgis.errors import translated
from flux_assets.postgis.names import Layer
from flux_assets.release.decode.sieve import LeftOut
from flux_assets.release.decode.stream import LayerStream
from flux_assets.release.release import Release, ReleaseFile
from flux_assets.release.stopping import stoppable
from flux_assets.spec import StaticTable

Outcome = tuple[str, AuditResult | FluxError]
_STAGED = sql.Identifier("pg_temp", "release_rows")
_LOCK_WAIT = "SET lock_timeout = '10s'"
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class _Desk:
    session: psycopg.Connection
    target: Target
    release: Release
    stop: Stop
    log: Callable[[str], None]


def match_release(
    tables: Sequence[StaticTable], release: Release, target: Target, stop: Stop, log: Callable[[str], None]
) -> Iterator[Outcome]:
    """Compare each layer with its file, in one session; gives each table's name with what was found, or why it could
    not be compared. Raises TargetError for the database, LayerError when stopped.
    """
    with target.session("match with the release", stop) as session:
        session.isolation_level = IsolationLevel.REPEATABLE_READ
        session.execute(_LOCK_WAIT)
        prepare(session, target.schema)
        desk = _Desk(session=session, target=target, release=release, stop=stop, log=log)
        for table in tables:
            yield table.name, _outcome(desk, Layer(target.schema, table))


def _outcome(desk: _Desk, layer: Layer) -> AuditResult | FluxError:
    """What goes wrong with one layer's file or table does not keep the others from being compared."""
    desk.stop.check()
    try:
        with stoppable(desk.stop.check), translated(layer, desk.stop):
            return _compared(desk, layer)
    except FluxError as error:
        if desk.stop.asked or desk.session.closed or desk.session.broken:
            raise
        return error


def _compared(desk: _Desk, layer: Layer) -> AuditResult:
    for _ in range(_ATTEMPTS):
        version = _live(desk, layer)
        file = desk.release.resolve(layer.table.file_name, layer.name)
        if file.sha256 != version.sha256:
            return _another_file(desk, layer, version, file)
        if others := _other_columns(desk.session, layer):
            return _result("ERROR", _origin(version), sample=others, said=_OTHER_COLUMNS)
        held = records.records(desk.session, layer, version.lease)
        _stage(desk, layer, file, held)
        if (found := _judged(desk, layer, version, held)) is not None:
            return found
        desk.log(f"{layer.title} was published anew meanwhile; it is compared with its new file.")
    raise LayerError(
        f"{layer.title} was published anew {_ATTEMPTS} times while it was compared.", "Run the check again."
    )


def _live(desk: _Desk, layer: Layer) -> Version:
    """The version that was published last, whatever was done to its rows since."""
    version = next((version for version in versions.versions(desk.session, layer) if version.current), None)
    if version is None or catalog.find(desk.session, layer.schema, layer.name) is None:
        raise LayerError(f"{layer.title} has not been published yet.", "Load it first.")
    return version


def _other_columns(session: psycopg.Connection, layer: Layer) -> tuple[str, ...]:
    """Declared columns that the table does not have as declared: then no row can be compared."""
    relation = catalog.find(session, layer.schema, layer.name)
    standing = {column.name: column.bare_type for column in catalog.columns(session, relation.oid)} if relation else {}
    wanted = {column.name: ddl.type_name(column) for column in layer.table.columns}
    return tuple(
        f"{name} is {standing.get(name, 'missing')}, declared as {kind}"
        for name, kind in wanted.items()
        if standing.get(name) != kind
    )


def _stage(desk: _Desk, layer: Layer, file: ReleaseFile, held: Sequence[QuarantinedRecord]) -> None:
    """The file's rows as a load would store them, in a temporary table: no WAL, and gone with the session.

    Without the records that the version has `held` in quarantine, and with those that a replay added to it.
    """
    path = desk.release.at_hand(file)
    columns = sql.SQL(", ").join(ddl.column_definition(column) for column in layer.table.columns)
    desk.session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_STAGED))
    desk.session.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(_STAGED, columns))
    sieve = LeftOut([one.record for one in held]) if held else None
    with texts_of(desk.target, layer.name, desk.stop) as ask:
        stream = LayerStream(path, file.file, layer.table, sha256=file.sha256, sieve=sieve, ask=ask)
        replayed = read_again(layer.table, [one for one in held if one.replayed], ask)
        _copy(desk, chain(stream, [replayed.batch]), stream.schema)


def _copy(desk: _Desk, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_STAGED, ddl.names(tuple(schema.names)))
    with desk.session.cursor().copy(copy_in) as copy, closing(staging.encoded(batches, schema)) as chunks:
        for chunk in chunks:
            desk.stop.check()
            copy.write(chunk)


def _judged(desk: _Desk, layer: Layer, version: Version, held: Sequence[QuarantinedRecord]) -> AuditResult | None:
    """Compare as of one snapshot; None when the layer holds another version by now."""
    session = desk.session
    with session.transaction():
        # Locked before the snapshot is taken, so that the version that is read is the one that the register names.
        session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(layer.public))
        if _live(desk, layer).lease != version.lease:
            return None
        session.execute(match.WHOLE_TABLES)
        found = match.match(session, _pair(session, layer))
    return _result(
        "ERROR", found.numbers("release") | _origin(version) | _aside(held), passed=found.same, sample=found.sample,
        query=found.sql, said="" if found.same else _DIFFERS,
    )  # fmt: skip


def _aside(held: Sequence[QuarantinedRecord]) -> Numbers:
    """What explains that the layer has other rows than the file."""
    replayed = sum(one.replayed for one in held)
    return {"quarantined": len(held) - replayed, "replayed": replayed} if held else {}


def _pair(session: psycopg.Connection, layer: Layer) -> Comparison:
    relation = catalog.find(session, layer.schema, layer.name)
    key = catalog.primary_key(session, relation.oid) if relation else ()
    return Comparison(
        table=layer.table, wanted=_STAGED, standing=layer.public, columns=layer.table.column_names, exact=True,
        keyed=bool(key) and key == layer.table.key,
    )  # fmt: skip


def _origin(version: Version) -> Numbers:
    return {"version": version.version, "sha256": version.sha256, "release_tag": version.release_tag}


def _another_file(desk: _Desk, layer: Layer, version: Version, file: ReleaseFile) -> AuditResult:
    """The file that the layer was loaded from is not there any more; to call every row different would say nothing."""
    now: Numbers = {"sha256_now": file.sha256, "release_tag_now": desk.release.tag, "compared_rows": 0}
    pin = pins.pin_of(desk.session, layer)
    remedy = _LOAD if pin is None else _PINNED.format(pin, layer.name)
    return _result("WARN", _origin(version) | now, said=f"{_ANOTHER_FILE.format(file.address)} {remedy}")


_DIFFERS = "Not so: somebody changed the table. Load it with force: true to have the file's rows back."
_OTHER_COLUMNS = (
    "Not so: its columns are not the declared ones, and its rows were not compared. Load the layer, with"
    " accept_schema_change: true where it asks for that."
)
_ANOTHER_FILE = "Unknown: {} is another file by now, so the rows were not compared."
_LOAD = "Load the layer, or set FLUX_RELEASE to the release that it was loaded from."
_PINNED = (
    "The layer is {}. Run `flux-assets unpin {}` and load it, or set FLUX_RELEASE to the release that it came from."
)


def _result(
    severity: Severity,
    numbers: Numbers,
    *,
    passed: bool = False,
    sample: tuple[str, ...] = (),
    query: str = "",
    said: str = "",
) -> AuditResult:
    return AuditResult(
        name=MATCHES_RELEASE, passed=passed, severity=severity, description=f"{CLAIMS[MATCHES_RELEASE]} {said}".strip(),
        numbers=numbers, sample=sample, sql=query,
    )  # fmt: skip
