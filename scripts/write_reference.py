"""Write docs/reference.md from the programs: `scripts/isolated.sh .venv/bin/python scripts/write_reference.py`.

The columns of views are asked of a database that is made for it in the embedded PostGIS.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args, get_origin

import click
import psycopg
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flux_assets.cli.main import main
from flux_assets.orchestration import layer_assets, match_checks, resources, sync_assets
from flux_assets.postgis.session import Target, prepare
from flux_assets.settings import Settings, load_settings
from flux_assets.wiring.target import embedded_cluster

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
_HEAD = """# Reference

Written by `scripts/write_reference.py`, and compared by a test. Elsewhere: [checks](checks.md), the
[tables and their columns](data-dictionary.md), [metrics](monitoring.md#metrics),
[what a source must be like](source-contract.md) and [a release's files](formats.md).
"""
_RUN_CONFIG: dict[str, type[BaseModel]] = {
    "A layer: `ops.<layer>.config`": layer_assets._LayerConfig,
    "Synced tables: `ops.sync_dynamic_tables.config`": sync_assets._SyncConfig,
    "Comparisons: `ops.match_static_layers.config`, `ops.match_dynamic_tables.config`": match_checks._MatchConfig,
    "The release: `resources.release.config`": resources.ReleaseResource,
}
_KINDS: dict[object, str] = {
    int: "number",
    timedelta: "time span, such as `90s` or `2h`",
    Path: "path",
    SecretStr: "secret text",
}
_VIEWS = """
SELECT c.relname, obj_description(c.oid), a.attname, format_type(a.atttypid, NULL), col_description(c.oid, a.attnum)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'postgres_sync'::regnamespace AND c.relkind = 'v' ORDER BY c.relname, a.attnum
"""


def page(connection: psycopg.Connection) -> str:
    """Return the page; the connection is to a database that has the ledger."""
    return "\n".join([_HEAD, *_commands(), *_settings(), *_run_config(), *_views(connection)]).rstrip() + "\n"


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    above = click.Context(main, info_name="flux-assets", terminal_width=100)
    yield f"```\n{main.get_help(above)}\n```\n"
    for name, command in sorted(main.commands.items()):
        context = click.Context(command, info_name=name, parent=above, terminal_width=100)
        yield f"### flux-assets {name}\n\n```\n{command.get_help(context)}\n```\n"


def _settings() -> Iterator[str]:
    yield "## Settings\n"
    yield "Environment variables, or lines of `.env`. [README.md](../README.md#settings) says what each is for.\n"
    yield "| variable | value | default |\n|---|---|---|"
    for name, field in Settings.model_fields.items():
        kind = "size, such as `20GB`" if "_size" in f"{field.annotation} {field.metadata}" else _kind(field.annotation)
        yield f"| `{name.upper()}` | {kind} | {_default(field)} |"
    yield ""


def _kind(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "names, separated by commas"
    if parts := [_kind(each) for each in get_args(annotation) if isinstance(each, type) and each is not type(None)]:
        return " or ".join(parts)
    literal = next((each for each in get_args(annotation) if get_origin(each) is Literal), None)
    return _kind(literal) if literal else _KINDS.get(annotation, "text")


def _default(field: FieldInfo) -> str:
    if field.default in (None, ()) or field.default_factory:
        return ""
    if isinstance(field.default, timedelta):
        days, minutes = field.default.days, field.default.seconds // 60
        return f"{days}d" if days else f"{minutes}m"
    return str(field.default)


def _run_config() -> Iterator[str]:
    yield "## Run config\n"
    yield "What one run may ask for, in the UI's launchpad or by `--config-json`.\n"
    for title, config in _RUN_CONFIG.items():
        yield f"### {title}\n\n| field | default | what it does |\n|---|---|---|"
        for name, field in config.model_fields.items():
            if field.description:
                default = "" if field.default in (None, "", [], PydanticUndefined) else f"`{field.default}`".lower()
                yield f"| `{name}` | {default} | {field.description} |"
        yield ""


def _views(connection: psycopg.Connection) -> Iterator[str]:
    yield "## Views of postgres_sync\n"
    yield "Any role that may read the map may read them. Times are with time zone, sizes in bytes.\n"
    for view, columns in groupby(connection.execute(_VIEWS).fetchall(), key=lambda row: row[:2]):
        yield f"### {view[0]}\n\n{view[1]}\n\n| column | type | what it is |\n|---|---|---|"
        for *_, name, kind, said in columns:
            yield f"| `{name}` | {kind.replace('timestamp with time zone', 'timestamptz')} | {said or ''} |"
        yield ""


if __name__ == "__main__":
    cluster = embedded_cluster(load_settings())
    cluster.ensure_map_database("flux_reference")
    with Target(conninfo=cluster.conninfo("flux_reference")).session("reference") as ledger:
        prepare(ledger, "public")
        PAGE.write_text(page(ledger))
    with cluster.admin_session() as admin:
        admin.execute("DROP DATABASE flux_reference (FORCE)")
