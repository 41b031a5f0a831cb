"""Which failed runs are repeated; that they are, by a real daemon, is in test_deployment.py."""

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from flux_assets.definitions import defs

SENSOR = defs.get_repository_def().get_sensor_def("interrupted_sensor")
INTERRUPTED = {"dagster/failure_reason": "UNEXPECTED_TERMINATION"}
CONFIG = {"ops": {"substations": {"config": {"force": True}}}}


def failed(instance: dg.DagsterInstance, tags: dict[str, str], **run: object) -> str:
    status = dg.DagsterRunStatus.FAILURE
    return create_run_for_test(instance, tags=tags, status=status, run_config=CONFIG, **run).run_id


def asked(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    context = dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def())
    return list(SENSOR.evaluate_tick(context).run_requests)


def test_an_interrupted_load_is_asked_for_as_it_was(instance):
    selection = frozenset({dg.AssetKey("substations")})
    run_id = failed(instance, INTERRUPTED, job_name="load_static_layers", asset_selection=selection)
    [request] = asked(instance)
    assert (request.run_key, request.job_name, request.run_config) == (run_id, "load_static_layers", CONFIG)
    assert request.asset_selection == [dg.AssetKey("substations")]


def test_it_is_repeated_twice_at_most(instance):
    failed(instance, INTERRUPTED | {"flux/repeats": "1"}, job_name="sync_all_dynamic")
    [request] = asked(instance)
    assert request.tags["flux/repeats"] == "2"
    assert request.asset_selection is None
    failed(instance, INTERRUPTED | {"flux/repeats": "2"}, job_name="sync_all_dynamic")
    assert len(asked(instance)) == 1


@pytest.mark.parametrize("reason", ["STEP_FAILURE", "RUN_EXCEPTION", None])
def test_what_failed_by_itself_is_left_alone(instance, reason):
    failed(instance, {"dagster/failure_reason": reason} if reason else {}, job_name="sync_all_dynamic")
    assert asked(instance) == []


def test_other_jobs_are_left_alone(instance):
    failed(instance, INTERRUPTED, job_name="check_all_tables")
    assert asked(instance) == []
