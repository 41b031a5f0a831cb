"""Session parameters that shape what a query gives, set at every sign-in: an account or user may have others.

Here: the values, which are Snowflake's own defaults but for the time zone and Arrow, and whether a session took them.
docs/source-contract.md goes through the whole list of SHOW PARAMETERS. Not here: time-outs and tags (account.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from flux_assets.errors import WarehouseError

Value = str | int | bool
SHAPING: dict[str, Value] = {
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
# Without any of these rows, names or times would be others, and it is written as here whatever the account makes of it.
_INDISPENSABLE = (
    "ROWS_PER_RESULTSET", "QUOTED_IDENTIFIERS_IGNORE_CASE", "TIMEZONE", "TIMESTAMP_TYPE_MAPPING",
    "TIMESTAMP_INPUT_FORMAT", "DATE_INPUT_FORMAT",
)  # fmt: skip
_SAME = {"etc/utc": "utc"}


def refuse_others(told: Mapping[str, object], user: str) -> None:
    """Raise WarehouseError where the session that was opened has another value, as far as the server told any."""
    for name in _INDISPENSABLE:
        if name in told and _plain(told[name]) != _plain(SHAPING[name]):
            raise WarehouseError(
                f"Snowflake opened the session with {name} = {told[name]}, although {SHAPING[name]} was asked for.",
                f"ALTER USER {user} SET {name} = {_written(SHAPING[name])}; or let an administrator of the account"
                f" allow the user to set {name}.",
            )


def _plain(value: object) -> str:
    text = str(value).strip().lower()
    return _SAME.get(text, text)


def _written(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).upper()
