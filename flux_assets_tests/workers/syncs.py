"""Syncs of a deployment on workers, launched as Dagster's daemon does; the bench measures them too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import psutil

from flux_assets.definitions import defs
from flux_assets.orchestration.dagster_internals import ReconstructableRepository
from flux_assets.orchestration.names import Names
from flux_assets.orchestration.spread.steps import Steps
from flux_assets_tests.workers.site import Site, Worker, wait_until

SUCCESS = dg.DagsterRunStatus.SUCCESS


@dataclass
class Syncs:
    """Ticks of a deployment whose syncs run on workers."""

    site: Site
    instance: dg.DagsterInstance

    def worker(self, name: str = "warm", *options: str, point: str = "") -> Worker:
        queue = ("-Q", Steps.sync_queue(Names()), "-c", "1")
        worker = self.site.worker(name, *queue, *options, point=point, flux_home=self.site.environment["FLUX_HOME"])
        worker.wait_until_ready()
        return worker

    def tick(self) -> str:
        """Launch a run as the daemon does."""
        repository = ReconstructableRepository.for_module("flux_assets.definitions", fn_name="defs")
        job = repository.get_reconstructable_job(Names.SYNC_JOB)
        run = self.instance.create_run_for_job(
            job.get_definition(), tags=Steps.tags_of_sync(Names()), job_code_origin=job.get_python_origin()
        )
        return self.instance.launch_run(run.run_id, workspace=None).run_id

    def end(self, run_id: str, status: dg.DagsterRunStatus = SUCCESS) -> dg.DagsterRun:
        """Wait until it has ended, which must be so."""
        wait_until(lambda: self.instance.get_run_by_id(run_id).is_finished, "the end of the run")
        run = self.instance.get_run_by_id(run_id)
        assert run.status == status, "\n".join(self.messages(run_id))
        return run

    def schedule(self) -> dg.RunRequest | dg.SkipReason:
        """What the schedule says now."""
        repository, now = defs.get_repository_def(), datetime.now(UTC)
        context = dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=now, repository_def=repository
        )
        return defs.resolve_schedule_def(Names.SYNC_SCHEDULE)(context)

    def messages(self, run_id: str) -> list[str]:
        return [str(entry.user_message or entry.dagster_event.message) for entry in self.instance.all_logs(run_id)]

    def process(self, run_id: str) -> str:
        """The process in which it ran."""
        return next(message for message in self.messages(run_id) if message.startswith("Started process for run"))

    def cpu_seconds(self) -> float:
        """What the workers have used so far."""
        found = [psutil.Process(worker.process.pid) for worker in self.site.workers]
        return sum(sum(each.cpu_times()[:2]) for one in found for each in (one, *one.children()))
