"""Identifiers, literals and Snow CLI templates as SQL text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache

from jinja2 import Environment, StrictUndefined, Template

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_PART = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_][A-Za-z0-9_$]*))\s*(\.|\Z)')
_MARKS = re.compile(r"<%|%>|\{#|#\}")


def quoted(name: str) -> str:
    """Quote a name in its exact case."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def identifier(name: str) -> str:
    """Write a name from a setting as SQL: plain ones in upper case, as Snowflake reads them; others in quotes."""
    if name.startswith('"') and name.endswith('"') and len(name) > 2:
        return name
    return name.upper() if _PLAIN.fullmatch(name) else quoted(name)


def parts(text: str) -> tuple[str, ...] | None:
    """Return the exact names in `database.schema.name`, quoted or not; None when it is not of that form."""
    found: list[str] = []
    position, ended = 0, False
    while not ended:
        match = _PART.match(text, position)
        if match is None or len(found) == 3:
            return None
        found.append(match[1].replace('""', '"') if match[1] else match[2].upper())
        position, ended = match.end(), match[3] == ""
    return tuple(found)


def literal(value: object) -> str:
    """Write a value as a SQL literal; a time is written as it is, without its zone."""
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, float):
        return f"{text_literal(repr(value))}::FLOAT"
    if isinstance(value, datetime):
        return f"{text_literal(value.replace(tzinfo=None).isoformat(sep=' '))}::TIMESTAMP_NTZ"
    if isinstance(value, date):
        return f"{text_literal(value.isoformat())}::DATE"
    return text_literal(str(value))


def text_literal(value: str) -> str:
    """Write text as a SQL literal; Snowflake reads a backslash in one as an escape."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def literals(values: Sequence[object]) -> str:
    """Write the inside of an IN list."""
    return ", ".join(literal(value) for value in values)


def template(text: str) -> str:
    """Escape SQL for a template: what Snow CLI would take for its own marks becomes text."""
    return _MARKS.sub(lambda match: f"<% {match[0]!r} %>", text)


# Snow CLI has no blocks: their marks are ones that nobody writes.
_NO_BLOCKS = "___very___unique___block___to___disable___logic___blocks___"


def render(template: str, **variables: str) -> str:
    """Fill in the variables of a text, as `snow sql -D name=value` does; one without a value or default is an error."""
    return compiled(template).render(variables)


@lru_cache(maxsize=32)
def compiled(template: str) -> Template:
    """Return the template, compiled, which takes as long as a small query."""
    return _environment().from_string(template)


@cache
def _environment() -> Environment:
    return Environment(
        variable_start_string="<%",
        variable_end_string="%>",
        block_start_string=_NO_BLOCKS,
        block_end_string=_NO_BLOCKS,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - SQL, not HTML
    )
