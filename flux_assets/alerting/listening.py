"""What readers see changes: told as it is announced, and after a gap by comparing what the register says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import psycopg

from flux_assets.alerting.webhook import Webhook
from flux_assets.errors import AlertError, TargetError, reported
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.session import Target
from flux_assets.retry import RetryPolicy

_Log = Callable[[str], object]
_Announced = dict[str, dict[str, Any]]
_MOMENT = 1.0


@dataclass(frozen=True, kw_only=True)
class Change:
    """One table and what readers see of it now.

    `kind` is that of the announcement; `missed` where there was none: the table changed, or may have, while nobody
    listened.
    """

    schema: str
    table: str
    kind: str
    version: str | None
    sync_id: int | None
    published_at: datetime


def changes(target: Target, log: _Log, *, every: float = 10.0) -> Iterator[list[Change]]:
    """Yield what has changed since the last answer: immediately when announced, every so many seconds in any case.

    The first answer has all tables. A session that breaks is replaced, and what changed meanwhile is in the next
    answer. Raises TargetError, or the driver's error, where there was never a session.
    """
    seen: dict[str, TableStatus] = {}
    problem: str | None = None
    while True:
        try:
            with target.session("listen") as session:
                session.execute("LISTEN flux_published")
                for found in _answers(session, target.schema, seen, every):
                    if problem:
                        log("The database answers again.")
                    problem = None
                    yield found
        except (psycopg.Error, TargetError) as error:
            if not seen:
                raise
            if (new := reported(error)) != problem:
                log(f"The database does not answer: {new}. What changes meanwhile is told afterwards.")
            problem = new
        time.sleep(min(every, _MOMENT))


def _answers(
    session: psycopg.Connection, schema: str, seen: dict[str, TableStatus], every: float
) -> Iterator[list[Change]]:
    announced: _Announced = {}
    silent = True  # what changed before the session began is announced no more
    while True:
        now = TableStatus.read(session, schema)
        fresh = [status for name, status in now.items() if _mark(status) != _mark(seen.get(name))]
        # A change can be seen a moment before its announcement arrives.
        early = not silent and any(status.table not in announced for status in fresh)
        if not early:
            yield [_change(schema, status, status.published_at, announced) for status in fresh if status.published_at]
            seen |= now
            announced = {}
        silent = early
        announced |= _heard(session, schema, _MOMENT if early else every)


def _heard(session: psycopg.Connection, schema: str, seconds: float) -> _Announced:
    """Wait for an announcement, and return the last of each table; those that come together are one answer."""
    heard: _Announced = {}
    for notification in session.notifies(timeout=seconds, stop_after=1):
        # Whoever may sign in may send one, of any text.
        with suppress(ValueError, TypeError, KeyError):
            told = json.loads(notification.payload)
            if told["schema"] == schema:
                heard[told["table"]] = told
    return heard


def _mark(status: TableStatus | None) -> tuple[str | None, datetime | None] | None:
    return (status.version, status.published_at) if status else None


def _change(schema: str, status: TableStatus, published_at: datetime, announced: _Announced) -> Change:
    told = announced.get(status.table, {})
    if told.get("version", status.version) != status.version:
        told = {}
    return Change(
        schema=schema,
        table=status.table,
        kind=told.get("kind", "missed"),
        version=status.version,
        sync_id=told.get("sync_id"),
        published_at=published_at,
    )


def post_changes(
    answers: Iterable[list[Change]], hook: Webhook, log: _Log, complain: _Log, policy: RetryPolicy | None = None
) -> None:
    """Post each change once, as JSON. What is not delivered is posted after a later answer, unless newer by then."""
    undelivered: dict[str, Change] = {}
    problem: str | None = None
    for found in answers:
        undelivered |= {change.table: change for change in found}
        for change in list(undelivered.values()):
            payload = asdict(change) | {"published_at": change.published_at.isoformat()}
            try:
                (policy or RetryPolicy()).spend(partial(hook.post, payload))
            except AlertError as error:
                if str(error) != problem:
                    complain(f"{change.table} was not posted: {error}")
                problem = str(error)
                if error.unreachable:
                    break
            else:
                problem = None
                del undelivered[change.table]
                log(f"{change.published_at:%Y-%m-%d %H:%M:%S}Z  {change.table}: {change.kind}")
