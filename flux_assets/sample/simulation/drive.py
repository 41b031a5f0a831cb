"""What `flux-assets simulate` does: ticks on the stand-in, and never on another source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from flux_assets.errors import EmbeddedError
from flux_assets.release.release import Release
from flux_assets.sample.city.frame import random_stream
from flux_assets.sample.simulation.seeding import SEED, refill
from flux_assets.sample.simulation.store import SourceTables
from flux_assets.sample.simulation.tick import Ticked, tick
from flux_assets.sample.stand_in.server import StandIn
from flux_assets.settings import Settings
from flux_assets.snowflake.account import Account

_STREAM = 32


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The simulation on the stand-in of these settings. `seed` defaults to the seed of the tables."""

    settings: Settings
    stand_in: StandIn
    release: Callable[[], Release]
    seed: int | None = None

    def reset(self) -> None:
        """Fill the tables from the release again."""
        refill(self.stand_in.layout, self.release, self._account(), self.seed or SEED)

    def tick(self, length: timedelta, *, storm: bool = False, calm: bool = False) -> Ticked:
        """Take a step: to the present, or `length` past the last step where that is later.

        Raises EmbeddedError when the stand-in was stopped meanwhile; it is not started again.
        """
        import snowflake.connector

        if not self.stand_in.running:
            raise EmbeddedError("The Snowflake stand-in has been stopped.", "Run `flux-assets up` to start it again.")
        with (
            self.stand_in.layout.writing(),
            snowflake.connector.connect(**self._account().arguments()) as connection,
        ):
            clock = SourceTables(connection).clock()
            seed = clock.seed if self.seed is None else self.seed
            now = max(datetime.now(UTC).replace(tzinfo=None), clock.now + length)
            return tick(connection, random_stream(seed, _STREAM, clock.ticks), now, storm, calm)

    def _account(self) -> Account:
        account = self.stand_in.account(
            database=self.settings.snowflake_database, schema=self.settings.snowflake_schema
        )
        return replace(account, layer="simulate")
