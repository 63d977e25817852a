"""What a person asks of a deployment, and what the outcome is for a pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

import worlds
from gatehouse.actions.deployments import (
    DeploymentOutcome,
    DeployRequest,
    RollbackOrder,
    WrittenDeployment,
    await_deployment,
    await_rollback,
    deploy,
    outcome_of,
    rollback,
)
from gatehouse.actions.polling import Patience
from gatehouse.api.model_deployment import ModelDeployment
from gatehouse.cluster.client import ApiError
from gatehouse.errors import Refused
from gatehouse.runtime.clock import LoopClock
from unit.domain.deployment.deployments import NAMESPACE, Rehearsal, deployment, ready

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATE = {"minutes": 31}
DORA = "dora"
OWN = {"gatehouse.dev/deployed-by": DORA}


class Api:
    """One version, its registry, a namespace of the stage, and a deployment that may be there."""

    def __init__(self, existing: ModelDeployment | None = None, **status: Any) -> None:
        version = ready("two", "2", registry="gatehouse-system/local", **status).wire()
        version["status"]["conditions"] = [
            {
                "type": "Ready",
                "status": "True",
                "reason": "ReadyToDeploy",
                "message": "",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-11-21T12:00:00Z",
            }
        ]
        self.objects: dict[tuple[str, str], Mapping[str, Any]] = {
            ("modelversions", "two"): version,
            ("modelregistries", "local"): worlds.registry(stages=["staging", "production"]).wire(),
            ("namespaces", NAMESPACE): {
                "metadata": {"name": NAMESPACE, "labels": {"gatehouse.dev/stage": "production"}}
            },
        }
        if existing is not None:
            self.objects["modeldeployments", existing.metadata.name] = existing.wire()
        self.writes: list[tuple[str, Any, Mapping[str, str]]] = []

    async def get(self, plural: str, namespace: str = "", name: str = "", **_: Any) -> Mapping[str, Any]:
        if not name:
            return {"items": [body for (kind, _), body in self.objects.items() if kind == plural]}
        found = self.objects.get((plural, name))
        if found is None:
            raise ApiError(status=404, reason="NotFound", message=f"no {plural} {name}")
        return found

    async def create(self, plural: str, namespace: str, body: Any, *, params: Mapping[str, str] | None = None) -> Any:
        if plural == "selfsubjectreviews":
            return {"status": {"userInfo": {"username": DORA}}}
        self.writes.append(("create", body, params))
        return {**body, "metadata": {**body["metadata"], "generation": 1}}

    async def patch(self, plural: str, namespace: str, name: str, body: Any, *, params: Any, **_: Any) -> Any:
        self.writes.append(("patch", body, params))
        found = dict(self.objects[plural, name])
        annotations = {**found["metadata"].get("annotations", {}), **body["metadata"].get("annotations", {})}
        return {**found, "metadata": {**found["metadata"], "annotations": annotations}}


def ask(api: Any, **changes: Any) -> WrittenDeployment:
    given: dict[str, Any] = {"namespace": "team", "name": "two", "stage": "production", "at": AT}
    return asyncio.run(deploy(api, DeployRequest(**(given | changes))))


def chat(**spec: Any) -> ModelDeployment:
    """A deployment of the model's name, as `deploy` makes it."""
    return deployment(metadata={"name": "granite", "resourceVersion": "7"}, **spec)


def test_a_new_deployment_has_the_names_of_the_model() -> None:
    api = Api()
    assert ask(api).outcome == "created"
    [(verb, body, params)] = api.writes
    assert (verb, body["metadata"]) == (
        "create",
        {"name": "granite", "namespace": NAMESPACE, "annotations": OWN},
    )
    assert body["spec"] == {
        "modelRef": {"name": "granite", "namespace": "team"},
        "versionRef": {"name": "two"},
        "servedName": "granite",
    }
    assert "dryRun" not in params
    other = Api()
    ask(other, deployment="chat", served_name="assistant", replicas=2, dry_run=True)
    [(_, body, params)] = other.writes
    assert (body["metadata"]["name"], body["spec"]["servedName"], body["spec"]["replicas"]) == ("chat", "assistant", 2)
    assert params["dryRun"] == "All"


def test_a_promotion_changes_only_the_version() -> None:
    api = Api(chat())
    assert ask(api).outcome == "configured"
    [(_, patch, _)] = api.writes
    assert patch == {"metadata": {"resourceVersion": "7", "annotations": OWN}, "spec": {"versionRef": {"name": "two"}}}


