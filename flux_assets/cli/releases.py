"""The commands that make releases and look into them before they are published: manifest."""

from __future__ import annotations

from pathlib import Path

import click

from flux_assets.cli.terminal import Commands
from flux_assets.errors import counted
from flux_assets.words import size

_UNKNOWN_SHOWN = 10
COMMANDS = click.Group()


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
    rows, written = (sum(getattr(entry, name) or 0 for entry in entries) for name in ("rows", "bytes"))
    files = f"{counted(len(entries), 'file')}, {counted(rows, 'row')}, {size(written)}"
    click.echo(f"Wrote {folder / MANIFEST}: {files}.")
