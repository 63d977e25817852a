from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.templates import TemplateSweep

HERE = ObjectName("team", "granite-1")
STATUS = {"template": {"name": "granite-1-serving", "digest": "sha256:1"}}


class Versions:
    """A cache with one version."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._body = {"metadata": {"namespace": "team", "name": "granite-1"}, "status": status}

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self._body

    def names(self, kind: str) -> Sequence[ObjectName]:
        return [HERE]

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        return "1"

    def created(self, kind: str, namespace: str, name: str) -> str:
        return ""

    def select(self, kind: str, index: str, value: str) -> Sequence[ObjectName]:
        return []


class Listed:
    """Templates in the cluster."""

    def __init__(self, found: Mapping[tuple[str, str], str]) -> None:
        self._found = found

    async def templates(self) -> Mapping[tuple[str, str], str]:
        return self._found


@pytest.mark.parametrize(
    ("status", "found", "lost"),
    [
        (STATUS, {("team", "granite-1-serving"): "sha256:1"}, False),
        (STATUS, {("team", "granite-1-serving"): "tampered"}, True),
        (STATUS, {("other", "granite-1-serving"): "sha256:1"}, True),
        (STATUS, {}, True),
        ({}, {}, False),
        ({"template": None}, {}, False),
        ({"template": "granite-1-serving"}, {}, False),
        ({"template": {"name": 7}}, {}, False),
        ({"template": {"name": "granite-1-serving"}}, {("team", "granite-1-serving"): "sha256:1"}, True),
    ],
    ids=[
        "as written",
        "changed",
        "in another namespace",
        "gone",
        "never owed",
        "none",
        "a text",
        "a name that is none",
        "without a digest",
    ],
)
async def test_a_template_that_is_not_as_written_is_written_again(
    status: dict[str, Any], found: dict[tuple[str, str], str], lost: bool
) -> None:
    told: list[ObjectName] = []
    sweep = TemplateSweep(reader=Versions(status), lister=Listed(found), enqueue=told.append)

    await sweep.sweep()

    assert told == ([HERE] if lost else [])
    assert sweep.is_lost(HERE) is lost
    sweep.written(HERE)
    assert not sweep.is_lost(HERE)
