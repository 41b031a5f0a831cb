"""The app of Celery's workers: Dagster's own, with our configuration and queues. `flux-assets worker` starts one."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

from celery.signals import task_postrun, task_prerun
from dagster_celery.app import app

from flux_assets.orchestration.dagster_internals import capture_interrupts
from flux_assets.orchestration.names import Names
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
        for name in (Steps.sync_queue(Names.configured()), Steps.LARGE_QUEUE, "dagster")
    },
)
_run = ExitStack()


def _mind_signals(sender: object, **_: object) -> None:
    """Have a worker that ends take its steps' processes along, and a run be interrupted as everywhere else.

    A step goes to another worker, and has not failed. A run is repeated by interrupted_sensor.
    """
    name = getattr(sender, "name", None)
    if name == "execute_plan":
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, lambda *_: os._exit(1))
    elif name == "execute_job":
        _run.enter_context(capture_interrupts())
        # What Celery sends instead, of which Dagster knows nothing.
        signal.signal(signal.SIGQUIT, lambda *_: signal.raise_signal(signal.SIGTERM))


def _forget_run(**_: object) -> None:
    """Have the process end by signals again: Dagster leaves SIGTERM as it found SIGINT, which Celery ignores."""
    _run.close()
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


task_prerun.connect(_mind_signals, weak=False)
task_postrun.connect(_forget_run, weak=False)
