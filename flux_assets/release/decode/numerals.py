"""Numbers that no server need be asked about: what COPY would make of them is certain.

Here: the answer of `AskServer` where there is no server. Whatever is not certain is refused. Not here: plain texts
(texts.py), which are not asked about.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from flux_assets.release.decode.texts import Answer

_SPACE = r"[ \t\n\v\f\r]*+"
_WHOLE = re.compile(rf"{_SPACE}([+-]?\d{{1,30}}){_SPACE}", re.ASCII)
_NUMBER = re.compile(rf"{_SPACE}([+-]?(?=\.?\d)\d{{0,400}}(?:\.\d{{0,400}})?(?:[eE][+-]?\d{{1,5}})?){_SPACE}", re.ASCII)
_NUMERIC = re.compile(r"numeric\((\d+), ?(\d+)\)")


def without_server(ddl: str, texts: Sequence[str]) -> list[Answer]:
    """Answer for numbers alone, as a server would."""
    return [(_answer(ddl, text), "") for text in texts]


def _answer(ddl: str, text: str) -> bytes | None:
    if ddl in {"integer", "bigint"}:
        return _whole(text, 4 if ddl == "integer" else 8)
    if (found := _NUMBER.fullmatch(text)) is None:
        return None
    if ddl == "double precision":
        return _double(found[1])
    return _numeric(found[1], int(kept[1]), int(kept[2])) if (kept := _NUMERIC.fullmatch(ddl)) else None


def _whole(text: str, size: int) -> bytes | None:
    found = _WHOLE.fullmatch(text)
    fits = found and -(2 ** (8 * size - 1)) <= int(found[1]) < 2 ** (8 * size - 1)
    return int(found[1]).to_bytes(size, "big", signed=True) if found and fits else None


def _double(text: str) -> bytes | None:
    """Neither what is too large nor what is too small: PostgreSQL refuses to make infinity or nothing of a number."""
    number = float(text)
    lost = number in {float("inf"), float("-inf")} or (
        number == 0 and any(sign in text.lower().split("e")[0] for sign in "123456789")
    )
    return None if lost else struct.pack(">d", number)


def _numeric(text: str, precision: int, scale: int) -> bytes | None:
    """Only what need not be rounded."""
    try:
        number = Decimal(text)
        kept = number.quantize(Decimal(1).scaleb(-scale))
    except InvalidOperation:
        return None
    fits = kept == number and abs(kept) < Decimal(10) ** (precision - scale)
    return str(kept).encode() if fits else None
