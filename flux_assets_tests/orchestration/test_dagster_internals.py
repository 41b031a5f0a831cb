"""What is used of Dagster and not public: each name with its use, and what to do without it, in one list."""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from flux_assets.settings import REPOSITORY

PACKAGE = REPOSITORY / "flux_assets"
_DOORS = ("dagster_internals.py", "storage/instance.py", "spread/workers.py", "spread/launcher.py")
DOORS = [PACKAGE / "orchestration" / name for name in _DOORS]
_EXECUTOR = "Compare executor.py with dagster's own executors (in_process.py, multiprocess.py), which use the same."
_TYPE = "It is a type annotation only: take what the public function that it comes from returns now."

_EVALUATION = "dagster._core.definitions.asset_checks.asset_check_evaluation"

# (module, name): what it is used for; what to do when it is gone.
INTERNALS = {
    (
        "dagster._core.definitions.asset_checks.asset_check_evaluation",
        "AssetCheckEvaluationTargetMaterializationData",
    ): (
        "ties the checks of a version that was rolled back to the materialisation that reports it",
        "See how AssetCheckEvaluation names the materialisation that it is about; without it the UI shows them as old.",
    ),
    ("dagster._core.definitions.data_version", "DATA_VERSION_TAG"): (
        "names the tag of a materialisation that holds its version",
        "See which tags of a materialisation the UI shows.",
    ),
    ("dagster._core.definitions.data_version", "get_input_data_version_tag"): (
        "names the tag of a materialisation that holds the version of what it was made of",
        "As for DATA_VERSION_TAG.",
    ),
    ("dagster._core.definitions.reconstruct", "ReconstructableRepository"): (
        "makes a job of the definitions for some tables and some checks, which flux-assets load and sync run",
        "dg.build_reconstructable_job will do if dg.execute_job can select checks by now.",
    ),
    ("dagster._core.errors", "DagsterUserCodeProcessError"): (
        "makes Dagster show a failed step as one sentence",
        "See what serializable_error_info_from_exc_info shows without frames; the base of LayerFailure is the place.",
    ),
    ("dagster._core.events", "EngineEventData"): ("says in the run's log which process runs which steps", _EXECUTOR),
    ("dagster._core.execution.api", "ExecuteRunWithPlanIterable"): ("runs the steps of a plan in a context", _EXECUTOR),
    ("dagster._core.execution.context.system", "PlanExecutionContext"): ("is what steps are run with", _EXECUTOR),
    ("dagster._core.execution.context.system", "PlanOrchestrationContext"): ("is what an executor is given", _EXECUTOR),
    ("dagster._core.execution.context_creation_job", "PlanExecutionContextManager"): (
        "initialises the resources of a run, once for all steps",
        _EXECUTOR,
    ),
    ("dagster._core.execution.plan.active", "ActiveExecution"): ("knows which steps are ready or done", _EXECUTOR),
    ("dagster._core.execution.plan.execute_plan", "_trigger_hook"): ("runs the hooks of a finished step", _EXECUTOR),
    ("dagster._core.execution.plan.execute_plan", "dagster_event_sequence_for_step"): ("runs a step", _EXECUTOR),
    ("dagster._core.execution.plan.instance_concurrency_context", "InstanceConcurrencyContext"): (
        "makes steps wait for the slots of a concurrency pool",
        _EXECUTOR,
    ),
    ("dagster._core.execution.plan.plan", "ExecutionPlan"): ("is the plan that an executor is given", _EXECUTOR),
    ("dagster._core.execution.retries", "RetryMode"): (
        "says whether steps are tried again",
        _EXECUTOR,
    ),
    ("dagster._core.storage.asset_check_execution_record", "AssetCheckExecutionRecord"): (
        "is what the event log returns of a check",
        _TYPE,
    ),
    ("dagster._core.storage.asset_check_execution_record", "AssetCheckExecutionRecordStatus"): (
        "tells a check that was evaluated from one that was only planned",
        "See what get_asset_check_execution_history filters by now.",
    ),
    ("dagster._core.storage.event_log.schema", "AssetCheckExecutionsTable"): (
        "stores the planned checks of a run in one statement",
        "Compare EventLog with store_event_batch of dagster_postgres: it may batch planned checks by itself by now.",
    ),
    ("dagster._core.storage.event_log.schema", "SqlEventLogStorageTable"): (
        "stores the planned checks of a run in one statement",
        "As for AssetCheckExecutionsTable.",
    ),
    ("dagster._core.storage.local_compute_log_manager", "LocalComputeLogManager"): (
        "keeps what steps print under FLUX_HOME",
        "See which class the reference of dagster.yaml names for compute_logs now.",
    ),
    ("dagster._core.storage.root", "LocalArtifactStorage"): (
        "keeps files of runs under FLUX_HOME",
        "See which class the reference of dagster.yaml names for local_artifact_storage now.",
    ),
    ("dagster._serdes", "ConfigurableClassData"): (
        "is what Dagster hands to the classes that dagster.yaml names",
        _TYPE,
    ),
    ("dagster._utils.interrupts", "capture_interrupts"): (
        "holds Ctrl-C back until a step may end, from the beginning of a run on",
        "See what dagster's own `dagster job execute` does with an interrupt before the first step.",
    ),
    ("dagster_celery.app", "app"): (
        "is the app of Celery that dagster-celery's workers run, with its tasks",
        "See what `dagster-celery worker start -A` is given now.",
    ),
    ("dagster_celery.launcher", "CeleryRunLauncher"): (
        "hands a sync to a worker of Celery, as Dagster's own launcher of all runs",
        "See what dagster-celery's documentation names for run_launcher now.",
    ),
    ("dagster_postgres.utils", "DagsterPostgresException"): (
        "wraps the reason why Dagster's storage does not answer, which is shown alone",
        "See what dagster_postgres raises when the server is down.",
    ),
    ("dagster_shared.error", "SerializableErrorInfo"): ("holds that sentence", "As for DagsterUserCodeProcessError."),
}


