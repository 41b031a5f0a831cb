"""What hangs on a table and comes along when another one takes its name: what it is, and how it is made again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from flux_assets.errors import PublishError, reported
from flux_assets.postgis.session import run
from flux_assets.spec import Declaration
from flux_assets.sqlfiles import query

# A process that is frozen amid a trial leaves a table of the name: the next one waits until the server ends it.
_LIMIT_IDLE = sql.SQL("SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL lock_timeout = '20s'")
_LIMIT_WAIT = sql.SQL("SET LOCAL lock_timeout = '1s'")
# What a new table may lack without harm to anybody but its writers, where its columns or its kind do not allow it.
_SPARED = frozenset({"generated column", "default of column", "identity of column", "constraint", "index", "right"})
_SPARED |= frozenset({"NOT NULL", "setting", "comment", "statistics object"})
# The schema that PostGIS is in, where that is another than the table's.
_QUALIFIED = re.compile(r"\b[A-Za-z_]\w*\.")
_DECLARED_COMMENT = "the declaration's takes its place"
_CHANGED = "FX002"  # the SQLSTATE that `unchanged` of hanging.sql raises
_NO_COLUMN, _NO_SUCH_KIND = "42703", frozenset({"0A000", "42P16", "42701", "42P17"})
_OTHER_ORDER = "a call during the swap may fail once: its rows have their columns in another order from then on"
_OUTCOMES = {
    "view": "reads the new table",
    "function": "reads the new table",
    "materialized view": "is filled from the new rows, and refreshed after every publish",
}


def _refusal(connection: psycopg.Connection, statement: str) -> psycopg.Error | None:
    try:
        with connection.transaction():
            connection.execute(sql.SQL(statement))
    except psycopg.Error as error:
        if connection.closed or connection.broken:
            raise
        return error
    return None


@dataclass(frozen=True, kw_only=True)
class Hanging:
    """All that hangs on a table; `path` are the schemas whose names are written without them.

    `locked` are the OIDs of what the swap locks. `unchanged` is a statement that fails with FX002 where anything hangs
    on the table that did not, or no more.
    """

    @dataclass(frozen=True)
    class Part:
        """One thing that hangs on a table, or one step of bringing it along; as hanging.sql says."""

        kind: str
        name: str
        phase: str
        statement: str
        trial: str | None = None
        other: str | None = None
        other_trial: str | None = None

        @property
        def as_sql(self) -> sql.SQL:
            """The statement, as the server has written it."""
            return sql.SQL(self.statement)

        def beside(self, table: Declaration) -> Hanging.Part:
            """Return what of it is left to do for a new table that has by itself what is declared."""
            twins, named = set(table.twins), self.name.removeprefix("of column ").removeprefix("of ")
            match self.kind:
                case "index":
                    is_declared = _QUALIFIED.sub("", self.other or "") in twins
                case "constraint":
                    is_declared = self.statement.endswith(tuple(f" {twin}" for twin in twins))
                case "primary key":
                    is_declared = self.statement.replace('"', "") == f"PRIMARY KEY ({', '.join(table.key)})"
                case "NOT NULL":
                    is_declared = named in table.column_names and not table.table.columns[named].nullable
                case "comment" if self.phase == "comment":
                    words = {"the table": table.description} | {c.name: str(c.comment) for c in table.columns}
                    is_declared = named in words and self.statement.endswith(sql.Literal(words[named]).as_string())
                case _:
                    is_declared = False
            if is_declared:
                return replace(self, phase="declared", trial=None)
            if self.kind == "function" and self.other is not None:
                return replace(self, other=None if self.other == ", ".join(table.column_names) else _OTHER_ORDER)
            if self.kind == "primary key":
                return self.leaving("the declared key takes its place")
            if self.kind == "sequence" and self.other not in table.column_names:
                return self.leaving("with its column")
            if self.phase != "comment":
                return self
            is_declared = named in {"the table", *table.column_names}
            return self.leaving(_DECLARED_COMMENT) if is_declared else replace(self, phase="after", trial="")

        @property
        def dropped(self) -> tuple[Hanging.Part, ...]:
            """The steps that drop an inbound foreign key and remember it; none of anything else."""
            if self.kind != "inbound foreign key" or self.other is None or self.other_trial is None:
                return ()
            steps = {"dropped": self.other, "lock": self.other_trial}
            return tuple(Hanging.Part(self.kind, self.name, phase, step) for phase, step in steps.items())

        def leaving(self, reason: str) -> Hanging.Part:
            """Return it as what stays with the old table."""
            return Hanging.Part(self.kind, self.name, "stays", reason)

        def tried(self, connection: psycopg.Connection) -> Hanging.Part:
            """Try it on the new table that the search_path finds first; return what can be done, or why it cannot."""
            if self.trial is None:
                return self
            refused = _refusal(connection, self.trial or self.statement)
            if refused is None:
                return self
            if self.other is not None and self.other_trial is not None and not _refusal(connection, self.other_trial):
                return replace(self, statement=self.other)
            goes_along = refused.sqlstate == _NO_COLUMN and "column" in self.kind
            words, detail = reported(refused.diag.message_primary or refused), refused.diag.message_detail
            reason = "its column does" if goes_along else f"{words} ({reported(detail)})" if detail else words
            is_spared = refused.sqlstate == _NO_COLUMN or refused.sqlstate in _NO_SUCH_KIND
            if self.kind in _SPARED and is_spared:
                return self.leaving(reason)
            return Hanging.Part(self.kind, self.name, "refused", reason)

    oid: int
    locked: tuple[int, ...]
    path: tuple[str, ...]
    parts: tuple[Part, ...]
    unchanged: sql.Composed

    @classmethod
    def on(cls, connection: psycopg.Connection, oid: int, schema: str, suffix: str) -> Hanging:
        """Ask for what hangs on a table of the schema; `suffix` is for names that the old table's things give up."""
        found = connection.execute(query("hanging", "sources").format(oid=oid)).fetchall()
        path = tuple(dict.fromkeys([schema, *(name for _, name in found)]))
        sources = sql.SQL("{}::oid[]").format([oid for oid, _ in found])
        digesting = query("hanging", "digest").format(oid=oid, sources=sources)
        listing = query("hanging", "parts").format(oid=oid, sources=sources, suffix=suffix)
        locking = query("hanging", "locked").format(oid=oid, sources=sources)
        _, [(digest,)], locked, rows = run(connection, [cls.using(path), digesting, locking, listing])
        unchanged = query("hanging", "unchanged").format(digesting=digesting, digest=digest)
        parts = tuple(cls.Part(*row) for row in rows)
        locked_oids = tuple(each for (each,) in locked)
        return cls(oid=oid, locked=locked_oids, path=path, parts=parts, unchanged=unchanged)

    def tried(self, connection: psycopg.Connection, creating: Iterable[sql.Composable], first: str) -> Hanging:
        """Return it with what became of a trial: on a table that the statements make in schema `first`, for a moment.

        Nothing that readers use is locked, and nothing is left behind.
        """
        there = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [first]).fetchone() is not None
        making = [] if there else [sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(first))]
        with connection.transaction(force_rollback=True):
            run(connection, [_LIMIT_IDLE, *making, *creating, _LIMIT_WAIT, self.using((first, *self.path))])
            return replace(self, parts=tuple(part.tried(connection) for part in self.parts))

    def in_phase(self, *phases: str) -> list[sql.Composable]:
        """Return the statements of these phases, in their order."""
        return [part.as_sql for phase in phases for part in self.parts if part.phase == phase]

    @staticmethod
    def changed(error: psycopg.Error, title: str) -> PublishError | None:
        """Say that what hangs on the table is not what was planned for, where `unchanged` failed."""
        if error.sqlstate != _CHANGED:
            return None
        return PublishError(
            f"{title} is as it was, because somebody changed what hangs on the table meanwhile.",
            "Run it again: what is new comes along.",
        )

    def outcomes(self, old_name: str) -> Iterator[tuple[str, str, str]]:
        """Yield kind, name and what becomes of it, for each thing once."""
        judged: dict[tuple[str, str], Hanging.Part] = {}
        rank = ("refused", "stays")
        for part in self.parts:
            known = judged.setdefault((part.kind, part.name), part)
            if part.phase in rank and (known.phase not in rank or rank.index(part.phase) < rank.index(known.phase)):
                judged[part.kind, part.name] = part
        for (kind, name), part in judged.items():
            if part.phase == "refused":
                yield kind, name, f"stands in the way: {part.statement}"
            elif part.phase == "stays":
                yield kind, name, f"stays with {old_name}: {part.statement}"
            elif part.phase == "declared":
                yield kind, name, "is declared too"
            elif part.phase == "dropped":
                yield kind, name, "is dropped; the check dropped_keys counts the rows that lead nowhere instead"
            else:
                more = part.other if kind == "materialized view" or part.other == _OTHER_ORDER else None
                yield kind, name, "; ".join(filter(None, [_OUTCOMES.get(kind, "comes along"), more]))

    @staticmethod
    def using(path: Sequence[str]) -> sql.Composed:
        """Make a statement that has names mean what is in these schemas, until the transaction ends."""
        named = ", ".join(sql.Identifier(name).as_string() for name in (*path, "pg_temp"))
        return query("hanging", "use_path").format(path=named)

    @staticmethod
    def listed(outcomes: Collection[tuple[str, str, str]]) -> str:
        """List outcomes in words."""
        return "; ".join(" ".join(filter(None, (kind, name))) + f" {outcome}" for kind, name, outcome in outcomes)
