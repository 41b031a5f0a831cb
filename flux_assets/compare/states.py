"""Layers as a release delivers or a version keeps them, compared with another state before one is published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from flux_assets.compare import match
from flux_assets.compare.difference import Side, TableDifference
from flux_assets.compare.match import Match
from flux_assets.compare.staging import Staging
from flux_assets.errors import FluxError, LayerError
from flux_assets.layers.versions import Version
from flux_assets.postgis import relations
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.liveness import Stop
from flux_assets.postgis.relations import VERSIONS, Layer, own_rows
from flux_assets.postgis.session import Target, translated
from flux_assets.release.files import MissingError
from flux_assets.release.release import Release, ReleaseFile
from flux_assets.release.stopping import stoppable
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

CURRENT = "current"


@dataclass(frozen=True, kw_only=True)
class LayerStates:
    """What is compared of every layer, by its name: a release, or else what the database has.

    The latter is CURRENT, the beginning of a version's id, or the tag of a release that versions are of.
    """

    name: str
    release: Release | None = None

    def compared(
        self, after: LayerStates, tables: Sequence[StaticTable], target: Target, stop: Stop, most_places: int
    ) -> Iterator[tuple[str, TableDifference | FluxError]]:
        """Compare each layer with its later state, in one session; yield its name with what differs, or why not.

        Layers that neither has are left out, and computed ones that a release lacks. Nothing is published, and nothing
        is left in the database. Raises TargetError for that, LayerError when stopped.
        """
        with match.comparing(target, "other state", stop) as session:
            staging = Staging(session=session, target=target, stop=stop)
            for table in tables:
                stop.check()
                layer = Layer(target.schema, table)
                try:
                    with stoppable(stop.check), translated(layer.title, stop):
                        found = _compared(staging, layer, (self, after), most_places)
                except FluxError as error:
                    if stop.asked or session.closed or session.broken:
                        raise
                    yield table.name, error
                else:
                    if found is not None:
                        yield table.name, found


@dataclass(frozen=True)
class _Kept:
    """Rows that are in the database; `relation` is their table by schema and name."""

    layer: Layer
    relation: tuple[str, str]

    @classmethod
    def find(cls, session: psycopg.Connection, layer: Layer, name: str) -> _Kept | None:
        """Return what the layer has under a name. Raises LayerError where several versions begin with it."""
        if name == CURRENT:
            there = Relation.find(session, layer.schema, layer.name)
            return cls(layer, (layer.schema, layer.name)) if there else None
        known = [
            version for version in Version.known(session, layer) if version.is_there and version.state != "staging"
        ]
        fitting = [version for version in known if version.is_of(name)]
        fitting = fitting or [version for version in known if version.version.startswith(name)]
        if len({version.version for version in fitting}) > 1 and not fitting[0].is_of(name):
            raise LayerError(f"{layer.title}: several versions begin with {name}.", "Give more of the version's id.")
        return cls(layer, (VERSIONS, fitting[0].relation)) if fitting else None

    def lock(self, session: psycopg.Connection) -> None:
        """Keep the rows from being dropped until the transaction ends."""
        try:
            session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.Identifier(*self.relation)))
        except psycopg.errors.UndefinedTable:
            raise LayerError(f"{self.layer.title}: the version was dropped meanwhile.", "Run it again.") from None

    def side(self, session: psycopg.Connection) -> Side:
        found = Relation.find(session, *self.relation)
        kind = found.kind if found else ""
        if found is None or kind not in {"r", "p"}:
            raise LayerError(f"{self.layer.title} is not a table.", "Compare another state of it.")
        return Side.of(self.layer.table, found, own_rows(sql.Identifier(*self.relation), kind))


@dataclass(frozen=True)
class _Delivered:
    """Rows that a release delivers; `into` is the temporary table for them."""

    layer: Layer
    release: Release
    file: ReleaseFile
    into: sql.Identifier

    def side(self, session: psycopg.Connection) -> Side:
        table = self.layer.table
        key = relations.names(table.key)
        counting = sql.SQL("SELECT count(*) = count(DISTINCT ({})) FROM {}").format(key, self.into)
        types = {column.name: relations.type_name(column) for column in table.columns}
        is_keyed = bool(table.key) and session.execute(counting).fetchone() == (True,)
        return Side(rows=self.into, types=types, is_keyed=is_keyed)


def _compared(
    staging: Staging, layer: Layer, states: tuple[LayerStates, LayerStates], most_places: int
) -> TableDifference | None:
    session = staging.session
    found: list[_Kept | _Delivered | None] = []
    for number, state in enumerate(states):
        if state.release is None:
            found.append(_Kept.find(session, layer, state.name))
            continue
        found.append(None)
        with suppress(MissingError):
            file = state.release.resolve(layer.table.file_name, layer.name)
            found[-1] = _Delivered(layer, state.release, file, sql.Identifier("pg_temp", f"flux_state_{number}"))
    old, new = found
    if old is None or new is None:
        absent = [state for state, side in zip(states, found, strict=True) if side is None]
        # What is computed need not be in a release.
        is_told = len(absent) == 1 and not (layer.table.computed and absent[0].release)
        return TableDifference(name=layer.name, absent=(absent[0].name,)) if is_told else None
    if (rows := _promised_same(old, new)) is not None:
        digest = rows, "the same file"
        return TableDifference(name=layer.name, rows=Match(expected=digest, actual=digest))
    for side in (old, new):
        if isinstance(side, _Delivered):
            staging.put_file(side.into, side.release, side.file, layer.table)
    with session.transaction():
        # Locked before the snapshot is taken: it might show a version that is gone by then.
        for side in (old, new):
            if isinstance(side, _Kept):
                side.lock(session)
        session.execute(query("match", "whole_tables"))
        sides = old.side(session), new.side(session)
        return TableDifference.between(session, layer.table, *sides, most_places=most_places)


def _promised_same(old: _Kept | _Delivered, new: _Kept | _Delivered) -> int | None:
    """Return the rows of a file that both releases have, where their manifests tell; then it is not read."""
    if isinstance(old, _Delivered) and isinstance(new, _Delivered) and old.file.identity == new.file.identity:
        return old.file.rows
    return None
