"""The door to what Dagster's storage does not make public, apart from the other: definitions load without it."""

from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres.utils import DagsterPostgresException

__all__ = [
    "AssetCheckExecutionsTable",
    "ConfigurableClassData",
    "DagsterPostgresException",
    "LocalArtifactStorage",
    "LocalComputeLogManager",
    "SqlEventLogStorageTable",
]
