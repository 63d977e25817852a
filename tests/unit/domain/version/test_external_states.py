"""A version's state in the words of other registries."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.model_version import ModelVersionStatus, Phase
from gatehouse.domain.version.external_states import ReviewWord, lifecycle_words, project

STAGES = ("staging", "production")


def words(phase: Phase | None, cleared: tuple[str, ...] = (), runs: tuple[str, ...] = ()) -> tuple[str, str]:
    status = ModelVersionStatus(phase=phase, cleared_for=list(cleared), deployed_to=list(runs))
    found = project(status, stages=STAGES)
    return found.review, found.lifecycle


@pytest.mark.parametrize(
    ("phase", "cleared", "runs", "expected"),
    [
        (None, (), (), ("PENDING_REVIEW", "submitted")),
        ("Draft", (), (), ("PENDING_REVIEW", "draft")),
        ("Verifying", (), (), ("PENDING_REVIEW", "submitted")),
        ("Pending Review", (), (), ("PENDING_REVIEW", "submitted")),
        ("Changes Requested", (), (), ("PENDING_REVIEW", "changes_requested")),
        ("Rejected", (), (), ("REJECTED", "changes_requested")),
        ("Rejected", (), ("staging",), ("REJECTED", "changes_requested")),
        ("Artifact Changed", (), ("production",), ("REJECTED", "changes_requested")),
        ("Ready to Deploy", ("staging",), (), ("APPROVED", "approved_staging")),
        ("Ready to Deploy", ("staging",), ("staging",), ("DEPLOYED", "staging")),
        ("Ready to Deploy", STAGES, (), ("APPROVED", "approved_prod")),
        ("Ready to Deploy", STAGES, ("staging",), ("DEPLOYED", "approved_prod")),
        ("Ready to Deploy", STAGES, ("production",), ("DEPLOYED", "production")),
        ("Ready to Deploy", ("staging",), ("production",), ("APPROVED", "approved_staging")),
        ("Deprecated", (), ("production",), ("ARCHIVED", "deprecated")),
        ("Archived", (), (), ("ARCHIVED", "retired")),
    ],
)
def test_words(phase: Phase | None, cleared: tuple[str, ...], runs: tuple[str, ...], expected: tuple[str, str]) -> None:
    assert words(phase, cleared, runs) == expected


stage_lists = st.lists(st.sampled_from(["dev", "qa", "staging", "production", "edge"]), unique=True, max_size=5)


@given(
    phase=st.sampled_from([None, *get_args(Phase)]),
    stages=stage_lists,
    cleared=stage_lists,
    runs=stage_lists,
)
def test_every_state_has_words_and_only_a_cleared_one_is_approved(
    phase: Phase | None, stages: list[str], cleared: list[str], runs: list[str]
) -> None:
    found = project(ModelVersionStatus(phase=phase, cleared_for=cleared, deployed_to=runs), stages=stages)
    assert found.review in get_args(ReviewWord)
    assert found.lifecycle in lifecycle_words(stages or cleared)
    if found.review in {"APPROVED", "DEPLOYED"}:
        assert phase == "Ready to Deploy"
        assert cleared
    if found.review == "DEPLOYED":
        assert set(runs) & set(cleared)


def test_stages_that_are_not_known_are_those_it_is_cleared_for() -> None:
    status = ModelVersionStatus(phase="Ready to Deploy", cleared_for=["dev", "qa"], deployed_to=[])
    assert project(status).lifecycle == "approved_qa"
