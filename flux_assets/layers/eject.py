"""Giving a layer back: its version becomes a plain table of the same name, with all that hangs on the public table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import errors, sql

from flux_assets.errors import LayerError, PinnedError, PublishError, reported
from flux_assets.layers.context import LoadOptions, VersionContext, recorded
from flux_assets.layers.versions import LayerState, Version
from flux_assets.ledger.runs import Lease, leased, reach
from flux_assets.postgis.catalog import Relation
from flux_assets.postgis.hanging import Hanging
from flux_assets.postgis.locking import LockRetries
from flux_assets.postgis.relations import VERSIONS, Layer, revoking_all
from flux_assets.postgis.session import Target, run
from flux_assets.spec import StaticTable
from flux_assets.sqlfiles import query

_SUFFIX, _LONGEST = "_of_layer", 63
# A call that has been parsed waits for the lock of the swap, which is short.
_SECONDS_FOR_CALLS = 1.0
_MAKING = "CREATE MATERIALIZED VIEW"
_IDENTITIES_OF_PARTITIONS = 170000  # the server version from which partitions have them
# What the version has by itself, as the equal of the public table.
_OF_THE_VERSION = frozenset({"NOT NULL", "generated column", "constraint", "index", "primary key"})


def eject(table: StaticTable, target: Target, options: LoadOptions, log: Callable[[str], None]) -> Version | None:
    """Make the live version of a layer a plain table under the layer's name, in one transaction; returns the version.

    None where a plain table has the name already; the last step of an ejection that was cut off is done then. Raises
    LayerError when there is no such version or something cannot come along, PublishError when it cannot be done now;
    then nothing has changed.
    """
    layer = Layer(target.schema, table)
    with target.prepared(layer.title, f"look {layer.name}", options.stop) as session:
        found = Relation.find(session, layer.schema, layer.name)
        if found is not None and found.kind == "r":
            if found.kin("parents") and Relation.find(session, layer.schema, _going(layer)):
                _detach(session, layer, found.oid, options, log)
            return None
        _planned(session, layer)  # what cannot be ejected is no failed run for the ledger
    with (
        recorded(layer.title, [layer], target, options, log, "EJECT") as (control, [context]),
        leased(control, target, context.patience, layer) as lease,
    ):
        if (found := Relation.find(control, layer.schema, layer.name)) and found.kind == "r":
            run(control, [context.entry.forgotten()])  # another process has ejected it meanwhile
            return None
        plan = _planned(control, layer)
        outcomes = plan.hanging.outcomes(layer.name)
        told = [(kind, name, said if "stays" in said else "comes along") for kind, name, said in outcomes]
        log(f"{layer.title} becomes a plain table; {Hanging.listed(told)}")
        reach("eject.leased")
        try:
            plan.prepare(context, lease)
            reach("eject.prepared")
            plan.swap(context, lease)
        except BaseException:
            if not (control.closed or control.broken):
                with suppress(psycopg.Error, PublishError):
                    plan.discard(control, lease)
            raise
        reach("eject.swapped")
        _detach(control, layer, plan.oid, options, log)
        return plan.version


@dataclass(frozen=True, kw_only=True)
class _Ejection:
    """The plan: the version that becomes a plain table, and what hangs on the public table."""

    layer: Layer
    version: Version
    oid: int
    hanging: Hanging

    def prepare(self, context: VersionContext, lease: Lease) -> None:
        """Make the materialized views anew, on the version, and fill them."""
        control, own = context.control, sql.Identifier(self.layer.name)
        self.discard(control, lease)
        made = [part for part in self.hanging.parts if part.phase == "made"]
        if not made:
            return
        path, table = Hanging.using((VERSIONS, *self.hanging.path)), self.version.table
        # They are written as reading a table of the layer's name, which the version has for a moment.
        renaming = [
            lease.holding(),
            sql.SQL("ALTER TABLE {} RENAME TO {}").format(table, own),
            path,
            *(part.as_sql for part in made if part.statement.startswith(_MAKING)),
            sql.SQL("ALTER TABLE {} RENAME TO {}").format(
                sql.Identifier(VERSIONS, self.layer.name), sql.Identifier(self.version.relation)
            ),
        ]
        doing = f"making materialized views of {self.layer.title} anew"
        try:
            context.patience.briefly(control, lambda: renaming, waiting_for=[self.oid], doing=doing)
        except psycopg.Error as error:
            raise Lease.overtaken(error, self.layer.title) or error from error
        for part in made:
            if not part.statement.startswith(_MAKING):
                lease.keep(control)
                run(control, [path, part.as_sql])

    def discard(self, connection: psycopg.Connection, lease: Lease) -> None:
        """Drop the materialized views that were made anew."""
        lease.keep(connection, [query("eject", "discard_views").format(relation=self.version.relation)])

    def swap(self, context: VersionContext, lease: Lease) -> None:
        """Put the version into the public table's place."""
        layer, version, control = self.layer, self.version, context.control
        recording = [
            lease.holding(),
            *version.giving_up(layer),
            context.entry.loaded(version.rows, version=version.version, sync_type="EJECT", published=False),
        ]
        lock = sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE")
        locks = [*self.hanging.in_phase("lock"), lock.format(layer.public), lock.format(version.table)]
        swapping = LockRetries.swap(control, locks, list(self._swapping()))
        doing = f"ejecting {layer.title}"
        try:
            context.patience.briefly(
                control, lambda: [*recording, *swapping], waiting_for=self.hanging.locked, doing=doing
            )
        except psycopg.Error as error:
            raise Hanging.changed(error, layer.title) or Lease.overtaken(error, layer.title) or error from error

    def _swapping(self) -> Iterator[sql.Composable]:
        layer, version = self.layer, self.version
        yield Hanging.using(self.hanging.path)
        yield self.hanging.unchanged
        yield from self.hanging.in_phase("before")
        # It stays attached to the table that goes: a function that has begun finds the rows there.
        yield sql.SQL("ALTER TABLE {} RENAME TO {}").format(layer.public, sql.Identifier(_going(layer)))
        yield sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(version.table, sql.Identifier(layer.schema))
        yield sql.SQL("ALTER TABLE {} RENAME TO {}").format(
            sql.Identifier(layer.schema, version.relation), sql.Identifier(layer.name)
        )
        yield revoking_all(layer.public)
        yield from self.hanging.in_phase("after", "last")


