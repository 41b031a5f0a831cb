"""The commands that make releases, and look into them before they are published: pack, manifest, diff."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from flux_assets.cli.terminal import Commands, exit_if, print_json, the_layer, the_target
from flux_assets.errors import FluxError, LayerError, ReleaseError, counted
from flux_assets.words import size

if TYPE_CHECKING:
    from flux_assets.compare.difference import TableDifference
    from flux_assets.compare.states import LayerStates
    from flux_assets.release.release import FileEntry

_UNKNOWN_SHOWN = 10
_MOST_PLACES = 1_000  # of each kind and layer
_WORDS: dict[Literal["extra", "missing", "changed"], str] = {
    "extra": "added",
    "missing": "removed",
    "changed": "changed",
}
COMMANDS = click.Group()


@COMMANDS.command("pack")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option(
    "--from",
    "origin",
    required=True,
    metavar="ORIGIN",
    help="postgis, snowflake, or the folder or address of a release.",
)
@click.option("--tag", metavar="TAG", help="The release's version label  [default: the name of DIR].")
def _pack(folder: Path, tables: tuple[str, ...], origin: str, tag: str | None) -> None:
    """Write a release of all layers, or of TABLE, into a new DIR.

    The rows are those of the published tables, of tables in Snowflake that have the names and columns of the layers,
    or of a release in any format, all as of one instant. Files are gzip CSV in the order of the key: the same rows give
    the same bytes. With them comes manifest.json. DIR is there when all is written; interrupted, nothing is.
    Computed layers are packed where TABLE names them.

    \b
    Examples:
      flux-assets pack releases/2026-03 --from postgis
      flux-assets pack releases/2026-03 --from delivered/2026-03
      flux-assets pack releases/2026-03 substations transformers --from snowflake
    """
    from flux_assets.packing.origins import Origin, delivered, published, warehouse
    from flux_assets.packing.pack import Packer
    from flux_assets.postgis.liveness import Stop
    from flux_assets.settings import load_settings
    from flux_assets.snowflake.overrides import Overrides
    from flux_assets.snowflake.source import Source
    from flux_assets.tables import static_tables
    from flux_assets.wiring.source import release_at, snowflake_account

    settings = load_settings()
    chosen = [the_layer(name) for name in dict.fromkeys(tables)]
    every = [table for table in static_tables() if not table.computed]
    if not origin.strip():
        raise click.UsageError("--from is empty; give postgis, snowflake, or a release.")
    if origin == "postgis":
        rows: Origin = published
    elif origin == "snowflake":
        account = snowflake_account(settings)
        rows = warehouse(lambda: Source.open(account, Overrides(), log=Commands.log))
    else:
        release = release_at(settings, origin)
        release.manifest()  # says whether there is such a folder or server
        rows = delivered(release)
    name = tag or folder.resolve().name
    packer = Packer(folder=folder, tag=name, target=the_target(), stop=Stop(), log=Commands.log)
    entries = packer.pack(chosen or every, rows, named=bool(chosen))
    _show_written(folder, entries)


def _show_written(folder: Path, entries: Sequence[FileEntry]) -> None:
    rows, written = (sum(getattr(entry, name) or 0 for entry in entries) for name in ("rows", "bytes"))
    files = f"{counted(len(entries), 'file')}, {counted(rows, 'row')}, {size(written)}"
    click.echo(f"Wrote {folder / 'manifest.json'}: {files}.")


@COMMANDS.command("manifest")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--tag", metavar="TAG", help="The release's version label  [default: the name of DIR].")
def _manifest(folder: Path, tag: str | None) -> None:
    """Write manifest.json for the layer files in DIR.

    It holds size, digest and row count of each file, and the columns of its table (docs/release-manifest.md); a load
    verifies files by it. Files may be of any format that a load reads, as FLUX_CONFIG maps them. They are read to
    their end, their values are not judged. A manifest that is there is replaced.

    \b
    Examples:
      flux-assets manifest releases/2026-03
      flux-assets manifest releases/2026-03 --tag v1.4.0
    """
    from flux_assets.release.formats.mapping import LayerMapping
    from flux_assets.release.release import MANIFEST
    from flux_assets.release.writing import entries_of, write_manifest
    from flux_assets.settings import load_settings
    from flux_assets.tables import static_tables

    settings, tables = load_settings(), static_tables()
    mappings = LayerMapping.configured(settings.flux_config, tables) if settings.flux_config else {}
    entries = entries_of(folder, tables, settings.flux_home / "releases", mappings, Commands.log)
    known = {MANIFEST, *(entry.file.partition("/")[0] for entry in entries)}
    if unknown := sorted(path.name for path in folder.iterdir() if path.name not in known and path.name[0] not in "._"):
        more = f" and {len(unknown) - _UNKNOWN_SHOWN:,} more" if len(unknown) > _UNKNOWN_SHOWN else ""
        shown = f"{', '.join(unknown[:_UNKNOWN_SHOWN])}{more}"
        Commands.log(f"Not in the manifest, since no declared layer has such a file: {shown}.")
    write_manifest(folder, entries, tables, tag=tag or folder.resolve().name, generator="flux-assets manifest")
    _show_written(folder, entries)


@COMMANDS.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--map", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw where rows differ, as PNG."
)
def _diff(before: str, after: str, tables: tuple[str, ...], as_json: bool, picture: Path | None) -> None:
    """Compare all layers, or TABLE, of two releases or versions.

    Rows that B adds to A, removes from it or changes are counted and named by their keys, and changes by their columns.
    A and B are each the folder or address of a release, the beginning of a version's id or the tag of a release, as
    `flux-assets versions` prints them, or `current` for what is published. Rows are read as a load does, into temporary
    tables: nothing is published, and nothing stays. Exit code 1 where something differs or could not be compared.

    \b
    Examples:
      flux-assets diff current releases/2026-03
      flux-assets diff v1.3.0 current substations --map where.png
      flux-assets diff https://example.com/v1.3.0 https://example.com/v1.4.0 --json
    """
    from flux_assets.postgis.liveness import Stop
    from flux_assets.tables import layers

    old, new = map(_state, (before, after))
    chosen = [the_layer(name) for name in tables] or layers()
    target = the_target()
    compared: list[tuple[str, TableDifference | FluxError]] = []
    for name, found in old.compared(new, chosen, target, Stop(), _MOST_PLACES):
        compared.append((name, found))
        if not as_json:
            _show_changes(name, found)
    differences = [found for _, found in compared if not isinstance(found, FluxError)]
    for state in (old, new):
        if len(differences) == len(compared) and all(state.name in found.absent for found in differences):
            raise LayerError(
                f"{state.name} has none of the layers that are compared.",
                "`flux-assets versions` lists ids and tags; a folder is written with a slash, such as ./v1.4.0.",
            )
    if as_json:
        print_json([_changes_document(name, found) for name, found in compared])
    if picture is not None:
        _draw(picture, differences)
    exit_if(len(differences) < len(compared) or not all(found.is_same and not found.added for found in differences))


def _state(text: str) -> LayerStates:
    from flux_assets.compare.states import CURRENT, LayerStates
    from flux_assets.settings import load_settings
    from flux_assets.wiring.source import release_at

    if not text.strip():
        raise click.UsageError("A and B are a release or a version each, and one is empty.")
    if text == CURRENT or not ("://" in text or os.sep in text or Path(text).is_dir()):
        return LayerStates(name=text)
    release = release_at(load_settings(), text)
    release.manifest()  # says whether there is such a folder or server
    return LayerStates(name=release.address, release=release)


def _show_changes(name: str, found: TableDifference | FluxError) -> None:
    if isinstance(found, FluxError):
        click.echo(f"{name}: not compared. {found}")
        return
    if found.absent:
        click.echo(f"{name}: not in {found.absent[0]}.")
        return
    words = []
    for title, columns in (("only in A", found.lacking), ("only in B", found.added), ("other types", found.retyped)):
        words += [f"columns {title}: {', '.join(columns)}"] if columns else []
    if found.rows is None:
        words.append(f"rows not compared: {found.problem}")
    elif found.rows.same:
        words.append(f"{counted(found.rows.actual[0], 'row')}, the same")
    else:
        counts = ", ".join(f"{found.rows.counts.get(kind, 0):,} {word}" for kind, word in _WORDS.items())
        changed = ", ".join(f"{column} in {count:,}" for column, count in found.changed.items())
        words.append(f"{counted(found.rows.expected[0], 'row')}, then {found.rows.actual[0]:,}: {counts}")
        words += [f"columns {changed}"] if changed else []
    click.echo(f"{name}: {'; '.join(words)}.")
    for word, rows in _named(found).items():
        for row in rows:
            click.echo(f"  {word} {row}")


def _named(found: TableDifference) -> Mapping[str, Sequence[str]]:
    named = found.rows.named if found.rows else {}
    return {word: named[kind] for kind, word in _WORDS.items() if kind in named}


def _changes_document(name: str, found: TableDifference | FluxError) -> dict[str, object]:
    if isinstance(found, FluxError):
        return {"table": name, "same": False, "problem": str(found)}
    rows = found.rows
    counts = {word: rows.counts.get(kind, 0) for kind, word in _WORDS.items()} if rows else {}
    return {
        "table": name,
        "same": found.is_same and not found.added,
        "absent": found.absent,
        "columns": {"removed": found.lacking, "added": found.added, "retyped": found.retyped, "changed": found.changed},
        "rows": {"before": rows.expected[0], "after": rows.actual[0], **counts} if rows else None,
        "keys": _named(found),
        "problem": found.problem,
    }


def _draw(picture: Path, found: Sequence[TableDifference]) -> None:
    from flux_assets.previews.maps import draw_changes
    from flux_assets.tables import catalogue

    places = [(_WORDS[place.kind], place.longitude, place.latitude) for each in found for place in each.places]
    if not places:
        Commands.log("No row that differs has a place on a map: none was drawn.")
        return
    drawn = draw_changes(places, the_target(), catalogue().grounds)
    try:
        picture.write_bytes(drawn)
    except OSError as error:
        problem = f"{picture} cannot be written: {error.strerror or error}."
        raise ReleaseError(problem, "Name a file in a folder that is there, which the user may write.") from None
    Commands.log(f"Drew {counted(len(places), 'place')} to {picture}.")
