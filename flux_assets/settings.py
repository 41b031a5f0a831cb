"""The environment, read and validated once; secrets print as ***."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from flux_assets import legality
from flux_assets.errors import SettingError
from flux_assets.locality import Host

_LIBPQ_ENDS = ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGSERVICEFILE")
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_LONGEST_SECONDS = 100 * 365 * 86400
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}
# Schemas of PostgreSQL, of PostGIS and its extensions, and of flux_assets.
_TAKEN_SCHEMAS = frozenset({"information_schema", "topology", "tiger", "tiger_data", "flux_versions", "postgres_sync"})
# What ends a user or password in an address, and a % that is no escape.
_ENDING = re.compile(r"[@/?#\[\]]|%(?![0-9A-Fa-f]{2})")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# Short enough for a tag, and for the names of sessions.
_UTILITY = re.compile(r"[a-z][a-z0-9_]{0,29}")
_TAKEN_PREFIXES = frozenset({"release", "snowflake"})
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_REDIS = frozenset({"redis", "rediss", "redis+socket", "sentinel"})
# The account name that asks for the stand-in.
STAND_IN = "stand-in"
# The release that asks for the sample city.
_SAMPLE = "sample"
_OF_AN_ACCOUNT = ("account", "user", "password", "private_key_path", "role", "warehouse", "host")
REPOSITORY = Path(__file__).resolve().parent.parent
_IS_CHECKED_OUT = (REPOSITORY / "pyproject.toml").is_file()


def _duration(value: object) -> object:
    """Return a time span: seconds, or a number followed by s, m, h or d."""
    if not isinstance(value, str):
        return value
    seconds = _scaled(value, _UNITS, "a time span such as 90, 10m or 2h")
    if seconds > _LONGEST_SECONDS:
        raise ValueError("is longer than a hundred years")
    return timedelta(seconds=seconds)


def _size(value: object) -> object:
    """Return bytes: a number alone, or followed by a unit (kB, MB, GB, TB, KiB, MiB, GiB)."""
    return round(_scaled(value, _SIZES, "a size such as 500MB or 20GB")) if isinstance(value, str) else value


def _scaled(text: str, units: dict[str, int], expected: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].lower() not in units:
        raise ValueError(f"is not {expected}")
    return float(match[1]) * units[match[2].lower()]


def _after(value: object) -> object:
    """Return a bare number as a count of failed ticks, and one with a unit as a time span."""
    text = value.strip() if isinstance(value, str) else ""
    after = int(text) if text.isdigit() else _duration(value)
    if isinstance(after, (int, timedelta)) and not after:
        raise ValueError(
            "must be greater than zero; write a number of failed ticks such as 3, or a time span such as 15m"
        )
    return after


def _listed(value: object) -> object:
    """Return what commas separate."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
_Bytes = Annotated[int, BeforeValidator(_size)]
_Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
OwnSettings = tuple[tuple[str, Any], ...]
"""Settings that one deployment has in place of those of the environment: names in lower case, and values."""


class DefinitionSettings(BaseSettings):
    """What Dagster's definitions are made of. They load where another setting is illegal; the steps it is for fail."""

    model_config = SettingsConfigDict(env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True, frozen=True)

    flux_utility: str | None = None
    flux_executor: Literal["threads", "multiprocess", "celery", "k8s"] = "threads"
    flux_sync_runs: Literal["process", "worker"] = "process"
    flux_tables: _Names = ()
    flux_without: _Names = ()

    @field_validator("flux_tables")
    @classmethod
    def _places(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_module_or_folder, places))

    @field_validator("flux_utility")
    @classmethod
    def _plain_utility(cls, name: str | None) -> str | None:
        if name in _TAKEN_PREFIXES:
            raise ValueError("begins keys of other assets; use the utility's own name, such as houston")
        if name is not None and not _UTILITY.fullmatch(name):
            raise ValueError("is not a plain lower-case name of letters, digits and _, such as houston")
        return name

    @staticmethod
    def load(own: OwnSettings = ()) -> DefinitionSettings:
        """Return them, those of a deployment's `own` before the environment's.

        Raises SettingError for an illegal one of these, and of no others.
        """
        with _explained():
            return DefinitionSettings(_env_file=Settings.env_file(), **dict(own))


