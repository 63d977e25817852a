"""The kinds as the API server serves them: descriptions, rules, columns and names."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.world import World, make_world
from gatehouse.api import KINDS as TYPES
from gatehouse.api import Resource
from gatehouse.api.schema import openapi_schema
from gatehouse.cli.main import app
from gatehouse.install.shipped_files import documents, shipped
from gatehouse_local.binaries import Binaries
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.s3 import S3Endpoint

KINDS = {
    "modelregistries": ("ModelRegistry", "mreg", "Namespaced"),
    "registeredmodels": ("RegisteredModel", "rm", "Namespaced"),
    "modelversions": ("ModelVersion", "mv", "Namespaced"),
    "hardwareprofiles": ("HardwareProfile", "hwp", "Cluster"),
    "modeldeployments": ("ModelDeployment", "mdep", "Namespaced"),
}


@pytest.fixture(scope="module")
def admin(installed: RunningControlPlane) -> Iterator[KubeClient]:
    with contextlib.closing(installed.client()) as client:
        yield client


@pytest.fixture(scope="module")
def world(installed: RunningControlPlane, minio: S3Endpoint) -> Iterator[World]:
    """Objects that nobody reconciles."""
    with make_world(installed, minio) as made:
        made.apply(made.registry(), made.model(), made.version())
        yield made


def definition(admin: KubeClient, plural: str) -> dict[str, Any]:
    return admin.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.gatehouse.dev")


def undescribed(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        if f"{path}.{name}" != ".metadata":
            if not child.get("description"):
                yield f"{path}.{name}"
            yield from undescribed(child, f"{path}.{name}")
    for child in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(child, dict):
            yield from undescribed(child, f"{path}[]")


def unbounded(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Strings, lists and maps of a spec without a largest size."""
    bounds = {"string": "maxLength", "array": "maxItems"}
    bound = bounds.get(str(schema.get("type")))
    if schema.get("type") == "object" and "additionalProperties" in schema:
        bound = "maxProperties"
    if bound is not None and bound not in schema and not {"enum", "format"} & schema.keys():
        yield f"{path} has no {bound}"
    for name, child in schema.get("properties", {}).items():
        yield from unbounded(child, f"{path}.{name}")
    for child in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(child, dict):
            yield from unbounded(child, f"{path}[]")


@pytest.mark.parametrize("plural", KINDS)
def test_a_kind_is_established_with_its_names_and_its_status(admin: KubeClient, plural: str) -> None:
    found = definition(admin, plural)
    conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions
    kind, short, scope = KINDS[plural]
    assert found["spec"]["names"]["kind"] == kind
    assert found["spec"]["names"]["shortNames"] == [short]
    assert found["spec"]["names"]["categories"] == ["gatehouse"]
    assert found["spec"]["scope"] == scope
    [version] = found["spec"]["versions"]
    assert version["subresources"] == {"status": {}}


