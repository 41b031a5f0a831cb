"""The process of the stand-in: `python -m flux_assets.sample.stand_in.daemon FOLDER`.

Here: becoming a process of its own, fakesnow on the folder's DuckDB files, where it listens, and its end.
Not here: who starts and stops it (server.py). fakesnow is imported here alone: it takes a second and a half.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from flux_assets.sample.stand_in import described, places, plans, times
from flux_assets.sample.stand_in.door import App, Door
from flux_assets.sample.stand_in.layout import Layout, Listening
from flux_assets.sample.stand_in.results import RecentResults

FIRST_PORT = 18432
_CONFLICT = 625


def main(folder: Path) -> None:
    """Fork; the parent prints the number of the child, which goes on as the server, and ends."""
    child = os.fork()
    if child:
        print(child, flush=True)  # noqa: T201 - the starter reads it
        os._exit(0)
    layout = Layout(folder=folder)
    _leave_the_starter(layout)
    _serve(layout)


def _leave_the_starter(layout: Layout) -> None:
    os.setsid()
    log = os.open(layout.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    # Paths below are relative: DuckDB's file names stand in SQL text, where a quote in FLUX_HOME would end them.
    os.chdir(layout.folder)
    Path("data").mkdir(exist_ok=True)
    # Of one that was killed. fakesnow makes a folder as soon as it is imported and never removes it.
    shutil.rmtree(layout.temporary, ignore_errors=True)
    layout.temporary.mkdir()
    tempfile.tempdir = str(layout.temporary)


def _serve(layout: Layout) -> None:
    import uvicorn

    listener = _listener(layout)
    config = uvicorn.Config(
        _application(layout), lifespan="off", log_level="warning", access_log=False, timeout_graceful_shutdown=3
    )
    layout.write_listening(Listening(pid=os.getpid(), port=listener.getsockname()[1]))
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        layout.forget_listening(os.getpid())


def _application(layout: Layout) -> App:
    import duckdb
    import fakesnow.server as fakesnow
    from fakesnow.instance import FakeSnow

    fakesnow.logger.setLevel("WARNING")
    plans.mend()
    _report_conflicts()
    times.mend()
    described.mend()
    instance = FakeSnow(db_path="data")
    instance.results_cache = RecentResults()
    for database in sorted(Path("data").glob("*.db")):
        try:
            instance.connect(database.stem).close()
        except duckdb.ParserException as error:
            # Not one of ours: a name that DuckDB cannot have. It shall not keep the others from their readers.
            fakesnow.logger.error(f"{database} is left out, because of its name: {error}")
    # From here on a database or schema that does not exist is as wrong as it is in Snowflake.
    instance.create_database_on_connect = instance.create_schema_on_connect = False
    places.mend(instance)
    fakesnow.shared_fs = instance
    inside: Any = fakesnow.app
    return Door(inside=inside, sessions=fakesnow.sessions, password=layout.password(), folder=str(layout.folder))


def _report_conflicts() -> None:
    """As an error of Snowflake's: fakesnow answers HTTP 500, which the connector tries again until it gives up."""
    import duckdb
    from fakesnow.cursor import FakeSnowflakeCursor
    from snowflake.connector.errors import ProgrammingError

    plain = FakeSnowflakeCursor.execute

    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - fakesnow's signature, passed on
        try:
            return plain(self, *args, **kwargs)
        except duckdb.TransactionException as error:
            raise ProgrammingError(msg=str(error), errno=_CONFLICT, sqlstate="57014") from error
        except duckdb.Error as error:
            raise ProgrammingError(msg=str(error), errno=2140, sqlstate="42601") from error

    FakeSnowflakeCursor.execute = execute  # type: ignore[method-assign]


def _listener(layout: Layout) -> socket.socket:
    """The port of the last start when it is free, so that addresses that were noted stay true; else the first free."""
    last = layout.read_listening()
    for port in [*([last.port] if last else []), *range(FIRST_PORT, FIRST_PORT + 1000), 0]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(128)
        except OSError:
            listener.close()
        else:
            return listener
    raise OSError("no port of 127.0.0.1 is free")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