class Settings(DefinitionSettings):
    """Every setting, under the name of its environment variable in lower case."""

    # Each is a row of the quarantine, with its text.
    most_quarantined: ClassVar[int] = 1_000_000

    flux_profile: Literal["embedded", "production"] = "embedded"
    flux_home: Path = Field(default_factory=lambda: Settings.project_folder() / ".flux")

    flux_postgres_url: SecretStr | None = None
    flux_postgres_schema: str = "public"
    flux_publish_wait: Duration = timedelta(minutes=10)
    flux_whole_release: Literal["off", "on", "strict"] = "off"
    flux_keep_versions: int = Field(default=1, ge=0, le=100)
    flux_keep_bytes: _Bytes | None = None
    flux_disk_limit: _Bytes | None = None
    flux_quarantine_limit: int = Field(default=0, ge=0, le=most_quarantined)
    flux_parallel_layers: int = Field(default_factory=lambda: min(4, os.cpu_count() or 2), ge=1, le=32)
    flux_keep_runs: int = Field(default=100, ge=1)
    flux_keep_runs_for: Duration = timedelta(days=3)
    flux_keep_failures_for: Duration = timedelta(days=30)
    flux_keep_ledger_for: Duration = Field(default=timedelta(days=90), ge=timedelta(days=1))
    pgservice: str | None = None
    pghost: str | None = None
    pghostaddr: str | None = None
    pgservicefile: str | None = None

    flux_release: str | None = None
    flux_release_tag: str | None = None
    flux_download_limit: _Bytes = Field(default=20 * 10**9, ge=1)

    snowflake_account: str | None = None
    snowflake_user: str | None = None
    snowflake_password: SecretStr | None = None
    snowflake_private_key_path: Path | None = None
    snowflake_private_key_passphrase: SecretStr | None = None
    snowflake_role: str | None = None
    snowflake_warehouse: str | None = None
    snowflake_database: str = "FLUX_DB"
    snowflake_schema: str = "PRODUCTION"
    snowflake_host: str | None = None
    snowflake_port: int | None = Field(default=None, ge=1, le=65535)
    snowflake_protocol: Literal["http", "https"] | None = None

    flux_log_format: Literal["text", "json"] = "text"
    flux_celery_broker: SecretStr | None = None
    flux_celery_backend: SecretStr | None = None
    flux_celery_lost_after: Duration = Field(default=timedelta(minutes=30), ge=timedelta(seconds=10))

    flux_config: Path | None = None
    dagster_postgres_url: SecretStr | None = None

    flux_alert_url: SecretStr | None = None
    flux_alert_format: Literal["json", "slack"] = "json"
    flux_alert_after: Annotated[int | timedelta, BeforeValidator(_after)] = 3
    flux_alert_remind: Duration = timedelta(days=1)
    flux_ui_url: str | None = None
    flux_post_url: SecretStr | None = None

    @field_validator("flux_home")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("flux_postgres_schema")
    @classmethod
    def _plain_schema(cls, name: str) -> str:
        if name.startswith("pg_") or name in _TAKEN_SCHEMAS:
            raise ValueError("belongs to PostgreSQL, PostGIS or flux_assets itself; use another, such as gis")
        if not _SCHEMA.fullmatch(name):
            raise ValueError("is not a plain lower-case name of letters, digits and _, such as public or gis")
        return name

    @field_validator("flux_postgres_url", "dagster_postgres_url")
    @classmethod
    def _well_formed(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        # As SQLAlchemy spells it, and Dagster's own configuration with it.
        plain = re.sub(r"^(postgres(?:ql)?)\+psycopg2?://", r"\1://", url.get_secret_value())
        _check_postgres_url(plain)
        return SecretStr(plain)

    @field_validator("flux_alert_url", "flux_post_url")
    @classmethod
    def _private(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            cls.check_web_address(url.get_secret_value(), https_over_network=True)
        return url

    @field_validator("flux_celery_broker", "flux_celery_backend")
    @classmethod
    def _of_redis(cls, url: SecretStr | None) -> SecretStr | None:
        # What survives a lost worker is set for Redis, and tested with it.
        if url is not None and urlsplit(url.get_secret_value()).scheme not in _REDIS:
            raise ValueError(
                "is not the address of a Redis; write redis://host:6379/0, rediss:// with TLS, or redis+socket:///path"
            )
        return url

    @field_validator("flux_ui_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None:
            cls.check_web_address(url, https_over_network=False)
            if "@" in urlsplit(url).netloc:
                raise ValueError("holds a user or password, and messages would show them")
        return url

    @model_validator(mode="after")
    def _one_sign_in(self) -> Settings:
        if self.snowflake_password and self.snowflake_private_key_path:
            raise ValueError("SNOWFLAKE_PASSWORD and SNOWFLAKE_PRIVATE_KEY_PATH are both set; keep the key pair")
        return self

    @model_validator(mode="after")
    def _private_source(self) -> Settings:
        if self.snowflake_protocol == "http" and not Host(self.snowflake_host or "").is_local:
            raise ValueError("SNOWFLAKE_PROTOCOL is http, but SNOWFLAKE_HOST is not on this machine; use https")
        return self

    @property
    def libpq_end(self) -> str | None:
        """The libpq variable that names the server, where FLUX_POSTGRES_URL is not set."""
        if self.flux_postgres_url is not None:
            return None
        return next((name for name in _LIBPQ_ENDS if getattr(self, name.lower())), None)

    @property
    def target_is_set(self) -> bool:
        """Whether the user named a target database."""
        return self.flux_postgres_url is not None or self.libpq_end is not None

    @property
    def release_is_set(self) -> bool:
        """Whether the user named a release other than the sample city."""
        return self.flux_release not in {None, _SAMPLE}

    @property
    def release_is_sample(self) -> bool:
        """Whether the layers come from the sample city: it was asked for, or neither release nor target is set."""
        unasked = self.flux_release is None and not self.target_is_set
        return self.flux_profile != "production" and (self.flux_release == _SAMPLE or unasked)

    @property
    def source_is_set(self) -> bool:
        """Whether the user named a source: a Snowflake account, perhaps incompletely, or the stand-in."""
        return any(getattr(self, f"snowflake_{name}") is not None for name in _OF_AN_ACCOUNT)

    @property
    def source_is_stand_in(self) -> bool:
        """Whether the dynamic tables come from the stand-in: it was asked for, or neither source nor target is set."""
        unasked = not self.source_is_set and not self.target_is_set
        return self.flux_profile != "production" and (self.snowflake_account == STAND_IN or unasked)

    @staticmethod
    def project_folder() -> Path:
        """Return the folder of the user's files: the repository, or the working folder without one."""
        return REPOSITORY if _IS_CHECKED_OUT else Path.cwd()

    @staticmethod
    def env_file() -> Path | None:
        """Return the `.env` file that settings come from, there or not; None when FLUX_ENV_FILE is empty."""
        here = Path(".env")
        named = os.environ.get("FLUX_ENV_FILE", str(here if here.is_file() else Settings.project_folder() / ".env"))
        return Path(named) if named else None

    @staticmethod
    def check_web_address(url: str, *, https_over_network: bool) -> None:
        """Raise ValueError for no web address, or, `https_over_network`, for what would be called unencrypted."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("is not a web address") from None
        if parts.scheme not in {"http", "https"} or not host or any(letter.isspace() for letter in url):
            raise ValueError("is not a web address; write https://host/path")
        if https_over_network and parts.scheme == "http" and not Host(host).is_local:
            raise ValueError("would be called unencrypted, but its host is not local; use https://")


def _module_or_folder(place: str) -> str:
    """Return the name of a module as it is, and a folder as its absolute path."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        return str(folder.absolute())
    if not _MODULE.fullmatch(place):
        raise ValueError(f"{place} is neither a folder nor the name of a module; name what holds the declarations")
    return place


def _check_postgres_url(url: str) -> None:
    if _is_unescaped(url):
        raise ValueError(
            "has a special character in its user or password; write @ as %40, / as %2F, ? as %3F, # as %23,"
            " [ as %5B, ] as %5D, and % itself as %25"
        )
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("does not start with postgresql://")
    if not parts.path.strip("/"):
        raise ValueError("names no database; write postgresql://user:password@host:port/database")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is not a number from 1 to 65535") from None


def _is_unescaped(url: str) -> bool:
    """Return whether user or password contain a character that must be escaped."""
    _, _, rest = url.partition("://")
    address, _, parameters = rest.partition("?")
    if "/" not in address and "@" in parameters:  # the ? belongs to the password: no database before it, an @ after it
        return True
    credentials, at, behind = address.rpartition("@")
    if not at:
        return False
    if "/" not in behind and address.partition("/")[0].count("@") == 1:  # the last @ belongs to the database name
        credentials = address.partition("@")[0]
    return bool(_ENDING.search(credentials))


@cache
def load_settings(own: OwnSettings = ()) -> Settings:
    """Return the settings of this process, from the environment and `.env` (FLUX_ENV_FILE names another file, or none).

    A deployment that shares its code location has its `own` before these. Raises SettingError, which names each illegal
    variable and what is legal, and shows no secret value.
    """
    with _explained():
        return Settings(_env_file=Settings.env_file(), **dict(own))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        problems = "; ".join(map(_described, error.errors()))
        raise SettingError(f"{problems}.", "Correct it and try again.") from None


def _described(problem: ErrorDetails) -> str:
    name = ".".join(str(part) for part in problem["loc"]).upper()
    message = legality.fault(problem)
    value = problem.get("input")
    secret = any(word in name for word in ("URL", "PASS", "KEY", "CELERY"))
    shown = f" = {value!r}" if isinstance(value, str) and not secret else ""
    return f"{name}{shown}: {message}" if name else message
