"""fakesnow parses each statement twice and walks its tree 76 times to rewrite it: half the time of a small query.

The rewritten SELECT is remembered by its text and its session's schema. Texts that differ only in literal times share a
plan, since the statements of a sync differ in nothing else. DuckDB plans each again, so that changes of tables and rows
are seen. Upstream: `execute` and `_transform` of https://github.com/tekumara/fakesnow/blob/v0.12.1/fakesnow/cursor.py,
`parse_one` in server.py.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

_SELECTS = re.compile(r"\s*(DESCRIBE\s+)?SELECT\b", re.IGNORECASE)
_TIME = re.compile(r"(?<=')\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?=')")
_KEPT = 256
V = TypeVar("V")


@dataclass(frozen=True)
class Shape:
    """A statement's text with zeros for the digits of its literal times, and those times in their order."""

    text: str
    times: tuple[str, ...]

    @classmethod
    def of(cls, statement: str) -> Shape | None:
        """Return None for what is not a SELECT, and where two times are equal and so could not be told apart."""
        if not _SELECTS.match(statement):
            return None
        times = tuple(_TIME.findall(statement))
        if len(set(times)) < len(times):
            return None
        return cls(_TIME.sub(lambda found: re.sub(r"\d", "0", found[0]), statement), times)


@dataclass(frozen=True)
class Rewritten:
    """A statement's tree with its text for DuckDB, which would otherwise be generated at each run."""

    tree: Any
    text: str

    def sql(self, **_: Any) -> str:
        return self.text

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tree, name)


@dataclass(frozen=True)
class Plan:
    """A rewritten statement, and its text in pieces between its literal times, which are named by their number."""

    tree: Any
    pieces: tuple[str | int, ...]

    @classmethod
    def of(cls, tree: Any, times: tuple[str, ...]) -> Plan | None:
        """Return None where a time occurs in the text not at all, or otherwise than between quotes."""
        text = tree.sql(dialect="duckdb")
        parts = re.split(f"'({'|'.join(map(re.escape, times))})'", text) if times else [text]
        pieces = tuple(times.index(part) if place % 2 else part for place, part in enumerate(parts))
        others = [piece for piece in pieces if isinstance(piece, str)]
        alone = not any(time in piece for piece in others for time in times)
        return cls(tree, pieces) if alone and set(pieces).issuperset(range(len(times))) else None

    def at(self, times: tuple[str, ...]) -> Rewritten:
        """Return the statement with other times."""
        texts = (f"'{times[piece]}'" if isinstance(piece, int) else piece for piece in self.pieces)
        return Rewritten(self.tree, "".join(texts))


class Newest(Generic[V]):
    """The newest entries, up to a limit. Requests are answered on several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            return self._kept.get(key)

    def put(self, key: Hashable, value: V) -> None:
        with self._lock:
            self._kept[key] = value
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)


def patch() -> None:
    """Remember plans in the process of fakesnow's server; a second call does nothing."""
    import fakesnow.server as fakesnow
    from fakesnow.cursor import FakeSnowflakeCursor

    its_module: Any = fakesnow
    its_class: Any = FakeSnowflakeCursor
    if getattr(its_class.execute, "patched", False):
        return
    its_class._transform = _noting(its_class._transform)
    its_class.execute = _remembering(its_class.execute)
    its_module.parse_one = _parsed_once(its_module.parse_one)


def _noting(transform: Any) -> Any:
    def transformed(self: Any, *args: Any) -> Any:
        self._rewritten = transform(self, *args)
        return self._rewritten

    return transformed


def _remembering(execute: Any) -> Any:
    plans: Newest[Plan] = Newest()

    def executed(self: Any, command: str, params: Any = None, *args: Any, **kwargs: Any) -> Any:
        bound = params or kwargs.get("binding_params") or self._conn.nop_regexes
        shape = None if bound else Shape.of(self._inline_variables(command))
        if shape is None:
            return execute(self, command, params, *args, **kwargs)
        session = self._conn
        key = (shape.text, session.database, session.schema, session.database_set, session.schema_set)
        if plan := plans.get(key):
            self._sqlstate = None
            self._execute(plan.at(shape.times))
            return self
        execute(self, command, params, *args, **kwargs)
        if plan := Plan.of(self._rewritten.copy(), shape.times):
            plans.put(key, plan)
        return self

    executed.patched = True  # type: ignore[attr-defined]
    return executed


def _parsed_once(parse_one: Any) -> Any:
    """Return a parse_one that remembers trees: the server only needs the kind of statement, which no time changes."""
    trees: Newest[Any] = Newest()

    def parsed(command: str) -> Any:
        shape = Shape.of(command)
        if shape is None:
            return parse_one(command)
        tree = trees.get(shape.text)
        if tree is None:
            tree = parse_one(shape.text)
            trees.put(shape.text, tree)
        return tree

    return parsed
