"""Which databases to use: the configured ones, or the embedded cluster where nothing is configured and that is allowed.

Here: the decision, for the layers and for Dagster's storage. Not here: how the cluster comes to life.
"""

from __future__ import annotations

import psycopg2.extensions
from psycopg.conninfo import make_conninfo

from flux_assets.embedded.cluster import Cluster
from flux_assets.embedded.libpq import drop_session_variables
from flux_assets.errors import SettingError
from flux_assets.postgis.connect import Target
from flux_assets.settings import Settings, with_tls
from flux_assets.tables import declarations


def postgis_target(settings: Settings) -> Target:
    """The database of the layers; the embedded one is started and made when no other is configured.

    Raises SettingError in profile production without a target, EmbeddedError when the embedded one cannot start.
    """
    drop_session_variables()
    if settings.target_is_set:
        return Target(conninfo=_configured(settings), schema=settings.flux_postgres_schema, declared=declarations())
    if settings.flux_profile == "production":
        raise SettingError(
            "FLUX_POSTGRES_URL is not set, and profile production provides no database.",
            "Set FLUX_POSTGRES_URL=postgresql://user:password@host:port/database.",
        )
    cluster = Cluster(settings.flux_home)
    cluster.ensure_map_database()
    return Target(conninfo=cluster.conninfo(), schema=settings.flux_postgres_schema, declared=declarations())


def dagster_storage_url(settings: Settings) -> str:
    """The SQLAlchemy URL, for psycopg2, of Dagster's own database; the embedded one is made when none is configured.

    Raises SettingError in profile production without DAGSTER_POSTGRES_URL, EmbeddedError as above.
    """
    drop_session_variables()
    if settings.dagster_postgres_url is not None:
        return _for_psycopg2(with_tls(settings.dagster_postgres_url.get_secret_value()))
    if settings.flux_profile == "production":
        raise SettingError(
            "DAGSTER_POSTGRES_URL is not set, and profile production provides no database.",
            "Set DAGSTER_POSTGRES_URL=postgresql://user:password@host:port/database, a database of Dagster's own.",
        )
    cluster = Cluster(settings.flux_home)
    cluster.ensure_plain_database()
    return cluster.url("dagster", driver="psycopg2", libpq_version=psycopg2.extensions.libpq_version())


def _configured(settings: Settings) -> str:
    """The configured target; the libpq variables that name a server may stand in `.env`, where libpq does not look."""
    if settings.libpq_end is None:
        return settings.postgres_conninfo()
    named = {"service": settings.pgservice, "host": settings.pghost, "hostaddr": settings.pghostaddr}
    return make_conninfo(settings.postgres_conninfo(), **{key: value for key, value in named.items() if value})


def _for_psycopg2(url: str) -> str:
    """With SQLAlchemy 2.1 a plain `postgresql://` means psycopg 3, which Dagster's storage does not speak."""
    return f"postgresql+psycopg2://{url.partition('://')[2]}"
