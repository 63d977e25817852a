"""A parser takes time in proportion to the length of its input: each hostile shape is doubled and doubled again."""

from __future__ import annotations

import time

import pytest

from gatehouse.domain.formats.table import PARSERS
from hostile import OTHERS, SHAPES, Shape, every_parser, parse
from soak.seeds import ARGUMENTS, SEEDS

SIZES = (8 * 1024, 64 * 1024)
"""The first of them that takes long enough to be measured is doubled twice."""
MEASURABLE = 0.01
DOUBLINGS = 2
PER_DOUBLING = 4
NOISE = 0.01
"""Seconds of CPU that something else may have taken."""
CHEAP = 3e-6
"""Seconds a byte. A bound that sends longer inputs to a slower path is a step, and no growth."""


def seconds(name: str, shape: Shape, size: int) -> float:
    data, arguments = shape.of(size), shape.arguments(size)
    began = time.process_time()
    parse(name, data, arguments)
    return time.process_time() - began


def grows_too_fast(name: str, shape: Shape) -> str | None:
    """The work of twice the size is at most four times as much; square work is exactly that, so it must stay below."""
    most = PER_DOUBLING**DOUBLINGS * 5 / 8
    for _attempt in range(4):
        for size in SIZES:
            small = seconds(name, shape, size)
            if small >= MEASURABLE:
                break
        large = seconds(name, shape, size << DOUBLINGS)
        if large <= max(most * small + NOISE, CHEAP * (size << DOUBLINGS)):
            return None
    return f"{name}, {shape.name}: {small:.3f} s for {size} bytes, {large:.3f} s for {size << DOUBLINGS}"


def test_every_parser_has_hostile_shapes() -> None:
    assert set(SHAPES) == {*PARSERS, *OTHERS}
    assert all(SHAPES.values())


def test_every_parser_of_the_operator_has_seeds_for_mutants() -> None:
    assert {*PARSERS} <= {*SEEDS}
    for name, seeds in SEEDS.items():
        for data in seeds():
            assert not isinstance(parse(name, data, ARGUMENTS.get(name, {})), ValueError), name


@pytest.mark.parametrize("name", every_parser())
def test_the_time_of_hostile_input_grows_with_its_length(name: str) -> None:
    assert [found for shape in SHAPES[name] if (found := grows_too_fast(name, shape))] == []


@pytest.mark.parametrize("name", ["json", "safetensors", "configuration"])
def test_strings_that_do_not_end_are_read_once(name: str) -> None:
    """80 KB of them took 41 s of CPU."""
    header = b'{"a":{"b":' + b'\\"' * 40_000
    framed = len(header).to_bytes(8, "little") + header
    began = time.process_time()
    parse(name, framed if name == "safetensors" else header, {})
    parse(name, b"[" * 64 + b'\\"' * 40_000, {})
    assert time.process_time() - began < 1
