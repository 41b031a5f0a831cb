"""The process of the stand-in, fakesnow on DuckDB files: `python -m flux_assets.sample.stand_in.daemon FOLDER`."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from flux_assets.sample.stand_in.door import App, Door
from flux_assets.sample.stand_in.layout import Layout, Listening
from flux_assets.sample.stand_in.patches import columns, conflicts, plans, schemas, times
from flux_assets.sample.stand_in.patches.results import RecentResults

FIRST_PORT = 18432


def main(folder: Path) -> None:
    """Fork: the parent prints the process id of the child and ends, the child becomes the server."""
    child = os.fork()
    if child:
        os.write(sys.stdout.fileno(), f"{child}\n".encode())  # the starter reads it
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
    # Paths below are relative: DuckDB's file names are part of SQL text, where a quote in FLUX_HOME would end them.
    os.chdir(layout.folder)
    Path("data").mkdir(exist_ok=True)
    # Left by a killed server: fakesnow creates a folder when it is imported and never removes it.
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
    plans.patch()
    conflicts.patch()
    times.patch()
    columns.patch()
    instance = FakeSnow(db_path="data")
    instance.results_cache = RecentResults()
    for database in sorted(Path("data").glob("*.db")):
        try:
            instance.connect(database.stem).close()
        except duckdb.ParserException as error:
            # Another program's file, with a name that DuckDB cannot use: the other databases are served all the same.
            fakesnow.logger.error(f"{database} is left out, because of its name: {error}")
    # From here on a database or schema that does not exist is an error, as it is in Snowflake.
    instance.create_database_on_connect = instance.create_schema_on_connect = False
    schemas.patch(instance)
    fakesnow.shared_fs = instance
    inside: Any = fakesnow.app
    return Door(inside=inside, sessions=fakesnow.sessions, password=layout.password(), folder=str(layout.folder))


def _listener(layout: Layout) -> socket.socket:
    """Return a socket on the port of the last start, so that noted addresses stay valid, or on the first free port."""
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
