"""One session with the source that can be made anew, and statements in it.

Here: executing, describing, and turning every fault into an error of ours. Not here: which statements (query.py) and
what to conclude from them (source.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from flux_assets.errors import FluxError
from flux_assets.warehouse.account import Account
from flux_assets.warehouse.columns import FoundColumn
from flux_assets.warehouse.connect import Connect
from flux_assets.warehouse.translating import NOTHING, Subject, translated

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor


class Session:
    """A session that is opened on first use. `reset` closes it, so that the next statement opens a new one.

    `generation` counts the sessions: what was set up in an earlier one is gone. `arguments` are those of an account
    for the connector, and `find` says where it is now, for a stand-in that was started again may listen elsewhere.
    """

    def __init__(
        self,
        account: Account,
        arguments: Callable[[Account], dict[str, Any]],
        connect: Connect,
        find: Callable[[], Account] | None = None,
    ) -> None:
        self.account = account
        self.generation = 0
        self._arguments = arguments
        self._connect = connect
        self._find = find
        self._stack = ExitStack()
        self._connection: SnowflakeConnection | None = None

    def reset(self) -> None:
        """Close the session, whatever state it is in."""
        self._connection = None
        # A session that is broken cannot be closed properly, and nobody has to know.
        with suppress(Exception):
            self._stack.close()
        self._stack = ExitStack()

    def renew(self) -> None:
        """Close the session and look anew where the next one is to be opened. Raises what finding it raises."""
        self.reset()
        if self._find is not None:
            self.account = self._find()

    def connection(self) -> SnowflakeConnection:
        """The open session; signs in when there is none. Raises WarehouseError or SettingError."""
        if self._connection is None:
            with self.translating():
                self._connection = self._stack.enter_context(self._connect(self.account, self._arguments(self.account)))
            self.generation += 1
        return self._connection

    @contextmanager
    def cursor(self, statement: str, subject: Subject = NOTHING) -> Iterator[SnowflakeCursor]:
        """Run a statement and hand over its cursor; `subject` is what it is about in errors."""
        connection = self.connection()
        with self.translating(subject):
            cursor = connection.cursor()
            try:
                # Without parameters the connector leaves percent signs alone.
                cursor.execute(statement)
                yield cursor
            finally:
                with suppress(Exception):
                    cursor.close()

    def described(self, statement: str, subject: Subject = NOTHING) -> tuple[FoundColumn, ...]:
        """The columns that a statement would give; it is compiled and not run, so that no warehouse wakes up."""
        from snowflake.connector.constants import FIELD_ID_TO_NAME

        connection = self.connection()
        with self.translating(subject):
            described = connection.cursor().describe(statement)
        return tuple(
            FoundColumn(name=column.name, kind=FIELD_ID_TO_NAME[column.type_code], scale=column.scale)
            for column in described
        )

    @contextmanager
    def translating(self, subject: Subject = NOTHING) -> Iterator[None]:
        """Faults of the connector and of the network become errors of ours."""
        try:
            yield
        except (FluxError, GeneratorExit):
            raise
        except Exception as error:
            raise translated(error, self.account, subject) from error