def _going(layer: Layer) -> str:
    return f"{layer.name[: _LONGEST - len(_SUFFIX)]}{_SUFFIX}"


def _detach(
    connection: psycopg.Connection, layer: Layer, oid: int, options: LoadOptions, log: Callable[[str], None]
) -> None:
    """Drop the partitioned table, once no call of a function that began before the swap can still read it."""
    options.stop.wait(_SECONDS_FOR_CALLS)
    going = sql.Identifier(layer.schema, _going(layer))
    detaching: list[sql.Composable] = [sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(going, layer.public)]
    try:
        if connection.info.server_version >= _IDENTITIES_OF_PARTITIONS:
            identities = query("eject", "identities").format(schema=layer.schema, name=layer.name, going=_going(layer))
            detaching += [sql.SQL(statement) for (statement,) in connection.execute(identities)]
        detaching += [sql.SQL("DROP TABLE {}").format(going)]
        doing = f"detaching {layer.title}"
        options.patience(log).briefly(connection, lambda: detaching, waiting_for=[oid], doing=doing)
    except errors.UndefinedTable:
        log(f"{layer.title}: another ejection has detached it meanwhile")
    except (PublishError, psycopg.Error) as error:
        by_hand = "; ".join(statement.as_string() for statement in detaching)
        log(f"{layer.title} is ejected; what is left is to run {by_hand}, because of: {reported(error)}")


def _planned(connection: psycopg.Connection, layer: Layer) -> _Ejection:
    """Plan the ejection. Raises LayerError where it cannot be done."""
    state = LayerState.of(connection, layer)
    version = state.live(connection)
    if state.public is None or version is None:
        raise LayerError(
            f"{layer.title} has no published version that could become a plain table.",
            "`flux-assets status` says what readers see.",
        )
    if state.pin is not None:
        raise PinnedError(f"{layer.title} is {state.pin}.", f"Run `flux-assets unpin {layer.name}` and eject again.")
    found = Hanging.on(connection, state.public.oid, layer.schema, _SUFFIX)
    parts = [mine for part in found.parts for mine in _for_plain(part, layer, connection.info.server_version)] + list(
        _keys(connection, layer)
    )
    like = query("ddl", "create_like").format(
        new=sql.SQL("TABLE {}").format(sql.Identifier(VERSIONS, layer.name)), old=layer.public
    )
    left_over = [
        query("takeover", "discard").format(name=layer.name),
        query("eject", "discard_views").format(relation=version.relation),
    ]
    hanging = replace(found, parts=tuple(parts)).tried(connection, [*left_over, like], VERSIONS)
    if refused := [each for each in hanging.outcomes(layer.name) if each[2].startswith("stands in the way")]:
        raise LayerError(
            f"{layer.title} cannot be ejected, and nothing was changed: {Hanging.listed(refused)}.",
            "Do what the brackets say, or drop what nobody needs, and run it again.",
        )
    return _Ejection(layer=layer, version=version, oid=state.public.oid, hanging=hanging)


def _for_plain(part: Hanging.Part, layer: Layer, version: int) -> Iterator[Hanging.Part]:
    if part.kind in _OF_THE_VERSION:
        # A view may group by the key alone, so a trial needs it.
        key = f"ALTER TABLE {sql.Identifier(layer.name).as_string()} ADD {part.statement}"
        yield replace(part, phase="there", trial=key if part.kind == "primary key" else None)
        return
    if part.kind == "trigger":  # the version has clones, of the same name
        dropping = sql.SQL("DROP TRIGGER {} ON {}").format(sql.SQL(part.name), layer.public).as_string()
        yield Hanging.Part(part.kind, part.name, "before", dropping)
    if part.kind == "identity of column" and version >= _IDENTITIES_OF_PARTITIONS:
        yield replace(part, phase="detached")
        return
    yield replace(part, phase="after", trial="") if part.phase == "comment" else part


def _keys(connection: psycopg.Connection, layer: Layer) -> Iterator[Hanging.Part]:
    """Yield the foreign keys of other tables that were dropped when the layer took over."""
    if Relation.find(connection, "postgres_sync", "dropped_keys") is None:
        return
    named = {"schema": layer.schema, "name": layer.name}
    asked = query("eject", "keys_to_restore").format(**named)
    for statement, locking, name in connection.execute(asked).fetchall():
        yield Hanging.Part("foreign key", name, "after", statement)
        yield Hanging.Part("foreign key", name, "lock", locking)
        yield Hanging.Part(
            "foreign key", name, "last", query("eject", "forget_keys").format(**named).as_string(connection)
        )
