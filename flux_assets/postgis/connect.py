"""Connections to the target database.

Here: the target's address and how a session is opened and named. Not here: what runs in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from flux_assets.errors import TargetError

APPLICATION = "flux_assets"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A PostGIS database and the schema of its published tables. `conninfo` may hold a password and is not shown."""

    conninfo: str
    schema: str = "public"

    def __repr__(self) -> str:
        return f"Target(schema={self.schema!r})"

    @contextmanager
    def session(self, purpose: str) -> Iterator[psycopg.Connection]:
        """An autocommit session, closed at the end; `purpose` shows in pg_stat_activity.

        Raises TargetError when the server cannot be reached or refuses.
        """
        try:
            connection = psycopg.connect(
                self.conninfo,
                autocommit=True,
                application_name=f"{APPLICATION} {purpose}"[:63],
                connect_timeout=15,
                options="-c timezone=UTC -c client_min_messages=warning",
            )
        except psycopg.OperationalError as error:
            raise TargetError(
                f"The target database cannot be reached: {str(error).strip()}.",
                "Run `flux-assets doctor`, which tests FLUX_POSTGRES_URL piece by piece.",
            ) from error
        with connection:
            yield connection
