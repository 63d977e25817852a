"""Admission and the code give one answer to who may write a decision, in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from cluster.admission.callers import approval
from cluster.gated import Gate, objection, wait_for_rights
from cluster.impersonation import As
from cluster.status import Manifest
from gatehouse.api.model_approval import ModelApprovalSpec
from gatehouse.api.registered_model import RiskTier
from gatehouse.domain.governance.eligibility import Reviewer, admission_finding, refusal_text

TIERS: tuple[RiskTier, ...] = ("Low", "Medium", "High")
GROUPS: tuple[tuple[str, ...], ...] = ((), ("governance",), ("governance", "legal"), ("legal", "risk"))
PEOPLE = (
    Reviewer(name="eva", groups=("governance",), tiers=("Low",)),
    Reviewer(name="max", groups=("legal",), tiers=TIERS),
    Reviewer(name="amy"),
    Reviewer(name="system:serviceaccount:ci:robot", groups=("governance",), tiers=("Medium", "High")),
)


def rbac(gate: Gate, kind: str, name: str, **fields: object) -> Manifest:
    version = "rbac.authorization.k8s.io/v1"
    return gate.admin.apply({"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields})


@pytest.fixture(scope="module")
def people(gate: Gate) -> Iterator[None]:
    """Everyone may create approvals; each person holds the verb approve on their tiers."""
    for number, person in enumerate(PEOPLE):
        name = f"test-eligibility-{number}"
        create = {"apiGroups": ["gatehouse.dev"], "resources": ["modelapprovals"], "verbs": ["create"]}
        approve = {"apiGroups": ["gatehouse.dev"], "resources": ["risktiers"], "verbs": ["approve"]}
        tiers = [{**approve, "resourceNames": list(person.tiers)}] if person.tiers else []
        rbac(gate, "ClusterRole", name, rules=[create, *tiers])
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person.name}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        rbac(gate, "ClusterRoleBinding", name, roleRef=role, subjects=[subject])
        wait_for_rights(gate.admin, name, user=person.name, namespace=gate.namespace)
    yield
    for number in range(len(PEOPLE)):
        for plural in ("clusterrolebindings", "clusterroles"):
            path = f"/apis/rbac.authorization.k8s.io/v1/{plural}/test-eligibility-{number}"
            gate.admin.request("DELETE", path)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("caller", PEOPLE, ids=lambda person: str(person.name))
def test_admission_and_the_code_answer_alike(gate: Gate, caller: Reviewer) -> None:
    answers = set()
    with As(gate.plane, caller.name, groups=tuple(caller.groups)) as client:
        for approver, groups, tier in product((caller.name, "another"), GROUPS, TIERS):
            body = approval(gate, approver=approver, groups=list(groups), tier=tier)
            spec = ModelApprovalSpec.model_validate(body["spec"])
            refusal = admission_finding(spec, caller)
            said = objection(client, body)
            if refusal is None:
                assert said == "", spec
            else:
                assert refusal_text(refusal) in said, spec
            answers.add(refusal.reason if refusal else "")
    assert {"AnotherName", "AnotherGroup"} <= answers
    assert ("" in answers) == bool(caller.tiers)
