"""The launcher of deploy/helm/values-sync-worker.yaml: pods for every run but the sync."""

from __future__ import annotations

from dagster_k8s import K8sRunLauncher

from flux_assets.orchestration.spread.launcher import _ToWorkers


class K8sSyncLauncher(_ToWorkers, K8sRunLauncher):
    """Starts runs as pods, with the configuration of K8sRunLauncher, and a sync on a worker."""
