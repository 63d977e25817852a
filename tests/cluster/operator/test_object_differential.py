"""What the API server takes, by each kind's schema, has to read: two validators of one schema agree.

`make soak` runs it with a hundred thousand objects of each kind, what the operator writes among them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.objectdifferential import run_specs, run_statuses, ungoverned
from gatehouse.api import KINDS, Resource, VettedArtifacts
from gatehouse_local.ephemeral import RunningControlPlane

OBJECTS = 120
STATUSES = 60
WRITTEN_BY_PEOPLE = [kind for kind in KINDS if kind is not VettedArtifacts]


@pytest.fixture(scope="module")
def plane() -> Iterator[RunningControlPlane]:
    with ungoverned() as running:
        yield running


@pytest.mark.parametrize("kind", WRITTEN_BY_PEOPLE, ids=lambda kind: kind.info.plural)
def test_what_the_api_server_takes_reads(plane: RunningControlPlane, kind: type[Resource]) -> None:
    found = run_specs(plane, kind, OBJECTS)

    assert found.disagreements == []
    assert found.made == OBJECTS
    assert found.taken > OBJECTS / 20, "the generator makes too little that the API server takes"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.plural)
def test_a_status_that_the_api_server_takes_reads_or_counts_as_none(
    plane: RunningControlPlane, kind: type[Resource]
) -> None:
    found = run_statuses(plane, kind, STATUSES)

    assert found.disagreements == []
    assert found.made == STATUSES
    assert found.taken > STATUSES / 20, "the generator makes too little that the API server takes"
