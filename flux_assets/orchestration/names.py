"""What a deployment is called in Dagster, and which settings and runs are its own, where several share one instance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import dagster as dg

from flux_assets.errors import SettingError
from flux_assets.settings import DefinitionSettings, OwnSettings, Settings, load_settings
from flux_assets.spec import Declaration, DynamicTable, StaticTable, View
from flux_assets.spec.catalogue import Catalogue
from flux_assets.tables import catalogue

_TAG = "flux/utility"
_PAGE = 500
_Groups = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Names:
    """The names of one deployment; None is one that has its Dagster instance to itself."""

    LOAD_JOB: ClassVar[str] = "load_static_layers"
    SYNC_JOB: ClassVar[str] = "sync_all_dynamic"
    SYNC_SCHEDULE: ClassVar[str] = "dynamic_sync_schedule"
    SYNC_CRON: ClassVar[str] = "*/5 * * * *"
    # The machine that a run was created on; storage/instance.py notes it.
    MACHINE_TAG: ClassVar[str] = "flux/machine"
    # Of runs that are started from the UI or a command line for some assets.
    AD_HOC_JOB: ClassVar[str] = "__ASSET_JOB"

    utility: str | None = None
    own_settings: OwnSettings = ()
    """Settings that this deployment alone has."""
    is_lodger: bool = False
    """Whether it shares its code location: then every name begins with the utility."""
    groups: _Groups = ()
    """Groups of assets that are called otherwise, each with what it is called."""

    @classmethod
    def configured(cls, own: OwnSettings = (), *, is_lodger: bool = False, groups: _Groups = ()) -> Names:
        """Return those that FLUX_UTILITY asks for. Raises SettingError where it is illegal, or the name of a table."""
        chosen = DefinitionSettings.load(own)
        utility, declared = chosen.flux_utility, catalogue(chosen)
        if utility in {each.name for each in (*declared.tables, *declared.views)}:
            raise SettingError(f"FLUX_UTILITY = {utility!r} is the name of a table.", "Choose another name.")
        return cls(utility, own, is_lodger, groups)

    @property
    def chosen(self) -> DefinitionSettings:
        """The settings that definitions are made of; raises SettingError for an illegal one of these."""
        return DefinitionSettings.load(self.own_settings)

    @property
    def catalogue(self) -> Catalogue:
        """What is declared for this deployment."""
        return catalogue(self.chosen)

    def settings(self) -> Settings:
        """Return all settings of this deployment; raises SettingError for an illegal one."""
        return load_settings(self.own_settings)

    def named(self, word: str) -> str:
        """Return what a job, schedule, sensor, op or resource is called, so that nobody else has the name."""
        return f"{self.utility}_{word}" if self.is_lodger else word

    def group(self, word: str) -> str:
        """Return what a group of assets is called."""
        return dict(self.groups).get(word) or self.named(word)

    def key(self, *path: str) -> dg.AssetKey:
        """Return the asset key of a table by its name."""
        return dg.AssetKey([self.utility, *path] if self.utility else path)

    def keys(self, tables: Iterable[Declaration | View]) -> list[dg.AssetKey]:
        """Return the asset keys of tables or views."""
        return [self.key(table.name) for table in tables]

    def check(self, table: str, name: str) -> dg.AssetCheckKey:
        """Return the key of a table's check."""
        return dg.AssetCheckKey(self.key(table), name)

    def origin(self, table: StaticTable | DynamicTable) -> dg.AssetKey:
        """Return the key of the asset that stands for the layer's file, or the dynamic table's source."""
        if isinstance(table, StaticTable):
            return self.key("release", table.name)
        return self.key("snowflake", table.source.lower())

    def table(self, key: dg.AssetKey) -> str | None:
        """Return the name of the table with this key; None for an origin, and for what is another deployment's."""
        *prefix, name = key.path
        return name if prefix == ([self.utility] if self.utility else []) else None

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of all runs of our jobs."""
        return {_TAG: self.utility} if self.utility else {}

    def scoped(self, word: str) -> str:
        """Return the value of a tag that limits our runs and nobody else's."""
        return f"{word}:{self.utility}" if self.utility else word

    def own(self, run: dg.DagsterRun) -> bool:
        """Tell whether a run is ours: by its tag or, where it was started for some assets, by their keys."""
        if tag := run.tags.get(_TAG):
            return tag == self.utility
        keys = {*(run.asset_selection or ()), *(key.asset_key for key in run.asset_check_selection or ())}
        return any(map(self._has, keys)) if keys else self.utility is None

    def _has(self, key: dg.AssetKey) -> bool:
        first, *others = key.path
        if self.utility:
            return bool(others) and first == self.utility
        return not others or first in {"release", "snowflake"}

    def runs(
        self, instance: dg.DagsterInstance, filters: dg.RunsFilter | None = None, limit: int | None = None
    ) -> Iterator[dg.RunRecord]:
        """Return those of our runs that pass the filter, the newest first, at most `limit`."""
        return islice(self._runs(instance, filters, min(limit or _PAGE, _PAGE)), limit)

    def _runs(
        self, instance: dg.DagsterInstance, filters: dg.RunsFilter | None, at_once: int
    ) -> Iterator[dg.RunRecord]:
        cursor = None
        while page := instance.get_run_records(filters, limit=at_once, cursor=cursor):
            yield from (record for record in page if self.own(record.dagster_run))
            if len(page) < at_once:
                return
            cursor = page[-1].dagster_run.run_id

    def schedule_states(self, instance: dg.DagsterInstance) -> dict[str, str]:
        """Return the states of the sync's schedule by code location; of one called like the utility, its alone.

        Commands have the plain names also where the deployment shares its code location.
        """
        called = {self.named(self.SYNC_SCHEDULE), f"{self.utility}_{self.SYNC_SCHEDULE}"}
        states = {
            state.origin.repository_origin.code_location_origin.location_name: state.status.value
            for state in instance.all_instigator_state()
            if state.name in called
        }
        return {self.utility: states[self.utility]} if self.utility in states else states
