"""A hundred thousand objects of each kind through the API server and the operator's way of reading: no disagreement."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.objectdifferential import run_specs, run_statuses, ungoverned
from gatehouse.api import KINDS, Resource
from gatehouse_local.ephemeral import RunningControlPlane

SHARE_OF_STATUSES = 4
"""One object in so many has another status, not another spec."""


@pytest.fixture(scope="module")
def plane() -> Iterator[RunningControlPlane]:
    with ungoverned() as running:
        yield running


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.plural)
def test_what_the_api_server_takes_reads(
    plane: RunningControlPlane, kind: type[Resource], objects: int, seed: int
) -> None:
    statuses = objects // SHARE_OF_STATUSES
    found = run_specs(plane, kind, objects - statuses, seed=seed)
    found += run_statuses(plane, kind, statuses, seed=seed)

    assert found.disagreements == []
    assert found.made == objects
