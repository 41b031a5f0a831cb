"""FLUX_CONFIG: one optional TOML file with what differs from the declarations, by Snowflake source and by layer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from flux_assets.errors import SettingError


def read_config(path: Path) -> dict[str, Any]:
    """Return what the file holds. Raises SettingError when it cannot be read, or is not TOML."""
    try:
        return tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"FLUX_CONFIG = {str(path)!r} cannot be read: {error.strerror}."
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = f"FLUX_CONFIG ({path}) is not TOML: {error}."
    raise SettingError(problem, "Name a TOML file with a table per Snowflake source, or unset FLUX_CONFIG.")
