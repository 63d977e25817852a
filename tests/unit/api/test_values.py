"""Kubernetes quantities as bytes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.hardware_profile import QUANTITY
from gatehouse.api.values import bytes_of


@pytest.mark.parametrize(
    ("quantity", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("23034Mi", 23034 * 2**20),
        ("24G", 24 * 10**9),
        ("1.5Gi", 3 * 2**29),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1500m", 2),
        ("1m", 1),
        ("2Pi", 2**51),
        ("1E", 10**18),
    ],
)
def test_a_quantity_is_bytes_rounded_up(quantity: str, size: int) -> None:
    assert bytes_of(quantity) == size


@pytest.mark.parametrize(
    "quantity",
    [
        "",
        " ",
        "1 Gi",
        "-1Gi",
        "+1",
        "1e3",
        "1KI",
        "Mi",
        "1..5Gi",
        ".5Gi",
        "5.Gi",
        "1Gi\n",
        "1GiB",
        "१Gi",
        "0x10",
        "9" * 33,
    ],
)
def test_what_is_not_a_quantity_is_named(quantity: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(quantity[:32])[:-1])):
        bytes_of(quantity)


@given(st.from_regex(QUANTITY.replace("$", r"\Z"), fullmatch=True).filter(lambda text: len(text) <= 32))
def test_every_quantity_of_the_api_is_read(quantity: str) -> None:
    assert bytes_of(quantity) >= 0
