"""Run launchers that hand a sync to a worker that has everything imported, and start every other run as they would.

Dagster has one launcher for all runs. Here a run's tag `dagster-celery/queue` chooses: with FLUX_SYNC_RUNS=worker the
sync has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg

from flux_assets.doctor.finding import Finding, Group
from flux_assets.errors import SettingError, reported
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.spread.steps import Steps
from flux_assets.settings import load_settings

if TYPE_CHECKING:
    from dagster_celery.launcher import CeleryRunLauncher

    _Launcher = dg.DefaultRunLauncher
else:
    _Launcher = object
_WORKERS = Group("Workers")
_SECONDS_TO_ANSWER = 3
_QUEUE, _TASK = "dagster-celery/queue", "dagster-celery/task_id"


class _ToWorkers(_Launcher):
    """Before another launcher: takes the runs that have a queue. Celery is imported with the first of them."""

    def launch_run(self, context: Any) -> None:
        if _QUEUE not in context.dagster_run.tags:
            super().launch_run(context)
            return
        from celery.exceptions import OperationalError

        try:
            self._celery.launch_run(context)
        except (OperationalError, RuntimeError) as error:  # the second of the store of results, which is Redis too
            raise SettingError(
                f"The broker that FLUX_CELERY_BROKER names cannot be reached: {reported(error.__cause__ or error)}",
                "Start it, or correct the setting; the next tick tries again.",
            ) from error

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or _TASK not in run.tags:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        if run.is_finished:
            return False
        # Otherwise its end would count as a failure.
        self._instance.report_run_canceling(run)
        return self._celery.terminate(run_id)

    def check_run_worker_health(self, run: dg.DagsterRun) -> Any:
        if _TASK in run.tags:
            return self._celery.check_run_worker_health(run)
        return super().check_run_worker_health(run)

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Say of a run that did not begin where it waits, and for what."""
        if (queue := run.tags.get(_QUEUE)) is None:
            return super().get_run_worker_debug_info(run, include_container_logs)
        return (
            f"It was put into the queue {queue}. Start `flux-assets worker -Q {queue}`, or see in its log why it does"
            " not take from there; `flux-assets doctor` says which workers answer."
        )

    @cached_property
    def _celery(self) -> CeleryRunLauncher:
        from dagster_celery.launcher import CeleryRunLauncher

        configured = Steps.celery()
        # A daemon that waits for Redis starts no runs of others meanwhile. The next tick tries again.
        policy = {"max_retries": 2, "interval_start": 0, "interval_step": 1, "interval_max": 1}
        configured["config_source"] |= {
            "task_publish_retry_policy": policy,
            "result_backend_transport_options": {"retry_policy": policy},
        }
        launcher = CeleryRunLauncher(default_queue="flux_sync", **configured)
        launcher.register_instance(self._instance)
        return launcher


class SyncLauncher(_ToWorkers, dg.DefaultRunLauncher):
    """Starts runs as processes of the code server, and a sync on a worker where it is to run there."""

    @staticmethod
    def findings() -> Iterator[Finding]:
        """Yield, for doctor, whether a worker takes from each queue that the settings fill."""
        settings = load_settings()
        queues = [Steps.sync_queue(Names.configured())] if settings.flux_sync_runs == "worker" else []
        queues += ["dagster", Steps.LARGE_QUEUE] if settings.flux_executor == "celery" else []
        try:
            from celery.exceptions import OperationalError

            from flux_assets.orchestration.spread.workers import app
        except ModuleNotFoundError as error:
            yield _WORKERS.failed(
                f"The package {error.name} is not installed", "Run: pip install 'flux_assets[celery]'"
            )
            return
        except SettingError as error:
            yield _WORKERS.error(error)
            return
        try:
            answers = app.control.inspect(timeout=_SECONDS_TO_ANSWER).active_queues() or {}
        except OperationalError as error:
            yield _WORKERS.failed(f"The broker cannot be reached: {error}", "Correct FLUX_CELERY_BROKER, or start it.")
            return
        for queue in queues:
            takers = sorted(name for name, taken in answers.items() if queue in {each["name"] for each in taken})
            if takers:
                yield _WORKERS.ok(f"Queue {queue} has {len(takers)} worker(s)", ", ".join(takers))
            else:
                remedy = f"Start `flux-assets worker -Q {queue}`; until then what is put there waits."
                yield _WORKERS.failed(f"No worker takes from the queue {queue}", remedy)
