"""The executor: runs the steps of one Dagster run side by side on threads of one process.

One process, because `import dagster` costs more than most layers take to load; threads, because the work is done by
PostgreSQL and by C code that releases the interpreter. Async assets are not supported.
"""

from __future__ import annotations

import contextvars
import itertools
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from uuid import uuid4

import dagster as dg

from flux_assets.orchestration.dagster_internals import (
    ActiveExecution,
    EngineEventData,
    ExecuteRunWithPlanIterable,
    ExecutionPlan,
    InstanceConcurrencyContext,
    Interrupted,
    PlanExecutionContext,
    PlanExecutionContextManager,
    PlanOrchestrationContext,
    RetryMode,
    dagster_event_sequence_for_step,
    trigger_hook,
)
from flux_assets.postgis.liveness import Stop
from flux_assets.settings import load_settings

_POLL_SECONDS = 0.2
_Reports = queue.Queue[tuple[int, dg.DagsterEvent | None]]  # number of the start; None is its last report
_stops: dict[str, Stop] = {}


def stop_of(run_id: str) -> Stop:
    """Return the stop request that Ctrl-C, SIGTERM or Terminate in the UI makes to the steps of a run.

    Under another executor nobody makes it: there the interruption is an exception in the step.
    """
    return _stops.get(run_id) or Stop()


@dg.executor(
    name="threads",
    config_schema={
        "max_concurrent": dg.Field(
            dg.Noneable(int),
            default_value=None,
            description="Steps that run at the same time; FLUX_PARALLEL_LAYERS unless set.",
        ),
        "retries": dg.Field(
            dg.Selector({"enabled": {}, "disabled": {}}),  # type: ignore[no-untyped-call]
            default_value={"enabled": {}},
            description="Whether a step that asks for it is tried again.",
        ),
    },
)
def threads_executor(init: dg.InitExecutorContext) -> dg.Executor:
    """Run steps side by side on threads of one process; higher `dagster/priority` first."""
    retries = RetryMode.DISABLED if init.executor_config["retries"] == {"disabled": {}} else RetryMode.ENABLED
    limit = init.executor_config["max_concurrent"] or load_settings().flux_parallel_layers
    return _ThreadsExecutor(retries=retries, max_concurrent=int(str(limit)))


class _ThreadsExecutor(dg.Executor):
    """Initialise resources once, then run up to `max_concurrent` steps at a time, each on its own thread."""

    def __init__(self, *, retries: RetryMode, max_concurrent: int) -> None:
        self._retries = retries
        self._max_concurrent = max_concurrent

    @property
    def retries(self) -> RetryMode:
        return self._retries

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        yield dg.DagsterEvent.engine_event(
            plan_context,
            f"Running up to {self._max_concurrent} steps at a time on threads of process {os.getpid()}",
            EngineEventData.in_process(os.getpid(), execution_plan.step_keys_to_execute),
        )
        yield from ExecuteRunWithPlanIterable(
            execution_plan=execution_plan,
            iterator=self._iterate,
            execution_context_manager=PlanExecutionContextManager(
                job=plan_context.job,
                retry_mode=plan_context.retry_mode,
                execution_plan=execution_plan,
                run_config=plan_context.run_config,
                dagster_run=plan_context.dagster_run,
                instance=plan_context.instance,
                raise_on_error=False,
                output_capture=plan_context.output_capture,
                step_dependency_config=self.step_dependency_config,
            ),
        )

    def _iterate(self, job_context: PlanExecutionContext, execution_plan: ExecutionPlan) -> Iterator[dg.DagsterEvent]:
        with ExitStack() as stack:
            stop = _stops[job_context.run_id] = Stop()
            stack.callback(_stops.pop, job_context.run_id)
            yield _capture_output(stack, job_context, execution_plan)
            concurrency = stack.enter_context(InstanceConcurrencyContext(job_context.instance, job_context.dagster_run))
            active = stack.enter_context(
                execution_plan.start(
                    retry_mode=job_context.retry_mode,
                    max_concurrent=self._max_concurrent,
                    instance_concurrency_context=concurrency,
                    step_dependency_config=job_context.step_dependency_config,
                )
            )
            yield from _Steps(job_context, active, stop).run()


class _Steps:
    """The steps in flight of one run: starts them, hands on their events, stops them."""

    def __init__(self, job_context: PlanExecutionContext, active: ActiveExecution, stop: Stop) -> None:
        self._context = job_context
        self._active = active
        self._stop = stop
        self._reports: _Reports = queue.Queue()
        self._running: dict[int, str] = {}  # step keys by number of the start: a second try may overlap the first's end
        self._starts = itertools.count()

    def run(self) -> Iterator[dg.DagsterEvent]:
        try:
            while self._running or not (self._stop.asked or self._active.is_complete):
                if self._active.check_for_interrupts():
                    self._interrupt()
                if not self._stop.asked:
                    self._start_what_is_ready()
                    yield from self._active.concurrency_event_iterator(self._context)
                yield from self._reported()
                yield from self._active.plan_events_iterator(self._context)
        except BaseException:
            self._stop.request()
            raise
        if self._stop.asked:
            raise Interrupted

    def _start_what_is_ready(self) -> None:
        for step in self._active.get_steps_to_execute():
            step_context = self._context.for_step(step, self._active.get_known_state())
            start = next(self._starts)
            self._running[start] = step.key
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(_run_step, step_context, start, self._reports),
                name=step.key,
                daemon=True,
            ).start()

    def _reported(self) -> Iterator[dg.DagsterEvent]:
        """Yield the events that have come in, waiting briefly for the first; signals are seen between two waits."""
        try:
            start, event = self._reports.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return
        if event is not None:
            yield event
            self._active.handle_event(event)
        elif (key := self._running.pop(start)) not in self._running.values():
            self._active.verify_complete(self._context, key)

    def _interrupt(self) -> None:
        """Ask the running steps to end; asked a second time, stop waiting (sessions end with the process)."""
        if self._stop.asked:
            raise Interrupted
        self._active.mark_interrupted()
        self._stop.request()
        running = ", ".join(sorted(self._running.values()))
        self._context.log.warning(f"Interrupted; stopping {running or 'before the next step'}")


def _run_step(step_context: dg.StepExecutionContext, start: int, reports: _Reports) -> None:
    """Run one step to its end; the last report is None. Events are stored as they arise, on this thread."""
    events: list[dg.DagsterEvent] = []
    try:
        with suppress(dg.DagsterExecutionInterruptedError):  # raised after the step's failure has been reported
            for event in dagster_event_sequence_for_step(step_context):
                events.append(event)
                reports.put((start, event))
        for event in trigger_hook(step_context, events):
            reports.put((start, event))
    finally:
        reports.put((start, None))


def _capture_output(stack: ExitStack, context: PlanExecutionContext, plan: ExecutionPlan) -> dg.DagsterEvent:
    """Capture what the process prints, once for all steps: file descriptors belong to the process."""
    manager = context.instance.compute_log_manager
    log_key = manager.build_log_key_for_run(context.run_id, uuid4().hex[:8])
    captured = stack.enter_context(manager.capture_logs(log_key))
    event: dg.DagsterEvent = dg.DagsterEvent.capture_logs(context, plan.step_keys_to_execute, log_key, captured)
    return event
