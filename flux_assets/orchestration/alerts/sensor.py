"""The sensor that observes every minute and sends alerts. That its daemon is dead, the watchdog alone can notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from flux_assets.errors import AlertError, counted
from flux_assets.settings import load_settings
from flux_assets.tables import declarations

if TYPE_CHECKING:
    from flux_assets.alerting.delivery import Delivery

_SECONDS_BETWEEN_ROUNDS = 60


@dg.sensor(
    name="alert_sensor",
    minimum_interval_seconds=_SECONDS_BETWEEN_ROUNDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends to the webhook in FLUX_ALERT_URL what fails, and when it is over, once each. Idle without it.",
)
def alert_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Observe, send what is due, and report what was sent. It starts no run."""
    from flux_assets.alerting.webhook import Webhook
    from flux_assets.orchestration.alerts.rounds import send_alerts

    settings = load_settings()
    if settings.flux_alert_url is None:
        return dg.SkipReason("FLUX_ALERT_URL is not set, so alerts have no destination.")
    repository = context.repository_def
    keys = sorted(repository.asset_graph.asset_check_keys) if repository else []
    try:
        rounds = send_alerts(
            settings, declarations(), lambda: (context.instance, keys), Webhook(settings.flux_alert_url)
        )
    except AlertError as error:
        context.log.warning(str(error))
        return dg.SkipReason(f"No alert could be sent. {error}")
    for undelivered in filter(None, (each.undelivered for each in rounds)):
        context.log.warning(str(undelivered))
    return dg.SkipReason(" ".join(_describe(each) for each in rounds if each.incidents or each.busy) or "All is well.")


def _describe(delivery: Delivery) -> str:
    if delivery.busy:
        return "Another process is sending alerts right now."
    sent = [f"{event} #{incident.id} ({incident.kind})" for event, incident in delivery.sent]
    waiting = "" if delivery.undelivered is None else f" Not delivered: {delivery.undelivered}"
    return f"{counted(len(delivery.incidents), 'incident')}; sent: {', '.join(sent) or 'nothing new'}.{waiting}"
