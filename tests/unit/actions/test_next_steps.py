"""The advice about shut gates for people with other rights, from objects in memory."""

from __future__ import annotations

from typing import Any

import pytest

import worlds
from access import TableAuthorizer, stored
from gatehouse.actions.explanation import read_explanation
from gatehouse.actions.identity import Action, approving, deciding_in
from policies import approval

REVIEWS = (approving("Low"), deciding_in("team"))
EDIT = Action(verb="patch", resource="modelversions", namespace="team", name="granite-1")
EVALUATE = Action(verb="create", resource="modelevaluations", namespace="team")
POLICIES = Action(verb="patch", resource="governancepolicies")
REGISTRY = Action(verb="patch", resource="modelregistries", namespace="gatehouse-system", name="local")

NO_VERB = (
    "you (bob) cannot decide on Low risk; expected: the verb approve on risktiers.gatehouse.dev/Low; "
    "ask for the ClusterRole gatehouse-approver, bound by a ClusterRoleBinding"
)


def gate(name: str, *, stage: str = "", is_open: bool = False) -> dict[str, Any]:
    return {"name": name, "stage": stage, "open": is_open, "rule": "r", "found": "f", "wanted": "w"}


def version(*gates: dict[str, Any], **spec: Any) -> Any:
    status = {
        "phase": "Pending Review",
        "registry": "gatehouse-system/local",
        "artifact": {"digest": worlds.DIGEST},
        "gates": list(gates),
    }
    return worlds.version(status=status, **{"submittedBy": "ada", **spec})


async def advice(about: Any, *objects: Any, name: str = "bob", rights: tuple[Action, ...] = ()) -> list[str]:
    source = stored(about, worlds.model(riskTier="Low"), *objects)
    explained = await read_explanation(source, TableAuthorizer(name, *rights), namespace="team", name="granite-1")
    return list(explained.advice.values())


@pytest.mark.parametrize(
    ("person", "objects", "expected"),
    [
        ({"rights": REVIEWS}, (), "you may decide: gatehouse approve granite-1 -n team --stage staging --reason …"),
        (
            {"name": "ada", "rights": REVIEWS},
            (),
            "you (ada) submitted the version; expected: a decision by another person who may approve Low risk",
        ),
        (
            {},
            (),
            NO_VERB,
        ),
        (
            {"rights": REVIEWS},
            (approval("bob"),),
            "you (bob) already approved the version for staging; expected: approvals of more people",
        ),
    ],
)
async def test_the_gate_approved_names_what_keeps_the_reader_from_deciding(
    person: dict[str, Any], objects: tuple[Any, ...], expected: str
) -> None:
    assert await advice(version(gate("Approved", stage="staging")), *objects, **person) == [expected]


@pytest.mark.parametrize(
    ("name", "rights", "expected"),
    [
        ("PolicyCompliant", (), "you may only read the version; its author is ada"),
        ("PolicyCompliant", (EVALUATE,), "you may import evaluations"),
        (
            "PolicyCompliant",
            (EDIT, EVALUATE, POLICIES),
            "you may change the version, import evaluations and change the policies",
        ),
        ("Registered", (REGISTRY,), "you may change the registry"),
        ("Registered", (REGISTRY, EDIT), "you may change the registry and the version"),
        ("HardwareFits", (REGISTRY, EDIT), "you may change the version yourself"),
        ("HardwareFits", (), "you may only read the version; its author, who may change it, is ada"),
    ],
)
async def test_other_gates_name_the_rights_of_the_reader(name: str, rights: tuple[Action, ...], expected: str) -> None:
    assert await advice(version(gate(name)), rights=rights) == [expected]


async def test_no_right_is_asked_for_while_every_gate_is_open() -> None:
    authorizer = TableAuthorizer("bob")
    source = stored(version(gate("Approved", stage="staging", is_open=True)))
    explained = await read_explanation(source, authorizer, namespace="team", name="granite-1")
    assert (explained.advice, authorizer.asked) == ({}, [])
