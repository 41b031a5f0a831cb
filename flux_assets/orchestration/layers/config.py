"""What one run may ask of a layer, as its op's config."""

import dagster as dg
from pydantic import Field

from flux_assets.errors import SettingError
from flux_assets.layers.context import LoadOptions
from flux_assets.orchestration.executor import stop_of
from flux_assets.settings import MOST_QUARANTINED, load_settings


class LayerConfig(dg.Config):
    """What one run may ask of a layer beyond "make it current"."""

    force: bool = Field(
        default=False,
        description="Load the file again although this version is published already. A pinned layer stays as it is.",
    )
    accept_fewer_rows: bool = Field(
        default=False, description="Publish a version that is empty or has less than half of the published rows."
    )
    accept_schema_change: bool = Field(
        default=False, description="Remove or retype columns of the public table as the declaration now says."
    )
    take_over: bool = Field(
        default=False,
        description="Rename an ordinary table of the layer's name, left by another loader, when the new one is ready.",
    )
    quarantine: int | None = Field(
        default=None,
        description="Records of the file that may be refused and set aside in postgres_sync.quarantine; more of them"
        " refuse the file. 0 refuses it for the first. What FLUX_QUARANTINE_LIMIT says where this is not given.",
    )

    def options(self, run_id: str, layer: str) -> LoadOptions:
        """Return what run and settings ask of a load; raises SettingError naming the `layer` for an illegal value."""
        settings = load_settings()
        if self.quarantine is not None and not 0 <= self.quarantine <= MOST_QUARANTINED:
            raise SettingError(
                f"quarantine of {layer} is {self.quarantine:,} in the run config.",
                f"Give a number of records from 0 to {MOST_QUARANTINED:,}.",
            )
        return LoadOptions(
            force=self.force,
            accept_fewer_rows=self.accept_fewer_rows,
            accept_schema_change=self.accept_schema_change,
            take_over=self.take_over,
            publish_wait=settings.flux_publish_wait,
            keep_versions=settings.flux_keep_versions,
            keep_bytes=settings.flux_keep_bytes,
            disk_limit=settings.flux_disk_limit,
            quarantine=settings.flux_quarantine_limit if self.quarantine is None else self.quarantine,
            run_id=run_id,
            stop=stop_of(run_id),
        )