@pytest.mark.parametrize("plural", KINDS)
def test_every_field_is_described_and_every_size_is_bounded(admin: KubeClient, plural: str) -> None:
    [version] = definition(admin, plural)["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert schema["description"]
    assert list(undescribed(schema)) == []
    assert list(unbounded(schema["properties"]["spec"])) == []
    assert list(unbounded(schema["properties"]["status"])) == []


def test_a_new_object_waits_for_the_operator(world: World) -> None:
    for kind, name in (("ModelRegistry", "registry"), ("RegisteredModel", "granite"), ("ModelVersion", "granite-1")):
        found = world.get(kind, name)
        assert found is not None
        assert found["status"] == {"observedGeneration": -1}


def test_a_status_is_not_written_by_way_of_the_object(world: World) -> None:
    world.apply({**world.version(), "status": {"phase": "Ready to Deploy"}})
    found = world.get("ModelVersion", "granite-1")
    assert found is not None
    assert found["status"] == {"observedGeneration": -1}


def changed(manifest: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a dotted path; None removes the field."""
    copied = copy.deepcopy(manifest)
    *parents, last = path.split(".")
    node = copied
    for parent in parents:
        node = node.setdefault(parent, {})
    if value is None:
        node.pop(last)
    else:
        node[last] = value
    return copied


DIGEST, OTHER_DIGEST = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"

UPDATES = [
    ("ModelVersion", "spec.modelRef.name", "other", "modelRef cannot change: make a new ModelVersion"),
    ("ModelVersion", "spec.version", "2", "version cannot change: make a new ModelVersion"),
    ("ModelVersion", "spec.artifact.uri", "s3://models/x/", "artifact.uri cannot change"),
    ("ModelVersion", "spec.artifact.digest", OTHER_DIGEST, "artifact.digest cannot change once set"),
    ("ModelVersion", "spec.artifact.digest", None, "artifact.digest cannot change once set"),
    ("RegisteredModel", "spec.registryRef.name", "other", "registryRef cannot change"),
    ("RegisteredModel", "spec.registryRef", None, "registryRef cannot change"),
]


@pytest.mark.parametrize(("kind", "path", "value", "message"), UPDATES)
def test_what_must_not_change_does_not(world: World, kind: str, path: str, value: Any, message: str) -> None:
    name = {"ModelVersion": "frozen", "RegisteredModel": "granite"}[kind]
    manifest = world.model() if kind == "RegisteredModel" else world.version("frozen")
    if kind == "ModelVersion":
        manifest["spec"]["artifact"]["digest"] = DIGEST
    world.apply(manifest)
    with pytest.raises(ApiRefused, match=message) as refused:
        world.patch(kind, name, _merge(path, value))
    assert refused.value.status == 422


def test_a_digest_may_be_added_later(world: World) -> None:
    world.apply(world.version("later"))
    found = world.patch("ModelVersion", "later", _merge("spec.artifact.digest", DIGEST))
    assert found["spec"]["artifact"]["digest"] == DIGEST


def _merge(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


DATABASE = {"host": "db", "database": "registry", "username": "registry"}

CREATES: list[tuple[str, str, Any, str]] = [
    ("ModelVersion", "spec.artifact.uri", "s3://models/a/../b/", "must not have '.' or '..' as a segment"),
    ("ModelVersion", "spec.artifact.uri", "s3://models/a/..", "must not have '.' or '..' as a segment"),
    ("ModelVersion", "spec.artifact.uri", "s3://models/./a", "must not have '.' or '..' as a segment"),
    ("ModelVersion", "spec.artifact.uri", "gs://models/a/", "spec.artifact.uri"),
    ("ModelVersion", "spec.artifact.uri", "s3://models", "spec.artifact.uri"),
    ("ModelVersion", "spec.artifact.uri", "s3://models/a//b/", "spec.artifact.uri"),
    ("ModelVersion", "spec.artifact.uri", "s3://models/a?b/", "spec.artifact.uri"),
    ("ModelVersion", "spec.artifact.digest", "sha256:abc", "spec.artifact.digest"),
    ("ModelVersion", "spec.artifact", None, "spec.artifact: Required"),
    ("ModelVersion", "spec.version", "1 0", "spec.version"),
    ("ModelVersion", "spec.state", "Approved", "Unsupported value"),
    ("ModelVersion", "spec.runtime", "Triton", "Unsupported value"),
    ("ModelVersion", "spec.serving.maxModelLen", 0, "spec.serving.maxModelLen"),
    ("ModelVersion", "spec.serving.extraArgs", ["--a={{.B}}"], "spec.serving.extraArgs"),
    ("ModelVersion", "spec.serving.extraArgs", ["rm -rf /"], "spec.serving.extraArgs"),
    ("ModelVersion", "spec.serving.env", [{"name": "A B"}], "spec.serving.env"),
    ("RegisteredModel", "spec.riskTier", "Severe", "Unsupported value"),
    ("ModelRegistry", "spec", {"mysql": DATABASE, "postgres": DATABASE}, "choose one database"),
    ("ModelRegistry", "spec", {"allowedNamespaces": {"from": "Selector"}}, "selector goes with from: Selector"),
    (
        "ModelRegistry",
        "spec",
        {"allowedNamespaces": {"from": "All", "selector": {"matchLabels": {"a": "b"}}}},
        "selector goes with from: Selector",
    ),
    ("ModelRegistry", "spec", {"stages": []}, "spec.stages"),
    ("ModelRegistry", "spec", {"stages": ["a", "a"]}, "Duplicate value"),
    ("ModelRegistry", "spec", {"verification": {"interval": "1 hour"}}, "spec.verification.interval"),
    ("ModelRegistry", "spec", {"objectStores": [{"uriPrefix": "s3://models"}]}, "uriPrefix"),
    (
        "ModelRegistry",
        "spec",
        {"objectStores": [{"uriPrefix": "s3://models/"}, {"uriPrefix": "s3://models/"}]},
        "Duplicate value",
    ),
    (
        "ModelRegistry",
        "spec",
        {"objectStores": [{"uriPrefix": "s3://models/", "endpoint": "http://user:password@minio"}]},
        "endpoint",
    ),
    (
        "ModelRegistry",
        "spec",
        {"objectStores": [{"uriPrefix": "s3://models/", "endpoint": "http://minio:9000"}]},
        "needs tls: Disabled",
    ),
    *(
        (
            "ModelRegistry",
            "spec",
            {"objectStores": [{"uriPrefix": "s3://models/", "workloadIdentity": True, **with_}]},
            said,
        )
        for with_, said in (
            ({"tls": "Disabled"}, "workloadIdentity goes without credentialsSecret"),
            ({"credentialsSecret": {"name": "keys"}}, "workloadIdentity goes without credentialsSecret"),
        )
    ),
    (
        "ModelRegistry",
        "spec",
        {"mysql": {**DATABASE, "tls": "Disabled", "caSecret": {"name": "ca", "key": "ca.crt"}}},
        "caSecret goes with tls: Required",
    ),
    *(
        ("ModelRegistry", "spec", {kind: {**DATABASE, "auth": "Token", **with_}}, "auth: Token goes with tls: Required")
        for kind in ("mysql", "postgres")
        for with_ in ({}, {"tls": "Disabled", "passwordSecret": {"name": "db", "key": "token"}})
    ),
    ("HardwareProfile", "spec.accelerator.computeCapability", None, "an NVIDIA accelerator needs"),
    ("HardwareProfile", "spec.accelerator.memory", "a lot", "spec.accelerator.memory"),
    ("HardwareProfile", "spec.accelerator.count", 0, "spec.accelerator.count"),
    ("HardwareProfile", "spec.serving.gpuMemoryUtilization", "1.5", "gpuMemoryUtilization"),
    *(
        ("ModelDeployment", "spec.analysis", analysis, said)
        for analysis, said in (
            ({"interval": "0s"}, "interval must be from 1s to 24h"),
            ({"interval": "25h"}, "interval must be from 1s to 24h"),
            ({"window": "0m"}, "window must be from 1s to 24h"),
            ({"window": "1 minute"}, "spec.analysis.window"),
            ({"metrics": [{"name": "own", "query": "up"}]}, "a metric with a query needs thresholdRange"),
            ({"metrics": [{"name": "own", "thresholdRange": {}}]}, "name min, max, or both"),
            (
                {"metrics": [{"name": "own", "thresholdRange": {"min": "10", "max": "9"}}]},
                "min must not be greater than",
            ),
            ({"metrics": [{"name": "own", "thresholdRange": {"max": "NaN"}}]}, "thresholdRange.max"),
            ({"metrics": [{"name": "own"}, {"name": "own"}]}, "Duplicate value"),
            ({"prometheus": {"address": "http://user@prometheus"}}, "spec.analysis.prometheus.address"),
        )
    ),
]


@pytest.mark.parametrize(("kind", "path", "value", "message"), CREATES)
def test_what_cannot_be_meant_is_refused(world: World, kind: str, path: str, value: Any, message: str) -> None:
    profile = next(each for each in documents("manifests/hardware") if each["metadata"]["name"] == "nvidia-l4")
    manifests = {
        "ModelVersion": world.version("refused"),
        "RegisteredModel": world.model("refused"),
        "ModelRegistry": {**world.registry(), "metadata": {"name": "refused", "namespace": world.namespace}},
        "HardwareProfile": {**profile, "metadata": {"name": "refused"}},
        "ModelDeployment": {
            "apiVersion": "gatehouse.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "refused", "namespace": world.namespace},
            "spec": {"modelRef": {"name": "granite"}, "versionRef": {"name": "granite-1"}, "servedName": "granite"},
        },
    }
    with pytest.raises(ApiRefused) as refused:
        world.kube.request("POST", world.path(kind), changed(manifests[kind], path, value))
    assert refused.value.status == 422
    assert message in str(refused.value)


# kubectl


def kubectl(installed: RunningControlPlane, *arguments: str) -> str:
    program = Binaries().obtain(["kubectl"])["kubectl"]
    answer = subprocess.run(
        [str(program), *arguments],
        env={**os.environ, "KUBECONFIG": str(installed.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def columns(table: str) -> list[str]:
    return table.splitlines()[0].split()


def test_kubectl_prints_the_columns_that_people_look_for(installed: RunningControlPlane, world: World) -> None:
    where = f"--namespace={world.namespace}"
    plain = ["NAME", "MODEL", "VERSION", "STATUS", "DEPLOYED", "HARDWARE", "RUNTIME"]
    assert columns(kubectl(installed, "get", "modelversions", where)) == [*plain, "AGE"]
    wide = columns(kubectl(installed, "get", "modelversions", where, "-o", "wide"))
    assert wide == [*plain, "FIT", "DIGEST", "SIZE", "URI", "AGE"]


@pytest.mark.parametrize("name", ["mreg", "rm", "mv", "hwp", "modelversion", "modelversions.gatehouse.dev"])
def test_short_names_and_others_lead_to_the_kind(installed: RunningControlPlane, world: World, name: str) -> None:
    assert kubectl(installed, "get", name, f"--namespace={world.namespace}", "-o", "name")


def test_a_category_shows_everything_of_gatehouse(installed: RunningControlPlane, world: World) -> None:
    found = kubectl(installed, "get", "gatehouse", f"--namespace={world.namespace}", "-o", "name").split()
    # Of what is the cluster's, not this world's: operators of other tests may have left theirs.
    assert {name.split(".")[0] for name in found} - {"vettedartifacts"} == {
        "modelregistry",
        "registeredmodel",
        "modelversion",
        "hardwareprofile",
    }


def test_kubectl_explains_a_field(installed: RunningControlPlane) -> None:
    said = kubectl(installed, "explain", "modelversion.spec.artifact.digest")
    assert "Digest that the files must have" in said


def defaults_in_lists(schema: Mapping[str, Any], path: str = "", *, listed: bool = False) -> Iterator[str]:
    """Where the API server would add to what somebody wrote into a list."""
    if listed and "default" in schema:
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from defaults_in_lists(child, f"{path}.{name}", listed=listed)
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        yield from defaults_in_lists(values, f"{path}{{}}", listed=listed)
    if "items" in schema:
        yield from defaults_in_lists(schema["items"], f"{path}[]", listed=True)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.info.plural)
def test_nothing_is_added_to_what_people_declare_in_a_list(kind: type[Resource]) -> None:
    """Clients that compare without the schema replace lists whole: each addition differs from Git for good."""
    spec = openapi_schema(kind)["properties"]["spec"]
    assert list(defaults_in_lists(spec)) == []


def test_the_crds_in_the_repository_are_those_of_the_types() -> None:
    answer = CliRunner().invoke(app, ["crds", "--check", str(shipped("crds"))])
    assert answer.exit_code == 0, answer.output
