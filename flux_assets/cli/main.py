"""The command line `flux-assets`. A command imports what it runs when it is called, so that --help answers at once."""

from __future__ import annotations

import click

from flux_assets.cli.alerts import mute, watchdog
from flux_assets.cli.embedded import down, sample, simulate, up
from flux_assets.cli.inspection import doctor, psql, versions
from flux_assets.cli.rollback import pin, replay, roll_back, unpin
from flux_assets.cli.runs import load, sync
from flux_assets.cli.status import status
from flux_assets.cli.terminal import Commands


@click.group(cls=Commands, context_settings={"max_content_width": 100})
@click.version_option(package_name="flux_assets")
def main() -> None:
    """Load versioned map layers into PostGIS, sync tables from Snowflake, inspect both, and roll back.

    `load` and `sync` start the same runs as Dagster does (`make ui`). Settings come from the environment and from
    `.env`; `flux-assets doctor` tests each of them.

    Exit codes: 0 done, 1 failed or not to be trusted, 2 wrong usage, 3 another process is loading or syncing it.
    """


_LOADING = load, sync, replay, roll_back, pin, unpin
_INSPECTING = status, versions, doctor, psql, watchdog, mute
_EMBEDDED = up, down, simulate, sample
for command in (*_LOADING, *_INSPECTING, *_EMBEDDED):
    main.add_command(command)
