"""A round of alerts, by the sensor or by the watchdog: what PostgreSQL and Dagster observe, decided and sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import dagster as dg
import psycopg
from click import ClickException

from flux_assets.alerting.cause import secret_remover
from flux_assets.alerting.delivery import Delivery, Letterhead, run_round
from flux_assets.alerting.incident import Event, Incident, Kind, Observation, Observed, Policy, decide
from flux_assets.alerting.store import AlertFile, AlertTables, Mutes
from flux_assets.alerting.watching import Watch
from flux_assets.errors import AlertError, EmbeddedError, FluxError, SettingError, counted
from flux_assets.orchestration.alerts import events
from flux_assets.orchestration.commands import dagster_instance
from flux_assets.orchestration.dagster_internals import ReconstructableRepository
from flux_assets.orchestration.names import Names
from flux_assets.postgis.session import Target
from flux_assets.settings import Settings, load_settings
from flux_assets.tables import catalogue
from flux_assets.wiring.target import embedded_cluster, postgis_target

_Dagster = Callable[[], tuple[dg.DagsterInstance, Sequence[dg.AssetCheckKey]]]
_SECONDS_BETWEEN_ROUNDS = 60
# That a table is late, PostgreSQL knows as well.
_OF_DAGSTER: frozenset[Kind] = frozenset({"late", "check", "run", "schedule", "daemon", "dagster"})


def alert_sensor(names: Names) -> dg.SensorDefinition:
    """Return the sensor that sends what fails of a deployment."""

    @dg.sensor(
        name=names.named("alert_sensor"),
        minimum_interval_seconds=_SECONDS_BETWEEN_ROUNDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends to the webhook in FLUX_ALERT_URL what fails, and when it is over, once each. Idle without"
        " it.",
    )
    def alert_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        """Observe, send what is due, report what was sent. That its daemon is dead, only the watchdog can notice."""
        settings = names.settings()
        if settings.flux_alert_url is None:
            return dg.SkipReason("FLUX_ALERT_URL is not set, so alerts have no destination.")
        repository = context.repository_def
        keys = sorted(repository.asset_graph.asset_check_keys) if repository else []
        try:
            rounds = _send(settings, names, lambda: (context.instance, keys), postgis_target)
        except AlertError as error:
            context.log.warning(str(error))
            return dg.SkipReason(f"No alert could be sent. {error}")
        for undelivered in filter(None, (each.undelivered for each in rounds)):
            context.log.warning(str(undelivered))
        return dg.SkipReason(
            " ".join(_describe(each) for each in rounds if each.incidents or each.busy) or "All is well."
        )

    return alert_sensor


def _describe(delivery: Delivery) -> str:
    if delivery.busy:
        return "Another process is sending alerts right now."
    sent = [f"{event} #{incident.id} ({incident.kind})" for event, incident in delivery.sent]
    waiting = "" if delivery.undelivered is None else f" Not delivered: {delivery.undelivered}"
    return f"{counted(len(delivery.incidents), 'incident')}; sent: {', '.join(sent) or 'nothing new'}.{waiting}"


def run_watchdog(*, send: bool) -> tuple[list[Delivery], list[tuple[Incident, bool]]]:
    """Return the rounds, where it is to `send`, and what is wrong, each with whether it is muted, worst first.

    It needs no daemon, and starts nothing to find out. Neither it nor the sensor repeats what the other has sent.
    """
    settings, names = load_settings(), Names.configured()
    with _dagster_of(settings) as dagster:
        rounds = _send(settings, names, dagster, _running_target) if send else []
        return rounds, _problems(settings, names, dagster)


def _send(settings: Settings, names: Names, dagster: _Dagster, find: Callable[[Settings], Target]) -> list[Delivery]:
    """Run a round about PostgreSQL itself, and one about everything else when it answers; `find` finds it.

    Raises SettingError without an address, and AlertError when it cannot be recorded what was sent.
    """
    from flux_assets.alerting.webhook import Webhook

    if settings.flux_alert_url is None:
        raise SettingError(
            "FLUX_ALERT_URL is not set, so alerts have no destination.", "Set it to a webhook's address."
        )
    hook, form = Webhook(settings.flux_alert_url), settings.flux_alert_format
    letterhead = Letterhead(
        utility=names.utility, schema=settings.flux_postgres_schema, ui_url=settings.flux_ui_url, form=form
    )

    def send(event: Event, incident: Incident) -> None:
        hook.post(letterhead.payload(event, incident, datetime.now(UTC)))

    watch, file = _watch(settings), AlertFile(settings.flux_home)
    fault, rest = None, []
    try:
        with find(settings).session("alerts") as session:
            store = AlertTables(session, watch.schema)
            store.create()
            file.note_mutes(store.mutes())
            rest = [run_round(store, _observed(session, watch, names, dagster), watch.policy, send)]
    except AlertError:
        raise
    except (FluxError, psycopg.Error) as error:
        fault = error
    return [run_round(file, _of_target(fault, watch), watch.policy, send), *rest]


def _problems(settings: Settings, names: Names, dagster: _Dagster) -> list[tuple[Incident, bool]]:
    """Return what is wrong, and whether it is muted. Nothing is changed."""
    watch, file = _watch(settings), AlertFile(settings.flux_home)
    try:
        with _running_target(settings).session("watchdog") as session:
            store = AlertTables(session, watch.schema)
            found = decide([], _observed(session, watch, names, dagster))
            muted = store.mutes() if store.exist else Mutes()
    except (FluxError, psycopg.Error) as error:
        found, muted = decide(file.unclosed(), _of_target(error, watch)), file.mutes()
    listed = [(incident, muted.cover(incident.failing)) for incident in found if incident.resolved_at is None]
    return sorted(listed, key=lambda problem: (problem[1], problem[0].since))


def _watch(settings: Settings) -> Watch:
    policy, clean = Policy(after=settings.flux_alert_after, remind=settings.flux_alert_remind), secret_remover(settings)
    return Watch(schema=settings.flux_postgres_schema, tables=catalogue(settings).tables, policy=policy, clean=clean)


def _observed(session: psycopg.Connection, watch: Watch, names: Names, dagster: _Dagster) -> Observed:
    """Return everything that PostgreSQL and Dagster know."""
    found, checked = watch.observed(session)
    try:
        more = list(events.observed(dagster(), names, partial(watch.failed_on, session), checked, watch, found.now))
    except Exception as error:  # noqa: BLE001 - Dagster's storage fails with errors of several libraries
        words = watch.cause_of(str(error) or type(error).__name__)
        remedy = words.remedy or "`flux-assets doctor` tests Dagster's storage."
        fault = Observation(kind="dagster", cause="dagster", problem=words.problem, remedy=remedy, since=found.now)
        return replace(found, wrong=[*found.wrong, fault])
    return replace(found, wrong=[*found.wrong, *more], kinds={*found.kinds, *_OF_DAGSTER})


def _of_target(fault: FluxError | psycopg.Error | None, watch: Watch) -> Observed:
    """Return whether PostgreSQL is unavailable; sent when it lasts as long as failing syncs may."""
    now = datetime.now(UTC)
    if fault is None:
        return Observed([], {"target"}, now)
    words, due = watch.cause_of(str(fault)), now + watch.policy.patience
    away = Observation(
        kind="target", cause="target", problem=words.problem, remedy=words.remedy, since=now, not_before=due
    )
    return Observed([away], {"target"}, now)


def _running_target(settings: Settings) -> Target:
    """Return the database of the tables; the embedded one is not started for this."""
    if not settings.target_is_set and settings.flux_profile == "embedded":
        embedded_cluster(settings).require_running()
    return postgis_target(settings)


@contextmanager
def _dagster_of(settings: Settings) -> Iterator[_Dagster]:
    """Yield what opens Dagster's instance and loads the definitions when it is called; closed with the block."""
    with ExitStack() as opened:

        def found() -> tuple[dg.DagsterInstance, Sequence[dg.AssetCheckKey]]:
            if settings.dagster_postgres_url is None and settings.flux_profile == "embedded":
                embedded_cluster(settings).require_running()
            try:
                instance = opened.enter_context(dagster_instance())
            except ClickException as error:  # how our storage class says a sentence and a remedy
                raise EmbeddedError(error.message) from error
            whole = ReconstructableRepository.for_module("flux_assets.definitions", fn_name="defs").get_definition()
            return instance, sorted(whole.asset_graph.asset_check_keys)

        yield found
