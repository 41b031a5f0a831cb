"""Serve the map on 127.0.0.1 until Ctrl-C: `python -m flux_assets.map PORT`."""

from __future__ import annotations

import sys

import click
import uvicorn

from flux_assets.errors import FluxError
from flux_assets.map.app import build_app
from flux_assets.settings import load_settings
from flux_assets.wiring.target import postgis_target


def main() -> None:
    """Serve until it is stopped; an error of ours ends it with a sentence."""
    try:
        target = postgis_target(load_settings())
        with target.session("map"):
            app = build_app(target, click.echo)
    except FluxError as error:
        sys.exit(f"Error: {error}")
    # A page that is open listens for news for ever.
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
