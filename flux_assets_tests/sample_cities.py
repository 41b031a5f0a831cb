"""A small sample city and its rows: what the tests of the city share. Made once a session, under FLUX_HOME."""

from __future__ import annotations

import csv
import gzip
import os
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np
import shapely

from flux_assets.sample.city.layers import KNOWN_LAYERS
from flux_assets.sample.city.release_writer import write_release
from flux_assets.spec import StaticTable
from flux_assets.tables import static_tables

# Large enough for a bay, several substations and every district; about two seconds.
SCALE = 0.02
SEED = 7

Row = dict[str, str]


def city_tables() -> tuple[StaticTable, ...]:
    """The layers that the sample city has rows of: a further table may be declared before it has any."""
    return tuple(table for table in static_tables() if table.name in KNOWN_LAYERS)


@cache
def folder() -> Path:
    """The release of the small city."""
    out = Path(os.environ["FLUX_HOME"]) / f"city-{uuid4().hex[:8]}"
    write_release(out, city_tables(), scale=SCALE, seed=SEED)
    return out


@cache
def rows(layer: str) -> tuple[Row, ...]:
    """The rows of a layer as text; NULL and the empty text look alike here."""
    with gzip.open(folder() / f"{layer}.csv.gz", "rt", newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def column(layer: str, name: str) -> list[str]:
    """One column as text."""
    return [row[name] for row in rows(layer)]


def numbers(layer: str, name: str) -> np.ndarray:
    """One column as numbers, NaN for NULL."""
    return np.array([float(text) if text else np.nan for text in column(layer, name)])


@cache
def geometries(layer: str) -> np.ndarray:
    """The geometry of a layer as shapely reads it."""
    return shapely.from_wkb(column(layer, "geom"))
