"""Mutants of real files: bytes flipped, numbers made extreme, pieces cut, doubled and taken from other files."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

__all__ = ["mutant"]

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_TEXTS = (
    *(
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\u0000",
        b"\\ud800",
        b"NaN",
        b"-0",
        b"1e999",
        b"9" * 400,
        b"null",
    ),
    *(b"---\n", b"- ", b"? ", b"&a ", b"*a", b"!!int ", b"<<: ", b"\xff", b"\xc3", b"\0", b"\x1b[2J", b"\xe2\x80\xae"),
)
_LONGEST = 65_536


def _flip(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    width, at = rng.choice((1, 2, 4, 8)), rng.randrange(len(data))
    data[at : at + width] = (rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def _text(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.choice(_TEXTS) * rng.choice((1, 1, 2, 100))


def _span(data: bytearray, rng: random.Random) -> tuple[int, int]:
    begin = rng.randrange(len(data))
    return begin, min(len(data), begin + rng.choice((1, 2, 8, 64, len(data))))


def _cut(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    begin, end = _span(data, rng)
    del data[begin:end]


def _double(data: bytearray, rng: random.Random, _others: Sequence[bytes]) -> None:
    begin, end = _span(data, rng)
    data[begin:begin] = data[begin:end] * rng.choice((1, 2, 50))


def _splice(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    other = bytearray(rng.choice(others))
    begin, end = _span(other, rng)
    at = rng.randrange(len(data))
    data[at : at + rng.choice((0, end - begin))] = other[begin:end]


_WAYS: Sequence[Callable[[bytearray, random.Random, Sequence[bytes]], None]] = (
    *(_flip, _byte, _number, _text, _cut, _double, _splice),
)


def mutant(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """One of the seeds after one to six changes, at most 64 KiB of it."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if data:
            rng.choice(_WAYS)(data, rng, seeds)
    return bytes(data[:_LONGEST])
