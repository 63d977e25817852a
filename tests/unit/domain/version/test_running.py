"""What the status of a version says of the Pods that run it: the digest that they loaded beside the approved one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_version import ModelVersionStatus, RunningStatus
from gatehouse.domain.common.conditions import RUNNING_UNCLEARED, find
from gatehouse.domain.serving.running import RunningPods, StagedPods
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.status import MOST_RUNNING, version_status

DIGEST, OTHER = worlds.DIGEST, worlds.OTHER_DIGEST


def pods(
    service: str = "chat", *, stage: str = "production", digest: str = DIGEST, count: int = 2, ready: int = 1
) -> StagedPods:
    found = RunningPods(namespace="team-a", service=service, folder=worlds.URI, digest=digest, pods=count, ready=ready)
    return StagedPods(stage, found)


def status(running: tuple[StagedPods, ...] | None, **facts: object) -> ModelVersionStatus:
    known = worlds.facts(row=worlds.row(), running=running, **facts)
    return version_status(known, decide(known), registry_id=7, template=None, now=worlds.NOW)


def test_pods_are_shown_with_the_digest_that_they_loaded() -> None:
    found = status((pods(),))
    assert found.running == [
        RunningStatus(
            stage="production", namespace="team-a", service="chat", digest=DIGEST, pods=2, ready=1, approved=True
        )
    ]
    assert find(found.conditions, RUNNING_UNCLEARED) is None


@pytest.mark.parametrize("digest", [OTHER, ""])
def test_pods_with_other_bytes_are_not_approved_although_the_version_is_cleared(digest: str) -> None:
    found = status((pods(), pods("old", digest=digest)))
    assert "production" in found.cleared_for
    assert [(each.service, each.digest, each.approved) for each in found.running] == [
        ("old", digest or None, False),
        ("chat", DIGEST, True),
    ]
    condition = find(found.conditions, RUNNING_UNCLEARED)
    assert condition is not None
    assert condition.reason == "OtherDigest"
    assert f"2 of team-a/old with {digest or 'no digest'}" in condition.message
    assert DIGEST in condition.message


def test_pods_in_a_stage_without_clearance_are_not_approved() -> None:
    found = status((pods(stage="elsewhere"),))
    assert [each.approved for each in found.running] == [False]
    condition = find(found.conditions, RUNNING_UNCLEARED)
    assert condition is not None
    assert (condition.reason, "elsewhere" in condition.message) == ("NotCleared", True)


def test_what_is_not_known_yet_stays_as_it_was() -> None:
    before = status((pods(),))
    version = worlds.version().model_copy(update={"status": before})
    assert status(None, version=version).running == before.running
    assert status((), version=version).running == []


def test_of_very_many_services_those_without_approval_are_shown() -> None:
    many = tuple(pods(f"s-{number:03}") for number in range(200))
    found = status((*many, pods("z", digest=OTHER)))
    assert len(found.running) == MOST_RUNNING
    assert found.running[0].service == "z"


_PODS = st.builds(
    pods,
    st.sampled_from(["chat", "code"]),
    stage=st.sampled_from(["production", "elsewhere"]),
    digest=st.sampled_from([DIGEST, OTHER, ""]),
)


@given(st.lists(_PODS, max_size=6))
def test_pods_are_approved_where_stage_and_digest_are_and_the_condition_says_the_rest(
    running: list[StagedPods],
) -> None:
    found = status(tuple(running))
    wanted = [stage in found.cleared_for and each.digest == DIGEST for stage, each in running]
    assert sorted(each.approved for each in found.running) == sorted(wanted)
    assert (find(found.conditions, RUNNING_UNCLEARED) is None) == all(wanted)
