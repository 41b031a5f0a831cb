"""What the makers of layers hand over: some rows as columns of CSV fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Rows are made by blocks of this size, so that memory stays flat and two layers can draw the same block alike.
BLOCK = 10_000


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """`count` rows; `columns` holds a list of `count` fields for each column the city knows, CSV-quoted already."""

    count: int
    columns: Mapping[str, Sequence[str]]


def blocks_of_rows(count: int) -> Iterator[tuple[int, int]]:
    """Bounds of the blocks of `count` rows."""
    for start in range(0, count, BLOCK):
        yield start, min(start + BLOCK, count)
