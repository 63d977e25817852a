"""One object that the API server has and that does not read harms nobody beside it, and clears nothing.

The controllers, caches, indexes, lists of what is vetted and rows are the real ones; the API server is a map. Each
field of each kind is spoiled in turn, so that the table grows with the kinds. What an older schema let through is here
what any validator may let through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatehouse.api import (
    KINDS,
    GovernancePolicy,
    ModelApproval,
    ModelDeployment,
    ModelEvaluation,
    ModelVersion,
    Resource,
    VettedArtifacts,
)
from gatehouse.domain.common.readable import Unreadable, member, read
from registrycontract import open_file
from unit.controllers.estates import ONE, TWO, World, estate


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_file(tmp_path)
    made = World(opened)
    for (kind, _), each in estate().items():
        made.put(kind, each)
    yield made
    await opened.databases.aclose()


def spoiled(kind: type[Resource], fine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object with each of its fields, and all of its spec, as something that does not read."""
    for what, spec in (("no spec", None), ("a text", "spec"), ("a list", [1]), ("nothing in it", {})):
        yield f"{kind.info.kind}: spec is {what}", {**fine, "spec": spec}
    for name, known in kind.model_fields["spec"].annotation.model_fields.items():  # type: ignore[union-attr]
        wire = known.alias or name
        for value in (7, ["\u2003"] * 300, {"name": None}, "\x00" * 5000):
            yield f"{kind.info.kind}: {wire} is {str(value)[:12]!r}", {**fine, "spec": {**fine["spec"], wire: value}}


FINE = estate()
POISONED: dict[type[Resource], list[tuple[str, dict[str, Any]]]] = {
    kind: [
        (label, made) for label, made in spoiled(kind, FINE[kind, "one"]) if isinstance(read(kind, made), Unreadable)
    ]
    for kind in KINDS
    if kind not in {VettedArtifacts, ModelDeployment}
}
AT_MOST = 8
"""Ways of one kind that are tried, evenly drawn from all of them."""


async def test_both_versions_are_cleared_before(world: World) -> None:
    await world.settle()

    assert world.failures == []
    assert world.cleared == {ONE, TWO}


@pytest.mark.parametrize("kind", POISONED, ids=lambda kind: kind.info.plural)
async def test_what_does_not_read_is_cleared_for_nothing_and_stops_nobody(world: World, kind: type[Resource]) -> None:
    await world.settle()
    ways = POISONED[kind]
    for label, made in ways[:: max(1, len(ways) // AT_MOST)]:
        world.put(kind, made)
        world.put(ModelVersion, asked(label))
        await world.settle()

        assert world.failures == [], label
        assert ONE not in world.cleared, label
        assert not world.status("one").get("clearedFor"), label
        said = [each for each in world.status("one")["conditions"] if each["type"] == "Ready"]
        assert [each["status"] for each in said] == ["False"], label
        # A decision on nothing that can be told is nobody's: it is logged.
        of_nobody = kind in {ModelApproval, ModelEvaluation} and member(made, "spec", "versionRef", "name") is None
        assert world.faults.count_unreadable(kind.info.plural) == (0 if of_nobody else 1), label
        selector = member(made, "spec", "match", "modelSelector")
        everybody = kind is GovernancePolicy and not isinstance(selector, dict)
        assert (TWO in world.cleared) is not everybody, label
        assert world.status("two")["lastHandledReconcileAt"] == label

        world.put(kind, FINE[kind, "one"])
        await world.settle()
        assert world.failures == [], label
        assert world.cleared == {ONE, TWO}, label


def asked(when: str) -> dict[str, Any]:
    """The healthy version, which somebody wants looked at."""
    fine = FINE[ModelVersion, "two"]
    annotations = {"gatehouse.dev/reconcile-requested-at": when}
    return {**fine, "metadata": {**fine["metadata"], "annotations": annotations}}


def test_every_kind_is_spoiled_in_many_ways() -> None:
    assert all(len(ways) >= AT_MOST for ways in POISONED.values())
