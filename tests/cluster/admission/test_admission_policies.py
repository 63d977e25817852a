"""The policies themselves: what they say twice says the same, and the API server finds no fault with them.

There is a way back when they lock people out. No operator runs: the gate stands without it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from cluster.admission.policy_texts import POLICIES, words
from cluster.gated import ACCELERATOR, REASON, REFUSED, STAGE, Gate
from cluster.rig import until
from gatehouse.install.shipped_files import documents
from gatehouse_local.binaries import Binaries
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.errors import ApiRefused
from gatehouse_local.objects import with_operator

BINDINGS = [
    body for body in documents("kustomize/base/admission") if body["kind"] == "ValidatingAdmissionPolicyBinding"
]
STAGED = [body for body in BINDINGS if "matchResources" in body["spec"]]
PATH = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"


def test_no_policy_lets_through_what_it_cannot_decide() -> None:
    assert {body["spec"]["failurePolicy"] for body in POLICIES.values()} == {"Fail"}


def test_every_policy_is_bound() -> None:
    assert {body["spec"]["policyName"] for body in BINDINGS} == set(POLICIES)


@pytest.mark.parametrize("binding", STAGED, ids=lambda body: body["metadata"]["name"])
def test_the_gate_stands_in_namespaces_with_a_stage_and_warns_where_that_is_wanted(binding: Mapping[str, Any]) -> None:
    warns = binding["metadata"]["name"].endswith("-warn")
    spec = binding["spec"]
    found = {each["key"]: each for each in spec["matchResources"]["namespaceSelector"]["matchExpressions"]}
    assert spec["validationActions"] == (["Warn", "Audit"] if warns else ["Deny", "Audit"])
    assert found["gatehouse.dev/stage"]["operator"] == "Exists"
    gate = found["gatehouse.dev/gate"]
    assert (gate["operator"], gate["values"]) == (("In", ["Warn"]) if warns else ("NotIn", ["Warn", "Off"]))


def test_who_the_operator_is_is_said_once_and_added_to_on_a_local_cluster() -> None:
    assert [name for name, body in POLICIES.items() if with_operator(dict(body), "x") != body] == ["gatehouse-records"]
    [account] = words("gatehouse-records", "operators")
    changed = with_operator(dict(POLICIES["gatehouse-records"]), OPERATOR_USER)
    assert changed["spec"]["variables"][0]["expression"] == f"['{account}'] + ['{OPERATOR_USER}']"


@pytest.mark.parametrize("policy", POLICIES)
def test_the_api_server_finds_no_fault_with_its_expressions(gate: Gate, policy: str) -> None:
    def checked() -> Mapping[str, Any] | None:
        body = gate.admin.request("GET", f"{PATH}/{policy}")
        seen = body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"]
        return body["status"] if seen else None

    status = until(checked, what=f"{policy} is not checked")
    assert not (status.get("typeChecking") or {}).get("expressionWarnings")


# The way back


def test_an_administrator_of_the_stage_switches_the_gate_of_a_namespace_off(gate: Gate) -> None:
    with gate.another(stage=STAGE) as shut:
        shut.settle(refuses=shut.service(uri=REFUSED))
        gate.approver.request(
            "PATCH",
            f"/api/v1/namespaces/{shut.namespace}",
            {"metadata": {"labels": {"gatehouse.dev/gate": "Off"}}},
            content_type="application/merge-patch+json",
        )
        shut.settle(accepts=shut.service(uri=REFUSED))


def test_a_cluster_administrator_takes_a_policy_s_bindings_away_and_puts_them_back(gate: Gate) -> None:
    bindings = [body for body in STAGED if body["spec"]["policyName"] == "gatehouse-accelerators"]
    container = {"name": "main", "image": "x", "resources": {"limits": {ACCELERATOR: "1"}}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain", "namespace": gate.namespace},
        "spec": {"containers": [container]},
    }
    gate.settle(refuses=pod)
    try:
        for body in bindings:
            gate.admin.request("DELETE", gate.admin.path_of(body))
        gate.settle(accepts=pod)
    finally:
        for body in bindings:
            gate.admin.apply(body)
    gate.settle(refuses=pod)


def test_whoever_is_no_cluster_administrator_takes_no_binding_away(gate: Gate) -> None:
    for client in (gate.developer, gate.approver):
        with pytest.raises(ApiRefused, match="cannot delete resource"):
            client.request("DELETE", gate.admin.path_of(BINDINGS[0]))


def test_a_namespace_that_is_only_warned_is_told(gate: Gate) -> None:
    with gate.another(stage=STAGE, gate="Warn") as lenient:
        kubectl = Binaries().obtain(["kubectl"])["kubectl"]

        def said() -> str | None:
            answer = subprocess.run(
                [str(kubectl), "--context=ai-developer", "create", "--dry-run=server", "-f", "-"],
                env={**os.environ, "KUBECONFIG": str(gate.plane.kubeconfig)},
                input=json.dumps(lenient.service(uri=REFUSED)),
                capture_output=True,
                text=True,
                check=True,
            )
            return answer.stderr if "Warning" in answer.stderr else None

        lenient.settle(accepts=lenient.service(uri=REFUSED))
        assert REASON in until(said, what="nothing is said")
