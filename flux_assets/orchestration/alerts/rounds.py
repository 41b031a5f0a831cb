"""A round of alerts, by the sensor or by the watchdog: what PostgreSQL and Dagster observe, decided and sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import psycopg
from click import ClickException

from flux_assets.alerting import store, watching
from flux_assets.alerting.cause import cause_of, secret_remover
from flux_assets.alerting.delivery import Delivery, Event, Send, run_round
from flux_assets.alerting.incident import Incident, Kind, Observation, Policy, decide
from flux_assets.alerting.message import Letterhead, payload
from flux_assets.alerting.store import IncidentFile, IncidentTable, Mutes, make_ready, mutes
from flux_assets.alerting.watching import Watch
from flux_assets.alerting.webhook import Webhook
from flux_assets.errors import AlertError, EmbeddedError, FluxError, SettingError
from flux_assets.ledger import status as overview
from flux_assets.orchestration.alerts import events
from flux_assets.orchestration.layer_history import dagster_folder
from flux_assets.postgis.session import Target
from flux_assets.settings import Settings
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.wiring.target import postgis_target, require_running_cluster

Dagster = Callable[[], tuple[dg.DagsterInstance, Sequence[dg.AssetCheckKey]]]


@dataclass(frozen=True)
class _Observed:
    """What is wrong now, of the kinds that could be observed."""

    observed: list[Observation]
    watched: frozenset[Kind]
    now: datetime


def make_watch(settings: Settings, tables: Sequence[StaticTable | DynamicTable]) -> Watch:
    """Return what to watch and how patiently, by the settings."""
    policy = Policy(after=settings.flux_alert_after, remind=settings.flux_alert_remind)
    return Watch(schema=settings.flux_postgres_schema, tables=tables, policy=policy, clean=secret_remover(settings))


def observe_alerts(session: psycopg.Connection, watch: Watch, dagster: Dagster) -> _Observed:
    """Return everything that PostgreSQL and Dagster know. `dagster` finds the instance and the checks, or raises."""
    now, statuses = watching.server_time(session), overview.statuses(session, watch.schema)
    observed = list(watching.observed(session, statuses, watch, now))
    checked = {name: status.checked_at for name, status in statuses.items() if status.checked_at}
    try:
        observed += _of_dagster(session, watch, dagster, checked, now)
    except Exception as error:  # noqa: BLE001 - Dagster's storage fails with errors of several libraries
        observed.append(_dagster_fault(error, watch, now))
        return _Observed(observed, watching.WATCHED - {"late"}, now)
    return _Observed(observed, watching.WATCHED | events.WATCHED, now)


def send_alerts(
    settings: Settings,
    tables: Sequence[StaticTable | DynamicTable],
    dagster: Dagster,
    hook: Webhook,
    find: Callable[[Settings], Target] = postgis_target,
) -> list[Delivery]:
    """Run a round about PostgreSQL itself, and one about everything else when it answers; `find` finds it.

    Raises AlertError, and nothing else, when it cannot be recorded what was sent.
    """
    watch, file = make_watch(settings, tables), IncidentFile(settings.flux_home)
    send = _sending(hook, settings)
    try:
        with find(settings).session("alerts") as session:
            make_ready(session, watch.schema)
            file.note_mutes(mutes(session, watch.schema))
            seen = observe_alerts(session, watch, dagster)
            kept = IncidentTable(session, watch.schema)
            rest = run_round(
                kept, seen.observed, seen.watched, lambda: mutes(session, watch.schema), watch.policy, send, seen.now
            )
    except AlertError:
        raise
    except (FluxError, psycopg.Error) as error:
        return [_of_target(error, file, watch, send)]
    return [_of_target(None, file, watch, send), rest]


def target_fault(error: FluxError | psycopg.Error, watch: Watch, now: datetime) -> Observation:
    """Return that PostgreSQL is unavailable; sent when it lasts as long as failing syncs may."""
    words = cause_of(watch.clean(str(error)), watch.names)
    return Observation(
        kind="target",
        cause="target",
        problem=words.problem,
        remedy=words.remedy,
        since=now,
        not_before=now + watch.policy.patience,
    )


def _dagster_fault(error: Exception, watch: Watch, now: datetime) -> Observation:
    """Return that Dagster's storage, or our definitions, are unavailable."""
    words = cause_of(watch.clean(str(error) or type(error).__name__), watch.names)
    return Observation(
        kind="dagster",
        cause="dagster",
        problem=words.problem,
        since=now,
        remedy=words.remedy or "`flux-assets doctor` tests Dagster's storage.",
    )


