"""Opening a session with the connector.

Here: the plain way. Not here: the way through Dagster's resource, which orchestration/resources.py hands to
open_source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from flux_assets.snowflake.account import Account

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

Connect = Callable[[Account, dict[str, Any]], AbstractContextManager["SnowflakeConnection"]]


@contextmanager
def connect_directly(account: Account, arguments: dict[str, Any]) -> Iterator[SnowflakeConnection]:  # noqa: ARG001
    """A session of the connector with these arguments, closed at the end."""
    # Three seconds of imports, for those who really connect.
    import snowflake.connector

    connection = snowflake.connector.connect(**arguments)
    try:
        yield connection
    finally:
        # A session that is broken is not worth three attempts; the server ends it by itself.
        connection.close(retry=False)
