"""An Event that cannot be posted keeps no other one from it, whatever kept it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gatehouse.cluster import events
from gatehouse.cluster.client import ClusterError
from gatehouse.cluster.events import KubernetesEvents


class Api:
    """Posts what it is given, except for the Events of one reason."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure
        self.posted: list[str] = []

    async def create(self, kind: str, namespace: str, body: Mapping[str, Any], *, metadata_only: bool) -> None:
        if body["reason"] == "Bad":
            raise self.failure
        self.posted.append(body["message"])


@pytest.mark.parametrize("failure", [ClusterError("down"), TypeError("nobody foresaw this"), KeyError("x"), OSError()])
async def test_the_others_are_posted(failure: Exception) -> None:
    api, dropped = Api(failure), []
    recorder = KubernetesEvents(api, instance="i", dropped=lambda: dropped.append(1))  # type: ignore[arg-type]
    recorder.start()
    about = {"metadata": {"name": "local", "namespace": "registries"}}
    bad = 3 * events.POSTERS
    for number in range(bad):
        recorder.record("ModelRegistry", about, type_="Warning", reason="Bad", message=f"bad {number}")
    for number in range(5):
        recorder.record("ModelRegistry", about, type_="Normal", reason="Fine", message=f"fine {number}")
    await recorder.aclose()
    assert sorted(api.posted) == [f"fine {number}" for number in range(5)]
    assert len(dropped) == bad
