"""What Gatehouse shows on entries, and that no client can write a name that could be taken for it."""

from __future__ import annotations

import pytest

from gatehouse.domain.entries.entry import Governed
from gatehouse.domain.entries.governed_properties import (
    PREFIX,
    READY_LABEL,
    REQUESTS,
    ReservedPropertyError,
    governed_properties,
    refuse_reserved,
    sort_properties,
)
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.version.lifecycle import READY_TO_DEPLOY

READY = Governed(
    object_name="granite-1.0",
    phase=READY_TO_DEPLOY,
    digest="sha256:0",
    cleared_for=("staging", "production"),
    hardware_profile="h100",
    fit="Fits",
)
TEXT = Property("string", "x")


def test_an_entry_that_is_only_recorded_shows_nothing() -> None:
    assert governed_properties(None) == {}


def test_a_version_shows_what_is_established() -> None:
    assert governed_properties(READY) == {
        "gatehouse.phase": Property("string", "Ready to Deploy"),
        "gatehouse.digest": Property("string", "sha256:0"),
        "gatehouse.cleared_for": Property("string", "staging, production"),
        "gatehouse.hardware_profile": Property("string", "h100"),
        "gatehouse.fit": Property("string", "Fits"),
        "Ready to Deploy": Property("string", ""),
    }


def test_only_the_phase_ready_to_deploy_shows_the_label() -> None:
    waiting = Governed(object_name="a", phase="Pending Review", blocked_by="2 approvals are missing")
    assert governed_properties(waiting) == {
        "gatehouse.phase": Property("string", "Pending Review"),
        "gatehouse.blocked_by": Property("string", "2 approvals are missing"),
    }
    assert READY_LABEL == READY_TO_DEPLOY


@pytest.mark.parametrize(
    "name",
    [
        *(f"gatehouse.{name}" for name in ("phase", "digest", "cleared_for", "fit", "blocked_by", "anything")),
        "Gatehouse.Phase",
        " gatehouse.phase",
        "\uff47atehouse.phase",
        "gate\u200bhouse.phase",
        "Ready to Deploy",
        "ready  to deploy",
        "Ready\u00a0to Deploy ",
    ],
)
@pytest.mark.parametrize("governed", [False, True])
def test_names_of_gatehouse_are_never_a_clients_own(name: str, governed: bool) -> None:
    sorted_ = sort_properties({name: TEXT, "own": TEXT}, governed=governed)
    assert sorted_.own == {"own": TEXT}
    with pytest.raises(ReservedPropertyError, match="only Gatehouse writes it: the entry does not have it"):
        refuse_reserved(sorted_.reserved, shows={})


def test_other_names_are_a_clients_own() -> None:
    own = dict.fromkeys(("gatehouse", "gatehousephase", "my.gatehouse.phase", "Ready", "_lastModified"), TEXT)
    assert sort_properties(own, governed=True).own == own


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_a_client_may_ask_until_the_entry_is_governed(name: str) -> None:
    assert name.startswith(PREFIX)
    assert sort_properties({name: TEXT}, governed=False).own == {name: TEXT}
    assert sort_properties({name: TEXT}, governed=True).own == {}


def test_what_comes_back_unchanged_is_no_error() -> None:
    shows = governed_properties(READY)
    refuse_reserved(shows, shows=shows)
    refuse_reserved({}, shows=shows)
    with pytest.raises(ReservedPropertyError, match=r"is 'Ready to Deploy', .*: it is 'Draft'.*as it is or leave it"):
        refuse_reserved(shows, shows={**shows, "gatehouse.phase": Property("string", "Draft")})
