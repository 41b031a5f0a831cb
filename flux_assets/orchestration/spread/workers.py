"""The app of Celery's workers: Dagster's own, with our configuration and queues. `flux-assets worker` starts one."""

from __future__ import annotations

import os
import signal

from celery.signals import task_prerun
from dagster_celery.app import app

from flux_assets.orchestration.spread.steps import Steps

__all__ = ["app"]

_configuration = Steps.celery()
app.conf.update(
    **_configuration["config_source"],
    broker_url=_configuration["broker"],
    result_backend=_configuration["backend"],
    # Before processes are forked: no step has to import anything.
    imports=Steps.PRELOADED,
    # Of a worker's queues the first goes first. What Dagster declares of its own, so that both find the same.
    task_queues={
        name: {"routing_key": f"{name}.#", "queue_arguments": {"x-max-priority": 10}}
        for name in (Steps.LARGE_QUEUE, "dagster")
    },
)


def _end_at_once(sender: object, **_: object) -> None:
    """Have a worker that ends take its steps' processes along: a step goes to another worker, and has not failed."""
    if getattr(sender, "name", None) == "execute_plan":
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, lambda *_: os._exit(1))


task_prerun.connect(_end_at_once, weak=False)
