"""The versions that wait for a review, for people with other rights, from objects in memory."""

from __future__ import annotations

from typing import Any

import pytest

import worlds
from access import TableAuthorizer, stored
from gatehouse.actions.identity import Action, approving, deciding_in
from gatehouse.actions.queue import WaitingVersion, read_queue
from gatehouse.api.model_version import ModelVersion
from policies import approval, policy

RIGHTS = (approving("Low"), deciding_in("team"))


def gate(name: str, stage: str, *, is_open: bool) -> dict[str, Any]:
    return {"name": name, "stage": stage, "open": is_open, "rule": "r", "found": "no approval", "wanted": "w"}


def version(name: str = "granite-1", *, cleared: tuple[str, ...] = (), **changes: Any) -> ModelVersion:
    stages = ("staging", "production")
    status = {
        "phase": "Pending Review",
        "artifact": {"digest": worlds.DIGEST},
        "clearedFor": list(cleared),
        "gates": [gate("Approved", stage, is_open=stage in cleared) for stage in stages],
    }
    metadata = {"name": name, "uid": "v-1", "namespace": "team"}
    return worlds.version(metadata=metadata, status={**status, **changes}, submittedBy="ada")


async def queued(
    *objects: Any, name: str = "bob", rights: tuple[Action, ...] = RIGHTS, groups: tuple[str, ...] = ()
) -> tuple[WaitingVersion, ...]:
    source = stored(worlds.model(riskTier="Low"), *objects)
    return await read_queue(source, TableAuthorizer(name, *rights, groups=groups), namespace="")


async def test_a_version_waits_for_the_first_stage_that_it_is_not_cleared_for() -> None:
    objects = (
        version("first"),
        version("second", cleared=("staging",)),
        version("cleared", cleared=("staging", "production")),
        version("verifying", phase="Verifying"),
    )
    found = await queued(*objects)
    assert {entry.name: (entry.stage, entry.why_not) for entry in found} == {
        "first": ("staging", None),
        "second": ("production", None),
    }


async def test_approvals_are_counted_as_the_policy_requires_them() -> None:
    two = policy(approvals=[{"stage": "staging", "count": 2, "groups": ["risk"]}]).policy
    cast = (approval("eve", groups=["risk"]), approval("dan", groups=["nlp"]))
    (entry,) = await queued(version(), two, *cast, groups=("risk",))
    assert (entry.approvals, entry.why_not) == ("1 of 2", None)


async def test_a_version_that_a_person_rejected_waits_no_more() -> None:
    assert await queued(version(), approval("eve", "Rejected")) == ()


async def test_a_rejection_of_the_same_bytes_counts_after_the_object_was_created_again() -> None:
    earlier = approval("eve", "Rejected", versionRef={"name": "granite-1", "uid": "an-earlier-life"})
    assert await queued(version(), earlier) == ()


@pytest.mark.parametrize(
    ("person", "objects", "expected"),
    [
        ({"name": "ada"}, (), "you (ada) submitted the version"),
        ({"rights": (deciding_in("team"),)}, (), "you (bob) cannot decide on Low risk"),
        ({"rights": (approving("Low"),)}, (), "you (bob) cannot create modelapprovals.gatehouse.dev in namespace team"),
        ({}, (approval("bob"),), "you (bob) already approved the version for staging"),
        (
            {"groups": ("nlp",)},
            (policy(approvals=[{"stage": "staging", "groups": ["risk"]}]).policy,),
            "the groups of bob are none of: risk",
        ),
    ],
)
async def test_the_reader_sees_why_their_approval_would_not_count(
    person: dict[str, Any], objects: tuple[Any, ...], expected: str
) -> None:
    (entry,) = await queued(version(), *objects, **person)
    assert entry.why_not == expected
    assert entry.wire()["mayApprove"] is False
