"""The command init: a project of one's own, with a table of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

import click

from flux_assets.errors import SettingError

_TEMPLATES = Path(__file__).resolve().parent / "starter"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# By the name in the project, in which NAME stands for that of the project.
_FILES = {
    ".env": "env.txt",
    ".env.example": "env.txt",
    ".gitignore": "gitignore.txt",
    "NAME/__init__.py": None,
    "NAME/definitions.py": "definitions.py.txt",
    "NAME/tables/tall_buildings.py": "tall_buildings.py.txt",
    "NAME/tables/tall_buildings.sql": "tall_buildings.sql.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "tests/test_tables.py": "test_tables.py.txt",
    "workspace.yaml": "workspace.yaml.txt",
}
COMMANDS = click.Group()


@COMMANDS.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def _init(folder: Path) -> None:
    """Write a project into DIR, a new or empty folder, named like it.

    It has Dagster's dagster.yaml and workspace.yaml, pyproject.toml for `dg`, a `.env`, an example of a table with its
    test, and the SQL that administrators run. It works at once, with an embedded PostGIS and the sample city.

    \b
    Example:
      flux-assets init houston
    """
    folder = folder.absolute()
    name = folder.name.lower().replace("-", "_")
    if not _NAME.fullmatch(name) or iskeyword(name) or name == "tests":
        raise SettingError(f"{folder.name} cannot be the name of a Python package.", "Choose another, such as houston.")
    if find_spec(name):
        raise SettingError(f"There is a Python module {name} already.", "Choose another name, such as houston.")
    if folder.exists() and any(folder.iterdir()):
        raise SettingError(f"{folder} is not empty.", "Name a folder that is new or empty: nothing is overwritten.")
    texts = {path.replace("NAME", name): text.replace("NAME", name) for path, text in _texts()}
    try:
        for path, text in texts.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(f"{error.filename} cannot be written: {error.strerror}.", "Choose another folder.") from None
    click.echo(f"Wrote {len(texts)} files into {folder}. Next:")
    for command, what in (
        (f"cd {folder}", ""),
        ("flux-assets load", "load the sample city, and the example that is computed from it"),
        ("flux-assets sync", "sync the dynamic tables with the stand-in for Snowflake"),
        ("flux-assets status", "what is live"),
        ("dg dev", "Dagster's UI (pip install 'flux_assets[dg]'), or: dagster dev -w workspace.yaml"),
        ("pytest", "the test of the example"),
        ("flux-assets doctor", "once .env names your own PostGIS, release and Snowflake"),
    ):
        click.echo(f"  {command:<20}{what}".rstrip())


def _texts() -> Iterator[tuple[str, str]]:
    """Yield path and text of every file, with NAME for the project's name."""
    from flux_assets.settings import REPOSITORY
    from flux_assets.sqlfiles import script

    for path, template in _FILES.items():
        yield path, (_TEMPLATES / template).read_text(encoding="utf-8") if template else ""
    packaged = _TEMPLATES / "dagster.yaml"
    yield "dagster.yaml", (packaged if packaged.is_file() else REPOSITORY / "dagster.yaml").read_text(encoding="utf-8")
    for name in ("postgis/roles.sql", "snowflake/grants.sql"):
        yield f"sql/{name}", script(name)
