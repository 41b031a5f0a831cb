"""The resources of a step: the database of the tables, the release and the Snowflake account they come from.

Each is found when a step first asks, so that definitions load without any of them, and an error of one stops only the
steps that need it. Dagster makes them anew for each run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import dagster as dg
from pydantic import Field, PrivateAttr

from flux_assets.errors import SettingError
from flux_assets.orchestration.light_imports import light_imports
from flux_assets.orchestration.names import Names
from flux_assets.postgis.session import Target
from flux_assets.spec import DynamicTable
from flux_assets.spec.assignments import with_assignments

if TYPE_CHECKING:
    from flux_assets.release.release import Release
    from flux_assets.snowflake.account import Account
    from flux_assets.snowflake.overrides import Overrides
    from flux_assets.snowflake.source import Source
    from flux_assets.sync.reader import OpenSource
    from flux_assets.sync.table import Family

_Step = dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext
_finding = Lock()  # steps of a run are threads; the first to ask starts the server or makes the sample, the others wait


class _Resource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What knows whose it is, and on which machine its run was created; None where nobody has noted it."""

    _word: ClassVar[str]
    _names: Names = PrivateAttr(default=Names())
    _created_on: str | None = PrivateAttr(default=None)

    @classmethod
    def key(cls, names: Names) -> str:
        """Return the key of the resource of a deployment."""
        return names.named(cls._word)

    @classmethod
    def of(cls, context: _Step, names: Names) -> Self:
        """Return that of a deployment, within a step that requires its key."""
        found: Self = getattr(context.resources, cls.key(names))
        found._names = names
        return found

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._created_on = context.run.tags.get(Names.MACHINE_TAG) if context.run else None


class PostgisResource(_Resource):
    """The PostGIS database that layers are published in; the embedded one is started when none is configured."""

    _word = "postgis"
    _target: Target | None = PrivateAttr(default=None)

    def target(self) -> Target:
        """Return the database; raises SettingError for an illegal setting, EmbeddedError when it is unavailable."""
        from flux_assets.wiring.target import postgis_target

        with _finding:
            self._target = self._target or postgis_target(self._names.settings(), self._created_on, judges=True)
            return self._target


class ReleaseResource(_Resource):
    """The release that layers are loaded from; the sample city where none is set and that is allowed."""

    _word = "release"
    # YAML reads an unquoted on or off as true or false. Dagster resolves {env: NAME} for its own string type alone.
    whole: Any = Field(
        default="",
        description="`on`: publish all layers of the run in one transaction, or none. `strict`: and none where a"
        " reference between them leads nowhere. `off`: each by itself. Empty: as FLUX_WHOLE_RELEASE says.",
    )
    _release: Any = PrivateAttr(default=None)

    def whole_release(self) -> str:
        """Return how the layers of a run are published: "off", "on" or "strict", as `whole` or the settings say."""
        asked = self.whole
        if isinstance(asked, dict) and [*asked] == ["env"]:
            name = str(asked["env"])
            if name not in os.environ:
                raise SettingError(
                    f"whole of the resource release is the environment variable {name}, which is not set.",
                    "Set it to on, strict or off.",
                )
            asked = os.environ[name]
        chosen = self._names.settings().flux_whole_release if asked in ("", None) else asked
        if isinstance(chosen, bool):
            chosen = "on" if chosen else "off"
        if not isinstance(chosen, str) or chosen not in {"off", "on", "strict"}:
            raise SettingError(f"whole of the resource release is {chosen!r}.", "Set it to on, strict or off.")
        return chosen

    def release(self, log: Callable[[str], None]) -> Release:
        """Return the release; raises SettingError when one must be named, ReleaseError when it is unavailable."""
        from flux_assets.wiring.source import layer_release

        with _finding:
            self._release = self._release or layer_release(self._names.settings(), log, self._created_on)
            return cast("Release", self._release)


class WarehouseResource(_Resource):
    """The Snowflake account that the dynamic tables come from; the stand-in where none is set and that is allowed."""

    _word = "snowflake"

    def family(self, declared: Sequence[DynamicTable]) -> Family:
        """Return the dynamic tables with the overrides of FLUX_CONFIG; raises SettingError naming an illegal one."""
        from flux_assets.sync.table import Family

        settings, overrides = self._names.settings(), self._overrides()
        place = (settings.snowflake_account, settings.snowflake_database, settings.snowflake_schema)
        configuration = repr((place, sorted(overrides.sources.items())))
        return Family(
            tables=with_assignments(overrides.applied_to(table, declared) for table in declared),
            configuration=hashlib.sha256(configuration.encode()).hexdigest(),
        )

    def opening(self, run_id: str, layers: Iterable[str], log: Callable[[str], None]) -> OpenSource:
        """Return what signs in when it is called; `run_id` and the names of the `layers` go into the query tag."""
        layer = ", ".join(sorted(layers))

        def opened() -> AbstractContextManager[Source]:
            from flux_assets.snowflake.source import Source
            from flux_assets.wiring.source import snowflake_account

            def find() -> Account:
                with _finding:
                    account = snowflake_account(self._names.settings(), self._created_on)
                    return replace(account, run_id=run_id, layer=layer)

            return Source.open(find(), self._overrides(), connect=connect, find=find, log=log)

        return opened

    def _overrides(self) -> Overrides:
        from flux_assets.snowflake.overrides import Overrides

        return Overrides.load(self._names.settings().flux_config)


@contextmanager
def connect(arguments: dict[str, Any]) -> Iterator[Any]:
    """Open a session by dagster-snowflake's resource with just these arguments; it is closed whatever happens."""
    with light_imports():
        from dagster_snowflake import SnowflakeResource

    # A key file is none of its fields: it would report one that cannot be read in words that name no setting.
    own = {field.alias or name for name, field in SnowflakeResource.model_fields.items()}
    fields = {name: value for name, value in arguments.items() if name in own}
    others = {name: value for name, value in arguments.items() if name not in own}
    # Without autocommit it would send a COMMIT at the end, also on a session that is broken.
    resource = SnowflakeResource(**fields, autocommit=True, additional_snowflake_connection_args=others)
    with resource.get_connection() as connection, closing(connection):
        yield connection
