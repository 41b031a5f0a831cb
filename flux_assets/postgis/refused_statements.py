"""What PostgreSQL says of a statement that it refuses, whole: its words, hint and context, and what to do by kind.

Here: refusals that concern the statement, the table or what others have put on it. Not here: states of the server
(server_states.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

from flux_assets.errors import reported

# A function's line in the context, in any language; the block of ours that swaps versions is none of the database's.
_FUNCTION = re.compile(r'\b(?:PL/\S+|SQL) function "?(?!inline_code_block)')


@dataclass(frozen=True)
class _Kind:
    """Refusals of an SQLSTATE, or of its class, and what to do; `words` of the message where several share it."""

    state: str
    remedy: str
    words: str = ""


_AGAIN = "Run again; what was there before stays."
_SERVER = "See the server's log, and run again when the cause is removed."
# Parts of the ledger or of PostGIS that are gone, doctor finds.
_GONE = ("42P01", "42703", "42704", "42883", "3F000")
_DOCTOR = "Run `flux-assets doctor`, which finds what of the ledger or of PostGIS is gone; else report this message."
_REPORT = "Put right what it names; where that is nothing of yours, report this message."
_OF_RIGHTS = (
    "A function of the database does what the database user may not: grant that, or make the function SECURITY DEFINER"
    " (with SET search_path = …)."
)
_KINDS = (
    _Kind(
        "55000",
        "A publication sends the table's updates and deletes, which takes a replica identity: run ALTER TABLE {table}"
        " REPLICA IDENTITY DEFAULT (or FULL), or take the table out of the publication.",
        words="replica identity",
    ),
    _Kind("55", "Put right what it names, and run again."),
    _Kind("23", "Correct the row where it comes from, or change the constraint, and run again."),
    _Kind("44", "Correct the row where it comes from, or change the view, and run again."),
    _Kind("40", _AGAIN),
    _Kind("53", "Raise the limit that it names, or free what is taken, and run again."),
    _Kind("54", "Raise the limit that it names if it is a setting, and run again."),
    *(_Kind(state, _SERVER) for state in ("57", "58", "F0", "XX")),
    _Kind("0A", "Change what the table has that it names, and run again."),
    _Kind("P0", "Put right what it asks for, and run again."),
)
_OF_A_FUNCTION = (
    "A function of the database refused it: correct the function, or disable its trigger (ALTER TABLE … DISABLE"
    " TRIGGER …), and run again."
)
# What a function names without a schema is looked for where the session looks.
_OF_A_SEARCH_PATH = (
    "A function of the database does not find what it names: write the schema before the name, or run ALTER FUNCTION …"
    " SET search_path = …. Sessions of flux_assets look in pg_catalog, in PostGIS's schema, and then where role and"
    " database have set search_path, but in no schema where PUBLIC may create."
)


def within_function(error: psycopg.Error) -> bool:
    """Tell whether a function of the database's own met it, that of a trigger above all."""
    return _FUNCTION.search(error.diag.context or "") is not None


def further_words(error: psycopg.Error) -> str:
    """Everything that the server says besides the message: detail, hint, and where it was."""
    context = error.diag.context
    if context and "inline_code_block" in context and not within_function(error):
        context = None
    said = (
        reported(error.diag.message_detail or ""),
        f"Hint: {reported(error.diag.message_hint)}" if error.diag.message_hint else "",
        f"Where: {reported(context)}" if context else "",
    )
    return "".join(f" {each}." for each in said if each)


def remedy_of(error: psycopg.Error, table: str) -> str:
    """Say what to do about a statement that was refused."""
    state, said = error.sqlstate or "", error.diag.message_primary or ""
    if within_function(error):
        if state == "42501":
            return _OF_RIGHTS
        return _OF_A_SEARCH_PATH if state in _GONE else _OF_A_FUNCTION
    found = next((each for each in _KINDS if state.startswith(each.state) and each.words in said), None)
    if found:
        return found.remedy.format(table=table)
    return _DOCTOR if state in _GONE else _REPORT
