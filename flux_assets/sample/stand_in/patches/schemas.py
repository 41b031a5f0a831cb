"""fakesnow looks a session's schema up in DuckDB's catalog before it sets it, which is a third of a sign-in.

DuckDB refuses a schema that does not exist, so it can be set at once. Upstream: `FakeSnowflakeConnection.__init__` of
https://github.com/tekumara/fakesnow/blob/v0.12.1/fakesnow/conn.py.
"""

from __future__ import annotations

from typing import Any


def patch(instance: Any) -> None:
    """Set the schema of the instance's sessions without looking it up."""
    import duckdb

    plain = instance.connect

    def connect(database: str | None = None, schema: str | None = None, **kwargs: Any) -> Any:
        if not (database and schema) or schema.upper() == "INFORMATION_SCHEMA":
            return plain(database, schema, **kwargs)
        session = plain(**kwargs)
        session.database, session._schema = database.upper(), schema.upper()
        try:
            session._duck_conn.execute(f"SET schema='{session.database}.{session._schema}'")
        except duckdb.Error:
            session.close()
            return plain(database, schema, **kwargs)
        session.database_set = session.schema_set = True
        return session

    instance.connect = connect
