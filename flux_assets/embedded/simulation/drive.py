"""What `flux-assets simulate` does: ticks on the stand-in, and on nothing else.

Here: which source it is, the refusal of any other, and the time of a tick. Not here: the step (tick.py), the
terminal (cli.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flux_assets.embedded.city.frame import random_stream
from flux_assets.embedded.release import layer_release
from flux_assets.embedded.simulation.seeding import SEED, seed_anew
from flux_assets.embedded.simulation.store import Store
from flux_assets.embedded.simulation.tick import Ticked, tick
from flux_assets.embedded.source import snowflake_account
from flux_assets.embedded.stand_in.server import NAME, StandIn
from flux_assets.errors import EmbeddedError, SettingError
from flux_assets.settings import Settings
from flux_assets.warehouse.account import Account

_STREAM = 32


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The stand-in that these settings read from. `seed` draws the ticks; without one, that of the tables does."""

    settings: Settings
    stand_in: StandIn
    seed: int | None = None

    def reset(self) -> None:
        """Fill the tables anew from the release."""
        seed_anew(self.stand_in, lambda: layer_release(self.settings), self._account(), self.seed or SEED)

    def tick(self, length: timedelta, *, storm: bool = False, calm: bool = False) -> Ticked:
        """Take a step: to the present, or `length` past the last step where that is later.

        Raises EmbeddedError when the stand-in has stopped meanwhile: whoever stopped it did not want it back.
        """
        import snowflake.connector

        if not self.stand_in.running:
            raise EmbeddedError("The Snowflake stand-in has been stopped.", "Run `flux-assets up` to start it again.")
        with (
            self.stand_in.writing(),
            snowflake.connector.connect(**self._account().arguments(layer="simulate")) as connection,
        ):
            clock = Store(connection).clock()
            seed = clock.seed if self.seed is None else self.seed
            now = max(datetime.now(UTC).replace(tzinfo=None), clock.now + length)
            return tick(connection, random_stream(seed, _STREAM, clock.ticks), now, storm, calm)

    def _account(self) -> Account:
        return self.stand_in.account(database=self.settings.snowflake_database, schema=self.settings.snowflake_schema)


def simulation_of(settings: Settings, seed: int | None = None) -> Simulation:
    """The simulation of the configured source, which is started and filled.

    Raises SettingError when the source is a real account, and whatever finding it raises.
    """
    account = snowflake_account(settings)
    if not account.stand_in:
        raise SettingError(
            f"SNOWFLAKE_ACCOUNT = {account.account!r} is not the stand-in, and simulated outages go nowhere else.",
            f"Unset the SNOWFLAKE_* settings, or set SNOWFLAKE_ACCOUNT={NAME} alone.",
        )
    return Simulation(settings=settings, stand_in=StandIn(settings.flux_home), seed=seed)
