"""What FLUX_EXECUTOR asks for: executor, pool and tags of a layer's step, and the configuration of Celery.

Under Celery a worker may be lost at any time, and the broker restarted: a step is acknowledged once it has ended, and
given out again where that does not come. Running it twice does no harm: the second waits for the lease of the first,
and finds its layer current.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import dagster as dg

from flux_assets.errors import SettingError
from flux_assets.orchestration.executor import threads_executor
from flux_assets.orchestration.names import Names
from flux_assets.settings import load_settings
from flux_assets.spec import StaticTable

_LARGE_ROWS = 500_000
# Processor, memory and the most of it: a load takes 200 to 350 MB whatever its rows, on top of Dagster.
_SMALL_POD, _LARGE_POD = ("250m", "512Mi", "1Gi"), ("1", "768Mi", "2Gi")
# A worker's process that dies of a step (of too little memory, say) is made up for so often.
_MOST_LOST = 3
# Then a process of a worker is forked anew, which costs nothing, and gives back what many steps or syncs have left.
_MOST_PER_PROCESS = 100
_SECONDS_BETWEEN_LOOKS = 5


class Steps:
    """How steps of layers are run, as FLUX_EXECUTOR says. What an executor needs is imported only where it is set."""

    # For workers with memory to spare; other layers wait in Dagster's own queue.
    LARGE_QUEUE: ClassVar[str] = "flux_large"
    # Imported before processes are forked.
    PRELOADED: ClassVar[tuple[str, ...]] = (
        "flux_assets.definitions",
        "flux_assets.layers.load",
        "flux_assets.sync.sync",
    )

    @classmethod
    def executor(cls, names: Names) -> dg.ExecutorDefinition:
        """Return the executor. Raises SettingError where its extra is not installed."""
        name = names.chosen.flux_executor
        if name == "threads":
            return threads_executor
        if name == "multiprocess":
            return dg.multiprocess_executor.configured(cls._multiprocess, config_schema={})
        try:
            if name == "celery":
                from dagster_celery import celery_executor

                return celery_executor.configured(lambda _: cls.celery(), config_schema={})
            from dagster_k8s import k8s_job_executor
        except ModuleNotFoundError as error:
            raise SettingError(
                f"FLUX_EXECUTOR = {name!r}, but the package {error.name} is not installed.",
                f"Run: pip install 'flux_assets[{name}]'",
            ) from None
        return k8s_job_executor

    @staticmethod
    def pool(names: Names) -> str | None:
        """Return the pool of a deployment's layers: how many load into its database at a time, from all runs together.

        None for threads: a process bounds its own, and a command that is killed would keep its slots where no daemon
        is.
        """
        return None if names.chosen.flux_executor == "threads" else names.scoped("flux_postgis")

    @classmethod
    def tags(cls, table: StaticTable, names: Names) -> dict[str, str]:
        """Return the tags of a layer's step: the largest first, after the small ones that lie behind all pictures.

        Celery's brokers know ten levels, and Redis serves them the other way round: all of ours are beyond, where steps
        stay in the order in which they were sent, which is that of the second tag.
        """
        rows = table.release_rows
        level = 200 if table.ground else 10 + rows.bit_length()
        tags = {
            "dagster/priority": str(rows + (10**9 if table.ground else 0)),
            "dagster-celery/priority": str(level),
        }
        if rows >= _LARGE_ROWS:
            tags["dagster-celery/queue"] = cls.LARGE_QUEUE
        if names.chosen.flux_executor == "k8s":
            cpu, memory, limit = _LARGE_POD if rows >= _LARGE_ROWS else _SMALL_POD
            resources = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": limit}}
            tags["dagster-k8s/config"] = json.dumps({"container_config": {"resources": resources}})
        return tags

    @staticmethod
    def sync_queue(names: Names) -> str:
        """Return the queue of a deployment's syncs: its workers have its settings, and those of others have theirs."""
        return names.scoped("flux_sync")

    @classmethod
    def tags_of_sync(cls, names: Names) -> dict[str, str]:
        """Return what has a launcher of ours give a sync to a worker (launcher.py), where FLUX_SYNC_RUNS says so."""
        on_worker = names.chosen.flux_sync_runs == "worker"
        return {"dagster-celery/queue": cls.sync_queue(names)} if on_worker else {}

    @staticmethod
    def celery() -> dict[str, Any]:
        """Return Celery's configuration, the same for executor and workers. Raises SettingError without a broker."""
        settings = load_settings()
        broker = settings.flux_celery_broker
        if broker is None:
            raise SettingError(
                "FLUX_CELERY_BROKER is not set, and FLUX_EXECUTOR=celery or FLUX_SYNC_RUNS=worker needs a broker.",
                "Set FLUX_CELERY_BROKER=redis://host:6379/0 for the workers, and where runs are started.",
            )
        return {
            "broker": broker.get_secret_value(),
            "backend": (settings.flux_celery_backend or broker).get_secret_value(),
            "config_source": {
                "task_acks_late": True,
                "task_reject_on_worker_lost": True,
                "task_retry_on_worker_lost": True,
                "task_annotations": {
                    "execute_plan": {"max_retries": _MOST_LOST, "default_retry_delay": 1},
                    # Dagster begins no run twice: a sync whose process is lost has failed, and the next tick syncs.
                    "execute_job": {"reject_on_worker_lost": False, "retry_on_worker_lost": False},
                },
                "worker_max_tasks_per_child": _MOST_PER_PROCESS,
                # Of what was given out again although it had ended, because its acknowledgement was lost.
                "worker_deduplicate_successful_tasks": True,
                "worker_prefetch_multiplier": 1,
                "worker_concurrency": settings.flux_parallel_layers,
                # SIGTERM: what has not ended by then is given to another worker.
                "worker_soft_shutdown_timeout": 5.0,
                "worker_cancel_long_running_tasks_on_connection_loss": False,
                "broker_connection_retry_on_startup": True,
                "broker_connection_max_retries": None,
                "broker_transport_options": {
                    "visibility_timeout": settings.flux_celery_lost_after.total_seconds(),
                    "unacked_restore_interval": _SECONDS_BETWEEN_LOOKS,
                    "unacked_restore_throttle": 1,
                    # Of a worker's queues the first goes first.
                    "queue_order_strategy": "priority",
                },
                "task_publish_retry_policy": {"max_retries": 100, "interval_max": 5},
                "result_backend_always_retry": True,
            },
        }

    @classmethod
    def _multiprocess(cls, _config: object) -> dict[str, object]:
        forked = {"forkserver": {"preload_modules": list(cls.PRELOADED)}}
        return {"max_concurrent": load_settings().flux_parallel_layers, "start_method": forked}
