"""Policies, evaluations and approvals on the real API server: what clears a version, and what shuts the gate again."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from http import HTTPStatus

import pytest
import yaml

from cluster.court import MERGE, REVIEWER, SUBMITTER, VETTED, WITHDRAWN, Court, make_court
from cluster.gated import good_runtime
from cluster.rig import Operator, until
from cluster.status import Manifest, condition
from cluster.world import MINIATURE
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import FIELD_MANAGER
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.s3 import S3Endpoint


@pytest.fixture
def court(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[Court]:
    """A registry that looks at its artifacts every second."""
    with make_court(installed, minio, interval="1s") as made:
        yield made


@pytest.fixture
def calm_court(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[Court]:
    """A registry that looks at its artifacts every hour."""
    with make_court(installed, minio, interval="1h") as made:
        yield made


def test_an_approval_clears_its_stage_and_revoking_it_shuts_the_gate(court: Court, operator: Operator) -> None:
    court.policy(approvals=[{"stage": "staging", "groups": ["rhoai-admins"]}, {"stage": "production", "count": 2}])
    court.submit()
    court.world.phase("granite-1", "Pending Review")
    assert court.let_through() == {}

    approval = court.decide()
    court.cleared("staging")
    court.wait_through("granite-1")
    assert court.world.templates() == ["granite-1-serving"]
    assert court.let_through("production") == {}

    court.withdraw(approval)
    court.world.phase("granite-1", "Pending Review")
    court.wait_through()
    told = court.audit(operator)
    for record in (("ModelApproval", "Approved"), ("ModelVersion", "Cleared"), ("ModelApproval", "Revoked")):
        assert record in told
    [revoked] = [each for each in court.records(operator) if each["reason"] == "Revoked"]
    assert (revoked["actor"], revoked["message"]) == (REVIEWER, WITHDRAWN)
    assert revoked["before"]["approver"] == REVIEWER
    assert told.index(("ModelVersion", "ClearanceWithdrawn")) > told.index(("ModelVersion", "Cleared"))


def test_an_approval_is_of_what_is_served_and_lapses_when_that_changes(court: Court) -> None:
    court.policy(approvals=[{"stage": "staging"}])
    court.submit()
    court.decide()
    court.cleared("staging", "production")
    court.wait_through("granite-1")

    court.world.patch("ModelVersion", "granite-1", {"spec": {"serving": {"maxModelLen": 8192}}})
    found = court.world.phase("granite-1", "Pending Review")
    assert "is about other arguments, variables or hardware" in condition(found, "Ready")["message"]  # type: ignore[index]
    court.wait_through()

    court.world.patch("ModelVersion", "granite-1", {"spec": {"serving": {"maxModelLen": 16384}}})
    court.cleared("staging", "production")


def test_a_decision_against_it_shuts_the_gate(court: Court) -> None:
    court.submit()
    court.world.ready()
    court.wait_through("granite-1")

    rejection = court.decide("Rejected")
    found = court.world.phase("granite-1", "Rejected")
    assert "looked at it" in condition(found, "Ready")["message"]  # type: ignore[index]
    court.wait_through()

    court.withdraw(rejection)
    court.world.ready()
    court.wait_through("granite-1")


def test_evaluations_count_for_their_bytes_and_for_a_time(court: Court) -> None:
    court.policy(
        evaluations=[
            {
                "name": "task",
                "kind": "Task",
                "metric": "acc",
                "operator": ">=",
                "threshold": "0.7",
                "maxAge": "720h",
            }
        ]
    )
    court.submit()
    court.world.phase("granite-1", "Pending Review")
    court.evaluate("old", "0.9", days=31)
    court.world.wait("granite-1", lambda body: "31 days old" in condition(body, "PolicyCompliant")["message"])  # type: ignore[index]
    court.evaluate("own", "0.9", by=SUBMITTER)
    court.world.wait(
        "granite-1", lambda body: "own was made by the submitter" in condition(body, "PolicyCompliant")["message"]
    )  # type: ignore[index]
    court.evaluate("good", "0.71")
    court.world.ready()


def test_the_worst_result_decides_until_somebody_else_takes_it_back(court: Court, operator: Operator) -> None:
    court.policy(evaluations=[{"name": "task", "kind": "Task", "metric": "acc", "operator": ">=", "threshold": "0.7"}])
    court.submit()
    court.evaluate("good", "0.8")
    court.world.ready()
    court.evaluate("bad", "0.6", by=SUBMITTER)
    court.world.phase("granite-1", "Policy Denied")
    court.evaluate("better", "0.9")
    court.take_back("bad", by=SUBMITTER)
    found = court.world.wait("granite-1", lambda body: "was deleted" in condition(body, "PolicyCompliant")["message"])  # type: ignore[index]
    assert found["status"]["phase"] == "Policy Denied"

    court.evaluate("bad", "0.6", by=SUBMITTER)
    court.world.wait("granite-1", lambda body: "was deleted" not in condition(body, "PolicyCompliant")["message"])  # type: ignore[index]
    court.take_back("bad", by=REVIEWER)
    court.world.ready()


def test_bytes_that_changed_shut_the_gate_and_void_the_approval(court: Court) -> None:
    court.policy(approvals=[{"stage": "staging"}])
    court.submit()
    court.decide()
    court.world.ready()
    court.wait_through("granite-1")

    court.world.upload("granite-1", {"config.json": b'{"architectures": ["GraniteForCausalLM"], "changed": 1}'})
    found = court.world.phase("granite-1", "Artifact Changed")
    assert found["status"].get("clearedFor", []) == []
    court.wait_through()


def test_a_policy_that_does_not_compile_denies_and_says_where(court: Court) -> None:
    court.submit()
    court.world.ready()
    court.policy(rules=[{"name": "bad", "expression": "stage ==\n  == 'x'", "message": "never"}])

    court.world.phase("granite-1", "Policy Denied")
    problem = until(
        lambda: court.world.kube.request("GET", court.policy_path)["status"].get("problems"),
        what="no problems are told",
    )
    assert (problem[0]["rule"], problem[0]["line"], problem[0]["column"]) == ("bad", 2, 3)


@pytest.mark.parametrize(
    "expression",
    ["1 / 0 == 1", "version.name", "version.nothing == 1", "[0,1,2,3].all(a, [0,1,2,3].all(b, 1 / a == b))"],
)
def test_an_expression_that_answers_no_boolean_denies(court: Court, expression: str) -> None:
    court.policy(rules=[{"name": "bad", "expression": expression, "message": "never"}])
    court.submit()

    court.world.phase("granite-1", "Policy Denied")


def test_an_expression_that_never_ends_denies_and_stops_nobody(court: Court) -> None:
    digits = "[0,1,2,3,4,5,6,7,8,9]"
    endless = "true"
    for number in range(7):
        endless = f"{digits}.all(x{number}, {endless})"
    court.policy(rules=[{"name": "endless", "expression": endless, "message": "never"}])
    court.submit()

    found = court.world.phase("granite-1", "Policy Denied")
    assert "budget" in condition(found, "PolicyCompliant")["message"]  # type: ignore[index]


def test_a_policy_that_locks_everybody_out_is_taken_back_by_audit_mode(court: Court) -> None:
    court.policy(rules=[{"name": "nobody", "expression": "false", "message": "nobody"}])
    court.submit()
    court.world.phase("granite-1", "Policy Denied")

    court.policy(mode="Audit", rules=[{"name": "nobody", "expression": "false", "message": "nobody"}])
    found = court.world.ready()
    assert "in audit only" in condition(found, "PolicyCompliant")["message"]  # type: ignore[index]


def test_a_model_that_is_made_anew_with_a_lower_tier_is_what_it_was(court: Court, operator: Operator) -> None:
    """Also for an operator that was started since: what was submitted is in the rows."""
    labels = {"kubernetes.io/metadata.name": court.world.namespace}
    match = {"namespaceSelector": {"matchLabels": labels}, "riskTiers": ["High"]}
    court.policy(match=match, approvals=[{"stage": "staging"}])
    court.submit(riskTier="High", license="MIT")
    assert court.world.phase("granite-1", "Pending Review")["status"]["riskTier"] == "High"
    court.world.wait("granite", lambda body: body["status"].get("riskTier") == "High", kind="RegisteredModel")

    court.world.delete("RegisteredModel", "granite")
    court.world.phase("granite-1", "Waiting")
    operator.stop()
    operator.start()
    court.world.upload("granite-2")
    court.world.apply(
        court.world.model(riskTier="Low", license="MIT"), court.world.version("granite-2", submittedBy=SUBMITTER)
    )

    for name in ("granite-1", "granite-2"):
        found = court.world.phase(name, "Pending Review")
        assert (found["status"]["riskTier"], condition(found, "Ready")["reason"]) == ("High", "ApprovalOwed")  # type: ignore[index]
    model = court.world.get("RegisteredModel", "granite")
    assert model is not None
    assert "it counts as High risk, not Low" in condition(model, "Ready")["message"]  # type: ignore[index]
    assert "classifiedBy" in condition(model, "Ready")["message"]  # type: ignore[index]

    # Somebody who may classify says so for the versions that are still to come.
    court.world.patch("RegisteredModel", "granite", {"spec": {"riskTier": "Low", "classifiedBy": "admin"}})
    court.world.wait("granite", lambda body: body["status"].get("riskTier") == "Low", kind="RegisteredModel")
    court.world.upload("granite-3")
    court.world.apply(court.world.version("granite-3", submittedBy=SUBMITTER))
    assert court.world.ready("granite-3")["status"]["riskTier"] == "Low"
    for name in ("granite-1", "granite-2"):
        court.world.phase(name, "Pending Review")


def test_below_the_default_tier_of_the_registry_somebody_has_to_vouch(court: Court) -> None:
    court.world.upload()
    court.world.apply(
        court.world.registry(defaultRiskTier="Medium"), court.world.model(riskTier="Low"), court.world.version()
    )
    assert court.world.ready()["status"]["riskTier"] == "Medium"


def test_a_protected_stage_is_shut_until_a_policy_speaks_to_it(court: Court) -> None:
    court.world.upload()
    registry = court.world.registry()
    del registry["spec"]["protectedStages"]
    court.world.apply(registry, court.world.model(), court.world.version())
    found = court.cleared("staging")
    assert condition(found, "PolicyCompliant")["reason"] == "StageUnguarded"  # type: ignore[index]
    court.wait_through("granite-1")
    assert court.let_through("production") == {}

    court.policy(artifact={"formats": ["safetensors"]})
    court.cleared("staging", "production")
    court.wait_through("granite-1", stage="production")

    court.policy(mode="Audit", artifact={"formats": ["safetensors"]})
    court.cleared("staging")
    court.wait_through(stage="production")


def test_a_required_policy_that_is_deleted_denies(court: Court) -> None:
    court.policy()
    court.world.upload()
    court.world.apply(
        court.world.registry(requiredPolicies=[court.policy_name]), court.world.model(), court.world.version()
    )
    court.world.ready()

    court.world.kube.request("DELETE", court.policy_path)
    found = court.world.phase("granite-1", "Policy Denied")
    assert condition(found, "Ready")["reason"] == "PolicyMissing"  # type: ignore[index]
    court.wait_through()


def test_a_policy_edit_writes_only_the_versions_whose_outcome_changed(calm_court: Court, operator: Operator) -> None:
    court = calm_court
    court.policy()
    names = [f"v-{number}" for number in range(6)]
    court.world.apply(court.world.registry(), court.world.model())
    for number, name in enumerate(names):
        # Other bytes each: what is denied would shut the others of its digest.
        court.world.upload(name, {**MINIATURE, "README.md": name.encode()})
        court.world.apply(court.world.version(name, customProperties={"number": str(number)}))
    for name in names:
        court.world.ready(name)
    court.wait_through(*names)
    operator.wait_idle()
    versions = {name: court.world.get("ModelVersion", name) for name in names}
    rows = {row["version"]: row for row in court.world.rows(operator)}

    rule = {"name": "small", "expression": "int(version.customProperties.number) < 4", "message": "small numbers"}
    court.policy(rules=[rule])
    for name in names[4:]:
        court.world.phase(name, "Policy Denied")
    court.wait_through(*names[:4])
    operator.wait_idle()

    after = {row["version"]: row for row in court.world.rows(operator)}
    for name in names[:4]:
        assert court.world.get("ModelVersion", name) == versions[name]
        assert after[name] == rows[name]
    for name in names[4:]:
        assert court.world.history(operator, name) == ["Ready to Deploy", "Policy Denied"]


def test_an_edited_policy_is_told_with_its_text_and_once(calm_court: Court, operator: Operator) -> None:
    court = calm_court
    court.world.apply(court.world.registry())
    court.world.final("registry", kind="ModelRegistry")

    def told() -> list[Manifest]:
        found = court.records(operator)
        return [each for each in found if each["name"] == court.policy_name and not each["version"]]

    def wait_told(*reasons: str) -> list[Manifest]:
        until(lambda: [each["reason"] for each in told()] == list(reasons), what=lambda: f"told: {told()}")
        return told()

    court.policy(mode="Audit")
    wait_told("PolicyAdded")
    court.world.kube.request(
        "PATCH", f"{court.policy_path}?fieldManager=by-hand", {"spec": {"mode": "Enforce"}}, content_type=MERGE
    )
    wait_told("PolicyAdded", "PolicyChanged")
    assert operator.stop() == 0
    operator.start()
    court.world.kube.request("DELETE", court.policy_path)
    added, changed, deleted = wait_told("PolicyAdded", "PolicyChanged", "PolicyDeleted")
    assert (changed["actor"], changed["after"]["via"], added["after"]["via"]) == ("unknown", "by-hand", FIELD_MANAGER)
    assert (changed["before"]["spec"]["mode"], changed["after"]["spec"]["mode"]) == ("Audit", "Enforce")
    assert (changed["before"]["generation"], changed["after"]["generation"]) == (1, 2)
    assert deleted["before"]["sha256"] == changed["after"]["sha256"]


def test_vetted_artifacts_edited_or_deleted_are_put_back(court: Court, installed: RunningControlPlane) -> None:
    court.submit()
    court.world.ready()
    court.wait_through("granite-1")
    path = f"{VETTED}/staging.{court.world.bucket}"
    with contextlib.closing(installed.client(OPERATOR_USER)) as as_operator:
        patch = {"spec": {"artifacts": {"s3://evil/model/": "sha256:" + "e" * 64}}}
        as_operator.request("PATCH", path, patch, content_type="application/merge-patch+json")
        court.wait_through("granite-1")
        as_operator.request("DELETE", path)
        court.wait_through("granite-1")


def test_an_argument_that_a_registry_adds_is_in_the_template_and_passes_the_gate(court: Court) -> None:
    world, argument = court.world, "--enable-expert-parallel"
    world.upload()
    refused = world.version(submittedBy=SUBMITTER, serving={"extraArgs": [argument]})
    world.apply(world.registry(), world.model(), refused)
    found = world.phase("granite-1", "Policy Denied")
    [shut] = [gate for gate in found["status"]["gates"] if gate["name"] == "TemplateEmitted"]
    assert "allowedArguments of the ModelRegistry" in shut["remedy"]

    world.apply(world.registry(serving={"allowedArguments": [argument]}))
    found = world.ready()
    assert argument in _service(court, found, world.namespace)["spec"]["predictor"]["model"]["args"]
    court.wait_through("granite-1")
    told = {spec["stage"]: spec["arguments"].get(argument) for spec in world.vetted()}
    assert told["staging"] == f"{world.namespace}/registry"


def test_what_runs_is_told_and_goes_on_when_it_is_not_cleared_any_more(court: Court, operator: Operator) -> None:
    court.submit()
    found = court.world.ready()
    court.wait_through("granite-1")
    stage = f"{court.world.namespace}-staging"
    court.world.apply(_labelled(stage))
    lax = [_unenforced(court, stage, gate) for gate in ("Warn", "Off")]
    try:
        for namespace in lax:
            court.world.apply(_service(court, found, namespace))
        service = _service(court, found, stage)
        court.world.apply(good_runtime(stage))
        until(lambda: admitted(court, service), what="the service is still refused")
        admissions = [{"stage": "staging", "namespace": stage}]
        found = court.world.wait("granite-1", lambda body: body["status"].get("admittedTo") == admissions)
        assert found["status"]["deployedTo"] == ["staging"]
        assert condition(found, "RunningUncleared") is None

        court.decide("Rejected")
        found = court.world.phase("granite-1", "Rejected")
        assert condition(found, "RunningUncleared") is not None
        assert "Warning RunningUncleared" in court.world.events("granite-1", at_least=3)
        assert operator.metrics().sum("gatehouse_running_uncleared") == 1
        assert court.world.kube.request("GET", _path(stage, service))["metadata"]["name"]

        # Only what admission let in while it was cleared goes on, and there alone.
        uri = court.world.uri("granite-1")
        retained = until(lambda: _retained(court, uri), what="nothing goes on")
        assert retained == {f"{stage} {uri}"}
        assert found["status"]["admittedTo"] == admissions
        for namespace in lax:
            court.world.apply(_labelled(namespace))
            changes = _changes(service, namespace)
            until(
                lambda changes=changes: not admitted(court, next(changes)),
                what=f"the gate of {namespace} is still open",
            )
        court.world.wait("granite-1", lambda body: body["status"].get("deployedTo") == ["staging"])
        assert _retained(court, uri) == retained
    finally:
        for namespace in (stage, *lax):
            court.world.kube.request("DELETE", f"/api/v1/namespaces/{namespace}")


def _changes(service: Manifest, namespace: str) -> Iterator[Manifest]:
    """The service in a namespace, each time another one: admission lets an update through that changes nothing."""
    for replicas in itertools.count(2):
        predictor = {**service["spec"]["predictor"], "minReplicas": replicas, "maxReplicas": replicas}
        metadata = {**service["metadata"], "namespace": namespace}
        yield {**service, "metadata": metadata, "spec": {**service["spec"], "predictor": predictor}}


def _labelled(name: str, **labels: str) -> Manifest:
    """A namespace of the stage staging."""
    made = namespace_manifest(name)
    made["metadata"]["labels"] = {**made["metadata"].get("labels", {}), "gatehouse.dev/stage": "staging", **labels}
    return made


def _unenforced(court: Court, stage: str, gate: str) -> str:
    """A namespace of the stage whose gate lets everything in."""
    name = f"{stage}-{gate.lower()}"
    court.world.apply(_labelled(name, **{"gatehouse.dev/gate": gate}), good_runtime(name))
    return name


def _retained(court: Court, uri: str) -> set[str]:
    """What may go on with the artifact, wherever it is listed."""
    return {entry for spec in court.world.vetted() for entry in spec.get("retained") or () if entry.endswith(f" {uri}")}


def admitted(court: Court, service: Manifest) -> bool:
    """Whether admission, which learns of what is vetted by a watch, lets the service through by now."""
    try:
        court.world.apply(service)
    except ApiRefused as refused:
        if refused.status != HTTPStatus.FORBIDDEN:
            raise
        return False
    return True


def _service(court: Court, version: Manifest, namespace: str) -> Manifest:
    """The InferenceService of the version's template, for another namespace."""
    template = court.world.get("ConfigMap", version["status"]["template"]["name"])
    assert template is not None
    service: Manifest = yaml.safe_load(template["data"]["inferenceservice.yaml"])
    service["metadata"]["namespace"] = namespace
    return service


def _path(namespace: str, service: Manifest) -> str:
    name = service["metadata"]["name"]
    return f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{name}"
