"""Which records of a trail it takes to prove some of them, and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidences import excerpt_of, make_signer, trail
from gatehouse.domain.audit.keys import PublicKeys
from gatehouse.evidence.excerpt import ranges, verify_excerpt

SIGNER = make_signer()
KEYS = PublicKeys([SIGNER.public_key])
LENGTH = 12


@pytest.mark.parametrize(
    ("about", "checkpoints", "runs"),
    [
        ([], [5], []),
        ([3], [5, 9], [(3, 5)]),
        ([3, 4], [5, 9], [(3, 5)]),
        ([5, 6], [5, 9], [(5, 9)]),
        ([1, 8], [2, 9], [(1, 2), (8, 9)]),
        ([11], [5, 9], [(11, 12)]),
        ([2], [], [(2, 12)]),
    ],
)
def test_a_record_is_linked_to_the_next_checkpoint(
    about: list[int], checkpoints: list[int], runs: list[tuple[int, int]]
) -> None:
    assert ranges(about, checkpoints, 12) == runs


POSITIONS = st.sets(st.integers(1, LENGTH), max_size=LENGTH)


@given(about=POSITIONS, checkpoints=POSITIONS)
def test_every_record_up_to_the_last_checkpoint_is_proven(about: set[int], checkpoints: set[int]) -> None:
    records = trail(LENGTH, about=sorted(about))
    excerpt = excerpt_of(records, about=sorted(about), checkpoints=sorted(checkpoints), signer=SIGNER)
    found = verify_excerpt(excerpt, keys=KEYS)
    assert list(found.problems) == []
    assert found.proven == sum(seq <= max(checkpoints, default=0) for seq in about)


@given(st.data())
def test_any_record_that_is_left_out_or_is_of_another_trail_is_found(data: st.DataObject) -> None:
    about, checkpoints = [2, 7], [4, 9]
    excerpt = excerpt_of(trail(LENGTH, about=about), about=about, checkpoints=checkpoints, signer=SIGNER)
    other = {each.seq: each for each in trail(LENGTH, about=[1, *about])}
    position = data.draw(st.integers(0, len(excerpt.records) - 1))
    records = list(excerpt.records)
    stored = records.pop(position)
    if data.draw(st.booleans()):
        records.insert(position, other[stored.seq])
    found = verify_excerpt(replace(excerpt, records=records), keys=KEYS)
    assert found.problems
