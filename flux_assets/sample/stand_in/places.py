"""fakesnow 0.12 looks a session's schema up in DuckDB's catalog before it sets it: a third of a sign-in.

Here: setting it first, which DuckDB refuses where there is none. Not here: starting its server (daemon.py). fakesnow is
imported by those who call this, never by importing the module.
"""

from __future__ import annotations

from typing import Any


def mend(instance: Any) -> None:  # noqa: ANN401 - fakesnow's FakeSnow, which makes no database or schema by itself
    """Let the instance's sessions be in their schema at once."""
    import duckdb

    plain = instance.connect

    def connect(database: str | None = None, schema: str | None = None, **kwargs: Any) -> Any:  # noqa: ANN401
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