def _of_target(away: FluxError | psycopg.Error | None, file: IncidentFile, watch: Watch, send: Send) -> Delivery:
    """Run a round on the file: that PostgreSQL is unavailable, or that it is back."""
    now = datetime.now(UTC)
    observed = [target_fault(away, watch, now)] if away else []
    return run_round(file, observed, {"target"}, file.mutes, watch.policy, send, now)


def _sending(hook: Webhook, settings: Settings) -> Send:
    letterhead = Letterhead(schema=settings.flux_postgres_schema, ui_url=settings.flux_ui_url)

    def send(event: Event, incident: Incident) -> None:
        hook.post(payload(event, incident, letterhead, settings.flux_alert_format, datetime.now(UTC)))

    return send


def _of_dagster(
    session: psycopg.Connection, watch: Watch, dagster: Dagster, checked: Mapping[str, datetime], now: datetime
) -> list[Observation]:
    instance, keys = dagster()
    checks = events.failing_checks(instance, keys)
    runs = events.failed_runs(instance, now)
    run_ids = {record.run_id for record in checks} | {failed.newest.run_id for failed in runs}
    known = events.LedgerState(failed=frozenset(watching.in_ledger(session, watch.schema, run_ids)), succeeded=checked)
    return list(events.observed(instance, checks, runs, known, watch, now))


Definitions = dg.Definitions


@dataclass(frozen=True)
class Problem:
    """Something that is wrong now, and whether it is muted."""

    incident: Incident
    muted: bool


def problems(settings: Settings, tables: Sequence[StaticTable | DynamicTable], dagster: Dagster) -> list[Problem]:
    """Return what is wrong, worst first. Nothing is changed, and nothing is started to find out."""
    watch = make_watch(settings, tables)
    try:
        with _running_target(settings).session("watchdog") as session:
            store.hurry(session)
            seen = observe_alerts(session, watch, dagster)
            muted = mutes(session, watch.schema) if store.is_ready(session) else Mutes()
    except (FluxError, psycopg.Error) as error:
        now, file = datetime.now(UTC), IncidentFile(settings.flux_home)
        away = decide(file.unclosed(), [target_fault(error, watch, now)], {"target"}, now)
        return [Problem(incident, muted=file.mutes().cover(())) for incident in away if not incident.resolved_at]
    found = decide([], seen.observed, seen.watched, seen.now)
    listed = [Problem(incident, muted=muted.cover(incident.failing)) for incident in found]
    return sorted(listed, key=lambda problem: (problem.muted, problem.incident.since))


def send(settings: Settings, tables: Sequence[StaticTable | DynamicTable], dagster: Dagster) -> list[Delivery]:
    """Send what the sensor would send; neither repeats what the other has sent."""
    if settings.flux_alert_url is None:
        raise SettingError(
            "FLUX_ALERT_URL is not set, so alerts have no destination.", "Set it to a webhook's address."
        )
    return send_alerts(settings, tables, dagster, Webhook(settings.flux_alert_url), _running_target)


def _running_target(settings: Settings) -> Target:
    """Return the database of the tables; the embedded one is not started for this."""
    if not settings.target_is_set and settings.flux_profile == "embedded":
        require_running_cluster(settings)
    return postgis_target(settings)


@contextmanager
def dagster_of(settings: Settings, definitions: Callable[[], Definitions]) -> Iterator[Dagster]:
    """Yield what opens Dagster's instance and loads the definitions when it is called; closed with the block."""
    with ExitStack() as opened:

        def found() -> tuple[dg.DagsterInstance, Sequence[dg.AssetCheckKey]]:
            if settings.dagster_postgres_url is None and settings.flux_profile == "embedded":
                require_running_cluster(settings)
            try:
                instance = opened.enter_context(dg.DagsterInstance.from_config(str(dagster_folder())))
            except ClickException as error:  # how our storage class says a sentence and a remedy
                raise EmbeddedError(error.message) from error
            return instance, sorted(definitions().resolve_asset_graph().asset_check_keys)

        yield found
