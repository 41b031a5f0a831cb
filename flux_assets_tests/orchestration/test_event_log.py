"""The event log stores what a run plans as Dagster's own storage does, and in fewer statements."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import dagster as dg
import psycopg
import pytest
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import event as events_of
from sqlalchemy import text

from flux_assets.orchestration.storage.instance import EventLog
from flux_assets.sample.cluster import Cluster

KEYS = [dg.AssetCheckKey(dg.AssetKey(asset), check) for asset in ("osm_water", "meters") for check in ("unique", "a,b")]
STORED = """
SELECT event.run_id, event.dagster_event_type, event.step_key, event.asset_key, event.partition, event.timestamp,
       event.event, checked.asset_key, checked.check_name, checked.partition, checked.run_id,
       checked.execution_status, checked.evaluation_event, checked.evaluation_event_timestamp
FROM event_logs AS event
LEFT JOIN asset_check_executions AS checked ON checked.evaluation_event_storage_id = event.id
ORDER BY event.id
"""


@pytest.fixture
def urls(cluster: Cluster) -> Iterator[list[str]]:
    """Two empty databases."""
    names = [f"event_log_{uuid4().hex[:8]}" for _ in range(2)]
    with cluster.admin_session() as admin:
        for name in names:
            admin.execute(f"CREATE DATABASE {name} OWNER flux")
        yield [cluster.url(name, "psycopg2") for name in names]
        for name in names:
            admin.execute(f"DROP DATABASE {name} (FORCE)")


def planned(run_id: str) -> list[EventLogEntry]:
    """What a run of two layers with two checks each plans, in Dagster's order: by asset."""
    materialised = [
        DagsterEvent.build_asset_materialization_planned_event("job", "step", AssetMaterializationPlannedData(key))
        for key in dict.fromkeys(key.asset_key for key in KEYS)
    ]
    return [entry(run_id, event) for event in (materialised[0], *checks()[:2], materialised[1], *checks()[2:])]


def checks() -> list[DagsterEvent]:
    from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned

    kind = DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value
    return [
        DagsterEvent(
            event_type_value=kind,
            job_name="job",
            message="it will be judged",
            step_key="step",
            event_specific_data=AssetCheckEvaluationPlanned(asset_key=key.asset_key, check_name=key.name),
        )
        for key in KEYS
    ]


def entry(run_id: str, event: DagsterEvent) -> EventLogEntry:
    return EventLogEntry(
        error_info=None, level=10, user_message="", run_id=run_id, timestamp=1.5e9, step_key="step", job_name="job",
        dagster_event=event,
    )  # fmt: skip


def stored(url: str) -> list[tuple]:
    with psycopg.connect(url.replace("+psycopg2", "")) as connection:
        return connection.execute(STORED).fetchall()


def test_a_batch_is_stored_as_dagster_stores_its_events(urls: list[str]) -> None:
    run_id = str(uuid4())
    PostgresEventLogStorage(urls[0]).store_event_batch(planned(run_id))
    PostgresEventLogStorage(urls[1])
    ours = EventLog(urls[1])
    ours.store_event_batch(planned(run_id))
    assert sorted(map(repr, stored(urls[1]))) == sorted(map(repr, stored(urls[0])))
    assert len(stored(urls[1])) == 6
    records = ours.get_latest_asset_check_execution_by_key(KEYS)
    assert {key: record.status for key, record in records.items()} == dict.fromkeys(
        KEYS, AssetCheckExecutionRecordStatus.PLANNED
    )


def test_planned_checks_take_two_inserts_however_many_they_are(urls: list[str]) -> None:
    PostgresEventLogStorage(urls[0])
    log, said = EventLog(urls[0]), []
    events_of.listen(log._engine, "before_cursor_execute", lambda _c, _u, statement, *_: said.append(statement))
    log.store_event_batch([entry(str(uuid4()), event) for event in checks() * 30])
    assert len([statement for statement in said if statement.startswith("INSERT")]) == 2
    assert len(stored(urls[0])) == 120


def test_nothing_is_stored_of_a_batch_that_fails_half_way(urls: list[str]) -> None:
    """Dagster then stores the events one by one: what half a batch had left would be there twice."""
    PostgresEventLogStorage(urls[0])
    log = EventLog(urls[0])
    with log._engine.begin() as connection:
        connection.execute(text("ALTER TABLE asset_check_executions ADD CHECK (check_name <> 'a,b')"))
    with pytest.raises(Exception, match="asset_check_executions"):
        log.store_event_batch([entry(str(uuid4()), event) for event in checks()])
    assert stored(urls[0]) == []
