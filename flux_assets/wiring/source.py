"""Which release and which Snowflake to read: the configured ones, or what stands in where that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flux_assets.errors import SettingError
from flux_assets.release.formats.mapping import LayerMapping
from flux_assets.release.release import Release
from flux_assets.release.stores import Limits
from flux_assets.sample.release import SCALE as SAMPLE_SCALE
from flux_assets.sample.release import sample_release
from flux_assets.sample.stand_in.server import NAME, StandIn
from flux_assets.settings import Settings
from flux_assets.snowflake.account import Account
from flux_assets.tables import catalogue, unsimulated
from flux_assets.wiring.home import Home

if TYPE_CHECKING:
    from flux_assets.sample.simulation.drive import Simulation

__all__ = ["SAMPLE_SCALE", "layer_release", "release_at", "simulation_of", "snowflake_account", "stand_in_is_made"]


def layer_release(
    settings: Settings, log: Callable[[str], None] = lambda _: None, created_on: str | None = None
) -> Release:
    """Return the release that layers are loaded from; the sample city is written when none is configured.

    Raises SettingError where a release must be configured: in profile production, and for a target that the user set,
    which gets sample rows only with FLUX_RELEASE=sample. Raises EmbeddedError in a worker without a home of its own.
    """
    if settings.release_is_sample:
        Home(settings.flux_home).require("release but the sample city", "FLUX_RELEASE", created_on)
        address = str(sample_release(settings.flux_home, log))
    elif settings.release_is_set:
        address = str(settings.flux_release)
    elif settings.flux_profile == "production":
        raise SettingError(
            "FLUX_RELEASE names no release, and profile production provides none.",
            "Set FLUX_RELEASE to a folder or to an https://, s3://, gs:// or abfs:// prefix with the layer files.",
        )
    else:
        raise SettingError(
            "FLUX_RELEASE is not set, and the sample city is loaded into your database only on request.",
            "Set FLUX_RELEASE to the release's folder or URL prefix, or FLUX_RELEASE=sample to load the sample city.",
        )
    return release_at(settings, address, settings.flux_release_tag)


def release_at(settings: Settings, address: str, tag: str | None = None) -> Release:
    """Return the release at an address, read as the settings say of any."""
    limits = Limits(largest=settings.flux_download_limit)
    mappings = LayerMapping.configured(settings.flux_config, catalogue(settings).static) if settings.flux_config else {}
    return Release(address, tag, settings.flux_home / "releases", limits=limits, mappings=mappings)


def snowflake_account(settings: Settings, created_on: str | None = None) -> Account:
    """Return where the dynamic tables come from; the stand-in is started and filled when no account is configured.

    Raises SettingError, which names what is missing, in profile production, for an incomplete account, and for a target
    that the user set, which gets simulated outages only with SNOWFLAKE_ACCOUNT=stand-in. Raises EmbeddedError when the
    stand-in cannot start.
    """
    if settings.source_is_stand_in:
        return replace(_stand_in(settings, created_on), utility=settings.flux_utility)
    if settings.snowflake_account == NAME:
        raise SettingError(
            f"SNOWFLAKE_ACCOUNT={NAME} asks for the stand-in, which profile production does not provide.",
            "Set SNOWFLAKE_ACCOUNT to your account, or unset FLUX_PROFILE.",
        )
    if settings.flux_profile == "production" or settings.source_is_set:
        return _configured(settings)
    raise SettingError(
        "SNOWFLAKE_ACCOUNT is not set, and simulated outages are synced into your database only on request.",
        "Set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY_PATH, or "
        f"SNOWFLAKE_ACCOUNT={NAME} for the stand-in.",
    )


def simulation_of(settings: Settings, seed: int | None = None) -> Simulation:
    """Return the simulation of the configured source, which is started and filled.

    Raises SettingError when the source is a real account, and what `snowflake_account` raises.
    """
    from flux_assets.sample.simulation.drive import Simulation

    account = snowflake_account(settings)
    if not account.stand_in:
        raise SettingError(
            f"SNOWFLAKE_ACCOUNT = {account.account!r} is not the stand-in, and only the stand-in can be simulated.",
            f"Unset the SNOWFLAKE_* settings, or set SNOWFLAKE_ACCOUNT={NAME} only.",
        )
    return Simulation(
        settings=settings, stand_in=StandIn(settings.flux_home), release=lambda: layer_release(settings), seed=seed
    )


def stand_in_is_made(settings: Settings) -> bool:
    """Return whether the stand-in has been filled before, which starts nothing."""
    return StandIn(settings.flux_home).layout.data.exists()


def _stand_in(settings: Settings, created_on: str | None) -> Account:
    Home(settings.flux_home).require("account but the stand-in", "SNOWFLAKE_ACCOUNT", created_on)
    account = StandIn(settings.flux_home).ensure(
        lambda: layer_release(settings),
        database=settings.snowflake_database,
        schema=settings.snowflake_schema,
        outside=unsimulated(settings),
    )
    return replace(
        account,
        host=settings.snowflake_host or account.host,
        port=settings.snowflake_port or account.port,
        protocol=settings.snowflake_protocol or account.protocol,
    )


def _configured(settings: Settings) -> Account:
    needed = {
        "SNOWFLAKE_ACCOUNT": settings.snowflake_account,
        "SNOWFLAKE_USER": settings.snowflake_user,
        "SNOWFLAKE_PRIVATE_KEY_PATH (or SNOWFLAKE_PASSWORD)": settings.snowflake_password
        or settings.snowflake_private_key_path,
    }
    if missing := [name for name, value in needed.items() if not value]:
        raise SettingError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, which reading Snowflake requires.",
            "Set what is missing; profile production provides no stand-in."
            if settings.flux_profile == "production"
            else f"Set what is missing, or unset every SNOWFLAKE_* setting but SNOWFLAKE_ACCOUNT={NAME} to use the"
            " stand-in.",
        )
    if settings.snowflake_private_key_path is not None:
        _check_key_file(settings.snowflake_private_key_path)
    return Account(
        utility=settings.flux_utility,
        account=str(settings.snowflake_account),
        user=str(settings.snowflake_user),
        password=settings.snowflake_password,
        private_key_path=settings.snowflake_private_key_path,
        private_key_passphrase=settings.snowflake_private_key_passphrase,
        role=settings.snowflake_role,
        warehouse=settings.snowflake_warehouse,
        database=settings.snowflake_database,
        schema=settings.snowflake_schema,
        host=settings.snowflake_host,
        port=settings.snowflake_port,
        protocol=settings.snowflake_protocol,
    )


def _check_key_file(path: Path) -> None:
    try:
        with path.expanduser().open("rb"):
            pass
    except OSError as error:
        raise SettingError(
            f"SNOWFLAKE_PRIVATE_KEY_PATH = {str(path)!r} cannot be read: {error.strerror}.",
            "Set it to a private key file (PKCS #8, PEM) that this user can read.",
        ) from None
