"""The door to what Dagster does not make public; storage/instance.py, spread/workers.py and launcher.py are the others.

flux_assets_tests/orchestration/test_dagster_internals.py lists each name with its use, and what to do when a newer
Dagster lacks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.definitions.data_version import DATA_VERSION_TAG, get_input_data_version_tag
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.events import EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.execute_plan import _trigger_hook as trigger_hook
from dagster._core.execution.plan.execute_plan import dagster_event_sequence_for_step
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._utils.interrupts import capture_interrupts
from dagster_shared.error import SerializableErrorInfo

from flux_assets.errors import FluxError

_FINISHED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}


class _SentenceError(DagsterUserCodeProcessError):
    """An error that Dagster shows as one sentence; of others it shows the frames of its own code first."""

    def __init__(self, sentence: str, shown_as: str, **arguments: object) -> None:
        shown = SerializableErrorInfo(message=f"{sentence}\n", stack=[], cls_name=shown_as)
        super().__init__(user_code_process_error_infos=[shown], **arguments)  # type: ignore[no-untyped-call]


class Interrupted(_SentenceError, dg.DagsterExecutionInterruptedError):  # noqa: N818 - as Dagster's own
    """The end of a run that was interrupted."""

    def __init__(self) -> None:
        sentence = "Interrupted. Published data is intact; unpublished work was discarded. Run it again."
        super().__init__(sentence, type(self).__name__)


class LayerFailure(_SentenceError, dg.Failure):  # noqa: N818 - Dagster's own word
    """A failed step shown as the sentence and remedy of its error."""

    def __init__(self, error: FluxError) -> None:
        super().__init__(str(error), type(error).__name__, description=str(error), allow_retries=False)

    @classmethod
    @contextmanager
    def translated(cls) -> Iterator[None]:
        """Turn an error of ours in the block into the failure of its step."""
        try:
            yield
        except FluxError as error:
            raise cls(error) from None


def finished_evaluations(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> Sequence[AssetCheckExecutionRecord]:
    """Return the newest finished evaluation of a check, or nothing."""
    return instance.event_log_storage.get_asset_check_execution_history(key, limit=1, status=_FINISHED)
