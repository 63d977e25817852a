"""`gatehouse fit` of a ModelVersion, against an API server: whom it lets read what it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cluster.desk import AUTHOR, Desk, make_desk, pending
from gatehouse_local.ephemeral import RunningControlPlane

HARDWARE = {"verdict": "Fits", "weightsBytes": 2**33, "overheadBytes": 2**29, "maxModelLen": 8192, "maxNumSeqs": 64}


@pytest.fixture
def desk(control_plane: RunningControlPlane) -> Iterator[Desk]:
    with make_desk(control_plane) as made:
        status = pending(registry=f"{made.namespace}/registry", hardware=HARDWARE)
        made.version("granite-1", status=status)
        yield made


def test_an_author_reads_the_fit_of_his_version(desk: Desk) -> None:
    said = desk.run("fit", "granite-1", "-o", "json", user=AUTHOR)
    assert said.exit_code == 0, said.output
    [row] = json.loads(said.stdout)["rows"]
    assert (row["profile"], row["verdict"], row["maxModelLen"]) == ("nvidia-l4", "Fits", 8192)


def test_a_version_that_is_not_there_is_an_error(desk: Desk) -> None:
    said = desk.run("fit", "granite-2", user=AUTHOR)
    assert said.exit_code == 2, said.output
    assert "not found" in said.stderr
