"""One story: registered from Python, verified by the operator, seen by every door with one id, digest and words."""

from __future__ import annotations

import json

from cluster.rig import until
from cluster.server.doors import CATALOG, V1, V3, Doors
from cluster.server.processes import make_account


def test_registered_from_python_verified_seen_and_archived(doors: Doors) -> None:
    world, server = doors.world, doors.server
    client = doors.client(doors.submitter)
    model = client.register_model(
        "Granite 3.1 (FP8)",
        world.uri("granite-1"),
        model_format_name="safetensors",
        model_format_version="1",
        version="3.1, May 2025",
        version_description="a first one",
        metadata={"accuracy": 0.93, "tested": True, "note": "kept word for word"},
    )
    version = client.get_model_version("Granite 3.1 (FP8)", "3.1, May 2025")
    assert version is not None
    assert (version.registered_model_id, version.author) == (model.id, "ann")
    ready = world.wait("granite-3.1-fp8-3.1-may-2025", lambda body: body["status"].get("phase") == "Ready to Deploy")
    assert ready["status"]["registryId"] == version.id

    def shown() -> dict[str, object]:
        status, found = server.ask("GET", f"{V1}/model_versions/{version.id}", token=doors.viewer)
        assert status == 200
        properties: dict[str, object] = found["customProperties"]
        return properties

    until(lambda: "Ready to Deploy" in shown(), what=lambda: str(shown()))
    properties = shown()
    assert properties["gatehouse.digest"]["string_value"] == ready["status"]["artifact"]["digest"]  # type: ignore[index]
    assert properties["note"]["string_value"] == "kept word for word"  # type: ignore[index]
    artifact = client.get_model_artifact("Granite 3.1 (FP8)", "3.1, May 2025")
    assert artifact is not None
    assert artifact.uri is not None
    assert artifact.uri.startswith(world.uri("granite-1"))
    assert "endpoint=" in artifact.uri
    name = "granite-3.1-fp8/3.1-may-2025"
    single = f"{CATALOG}/sources/gatehouse/models/{name}"
    status, found = server.ask("GET", f"{CATALOG}/models?q=granite", token=doors.viewer)
    assert (status, [(item["name"], item["id"]) for item in found["items"]]) == (200, [(name, version.id)])
    listed = found["items"][0]["customProperties"]
    assert {key: listed[key] for key in properties} == properties
    status, artifacts = server.ask("GET", f"{single}/artifacts", token=doors.viewer)
    assert (status, artifacts["items"][0]["uri"]) == (200, artifact.uri)
    assert server.ask("GET", single, token=make_account(world.kube, world.namespace, "stranger"))[0] == 404
    status, archived = server.ask(
        "PATCH", f"{V3}/model_versions/{version.id}", {"state": "ARCHIVED"}, token=doors.submitter
    )
    assert (status, archived["state"]) == (200, "ARCHIVED")
    world.wait("granite-3.1-fp8-3.1-may-2025", lambda body: body["status"].get("phase") == "Archived")
    assert world.get("ModelVersion", "granite-3.1-fp8-3.1-may-2025")["spec"]["state"] == "Archived"  # type: ignore[index]
    until(
        lambda: server.ask("GET", single, token=doors.viewer)[0] == 404,
        what=lambda: str(server.ask("GET", single, token=doors.viewer)),
    )
    assert server.ask("GET", f"{CATALOG}/models", token=doors.viewer)[1]["items"] == []
    told = [json.loads(row["content"]) for row in world.rows(doors.operator, "audit_records")]
    by_submitter = [each for each in told if each["actor"] == f"system:serviceaccount:{world.namespace}:submitter"]
    assert by_submitter[-1]["after"] == {"state": "ARCHIVED"}


