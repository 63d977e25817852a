"""The controller of deployments over real caches and rows: what it writes, how often, and what becomes of it."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gatehouse.api import ModelDeployment, ModelVersion
from gatehouse.controllers.ports import ObjectName
from gatehouse.domain.audit.records import read_record
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient
from registrycontract import open_file
from unit.controllers.estates import World, estate
from unit.controllers.servings import loaded, rolled_out

ONE = ("team", "one")
KEPT = estate()
REFUSED = Stalled(reason="AdmissionRefused", message="ValidatingAdmissionPolicy denied request")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The first version is cleared for staging, the stage of its namespace; its deployment is not reconciled yet."""
    opened = await open_file(tmp_path)
    made = World(opened)
    label(made, "staging")
    for (kind, _), each in KEPT.items():
        if kind is not ModelDeployment:
            made.put(kind, each)
    made.caches["inferenceservices"].complete = True
    await made.settle()
    assert made.status("one")["clearedFor"] == ["staging"]
    made.put(ModelDeployment, KEPT[ModelDeployment, "one"])
    yield made
    await opened.databases.aclose()


def label(world: World, stage: str | None) -> None:
    labels = {} if stage is None else {"gatehouse.dev/stage": stage}
    world.revision_ += 1
    metadata = {"name": "team", "uid": "n", "resourceVersion": str(world.revision_), "labels": labels}
    world.informer._apply("namespaces", "MODIFIED", {"metadata": metadata})


def body(world: World) -> dict[str, Any]:
    found = world.reader.get("modeldeployments", *ONE)
    assert found is not None
    return found


def status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = body(world)["status"]
    return found


def ready(world: World) -> tuple[str, str]:
    [found] = [each for each in status(world)["conditions"] if each["type"] == "Ready"]
    return found["status"], found["reason"]


def annotate(world: World, **values: str) -> None:
    made = body(world)
    names = {f"gatehouse.dev/{name.replace('_', '-')}": value for name, value in values.items()}
    made["metadata"]["annotations"] = {**made["metadata"].get("annotations", {}), **names}
    world.put(ModelDeployment, made)


def available(world: World) -> None:
    """KServe rolls out what the service has."""
    service = world.serving.services[ONE]
    revision = service["metadata"]["annotations"]["gatehouse.dev/revision"]
    world.serving.rollouts["team", "one-predictor"] = rolled_out(revision)
    world.serving.store("team", service, **loaded())


async def run(world: World) -> None:
    """One reconcile of the deployment; no failure of the program."""
    await world.runners[ModelDeployment](*ONE)


async def healthy(world: World) -> None:
    await run(world)
    available(world)
    await run(world)
    assert status(world)["phase"] == "Healthy"


async def told(world: World) -> list[tuple[str, str]]:
    """Reason and actor of each audit record about the deployment."""
    kept = await world.opened.rows.audit.records(after=0, limit=1000)
    facts = [read_record(each).fact for each in kept]
    return [(fact.reason, fact.actor) for fact in facts if fact.kind == "ModelDeployment"]


async def test_a_step_writes_a_revision_a_runtime_and_a_service_once(world: World) -> None:
    await run(world)
    assert [each.split()[0] for each in world.serving.writes] == ["revision", "runtime", "service"]
    assert status(world)["phase"] == "Progressing"
    service = world.serving.services[ONE]
    assert service["spec"]["predictor"]["model"]["args"][-1] == "--served-model-name=granite"
    assert service["metadata"]["ownerReferences"][0]["uid"] == "uid-of-one"
    await run(world)
    revision = world.revision_
    for _ in range(3):
        await run(world)
    assert (len(world.serving.writes), world.revision_) == (3, revision), "nothing is written while nothing changes"

    available(world)
    await run(world)
    assert ready(world) == ("True", "Healthy")
    revision = world.revision_
    for _ in range(3):
        await run(world)
    assert (len(world.serving.writes), world.revision_) == (3, revision)
    assert await told(world) == [("RevisionApplied", "unknown"), ("RevisionHealthy", "gatehouse")]


