"""How a version follows what people declare: in any order, changed, forged, deleted, declared twice."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.rig import Operator, until
from cluster.status import Manifest, condition, kstatus
from cluster.world import MINIATURE, World, make_world
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

TEMPLATE = "granite-1-serving"


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[World]:
    """A world whose registry looks at its artifacts every second."""
    with make_world(installed, minio, interval="1s") as made:
        yield made


def submit(world: World) -> Manifest:
    world.upload()
    world.apply(world.registry(), world.model(), world.version())
    return world.ready()


def profile(name: str, memory: str = "23034Mi") -> Manifest:
    accelerator = {"vendor": "NVIDIA", "model": "L4", "memory": memory, "computeCapability": "8.9"}
    return {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "HardwareProfile",
        "metadata": {"name": name},
        "spec": {"accelerator": accelerator},
    }


@pytest.fixture
def own_profile(world: World) -> Iterator[str]:
    """The name of a profile that only this test uses; it is not applied yet."""
    yield world.namespace
    if world.get("HardwareProfile", world.namespace) is not None:
        world.delete("HardwareProfile", world.namespace)


def reason(body: Manifest, type_: str = "Ready") -> str:
    found = condition(body, type_)
    assert found is not None, body
    return str(found["reason"])


def message(body: Manifest, type_: str = "Ready") -> str:
    found = condition(body, type_)
    assert found is not None, body
    return str(found["message"])


# Order


PARTS = ("registry", "model", "profile", "version", "artifact")
ORDERS = random.Random(3).sample(list(itertools.permutations(PARTS)), 6)


@pytest.mark.parametrize("order", [("version", "artifact", "profile", "model", "registry"), *ORDERS])
def test_the_order_in_which_things_come_does_not_matter(world: World, own_profile: str, order: tuple[str, ...]) -> None:
    parts: dict[str, Callable[[], object]] = {
        "registry": lambda: world.apply(world.registry()),
        "model": lambda: world.apply(world.model()),
        "profile": lambda: world.apply(profile(own_profile)),
        "version": lambda: world.apply(world.version(hardwareProfileRef={"name": own_profile})),
        "artifact": world.upload,
    }
    applied = set()
    for part in order:
        parts[part]()
        applied.add(part)
        if "version" in applied and len(applied) < len(PARTS):
            waiting = world.phase(
                "granite-1", "Artifact Missing" if "artifact" not in applied and len(applied) == 4 else "Waiting"
            )
            assert reason(waiting, "Reconciling") in {
                "RegistryNotFound",
                "ModelNotFound",
                "ProfileNotFound",
                "ArtifactMissing",
            }
    assert world.ready()["status"]["hardware"]["verdict"] == "Fits"


# Hardware


def test_a_changed_profile_decides_its_versions_again(world: World, own_profile: str) -> None:
    world.upload()
    world.apply(world.registry(), world.model(), profile(own_profile))
    world.apply(world.version(hardwareProfileRef={"name": own_profile}))
    world.ready()
    world.apply(profile(own_profile, memory="1Mi"))
    refused = world.phase("granite-1", "Does Not Fit")
    assert reason(refused, "HardwareFits") == "WeightsTooLarge"
    assert "template" not in refused["status"]
    assert world.templates() == []
    world.apply(profile(own_profile))
    assert world.ready()["status"]["template"]["name"] == TEMPLATE
    assert world.templates() == [TEMPLATE]


def test_a_length_that_does_not_fit_is_refused_with_the_largest_that_does(world: World) -> None:
    world.upload()
    world.apply(world.registry(), world.model(), world.version(serving={"maxModelLen": 90_000_000}))
    refused = world.phase("granite-1", "Does Not Fit")
    largest = refused["status"]["hardware"]["maxModelLen"]
    assert 0 < largest < 90_000_000
    assert str(largest) in message(refused).replace(",", "")
    world.apply(world.version(serving={"maxModelLen": largest}))
    assert world.ready()["status"]["hardware"]["maxModelLen"] == largest


# Declared states


@pytest.mark.parametrize("state", ["Deprecated", "Archived", "Draft"])
def test_a_declared_state_withdraws_the_template_and_can_be_taken_back(
    world: World, operator: Operator, state: str
) -> None:
    submit(world)
    world.apply(world.version(state=state))
    version = world.phase("granite-1", state)
    assert reason(version) == state
    assert "clearedFor" not in version["status"] or version["status"]["clearedFor"] == []
    assert world.templates() == []
    [row] = world.rows(operator)
    assert (row["phase"], row["state"]) == (state, "ARCHIVED" if state == "Archived" else "LIVE")
    world.apply(world.version())
    world.ready()
    assert world.templates() == [TEMPLATE]
    assert world.history(operator) == ["Ready to Deploy", state, "Ready to Deploy"]


def test_a_draft_is_not_looked_at(world: World, operator: Operator) -> None:
    world.apply(world.registry(), world.model())
    world.apply(world.version(state="Draft"))
    version = world.phase("granite-1", "Draft")
    assert reason(version, "ArtifactVerified") == "NotVerified"
    assert condition(version, "Reconciling") is None
    assert condition(version, "Stalled") is None
    world.upload()
    world.apply(world.version())
    world.ready()


def test_an_archived_model_archives_its_versions(world: World, operator: Operator) -> None:
    submit(world)
    world.apply(world.model(state="Archived"))
    world.phase("granite-1", "Archived")
    assert world.templates() == []
    until(
        lambda: [row["state"] for row in world.rows(operator, "registered_models")] == ["ARCHIVED"],
        what="the model's row is not archived",
    )
    assert [row["state"] for row in world.rows(operator)] == ["ARCHIVED"]
    world.apply(world.model())
    world.ready()


# Deletion


def test_a_deleted_version_leaves_an_archived_row_and_no_template(world: World, operator: Operator) -> None:
    version = submit(world)
    world.delete("ModelVersion", "granite-1")
    until(lambda: [row["state"] for row in world.rows(operator)] == ["ARCHIVED"], what="the row is not archived")
    # The garbage collector learns of new kinds every half minute.
    until(lambda: world.templates() == [], what="the template is not collected", seconds=60)
    [row] = world.rows(operator)
    assert (str(row["id"]), row["digest"]) == (
        version["status"]["registryId"],
        version["status"]["artifact"]["digest"],
    )
    assert world.history(operator) == ["Ready to Deploy", "Archived"]


def test_a_version_that_comes_back_takes_its_row_up_again(world: World, operator: Operator) -> None:
    before = submit(world)["status"]
    world.delete("ModelVersion", "granite-1")
    until(lambda: [row["state"] for row in world.rows(operator)] == ["ARCHIVED"], what="the row is not archived")
    world.apply(world.version())
    after = world.ready()["status"]
    assert (after["registryId"], after["artifact"]["digest"]) == (before["registryId"], before["artifact"]["digest"])
    assert [row["state"] for row in world.rows(operator)] == ["LIVE"]
    until(lambda: world.templates() == [TEMPLATE], what="the template is not there")


def test_a_version_that_comes_back_with_other_bytes_is_not_believed(world: World, operator: Operator) -> None:
    submit(world)
    world.delete("ModelVersion", "granite-1")
    until(lambda: [row["state"] for row in world.rows(operator)] == ["ARCHIVED"], what="the row is not archived")
    world.upload(files={"README.md": b"other"})
    world.apply(world.version())
    world.phase("granite-1", "Artifact Changed")


def test_what_is_deleted_while_nobody_watches_is_archived_at_the_start(world: World, operator: Operator) -> None:
    submit(world)
    assert operator.stop() == 0
    world.delete("ModelVersion", "granite-1")
    world.delete("RegisteredModel", "granite")
    operator.start()
    until(lambda: [row["state"] for row in world.rows(operator)] == ["ARCHIVED"], what="the row is not archived")
    assert [row["state"] for row in world.rows(operator, "registered_models")] == ["ARCHIVED"]
    assert world.history(operator) == ["Ready to Deploy", "Archived"]


def test_a_deleted_model_leaves_its_versions_waiting_until_it_is_back(world: World, operator: Operator) -> None:
    before = submit(world)["status"]["registryId"]
    world.delete("RegisteredModel", "granite")
    waiting = world.phase("granite-1", "Waiting")
    assert reason(waiting) == "ModelNotFound"
    until(
        lambda: [row["state"] for row in world.rows(operator, "registered_models")] == ["ARCHIVED"],
        what="the model's row is not archived",
    )
    world.apply(world.model())
    assert world.ready()["status"]["registryId"] == before
    until(
        lambda: [row["state"] for row in world.rows(operator, "registered_models")] == ["LIVE"],
        what="the model's row is not live",
    )


# One name, two objects


def test_the_same_version_twice_is_a_conflict_until_the_holder_goes(world: World, operator: Operator) -> None:
    submit(world)
    rival = world.version("rival", version="granite-1", artifact={"uri": world.uri("granite-1")})
    world.apply(rival)
    waiting = world.phase("rival", "Waiting")
    assert reason(waiting, "Stalled") == "VersionConflict"
    assert f"{world.namespace}/granite-1" in message(waiting)
    assert len(world.rows(operator)) == 1
    world.delete("ModelVersion", "granite-1")
    taken = world.ready("rival")
    [row] = world.rows(operator)
    assert (row["object_name"], row["state"], str(row["id"])) == ("rival", "LIVE", taken["status"]["registryId"])


def test_a_name_that_stood_for_another_artifact_is_not_given_again(world: World, operator: Operator) -> None:
    submit(world)
    world.delete("ModelVersion", "granite-1")
    until(lambda: [row["state"] for row in world.rows(operator)] == ["ARCHIVED"], what="the row is not archived")
    world.upload("other")
    world.apply(world.version("other", version="granite-1"))
    refused = world.phase("other", "Waiting")
    assert reason(refused, "Stalled") == "VersionReused"
    assert world.uri("granite-1") in message(refused)


def test_a_model_of_another_namespace_does_not_take_over_a_name(
    world: World, operator: Operator, installed: RunningControlPlane, minio: S3Endpoint
) -> None:
    submit(world)
    world.apply(world.registry(allowedNamespaces={"from": "All"}))
    with make_world(installed, minio) as other:
        elsewhere = other.model(registryRef={"name": "registry", "namespace": world.namespace})
        other.apply(elsewhere, other.version(artifact={"uri": world.uri("granite-1")}))
        model = other.wait("granite", lambda body: condition(body, "Ready"), kind="RegisteredModel")
        assert condition(model, "Ready")["status"] == "False"  # type: ignore[index]  # it has one
        assert world.namespace in message(model)
        version = other.phase("granite-1", "Waiting")
        assert reason(version) in {"VersionConflict", "ModelConflict"}
        assert [row["namespace"] for row in world.rows(operator, "registered_models")] == [world.namespace]
    world.ready()


# Drift


def test_an_artifact_that_changes_is_noticed_and_one_put_back_is_ready_again(world: World, operator: Operator) -> None:
    before = submit(world)["status"]["artifact"]["digest"]
    world.upload(files={"README.md": b"# Another\n"})
    changed = world.phase("granite-1", "Artifact Changed")
    assert reason(changed, "Stalled") == "ArtifactChanged"
    assert before in message(changed)
    assert "other bytes in README.md" in message(changed)
    assert changed["status"]["artifact"]["digest"] != before
    recorded = world.files(operator)["README.md"]
    assert recorded == hashlib.sha256(MINIATURE["README.md"]).hexdigest()
    assert world.templates() == []
    [row] = world.rows(operator)
    assert row["digest"] == before
    world.upload(files={"README.md": MINIATURE["README.md"]})
    assert world.ready()["status"]["artifact"]["digest"] == before
    assert world.templates() == [TEMPLATE]
    assert world.history(operator) == ["Ready to Deploy", "Artifact Changed", "Ready to Deploy"]


def test_an_artifact_that_vanishes_is_missing_until_it_is_back(world: World) -> None:
    submit(world)
    for name in MINIATURE:
        world.store.delete_object(Bucket=world.bucket, Key=f"granite-1/{name}")
    missing = world.phase("granite-1", "Artifact Missing")
    assert world.uri("granite-1") in message(missing)
    world.upload()
    world.ready()


def test_unsafe_files_are_refused_and_named(world: World) -> None:
    world.upload(files={**MINIATURE, "modeling_granite.py": b"import os\n"})
    world.apply(world.registry(), world.model(), world.version())
    invalid = world.phase("granite-1", "Artifact Invalid")
    assert invalid["status"]["artifact"]["unsafeFiles"] == ["modeling_granite.py"]
    assert "modeling_granite.py" in message(invalid)
    world.store.delete_object(Bucket=world.bucket, Key="granite-1/modeling_granite.py")
    world.ready()


# What others write


def forged(**status: Any) -> dict[str, Any]:
    return {"phase": "Ready to Deploy", "clearedFor": ["production"], **status}


def test_a_forged_status_is_healed(world: World) -> None:
    world.upload(files={"README.md": b"no model"})
    world.apply(world.registry(), world.model(), world.version())
    honest = world.phase("granite-1", "Artifact Invalid")["status"]
    world.patch_status("ModelVersion", "granite-1", forged(gates=[], conditions=[]))
    healed = world.wait("granite-1", lambda body: body["status"].get("phase") == "Artifact Invalid")["status"]
    # Conditions that were wiped and come back have a time of their own.
    assert without_times(healed) == without_times(honest)


def test_a_wiped_status_is_written_again(world: World) -> None:
    honest = submit(world)["status"]
    world.patch_status("ModelVersion", "granite-1", None)
    assert without_times(world.ready()["status"]) == without_times(honest)


def test_a_status_forged_to_another_template_deletes_no_config_map(world: World) -> None:
    submit(world)
    world.apply(config_map(world, "precious"))
    template = {"name": "precious", "digest": f"sha256:{'0' * 64}"}
    world.patch_status("ModelVersion", "granite-1", forged(template=template))
    world.apply(world.version(state="Draft"))
    world.phase("granite-1", "Draft")
    assert world.get("ConfigMap", "precious") is not None


def without_times(status: dict[str, Any]) -> dict[str, Any]:
    conditions = [{**each, "lastTransitionTime": ""} for each in status["conditions"]]
    return {**status, "conditions": conditions}


def config_map(world: World, name: str) -> Manifest:
    metadata = {"name": name, "namespace": world.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mine": "yes"}}


def test_a_config_map_of_somebody_else_is_not_overwritten(world: World, operator: Operator) -> None:
    world.apply(config_map(world, TEMPLATE))
    world.upload()
    world.apply(world.registry(), world.model(), world.version())
    refused = world.wait("granite-1", lambda body: condition(body, "Stalled"))
    assert reason(refused) == "TemplateNameTaken"
    assert refused["status"]["phase"] == "Policy Denied"
    assert [row["phase"] for row in world.rows(operator)] == ["Policy Denied"]
    assert f"{world.namespace}/{TEMPLATE}" in message(refused)
    assert kstatus(refused) == []
    kept = world.get("ConfigMap", TEMPLATE)
    assert kept is not None
    assert kept["data"] == {"mine": "yes"}
    world.delete("ConfigMap", TEMPLATE)
    world.ask("granite-1")
    world.ready()


def test_a_template_that_was_changed_is_written_again_on_request(world: World) -> None:
    submit(world)
    before = world.get("ConfigMap", TEMPLATE)
    assert before is not None
    world.apply(world.version(description="a new description"))
    world.ready()
    after = world.get("ConfigMap", TEMPLATE)
    assert after is not None
    assert "a new description" in after["data"]["inferenceservice.yaml"]
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