@pytest.mark.parametrize(("module", "name"), INTERNALS, ids=[name for _, name in INTERNALS])
def test_dagster_still_has_it(module, name):
    use, remedy = INTERNALS[module, name]
    try:
        found = hasattr(importlib.import_module(module), name)
    except ImportError:
        found = False
    assert found, f"Dagster {dg.__version__} has no {module}.{name} any more, which {use}. {remedy}"


def test_the_list_is_what_the_doors_import():
    assert {each for door in DOORS for each in _private_imports(door)} == INTERNALS.keys()


def test_nothing_else_knows_dagsters_private_parts():
    """import-linter sees `dagster` and nothing below it."""
    others = [path for path in PACKAGE.rglob("*.py") if path not in DOORS]
    found = {path.name: [".".join(each) for each in _private_imports(path)] for path in others}
    assert not {name: imports for name, imports in found.items() if imports}, "take it from dagster_internals.py"


def test_what_the_door_imports_is_used():
    """The linter cannot tell: for it, a module that only passes names on uses none of them."""
    door = PACKAGE / "orchestration" / "dagster_internals.py"
    imports = [node for node in ast.parse(door.read_text()).body if isinstance(node, ast.ImportFrom)]
    passed_on = {alias.asname or alias.name for node in imports for alias in node.names} - {"annotations"}
    words = Counter(re.findall(r"\w+", "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))))
    assert not [name for name in passed_on if words[name] < 2]


def test_names_that_are_stored_are_dagsters_own():
    """Tags and the name of a job are in everybody's history of events."""
    from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
    from dagster._core.storage.dagster_run import FINISHED_STATUSES

    from flux_assets.orchestration import automation, dagster_internals
    from flux_assets.orchestration.names import Names

    key = dg.AssetKey(["release", "oaks"])
    assert dagster_internals.DATA_VERSION_TAG == "dagster/data_version"
    assert dagster_internals.get_input_data_version_tag(key) == "dagster/input_data_version/release/oaks"
    assert Names.AD_HOC_JOB == IMPLICIT_ASSET_JOB_NAME
    others = set(dg.DagsterRunStatus) - set(automation._UNFINISHED)
    assert others == {*FINISHED_STATUSES, dg.DagsterRunStatus.MANAGED}


def _private_imports(path: Path) -> Iterator[tuple[str, str]]:
    """What a module imports from below `dagster` and its libraries, wherever in it; their top levels are public."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and _is_private(node.module):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if _is_private(alias.name))


def _is_private(module: str) -> bool:
    library, _, below = module.partition(".")
    return library == "dagster_shared" or (library.startswith("dagster") and bool(below))
