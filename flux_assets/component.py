"""The component that `dg` finds: a deployment described by a defs.yaml. Dagster reads its annotations."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from flux_assets.orchestration.assembly import build_definitions
from flux_assets.orchestration.names import Names


class _Scaffolder(dg.Scaffolder):
    """Writes a defs.yaml whose deployment is called like its folder, and publishes in a schema of that name."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        name = re.sub(r"\W", "_", request.target_path.name.lower())[:30]
        attributes = {
            "tables": [],
            "key_prefix": name,
            "postgres_schema": name,
            "executor": "threads",
            "schedule": Names.SYNC_CRON,
        }
        dg.scaffold_component(request, attributes)


@dg.scaffold_with(_Scaffolder)
class FluxAssetsComponent(dg.Component, dg.Model, dg.Resolvable):
    """A utility's map layers, published in PostGIS as versions, and tables that follow Snowflake."""

    tables: list[str] | None = Field(
        default=None,
        description="Folders, modules and packages with declarations; folders from here, or from where Dagster runs.",
    )
    without: list[str] | None = Field(default=None, description="Built-in tables and views to leave out, or `all`.")
    key_prefix: str | None = Field(default=None, description="Name of the deployment, with which every name begins.")
    postgres_schema: str | None = Field(default=None, description="Schema that tables are published in.")
    groups: dict[str, str] | None = Field(default=None, description="What groups of assets are called instead.")
    executor: str | None = Field(
        default=None, description="Where steps of a load run: threads, multiprocess, celery or k8s."
    )
    schedule: str | None = Field(default=Names.SYNC_CRON, description="When the sync runs, in cron's fields, UTC.")
    sensors: list[str] | None = Field(default=None, description="The sensors to have; all unless given.")
    settings: dict[str, str | None] = Field(
        default={}, description="Settings that this deployment alone has, such as FLUX_RELEASE."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions of the deployment."""
        own: dict[str, Any] = {name.lower(): value for name, value in self.settings.items()}
        own["tables"] = None if self.tables is None else [_place(context.path, each) for each in self.tables]
        return build_definitions(**self.model_dump(exclude={"tables", "settings"}), **own)


def _place(folder: Path, place: str) -> str:
    """Return a folder that lies beside the defs.yaml by its path, anything else as it is."""
    return str(folder / place) if (folder / place).is_dir() else place