def test_only_who_chooses_the_version_is_its_deployer() -> None:
    api = Api(chat(versionRef={"name": "two"}))
    assert ask(api, replicas=2).outcome == "configured"
    [(_, patch, _)] = api.writes
    assert patch == {"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 2}}


def test_what_runs_already_is_not_written() -> None:
    api = Api(chat(versionRef={"name": "two"}))
    assert (ask(api).outcome, api.writes) == ("unchanged", [])


def test_a_version_that_was_rolled_back_is_tried_again() -> None:
    rolled_back = {"version": "two", "to": "granite-1", "at": "x", "reason": "late", "actor": "gatehouse"}
    known = chat(versionRef={"name": "two"})
    known = ModelDeployment.model_validate({**known.wire(), "status": {"rollback": rolled_back}})
    api = Api(known)
    assert ask(api).outcome == "configured"
    [(_, patch, _)] = api.writes
    assert patch["metadata"]["annotations"] == {"gatehouse.dev/retry": "2026-11-21T12:00:00.000000+00:00", **OWN}
    assert patch["spec"] == {}


def test_a_shut_gate_writes_nothing_and_says_why() -> None:
    shut = {"name": "Approved", "stage": "production", "open": False, "rule": "", "found": "no approval", "wanted": ""}
    api = Api(clearedFor=["staging"], gates=[shut])
    done = ask(api)
    assert (done.outcome, done.body, api.writes) == ("refused", None, [])
    assert done.why_not == "Approved for production: no approval"


@pytest.mark.parametrize(
    ("existing", "asked", "said"),
    [
        (chat(modelRef={"name": "llama", "namespace": "team"}), {}, "deploys the model team/llama"),
        (chat(modelRef={"name": "granite"}), {}, f"deploys the model {NAMESPACE}/granite"),
        (chat(), {"served_name": "other"}, "a served name never changes"),
    ],
)
def test_another_model_or_served_name_is_refused(existing: ModelDeployment, asked: dict[str, Any], said: str) -> None:
    api = Api(existing)
    with pytest.raises(Refused, match=said):
        ask(api, **asked)
    assert api.writes == []


def test_what_git_declares_is_changed_there() -> None:
    api = Api(chat())
    body = dict(api.objects["modeldeployments", "granite"])
    declared = {"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:versionRef": {}}}}
    body["metadata"] = {**body["metadata"], "managedFields": [declared]}
    api.objects["modeldeployments", "granite"] = body
    with pytest.raises(Refused, match=r"argocd declares spec\.versionRef"):
        ask(api)
    assert ask(api, force=True).outcome == "configured"


# Outcomes


def promoted() -> Rehearsal:
    made = Rehearsal()
    made.settle()
    made.available()
    made.promote("two")
    made.settle()
    return made


def late(made: Rehearsal) -> None:
    made.wait(**LATE)
    made.settle()


def shut(made: Rehearsal) -> None:
    made.versions.pop("two")
    made.settle()


def refused_by_admission(made: Rehearsal) -> None:
    made.versions["three"] = ready("three", "3")
    made.promote("three")
    made.refuses = True
    made.step()
    made.deployment = made.deployment.model_copy(update={"spec": promoted().deployment.spec})


def late_and_alone(made: Rehearsal) -> None:
    made.versions.pop("one")
    late(made)


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda _: None, None),
        (Rehearsal.available, "Healthy"),
        (late, "RolledBack"),
        (late_and_alone, "TimedOut"),
        (shut, "Refused"),
        (refused_by_admission, None),
        (lambda made: made.promote("one"), "Refused"),
        (lambda made: (late(made), made.annotate(retry="1")), None),
    ],
)
def test_the_outcome_of_a_version(act: Callable[[Rehearsal], object], kind: str | None) -> None:
    made = promoted()
    act(made)
    found = outcome_of(made.deployment, "two")
    assert (None if found is None else found.kind) == kind, found


def patience() -> Patience:
    return Patience(seconds=0, clock=LoopClock(), say=lambda _: None)


async def test_a_status_of_an_older_generation_says_nothing_and_time_ends_the_wait() -> None:
    made = promoted()
    made.available()
    api: Any = Api(made.deployment)
    found = await await_deployment(
        api, namespace=NAMESPACE, name="chat", version="two", generation=2, patience=patience()
    )
    assert found.kind == "Healthy"
    found = await await_deployment(
        api, namespace=NAMESPACE, name="chat", version="two", generation=3, patience=patience()
    )
    assert found.kind == "TimedOut"


async def test_a_rollback_names_a_revision_or_a_version_of_the_history() -> None:
    made = promoted()
    made.available()
    revision = made.status.history[1].revision
    for to in (revision, "one"):
        api: Any = Api(made.deployment)
        order = RollbackOrder(namespace=NAMESPACE, name="chat", to=to, reason="slow", at=AT)
        asked = await rollback(api, order)
        assert asked.metadata.annotations["gatehouse.dev/rollback-to"] == revision
        assert asked.metadata.annotations["gatehouse.dev/rollback-by"] == DORA
        made.annotate(
            **{key.partition("/")[2].replace("-", "_"): value for key, value in asked.metadata.annotations.items()}
        )
    open_ = await await_rollback(Api(made.deployment), asked, patience=patience())  # type: ignore[arg-type]
    assert open_.kind == "TimedOut"
    made.settle()
    made.available()
    done = await await_rollback(Api(made.deployment), asked, patience=patience())  # type: ignore[arg-type]
    assert done == DeploymentOutcome("Healthy", f"revision {revision} is available")


async def test_a_refused_rollback_says_why() -> None:
    made = promoted()
    made.available()
    api: Any = Api(made.deployment)
    with pytest.raises(Refused, match="has no revision nine"):
        await rollback(api, RollbackOrder(namespace=NAMESPACE, name="chat", to="nine", reason="slow", at=AT))
    made.versions.pop("one")
    asked = await rollback(api, RollbackOrder(namespace=NAMESPACE, name="chat", to="one", reason="slow", at=AT))
    made.annotate(
        **{key.partition("/")[2].replace("-", "_"): value for key, value in asked.metadata.annotations.items()}
    )
    made.settle()
    found = await await_rollback(Api(made.deployment), asked, patience=patience())  # type: ignore[arg-type]
    assert (found.kind, "no ModelVersion team/one" in found.message) == ("Refused", True)