def test_the_uri_of_a_governed_artifact_never_changes(doors: Doors) -> None:
    world, server = doors.world, doors.server
    doors.client(doors.submitter).register_model(
        "fixed", world.uri("granite-1"), model_format_name="safetensors", model_format_version="1", version="1"
    )
    world.wait("fixed-1", lambda body: body["status"].get("registryId"))
    status, artifact = server.ask("GET", f"{V3}/model_artifacts?name=fixed", token=doors.submitter)
    [found] = [item for item in artifact["items"] if item["name"] == "fixed"]
    path = f"{V3}/model_artifacts/{found['id']}"
    unchanged = {"artifactType": "model-artifact", "uri": found["uri"], "description": "the same"}
    status, answer = server.ask("PATCH", path, unchanged, token=doors.submitter)
    assert (status, answer.get("description")) == (200, "the same"), answer
    other = {"artifactType": "model-artifact", "uri": world.uri("other")}
    status, answer = server.ask("PATCH", path, other, token=doors.submitter)
    assert status == 409
    assert f"ModelVersion {world.namespace}/fixed-1, which never changes" in answer["message"]


def test_a_model_is_archived_with_its_versions_and_restored(doors: Doors) -> None:
    world, server = doors.world, doors.server
    doors.client(doors.submitter).register_model(
        "whole", f"minio://{world.bucket}/granite-1", model_format_name="x", model_format_version="1", version="1"
    )
    world.phase("whole-1", "Ready to Deploy")
    assert world.get("ModelVersion", "whole-1")["spec"]["artifact"]["uri"] == world.uri("granite-1").rstrip("/")  # type: ignore[index]
    path = f"{V3}/registered_models/{world.get('RegisteredModel', 'whole')['status']['registryId']}"  # type: ignore[index]
    status, answer = server.ask("PATCH", path, {"state": "ARCHIVED"}, token=doors.viewer)
    assert (status, world.get("RegisteredModel", "whole")["spec"]["state"]) == (403, "Live")  # type: ignore[index]
    status, answer = server.ask("PATCH", path, {"state": "ARCHIVED", "owner": "eve"}, token=doors.submitter)
    assert (status, answer["state"], answer["owner"]) == (200, "ARCHIVED", "eve")
    assert world.get("RegisteredModel", "whole")["spec"]["state"] == "Archived"  # type: ignore[index]
    world.phase("whole-1", "Archived")
    assert server.ask("GET", f"{CATALOG}/models", token=doors.viewer)[1]["items"] == []
    until(lambda: server.ask("GET", path, token=doors.viewer)[1]["state"] == "ARCHIVED", what="the row is not archived")
    status, answer = server.ask("PATCH", path, {"state": "LIVE"}, token=doors.submitter)
    assert (status, answer["state"]) == (200, "LIVE")
    world.phase("whole-1", "Ready to Deploy")


def test_a_state_that_git_owns_is_refused_with_the_name_of_the_tool(doors: Doors) -> None:
    world, server = doors.world, doors.server
    for manifest in (world.model(state="Live"), world.version(state="Submitted")):
        path = f"{world.kube.path_of(manifest)}?fieldManager=argocd-controller"
        world.kube.request("PATCH", path, manifest, content_type="application/apply-patch+yaml")
    world.phase("granite-1", "Ready to Deploy")
    for kind, name, listed in (
        ("RegisteredModel", "granite", "registered_models"),
        ("ModelVersion", "granite-1", "model_versions"),
    ):
        path = f"{V3}/{listed}/{world.get(kind, name)['status']['registryId']}"  # type: ignore[index]
        code, answer = server.ask("PATCH", path, {"state": "ARCHIVED", "description": "x"}, token=doors.submitter)
        assert (code, answer["code"]) == (403, "Forbidden")
        said = f"argocd-controller declares spec.state of {kind} {world.namespace}/{name}"
        assert answer["message"].startswith(said)
        assert world.get(kind, name)["spec"]["state"] in {"Live", "Submitted"}  # type: ignore[index]
        assert "description" not in server.ask("GET", path, token=doors.submitter)[1], "nothing is half written"


