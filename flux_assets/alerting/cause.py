"""Messages of errors, for alerts: without secrets, and taken apart into what is wrong, what to do, and the cause."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from flux_assets.errors import bounded
from flux_assets.settings import Settings

_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"'])")
_CLAUSE = re.compile(r"[:;(,]\s|\.$")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_NUMBER = re.compile(r"\b(?:[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|[0-9a-f]{12,}|\d[\d,.:]*)\b", re.IGNORECASE)
_LONGEST = 600


@dataclass(frozen=True, kw_only=True)
class ErrorCause:
    """An error taken apart. `head` is its cause without tables, values and numbers; `whole` says more of it."""

    problem: str
    remedy: str
    head: str
    whole: str

    @classmethod
    def of(cls, message: str, tables: Sequence[str]) -> ErrorCause:
        """Take an error's message apart; `tables` are all names that could occur in it."""
        text = " ".join(bounded(message or "No reason was given.").split())
        problem, *rest = _END.split(text, maxsplit=1)
        whole = _general(problem, tables)
        head = _CLAUSE.split(whole, maxsplit=1)[0]
        return cls(problem=_cut(problem), remedy=_cut("".join(rest)), head=head, whole=whole)


def _general(sentence: str, tables: Sequence[str]) -> str:
    """Return the text without what differs between tables and ticks though the cause is one."""
    named = "|".join(sorted(map(re.escape, tables), key=len, reverse=True)) or "(?!)"
    # `work_orders: …`, `public.work_orders: …` and `…/work_orders.csv.gz: …` begin with what the rest is about.
    text = re.sub(rf"^\S*\b(?:{named})\b\S*:\s+", "", sentence)
    text = re.sub(rf"\b(?:{named})\b", "<table>", text)
    return _NUMBER.sub("#", _QUOTED.sub("'…'", text))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


_HIDDEN = "***"
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|PRIVATE_KEY|ACCESS_KEY|ALERT_URL", re.IGNORECASE)
_WORD = r"(?:pass(?:word|wd|phrase|code)?|pwd|secret\w*|token|api_?key|access_?key\w*|private_?key\w*|sig(?:nature)?)"
_VALUE = r"(?:'[^']*'|\"[^\"]*\"|[^\s,;&)'\"]+)"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*KEY-----.*?(?:-----END [A-Z ]*KEY-----|$)", re.DOTALL), _HIDDEN),
    (re.compile(r"(\w[\w+.-]*://)[^\s/@'\"]*(?:@[^\s/@'\"]*)*@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"(\w[\w+.-]*://[^\s?'\"]*)\?[^\s'\"]+"), rf"\1?{_HIDDEN}"),
    (re.compile(r"(https://hooks\.slack\.com/)[^\s'\"]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}"), rf"\1 {_HIDDEN}"),
    (re.compile(rf"\b((?:\w+_)?{_WORD}['\"]?\s*[=:]\s*){_VALUE}", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{10,}\.[\w-]+(?:\.[\w-]+)?"), _HIDDEN),
    (re.compile(r"(?:~|\.{0,2})?/?[\w.@/~-]*[\w-]\.(?:p8|pem|key|pfx|p12)\b", re.IGNORECASE), _HIDDEN),
)


def secret_remover(settings: Settings, environment: Mapping[str, str] = os.environ) -> Callable[[str], str]:
    """Return what removes the secrets of these settings and this environment, and whatever looks like one."""
    spelt = {form for value in _known(settings, environment) for form in (value, quote(value, safe=""), unquote(value))}
    longest_first = sorted(filter(None, spelt), key=len, reverse=True)
    # A short password may be part of an ordinary word, and hiding it there would tell what it is.
    known = re.compile("|".join(rf"(?<!\w){re.escape(value)}(?!\w)" for value in longest_first) or "(?!)")

    def clean(text: str) -> str:
        text = known.sub(_HIDDEN, bounded(text))
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text

    return clean


def _known(settings: Settings, environment: Mapping[str, str]) -> Iterable[str]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield from _of_value(value.get_secret_value())
    if settings.snowflake_private_key_path:
        yield str(settings.snowflake_private_key_path)
        yield str(settings.snowflake_private_key_path.expanduser().absolute())
    for name, value in environment.items():
        if _SECRET_NAME.search(name):
            yield from _of_value(value)


def _of_value(value: str) -> Iterable[str]:
    """Yield the value itself, and the password in it where it is an address."""
    yield value
    if "://" not in value:
        return
    try:
        yield urlsplit(value).password or ""
        yield str(conninfo_to_dict(value).get("password") or "") if value.startswith("postgres") else ""
    except (ValueError, ProgrammingError):
        return
