"""Alerts without a daemon, for cron and for a terminal; nothing is started to find out what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import psycopg
from click import ClickException

from flux_assets.alerting import store
from flux_assets.alerting.delivery import Delivery
from flux_assets.alerting.incident import Incident, decide
from flux_assets.alerting.muting import Mutes, mutes
from flux_assets.alerting.unreachable import IncidentFile
from flux_assets.alerting.webhook import Webhook
from flux_assets.errors import EmbeddedError, FluxError, SettingError
from flux_assets.orchestration.alerts.round import Dagster, make_watch, observe_alerts, send_alerts, target_fault
from flux_assets.orchestration.layers.history import dagster_folder
from flux_assets.postgis.connect import Target
from flux_assets.settings import Settings
from flux_assets.spec import DynamicTable, StaticTable
from flux_assets.wiring.target import postgis_target, require_running_cluster

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
