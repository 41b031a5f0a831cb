"""What `dagster … -m flux_assets.definitions` starts from: the deployment that the environment describes."""

from __future__ import annotations

from flux_assets.orchestration.assembly import build_definitions

defs = build_definitions()
