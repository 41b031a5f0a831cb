"""The web application: tipg's tiles and features of the declared tables, their states, and news of every change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Thread
from urllib.parse import quote, urlencode

import asyncpg
import psycopg
from fastapi import FastAPI
from sqlalchemy import Column
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles
from tipg.collections import register_collection_catalog
from tipg.database import connection_factory
from tipg.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from tipg.factory import OGCFeaturesFactory, OGCTilesFactory
from tipg.settings import DatabaseSettings

from flux_assets.alerting.listening import Change, changes
from flux_assets.encryption import completed, protected
from flux_assets.errors import TargetError, reported
from flux_assets.ledger.status import TableStatus
from flux_assets.postgis.session import Target
from flux_assets.spec import StaticTable, View, geometry_kind
from flux_assets.sqlfiles import query
from flux_assets.tables import views

_PAGE = Path(__file__).with_name("page")
_ADDRESS = ("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey")
_SESSIONS = 8
_SIGN_OF_LIFE_SECONDS = 15.0
_Log = Callable[[str], object]


class _News:
    """What every open page is told of: the tables that have changed."""

    def __init__(self) -> None:
        self._pages: set[asyncio.Queue[str]] = set()

    def tell(self, text: str) -> None:
        for page in self._pages:
            page.put_nowait(text)

    async def stream(self) -> AsyncIterator[str]:
        page: asyncio.Queue[str] = asyncio.Queue()
        self._pages.add(page)
        try:
            while True:
                # Without a word now and then, a page that was closed would never be noticed.
                try:
                    yield f"data: {await asyncio.wait_for(page.get(), _SIGN_OF_LIFE_SECONDS)}\n\n"
                except TimeoutError:
                    yield ": listening\n\n"
        finally:
            self._pages.discard(page)


def build_app(target: Target, log: _Log) -> FastAPI:
    """Return the application over the target's declared tables, and the declared views of them."""
    named = [table.name for table in target.declared if table.spatial_columns] + [view.name for view in views()]
    shown = [f"{target.schema}.{name}" for name in named]
    served = DatabaseSettings(
        schemas=[target.schema], tables=shown, functions=[], datetime_extent=False, spatial_extent=False
    )
    news, path = _News(), _search_path(target)

    async def find_names(session: asyncpg.Connection) -> None:
        # The pool resets what a session was set to each time that it is given back.
        await session.execute("SELECT set_config('search_path', $1, false)", ", ".join(path))

    async def spread(found: list[Change]) -> None:
        # A table that was just made is not in the catalogue yet, and a changed one may have other columns.
        try:
            await register_collection_catalog(app, db_settings=served)
        except (asyncpg.PostgresError, OSError) as error:
            log(f"The tables could not be listed anew: {reported(error)}.")
        news.tell(json.dumps([change.table for change in found]))

    def listen(loop: asyncio.AbstractEventLoop) -> None:
        for found in changes(target, log):
            if found:
                asyncio.run_coroutine_threadsafe(spread(found), loop)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = await asyncpg.create_pool(
            _address(target),
            min_size=0,  # it would log without end while the database is away
            max_size=_SESSIONS,
            init=connection_factory(path, "pg_temp"),
            setup=find_names,
            server_settings={"application_name": "flux_assets map"},
        )
        await register_collection_catalog(app, db_settings=served)
        Thread(target=listen, args=[asyncio.get_running_loop()], name="flux_assets map", daemon=True).start()
        yield
        app.state.pool.terminate()

    app = FastAPI(title="flux_assets", lifespan=running, openapi_url=None, routes=_routes(target, news))
    app.include_router(OGCFeaturesFactory(with_common=False).router)
    app.include_router(OGCTilesFactory(with_common=False, with_viewer=False).router)
    add_exception_handlers(app, DEFAULT_STATUS_CODES)
    app.mount("/", StaticFiles(directory=_PAGE, html=True))
    return app


def _routes(target: Target, news: _News) -> list[BaseRoute]:
    async def hear(_: Request) -> Response:
        return StreamingResponse(news.stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return [
        Route("/tables", partial(_tables, target)),
        Route("/bounds", partial(_bounds, target)),
        Route("/changes", hear),
    ]


def _tables(target: Target, _: Request) -> Response:
    """Answer with the state of each table that the database knows, and each view; with what of it can be drawn."""
    asked = {"schema": target.schema, "names": [view.name for view in views()]}
    try:
        with target.session("map") as session:
            found = TableStatus.read(session, target.schema)
            standing = {name: shape for name, *shape in session.execute(query("map", "views"), asked)}
    except (psycopg.Error, TargetError) as error:
        return _json({"problem": reported(error)}, 503)
    shapes = {table.name: table.spatial_columns[0] for table in target.declared if table.spatial_columns}
    tables = [asdict(status) | _shape(shapes.get(name)) for name, status in found.items()]
    for view in views():
        # A view is as new as the newest table that it reads, and to be trusted as they are.
        read = [found[name] for name in _tables_of(view) if name in found and found[name].published_at]
        if view.name in standing and read:
            newest = min(read, key=lambda status: status.published_age_seconds or 0)
            least = next((status for status in read if status.wrong), newest)
            kind, column = standing[view.name]
            own = {"table": view.name, "kind": "view", "of": ", ".join(view.inputs)}
            judged = {"state": least.state, "trusted": least.trusted, "detail": least.detail}
            tables.append(asdict(newest) | judged | own | {"geometry": kind, "geometry_column": column})
    return _json({"schema": target.schema, "tables": tables})


def _tables_of(view: View) -> Iterator[str]:
    """Yield the tables that a view reads, by other views too."""
    named = {each.name: each for each in views()}
    for name in view.inputs:
        if name in named:
            yield from _tables_of(named[name])
        else:
            yield name


def _shape(column: Column[object] | None) -> dict[str, str | None]:
    """Return kind and name of the column that is drawn; of several, the one that is declared first."""
    if column is None:
        return {"geometry": None, "geometry_column": None}
    return {"geometry": geometry_kind(column), "geometry_column": column.name}


def _bounds(target: Target, _: Request) -> Response:
    """Answer with the rectangle that holds the static layers; null where none has statistics."""
    names = [table.name for table in target.declared if isinstance(table, StaticTable)]
    with target.session("map") as session:
        row = session.execute(query("map", "bounds"), {"schema": target.schema, "tables": names}).fetchone()
    return _json(row if row and row[0] is not None else None)


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value, default=str), status, {"Cache-Control": "no-store"}, "application/json")


def _search_path(target: Target) -> list[str]:
    """Return the schemas of the tables and of PostGIS, quoted where they have to be."""
    with target.session("map") as session:
        found = session.execute(query("map", "schemas"), [target.schema]).fetchall()
    return [schema for (schema,) in found]


def _address(target: Target) -> str:
    """Return the target's address as asyncpg reads it, encrypted as ours are."""
    found = completed(protected(target.conninfo))
    return f"postgresql://?{urlencode({name: found[name] for name in _ADDRESS if found.get(name)}, quote_via=quote)}"
