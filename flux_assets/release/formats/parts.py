"""A layer in parts: one stream in their order, the next part read ahead while one is decoded."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from flux_assets.errors import Place, RecordError
from flux_assets.release.decode.blocks import Block
from flux_assets.release.decode.columns import AskServer, ReadColumn
from flux_assets.release.decode.parse import Reader
from flux_assets.release.decode.stream import LayerSource
from flux_assets.release.formats.rows import Rows
from flux_assets.release.stopping import Ahead

_AHEAD, _WEIGHT = 4, 4 << 20


@dataclass(frozen=True)
class Parts:
    """The records of several files of one format as those of one: numbered through, each with the file it is in."""

    sources: Sequence[LayerSource[Any]]

    @property
    def gz_bytes(self) -> int:
        return sum(source.gz_bytes for source in self.sources)

    @property
    def csv_bytes(self) -> int:
        return sum(source.csv_bytes for source in self.sources)

    def reader(
        self, header: Block | Rows, columns: tuple[ReadColumn, ...], ask: AskServer | None
    ) -> Reader[Block] | Reader[Rows]:
        """Return what makes declared rows of the records of every part: their headers are the same."""
        return self.sources[0].reader(header, columns, ask)

    def blocks(self) -> Generator[Block | Rows, None, None]:
        """Yield the first part's header, and the records of all. Raises RecordError for a part with another header."""
        first: Block | Rows | None = None
        before = 0
        with ExitStack() as stack:
            waiting = [self._ahead(self.sources[0], stack)]
            for index in range(len(self.sources)):
                if index + 1 < len(self.sources):
                    waiting.append(self._ahead(self.sources[index + 1], stack))
                count = 0
                with waiting.pop(0) as blocks:
                    header = next(blocks)
                    if first is None:
                        yield (first := header)
                    elif header.shape != first.shape:
                        problem = "its columns are not those of the first part."
                        raise RecordError(Place(file=header.file), problem, "Write all parts alike.")
                    for block in blocks:
                        count += block.records
                        yield replace(block, record=block.record + before)
                before += count

    @staticmethod
    def _ahead(source: LayerSource[Any], stack: ExitStack) -> Ahead[Any]:
        return stack.enter_context(
            Ahead(source.blocks(), "read part", _AHEAD, weigh=lambda block: block.nbytes, weight=_WEIGHT)
        )