def test_a_state_counts_by_the_object_and_a_deprecated_version_stays_so(doors: Doors) -> None:
    world, server = doors.world, doors.server
    world.apply(world.model(), world.version())
    path = f"{V3}/model_versions/{world.phase('granite-1', 'Ready to Deploy')['status']['registryId']}"

    def patched(state: str) -> str:
        status, answer = server.ask("PATCH", path, {"state": state}, token=doors.submitter)
        assert (status, answer["state"]) == (200, state)
        found: str = world.get("ModelVersion", "granite-1")["spec"]["state"]  # type: ignore[index]
        return found

    # Faster than the operator, which tells the row.
    assert [patched(state) for state in ("LIVE", "ARCHIVED", "ARCHIVED", "LIVE", "LIVE", "ARCHIVED", "LIVE")] == [
        *("Submitted", "Archived", "Archived", "Submitted", "Submitted", "Archived", "Submitted"),
    ]
    world.patch("ModelVersion", "granite-1", {"spec": {"state": "Deprecated"}})
    world.phase("granite-1", "Deprecated")
    assert patched("LIVE") == "Deprecated"


def test_an_archive_right_after_the_registration_is_kept(doors: Doors) -> None:
    """The row does not know of the object yet."""
    world, server = doors.world, doors.server
    client = doors.client(doors.submitter)
    for number in range(3):
        name = f"quick-{number}"
        client.register_model(
            name, world.uri("granite-1"), model_format_name="x", model_format_version="1", version="1"
        )
        version = client.get_model_version(name, "1")
        assert version is not None
        path = f"{V3}/model_versions/{version.id}"
        status, answer = server.ask("PATCH", path, {"state": "ARCHIVED"}, token=doors.submitter)
        assert (status, answer["state"]) == (200, "ARCHIVED")
        assert world.get("ModelVersion", f"{name}-1")["spec"]["state"] == "Archived"  # type: ignore[index]
        world.phase(f"{name}-1", "Archived")


def test_a_recorded_entry_is_never_governed_by_another_door(doors: Doors) -> None:
    world, server = doors.world, doors.server
    doors.client(doors.submitter).register_model(
        "pickle", "s3://elsewhere/model.pkl", model_format_name="pickle", model_format_version="1", version="1"
    )
    assert world.all("ModelVersion") == []
    assert server.ask("GET", f"{CATALOG}/models", token=doors.submitter)[1]["items"] == []
    lies = {"gatehouse.phase": {"metadataType": "MetadataStringValue", "string_value": "Ready to Deploy"}}
    status, answer = server.ask("GET", f"{V3}/model_versions", token=doors.submitter)
    [version] = answer["items"]
    assert (status, [name for name in version.get("customProperties", {}) if "gatehouse" in name]) == (200, [])
    path = f"{V3}/model_versions/{version['id']}"
    status, answer = server.ask("PATCH", path, {"customProperties": lies}, token=doors.submitter)
    assert status == 409
    assert "only Gatehouse writes it" in answer["message"]


def test_what_kubectl_refuses_rest_refuses_in_the_same_words(doors: Doors) -> None:
    status, answer = doors.server.ask("POST", f"{V3}/registered_models", {"name": "x"}, token=doors.viewer)
    assert status == 403
    assert answer["code"] == "Forbidden"
    account = f"system:serviceaccount:{doors.world.namespace}:viewer"
    assert f'User "{account}" cannot create resource "registeredmodels"' in answer["message"]


def test_what_kubectl_applied_appears_with_nothing_done(doors: Doors) -> None:
    world = doors.world
    world.apply(world.model(), world.version())
    ready = world.wait("granite-1", lambda body: body["status"].get("phase") == "Ready to Deploy")
    found = doors.client(doors.viewer).get_model_version("granite", "granite-1")
    assert found is not None
    assert found.id == ready["status"]["registryId"]
    status, listing = doors.server.ask("GET", f"{V3}/model_versions/{found.id}/artifacts", token=doors.viewer)
    assert (status, [item["uri"].partition("?")[0] for item in listing["items"]]) == (200, [world.uri("granite-1")])


def test_who_may_not_read_sees_nothing(doors: Doors) -> None:
    doors.client(doors.submitter).register_model(
        "hidden", "https://example.com/x", model_format_name="x", model_format_version="1", version="1"
    )
    stranger = make_account(doors.world.kube, doors.world.namespace, "stranger")
    status, listing = doors.server.ask("GET", f"{V3}/registered_models", token=stranger)
    assert (status, listing["items"]) == (200, [])
    assert doors.server.ask("GET", f"{V3}/registered_model?name=hidden", token=stranger)[0] == 404
    assert doors.server.ask("GET", f"{V3}/registered_models")[0] == 401