@pytest.mark.parametrize("dies_at", ["revision", "runtime", "service", "status"])
async def test_an_operator_that_dies_between_two_writes_goes_on_where_it_was(
    world: World, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = Transient(reason="ApiUnavailable", message="the operator was killed")

    async def away(*_: Any, **__: Any) -> None:
        raise died

    if dies_at == "status":
        with monkeypatch.context() as patched:
            patched.setattr(world, "write_status", away)
            await run(world)
    else:
        world.serving.refuses[dies_at] = died
        with monkeypatch.context() as patched:
            patched.setattr(world, "write_status", away)
            await run(world)
        world.serving.refuses.clear()
    assert "status" not in body(world)

    await healthy(world)
    assert len(world.serving.revisions) == len(world.serving.services) == 1
    assert [each["outcome"] for each in status(world)["history"]] == ["Healthy"]
    assert world.serving.services[ONE]["metadata"]["generation"] == 1


async def test_a_refusal_by_admission_is_held_and_no_other_write_follows(world: World) -> None:
    world.serving.refuses["service"] = REFUSED
    await run(world)
    assert (status(world)["phase"], ready(world)) == ("Held", ("False", "AdmissionRefused"))
    assert status(world)["history"] == []
    assert [each.split()[0] for each in world.serving.writes] == ["revision", "runtime", "service"]
    world.serving.refuses.clear()
    await healthy(world)


@pytest.mark.parametrize("error", [Stalled(reason="ApiRefused", message="x"), Transient(reason="Away", message="x")])
async def test_other_errors_are_conditions_and_the_step_is_tried_again(world: World, error: ReconcileError) -> None:
    world.serving.refuses["service"] = error
    await run(world)
    assert ready(world) == ("False", error.reason)
    world.serving.refuses.clear()
    await healthy(world)


async def test_a_version_that_is_archived_in_flight_is_held(world: World) -> None:
    await run(world)
    archived = copy.deepcopy(KEPT[ModelVersion, "one"])
    archived["spec"]["state"] = "Archived"
    world.put(ModelVersion, archived)
    await run(world)
    assert ready(world) == ("False", "VersionNotReady"), "the status of the version is outdated"
    await world.settle()
    assert (status(world)["phase"], ready(world)) == ("Held", ("False", "VersionNotReady"))
    assert len(world.serving.writes) == 3


async def test_a_version_whose_clearance_could_not_be_taken_back_counts_as_shut(world: World) -> None:
    world.faults.silence("modelversions", ObjectName(*ONE))
    await run(world)
    assert (ready(world), world.serving.writes) == (("False", "VersionUnreadable"), [])


async def test_a_namespace_without_a_stage_gets_no_service(world: World) -> None:
    label(world, None)
    await run(world)
    assert (ready(world), world.serving.writes) == (("False", "NamespaceWithoutStage"), [])
    label(world, "production")
    await run(world)
    assert (ready(world), world.serving.writes) == (("False", "NotCleared"), [])


async def test_an_edit_by_another_writer_is_put_back_and_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await healthy(world)
    events: list[str] = []
    monkeypatch.setattr(world, "record", lambda *_, **said: events.append(said["reason"]))
    edited = copy.deepcopy(world.serving.services[ONE])
    edited["spec"]["predictor"]["model"]["args"].append("--max-num-seqs=1")
    world.serving.store("team", edited, **loaded())
    world.now_ += timedelta(seconds=11)
    await run(world)
    assert world.serving.services[ONE]["spec"]["predictor"]["model"]["args"][-1] == "--served-model-name=granite"
    assert world.serving.writes[3:] == ["service one"]
    assert events.count("ServicePutBack") == 1


async def test_a_template_that_differs_from_what_the_version_names_is_not_applied(world: World) -> None:
    template = copy.deepcopy(dict(world.serving.templates["team", "one-serving"]))
    template["data"]["inferenceservice.yaml"] = template["data"]["inferenceservice.yaml"].replace(
        "models/one", "evil/x"
    )
    world.serving.templates["team", "one-serving"] = template
    await run(world)
    assert (ready(world), world.serving.writes) == (("False", "RevisionGone"), [])


async def test_a_forged_revision_is_not_applied(world: World) -> None:
    await run(world)
    [(key, kept)] = world.serving.revisions.items()
    kept["data"]["inferenceService"]["spec"]["predictor"]["model"]["storageUri"] = "s3://evil/"
    world.serving.services.clear()
    world.caches["inferenceservices"].apply(
        "DELETED", {"metadata": {"name": "one", "namespace": "team", "resourceVersion": "2000000"}}
    )
    await run(world)
    assert ready(world) == ("False", "RevisionAltered")
    assert len(world.serving.writes) == 3
    assert key in world.serving.revisions, "what another writer made is not deleted"


async def test_a_person_rolls_back_to_a_revision_that_is_kept(world: World) -> None:
    await healthy(world)
    first = status(world)["stable"]["revision"]
    annotate(world, rollback_to=first, rollback_reason="slow")
    await run(world)
    [said] = [each for each in status(world)["conditions"] if each["type"] == "RolledBack"]
    assert (said["status"], said["reason"]) == ("False", "AlreadyRunning")

    made = body(world)
    made["spec"]["versionRef"] = {"name": "three"}
    world.put(ModelDeployment, made)
    annotate(world, rollback_requested_at="now")
    await run(world)
    assert status(world)["rollback"]["to"] == first
    assert ready(world) == ("False", "RolledBack")
    assert ("RolledBack", "unknown") in await told(world)
    assert body(world)["spec"]["versionRef"] == {"name": "three"}


async def test_what_the_database_cannot_record_is_owed_and_stops_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: Any) -> None:
        raise Transient(reason="DatabaseUnavailable", message="it does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(world, "rows", down)
        await healthy(world)
        assert "recorded" not in status(world)["history"][0]
    assert await told(world) == []
    await run(world)
    assert status(world)["history"][0]["recorded"] == "Healthy"
    assert await told(world) == [("RevisionApplied", "unknown"), ("RevisionHealthy", "gatehouse")]
    await run(world)
    assert len(await told(world)) == 2


async def test_a_foreign_service_is_left_alone(world: World) -> None:
    foreign = {"metadata": {"name": "one", "namespace": "team"}, "spec": {"predictor": {}}}
    world.serving.store("team", foreign)
    await run(world)
    assert (ready(world), world.serving.writes) == (("False", "NameTaken"), [])


async def test_services_that_are_not_listed_yet_change_no_status(world: World) -> None:
    await healthy(world)
    revision = world.revision_
    world.caches["inferenceservices"].complete = False
    await run(world)
    assert world.revision_ == revision


async def test_what_people_ask_by_annotations_enqueues_the_deployment(world: World) -> None:
    await run(world)
    world.informer.synced.set()
    world.caches["modeldeployments"].complete = True
    world.enqueued.clear()
    made = body(world)
    made["metadata"] |= {"annotations": {"gatehouse.dev/retry": "1"}, "resourceVersion": "900000"}
    world.informer._apply("modeldeployments", "MODIFIED", made)
    assert [(key.kind, key.name) for key in world.enqueued] == [("modeldeployments", "one")]
