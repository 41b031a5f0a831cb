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
    """A name in its exact case."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def identifier(name: str) -> str:
    """A name as a user writes it in a setting: plain ones in upper case, as Snowflake reads them; others in quotes."""
    if name.startswith('"') and name.endswith('"') and len(name) > 2:
        return name
    return name.upper() if _PLAIN.fullmatch(name) else quoted(name)


def parts(text: str) -> tuple[str, ...] | None:
    """The exact names in `database.schema.name`, some of them perhaps in quotes; None when it is not of that form."""
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
    """A value as a SQL literal; times are taken as they stand, without a zone."""
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
    """Text as a SQL literal; Snowflake reads a backslash in one as an escape."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def literals(values: Sequence[object]) -> str:
    """The inside of an IN list."""
    return ", ".join(literal(value) for value in values)


def template(text: str) -> str:
    """SQL as it must stand in a template: what Snow CLI would take for its own marks is put in as text."""
    return _MARKS.sub(lambda match: f"<% {match[0]!r} %>", text)


# Snow CLI knows no blocks: its environment is given marks for them that nobody writes.
_NO_BLOCKS = "___very___unique___block___to___disable___logic___blocks___"


def render(template: str, **variables: str) -> str:
    """The text with its variables put in; a variable that is missing and has no default is an error."""
    return compiled(template).render(variables)


@lru_cache(maxsize=32)
def compiled(template: str) -> Template:
    """The template, ready to be rendered; it takes as long as a small query."""
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
