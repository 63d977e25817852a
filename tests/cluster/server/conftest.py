"""What the tests of the server share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.rig import Operator
from cluster.server.doors import Doors, open_doors
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint


@pytest.fixture
def doors(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, tmp_path: Path) -> Iterator[Doors]:
    with open_doors(installed, minio, operator, tmp_path) as made:
        yield made
