"""Which Snowflake to read: the configured account, or the stand-in where none is configured and that is allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flux_assets.errors import SettingError
from flux_assets.sample.stand_in.server import NAME, StandIn
from flux_assets.settings import Settings
from flux_assets.snowflake.account import Account
from flux_assets.wiring.release import layer_release

if TYPE_CHECKING:
    from flux_assets.sample.simulation.drive import Simulation


def snowflake_account(settings: Settings) -> Account:
    """Return where the dynamic tables come from; the stand-in is started and filled when no account is configured.

    Raises SettingError, which names what is missing, in profile production, for an incomplete account, and for a target
    that the user set, which gets simulated outages only with SNOWFLAKE_ACCOUNT=stand-in. Raises EmbeddedError when the
    stand-in cannot start.
    """
    if settings.source_is_stand_in:
        return _stand_in(settings)
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


def _stand_in(settings: Settings) -> Account:
    account = StandIn(settings.flux_home).ensure(
        lambda: layer_release(settings), database=settings.snowflake_database, schema=settings.snowflake_schema
    )
    return replace(
        account,
        host=settings.snowflake_host or account.host,
        port=settings.snowflake_port or account.port,
        protocol=settings.snowflake_protocol or account.protocol,
    )


def _configured(settings: Settings) -> Account:
    missing = _missing(settings)
    if missing:
        names = ", ".join(missing)
        verb = "is" if len(missing) == 1 else "are"
        raise SettingError(f"{names} {verb} not set, which reading Snowflake requires.", _remedy(settings))
    if settings.snowflake_private_key_path is not None:
        _check_key_file(settings.snowflake_private_key_path)
    return Account(
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


def _missing(settings: Settings) -> list[str]:
    signs_in = settings.snowflake_password or settings.snowflake_private_key_path
    found = {
        "SNOWFLAKE_ACCOUNT": settings.snowflake_account,
        "SNOWFLAKE_USER": settings.snowflake_user,
        "SNOWFLAKE_PRIVATE_KEY_PATH (or SNOWFLAKE_PASSWORD)": signs_in,
    }
    return [name for name, value in found.items() if not value]


def _remedy(settings: Settings) -> str:
    if settings.flux_profile == "production":
        return "Set what is missing; profile production provides no stand-in."
    return f"Set what is missing, or unset every SNOWFLAKE_* setting but SNOWFLAKE_ACCOUNT={NAME} to use the stand-in."


def _check_key_file(path: Path) -> None:
    try:
        with path.expanduser().open("rb"):
            pass
    except OSError as error:
        raise SettingError(
            f"SNOWFLAKE_PRIVATE_KEY_PATH = {str(path)!r} cannot be read: {error.strerror}.",
            "Set it to a private key file (PKCS #8, PEM) that this user can read.",
        ) from None
