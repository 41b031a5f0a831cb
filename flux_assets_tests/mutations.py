"""Small damage to release files, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

TOKENS = (
    b'"', b'""', b'"""', b",", b",,", b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xff", b"\xc3",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b" ", b"\t", b"'", b"\\.", b"\\N", b"NULL", b"NaN", b"nan", b"inf",
    b"-Infinity", b"1e309", b"1e-400", b"-0", b"+1", b"1_000", b"0x1F", b"1e5", b"1e99999999999",
    b"1e-99999999999", b".5", b"5.", b"-.5e1", b"1" * 40, b"0." + b"3" * 60, b"0" * 50, "\u0663".encode(),
    "\u00a0".encode(), b"2024-02-30", b"24:00:00", b"2024-01-01T00:00:00Z", b"2024-01-01 00:00:00+00",
    b"2024-01-01 12:00", b"now", b"infinity", b"9223372036854775808", b"-2147483649", b"00", b"FF",
    b"01000000", b"E6100000", b"FFFFFFFF", b"000000000000F87F", b"G",
)  # fmt: skip
VALUES = (
    b"", b"0", b"7", b"-1", b"1.25", b"-0.5", b"12", b" 3", b"4 ", b"2024-02-29", b"2024-02-29 12:34:56", b'"x"',
    b'"a,b"', b'"two\nlines"', b'"say ""x"""', "\u00e9".encode(),
)  # fmt: skip
Mutation = Callable[[Random, bytes], bytes]


def _replaced(random: Random, data: bytes, by: bytes, longest: int = 1) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + by + data[at + random.randint(0, longest) :]


def _flip(random: Random, data: bytes) -> bytes:
    return _replaced(random, data, bytes([random.randrange(256)]))


def _token(random: Random, data: bytes) -> bytes:
    return _replaced(random, data, random.choice(TOKENS), 8)


def _field(random: Random, data: bytes) -> bytes:
    """A whole field is replaced, so that values are met and not only their surroundings."""
    commas = [at for at, byte in enumerate(data) if byte in b",\n"]
    if len(commas) < 2:
        return data
    at = random.randrange(len(commas) - 1)
    return data[: commas[at] + 1] + random.choice(TOKENS + VALUES) + data[commas[at + 1] :]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _repeat(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data) + 1)
    part = data[start : start + random.randint(1, 60)]
    return _replaced(random, data, part * random.randint(1, 3), 0)


def _drop(random: Random, data: bytes) -> bytes:
    return _replaced(random, data, b"", 12)


MUTATIONS: tuple[Mutation, ...] = (_flip, _token, _token, _field, _field, _cut, _repeat, _drop)


def mutated(random: Random, data: bytes, most: int = 2) -> bytes:
    for _ in range(random.randint(1, most)):
        data = random.choice(MUTATIONS)(random, data)
    return data
