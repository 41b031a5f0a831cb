"""Dagster's event log in PostgreSQL, in fewer statements: what a run plans is written as one batch."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import DagsterEventType, EventLogEntry
from dagster_postgres import PostgresEventLogStorage
from sqlalchemy import Connection

from flux_assets.orchestration.dagster_internals import AssetCheckExecutionRecordStatus
from flux_assets.orchestration.storage.dagster_internals import AssetCheckExecutionsTable, SqlEventLogStorageTable


class EventLog(PostgresEventLogStorage):
    """Dagster's own, but planned checks of a batch are stored in one transaction of two statements.

    What the schema has is remembered; what it lacks is asked again, because `dagster instance migrate` may add it.
    """

    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._tables: set[str] = set()
        self._asset_columns: set[str] = set()

    def has_table(self, table_name: str) -> bool:
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        there = column_name in self._asset_columns or super()._has_asset_key_col_on_connection(conn, column_name)
        if there:
            self._asset_columns.add(column_name)
        return there

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        planned = [event for event in events if _is_planned_check(event)]
        if others := [event for event in events if not _is_planned_check(event)]:
            super().store_event_batch(others)
        if planned:
            self._store_planned_checks(planned)

    def _store_planned_checks(self, events: Sequence[EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        with self.index_transaction() as connection:
            numbers: Sequence[int] = connection.execute(insert, rows).scalars().all()
            connection.execute(
                AssetCheckExecutionsTable.insert(),
                [
                    {
                        "asset_key": event.get_dagster_event().asset_check_planned_data.asset_key.to_string(),
                        "check_name": event.get_dagster_event().asset_check_planned_data.check_name,
                        "run_id": row["run_id"],
                        "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
                        "evaluation_event": row["event"],
                        "evaluation_event_timestamp": row["timestamp"],
                        "evaluation_event_storage_id": number,
                    }
                    for event, row, number in zip(events, rows, numbers, strict=True)
                ],
            )


def _is_planned_check(event: EventLogEntry) -> bool:
    """Return whether the event plans a check; checks of partitions, which no table of ours has, are left to Dagster."""
    planned = event.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
    return planned and event.get_dagster_event().asset_check_planned_data.partitions_subset is None
