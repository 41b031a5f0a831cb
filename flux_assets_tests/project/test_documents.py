"""The documents name files, settings and commands that are there."""

import re
import shlex
from pathlib import Path

import click
import pytest

from flux_assets.cli.main import main
from flux_assets.settings import REPOSITORY, Settings

PAGES = [REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "ARCHITECTURE", "SECURITY")]
DOCUMENTS = [*PAGES, *sorted((REPOSITORY / "docs").glob("*.md"))]
PATH = re.compile(r"`((?:flux_assets|flux_assets_tests|deploy|sql|docs|scripts|bench|\.ci)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
TYPED = re.compile(r"(?:^|[ `/(])flux-assets ([a-z]+[^`\n]*)", re.MULTILINE)
# Settings that are no field of Settings: they are read before it.
OTHERS = {"FLUX_ENV_FILE", "DAGSTER_HOME"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_is_there(document: Path) -> None:
    text = document.read_text()
    named = {REPOSITORY / path for path in PATH.findall(text)} | {document.parent / link for link in LINK.findall(text)}
    assert [str(path) for path in named if not path.exists() and "results" not in path.parts] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_is_one(document: Path) -> None:
    named = set(re.findall(r"`((?:FLUX|DAGSTER|SNOWFLAKE)_[A-Z_]*[A-Z])`", document.read_text()))
    assert named - OTHERS <= {name.upper() for name in Settings.model_fields}


def test_every_setting_is_explained():
    explained = (REPOSITORY / "README.md").read_text().partition("\n## Settings")[2]
    assert [name for name in map(str.upper, Settings.model_fields) if f"`{name}`" not in explained] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_one(document: Path) -> None:
    assert set(re.findall(r"flux-assets ([a-z]+)", document.read_text())) <= set(main.commands)


@pytest.mark.parametrize(
    "document", [page for page in DOCUMENTS if page.name != "reference.md"], ids=lambda path: path.name
)
def test_every_option_is_one(document: Path) -> None:
    """Of lines to be typed, and of commands within a sentence or a table."""
    for line in TYPED.findall(document.read_text()):
        command = main.commands.get(line.split()[0])
        if command and not command.context_settings.get("ignore_unknown_options"):
            words = shlex.split(re.sub(r"…|\.\.\.| #.*|\[|\]|'s\b", " ", line), comments=True)[1:]
            upto = next((place for place, word in enumerate(words) if word in {"|", "&&", ";", ">", "2>&1"}), None)
            command.make_parser(click.Context(command)).parse_args(words[:upto])


def test_commands_that_want_dagster_home_are_shown_with_it():
    """`dagster schedule` and `dagster sensor` end in a traceback without it, also in the folder of dagster.yaml."""
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    shown = [
        line
        for page in pages
        for line in page.read_text().splitlines()
        if re.search("dagster (schedule|sensor) start", line)
    ]
    assert len(shown) >= 3
    assert [line for line in shown if not re.search(r"DAGSTER_HOME=\$PWD dagster (schedule|sensor) start", line)] == []
