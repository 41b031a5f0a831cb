"""The account to sign in to, as arguments for the connector, and the parameters that every session sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import SecretStr

from flux_assets.errors import SettingError, WarehouseError

_APPLICATION = "flux_assets"
_SHAPING: dict[str, str | int | bool] = {
    # Rows. 0 is no limit.
    "ROWS_PER_RESULTSET": 0,
    "MULTI_STATEMENT_COUNT": 1,
    "AUTOCOMMIT": True,
    # How results come. The connector reads JSON too, and this program does not.
    "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": "ARROW",
    # Names: a column in quotes is the column of that name.
    "QUOTED_IDENTIFIERS_IGNORE_CASE": False,
    # Times: what TIMESTAMP means, and how texts are read, those of our own statements among them.
    "TIMEZONE": "UTC",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "TIMESTAMP_DAY_IS_ALWAYS_24H": False,
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    "DATE_INPUT_FORMAT": "AUTO",
    "TIME_INPUT_FORMAT": "AUTO",
    "TWO_DIGIT_CENTURY_START": 1970,
    "WEEK_START": 0,
    "WEEK_OF_YEAR_POLICY": 0,
    # Values as texts, in expressions of FLUX_CONFIG.
    "TIMESTAMP_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM",
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3",
    "TIMESTAMP_LTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM",
    "TIMESTAMP_TZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "TIME_OUTPUT_FORMAT": "HH24:MI:SS",
    "BINARY_INPUT_FORMAT": "HEX",
    "BINARY_OUTPUT_FORMAT": "HEX",
    "GEOGRAPHY_OUTPUT_FORMAT": "GeoJSON",
    "GEOMETRY_OUTPUT_FORMAT": "GeoJSON",
    "JSON_INDENT": 2,
    "STRICT_JSON_OUTPUT": False,
}
_INDISPENSABLE = (
    "ROWS_PER_RESULTSET",
    "QUOTED_IDENTIFIERS_IGNORE_CASE",
    "TIMEZONE",
    "TIMESTAMP_TYPE_MAPPING",
    "TIMESTAMP_INPUT_FORMAT",
    "DATE_INPUT_FORMAT",
)


@dataclass(frozen=True, kw_only=True)
class Account:
    """A Snowflake account, or a stand-in for one, and who signs in to it.

    `database` and `schema` are the default place of sources; `utility`, `run_id` and `layer` go into the query tag.
    Times are in seconds. The connector retries a request for `network_timeout`; a statement may wait `queued_timeout`
    for the warehouse and then run `statement_timeout`. Those depend on the other side or count silence alone; in any
    case a sign-in is abandoned after `sign_in_deadline`, a statement or the next piece of its result after
    `answer_deadline`, closing a session after `close_deadline`.
    """

    # What every session sets.
    SHAPING: ClassVar[dict[str, str | int | bool]] = _SHAPING

    account: str
    user: str
    password: SecretStr | None = None
    private_key_path: Path | None = None
    private_key_passphrase: SecretStr | None = None
    role: str | None = None
    warehouse: str | None = None
    database: str = "FLUX_DB"
    schema: str = "PRODUCTION"
    host: str | None = None
    port: int | None = None
    protocol: str | None = None
    stand_in: bool = False
    utility: str | None = field(default=None, repr=False)
    run_id: str | None = field(default=None, repr=False)
    layer: str | None = field(default=None, repr=False)
    login_timeout: int = field(default=30, repr=False)
    network_timeout: int = field(default=90, repr=False)
    # The server holds a request for up to 45 seconds while a statement runs.
    socket_timeout: int = field(default=60, repr=False)
    statement_timeout: int = field(default=120, repr=False)
    queued_timeout: int = field(default=60, repr=False)
    sign_in_deadline: float = field(default=60.0, repr=False)
    answer_deadline: float = field(default=300.0, repr=False)
    close_deadline: float = field(default=10.0, repr=False)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `snowflake.connector.connect`. Raises SettingError with nothing to sign in with."""
        tag = {"app": _APPLICATION, "utility": self.utility, "run_id": self.run_id, "layer": self.layer}
        chosen = {name: getattr(self, name) for name in ("role", "warehouse", "host", "port", "protocol")}
        return {
            "account": self.account,
            "user": self.user,
            **self._sign_in(),
            **{name: value for name, value in chosen.items() if value is not None},
            "database": self.database,
            "schema": self.schema,
            "application": _APPLICATION,
            "login_timeout": self.login_timeout,
            "network_timeout": self.network_timeout,
            "socket_timeout": self.socket_timeout,
            # Otherwise every sign-in asks the metadata services of three clouds where it runs.
            "platform_detection_timeout_seconds": 0.0,
            # What else is installed here is private, and looking it up takes a millisecond.
            "log_imported_packages_in_telemetry": False,
            "session_parameters": {
                **_SHAPING,
                "QUERY_TAG": json.dumps({name: value for name, value in tag.items() if value}),
                "STATEMENT_TIMEOUT_IN_SECONDS": self.statement_timeout,
                "STATEMENT_QUEUED_TIMEOUT_IN_SECONDS": self.queued_timeout,
                "ABORT_DETACHED_QUERY": True,
                # Nobody reads the stand-in's telemetry.
                **({"CLIENT_TELEMETRY_ENABLED": False} if self.stand_in else {}),
            },
        }

    def _sign_in(self) -> dict[str, Any]:
        if self.private_key_path is not None:
            secret = self.private_key_passphrase
            passphrase = {"private_key_file_pwd": secret.get_secret_value()} if secret else {}
            return {"authenticator": "SNOWFLAKE_JWT", "private_key_file": self._readable_key(), **passphrase}
        if self.password is None:
            raise SettingError(
                f"User {self.user} has neither a private key nor a password to sign in to Snowflake with.",
                "Set SNOWFLAKE_PRIVATE_KEY_PATH (key pair, for a service), or SNOWFLAKE_PASSWORD.",
            )
        return {"password": self.password.get_secret_value()}

    def _readable_key(self) -> str:
        path = Path(str(self.private_key_path)).expanduser()
        try:
            with path.open("rb"):
                return str(path)
        except OSError as error:
            raise SettingError(
                f"SNOWFLAKE_PRIVATE_KEY_PATH = {str(self.private_key_path)!r} cannot be read: {error.strerror}.",
                "Name a PEM file with the private key (PKCS #8) that this process may read.",
            ) from None

    def refuse_other_parameters(self, reported: Mapping[str, object]) -> None:
        """Raise WarehouseError where the server opened the session with values that change rows, names or times."""
        for name in _INDISPENSABLE:
            wanted = _SHAPING[name]
            if name in reported and _plain(reported[name]) != _plain(wanted):
                written = f"'{wanted}'" if isinstance(wanted, str) else str(wanted).upper()
                raise WarehouseError(
                    f"Snowflake opened the session with {name} = {reported[name]}, although {wanted} was requested.",
                    f"ALTER USER {self.user} SET {name} = {written}; or let an administrator of the account"
                    f" allow the user to set {name}.",
                )


def _plain(value: object) -> str:
    text = str(value).strip().lower()
    return "utc" if text == "etc/utc" else text
