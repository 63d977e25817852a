"""What GitOps sees: an installation that has converged never differs from Git, and its health is what people expect."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.rig import Operator, until
from cluster.servers import available
from cluster.status import Manifest
from cluster.world import World, make_world
from gatehouse.cluster.writer import FIELD_MANAGER
from gatehouse.install.shipped_files import documents, shipped
from gatehouse_local import ephemeral
from gatehouse_local.binaries import Binaries
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import KubeClient
from gatehouse_local.s3 import S3Endpoint
from openshift import route_kind
from unit.gitops.argo import HEALTH, Health, health

ARGO_CD = "argocd-controller"
HOOK = "argocd.argoproj.io/hook"
OVERLAYS = ("rhoai", "postgres", "embedded", "kind")
ENVIRONMENTS = ("nlp/envs/staging", "nlp/envs/production", "vision/envs/staging")


@pytest.fixture(scope="module")
def admin(installed: RunningControlPlane) -> Iterator[KubeClient]:
    with contextlib.closing(installed.client()) as client:
        yield client


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint) -> Iterator[World]:
    with make_world(installed, minio) as made:
        yield made


def apply(client: KubeClient, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
    """One server-side apply, as Argo CD does it."""
    query = f"fieldManager={ARGO_CD}&force=true" + ("&dryRun=All" if dry_run else "")
    where = f"{client.path_of(manifest)}?{query}"
    return client.request("PATCH", where, manifest, content_type="application/apply-patch+yaml")


def live(client: KubeClient, manifest: Manifest) -> Manifest:
    """The object as it is now."""
    return client.request("GET", client.path_of(manifest))


def identity(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']}"


def merged(desired: Any, found: Any) -> Any:
    """``found`` after a JSON merge patch with ``desired``: what a client that knows no schema takes for the target."""
    if not isinstance(desired, dict):
        return desired
    result = dict(found) if isinstance(found, dict) else {}
    for key, value in desired.items():
        result[key] = merged(value, result.get(key))
    return result


def kubectl(plane: RunningControlPlane, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    program = Binaries().obtain(["kubectl"])["kubectl"]
    return subprocess.run(
        [str(program), *arguments],
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def rendered(plane: RunningControlPlane, folder: Path) -> list[Manifest]:
    """What kustomize makes of a folder."""
    answer = kubectl(plane, "kustomize", str(folder))
    assert answer.returncode == 0, answer.stderr
    return [document for document in yaml.safe_load_all(answer.stdout) if document]


def differences(client: KubeClient, manifests: Iterable[Manifest]) -> list[str]:
    """Which objects would be shown as out of sync, and by which way of comparing."""
    found = []
    for manifest in manifests:
        before = live(client, manifest)
        predicted = apply(client, manifest, dry_run=True)
        if compared(predicted) != compared(before):
            found.append(f"{identity(manifest)}: a server-side diff")
        if merged(manifest, before) != before:
            found.append(f"{identity(manifest)}: a client-side diff")
        if compared(apply(client, manifest)) != compared(before):
            found.append(f"{identity(manifest)}: a second apply changed it")
    return found


def compared(body: Manifest) -> Manifest:
    """What counts of an object: all of it, but for policies of admission.

    The controller manager applies their status in its own time, and managedFields is sorted by time: the next apply of
    anybody else moves his entry there, and changes nothing besides.
    """
    if body["kind"] != "ValidatingAdmissionPolicy":
        return body
    metadata = {
        key: value for key, value in body["metadata"].items() if key not in {"managedFields", "resourceVersion"}
    }
    return {**body, "metadata": metadata, "status": None}


# Converged


def test_a_second_apply_of_a_converged_installation_changes_nothing(
    installed: RunningControlPlane, admin: KubeClient, world: World, operator: Operator
) -> None:
    mine = [world.registry(), world.model(), world.version()]
    shared = [manifest for folder in ("crds", "manifests/rbac", "manifests/hardware") for manifest in documents(folder)]
    world.upload()
    for manifest in [*shared, *mine]:
        apply(admin, manifest)
    world.ready()
    world.wait("granite", lambda body: body["status"].get("latestReady") == "granite-1", kind="RegisteredModel")
    world.wait("registry", lambda body: body["status"].get("versions") == 1, kind="ModelRegistry")
    operator.wait_idle()
    assert differences(admin, [*shared, *mine]) == []
    told = kubectl(
        installed,
        "diff",
        "--server-side",
        f"--field-manager={ARGO_CD}",
        "--force-conflicts",
        "-f",
        "-",
        given=yaml.safe_dump_all([*shared, *mine]),
    )
    assert (told.returncode, told.stdout) == (0, ""), told


def test_the_operator_owns_nothing_but_the_status(world: World, operator: Operator) -> None:
    """Through a whole life: what people declared, their labels and annotations stay as they wrote them."""
    wanted = [world.registry(), world.model(), world.version()]
    for manifest in wanted:
        manifest["metadata"] |= {"labels": {"team": "nlp"}, "annotations": {"example.com/ticket": "7"}}
    world.upload()
    for manifest in wanted:
        apply(world.kube, manifest)
    created = [live(world.kube, manifest) for manifest in wanted]
    world.ready()
    world.wait("registry", lambda body: body["status"].get("versions") == 1, kind="ModelRegistry")
    operator.wait_idle()
    for manifest, before in zip(wanted, created, strict=True):
        after = live(world.kube, manifest)
        assert after["spec"] == before["spec"]
        assert declared(after) == declared(before)
        owned = [entry for entry in after["metadata"]["managedFields"] if entry["manager"] != ARGO_CD]
        assert [(entry["manager"], entry["subresource"]) for entry in owned] == [(FIELD_MANAGER, "status")]
        assert [set(entry["fieldsV1"]) for entry in owned] == [{"f:status"}]


def declared(body: Manifest) -> Manifest:
    """The metadata that people write, or that follows from what they write."""
    names = ("name", "namespace", "uid", "generation", "labels", "annotations", "finalizers", "ownerReferences")
    return {name: body["metadata"].get(name) for name in names}


def test_a_difference_is_seen(admin: KubeClient, world: World) -> None:
    """The comparison of these tests, on objects that do differ."""
    version = world.version()
    apply(admin, version)
    changed = copy.deepcopy(version)
    changed["spec"]["serving"]["maxModelLen"] = 8192
    assert len(differences(admin, [changed])) == 3


@pytest.fixture(scope="module")
def bare() -> Iterator[RunningControlPlane]:
    """A control plane that the overlays have for themselves: they bind the operator's roles to their own account."""
    with available(ephemeral.control_plane()) as running:
        yield running


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_converges_at_once(bare: RunningControlPlane, overlay: str) -> None:
    """Without nodes: everything that the API server and the controller manager add is left alone."""
    manifests = [
        manifest
        for manifest in rendered(bare, shipped(f"kustomize/overlays/{overlay}"))
        if HOOK not in manifest["metadata"].get("annotations", {})
    ]
    with contextlib.closing(bare.client()) as admin:
        # OpenShift's, for rhoai.
        admin.apply(route_kind())
        admin.wait_served([route_kind()])
        # Twice: defaults of a status, shown from the start, are stored with the first write after the creation.
        for manifest in [*manifests, *manifests]:
            apply(admin, manifest)
        until(lambda: settled(admin, manifests), what="the controllers do not come to rest")
        # Argo CD knows the defaults of Kubernetes' own kinds, so a client-side diff of those is none.
        found = differences(admin, manifests)
        assert [each for each in found if "client-side" not in each or each.startswith("Model")] == []
        for manifest in manifests:
            if manifest["kind"] in {"Deployment", "Service", "ModelRegistry", "PersistentVolumeClaim"}:
                admin.request("DELETE", admin.path_of(manifest))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_shows_the_operator_the_secrets_of_its_registries_alone(
    installed: RunningControlPlane, overlay: str
) -> None:
    manifests = rendered(installed, shipped(f"kustomize/overlays/{overlay}"))
    bound = [
        (each["kind"], each["metadata"].get("namespace"), each["subjects"])
        for each in manifests
        if each.get("roleRef", {}).get("name") == "gatehouse-registry-secrets"
    ]
    operator = {"kind": "ServiceAccount", "name": "gatehouse-operator", "namespace": "gatehouse-system"}
    registries = {each["metadata"]["namespace"] for each in manifests if each["kind"] == "ModelRegistry"}
    assert bound == [("RoleBinding", namespace, [operator]) for namespace in sorted(registries)]


def with_component(plane: RunningControlPlane, overlay: str, component: str, folder: Path) -> list[Manifest]:
    """An overlay and a component, as a kustomization of one's own puts them together."""
    paths = [shipped(f"kustomize/{path}") for path in (f"overlays/{overlay}", f"components/{component}")]
    resource, added = (os.path.relpath(path, folder) for path in paths)
    (folder / "kustomization.yaml").write_text(json.dumps({"resources": [resource], "components": [added]}))
    return rendered(plane, folder)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_in_every_overlay_checkpoints_are_signed(installed: RunningControlPlane, overlay: str) -> None:
    manifests = rendered(installed, shipped(f"kustomize/overlays/{overlay}"))
    [operator] = [each for each in manifests if identity(each).startswith("Deployment gatehouse-system/gatehouse-op")]
    pod = operator["spec"]["template"]["spec"]
    [container] = [each for each in pod["containers"] if each["name"] == "operator"]
    [key] = [each["value"] for each in container["env"] if each["name"] == "GATEHOUSE_AUDIT_KEY"]
    [mount] = [each for each in container["volumeMounts"] if key.startswith(each["mountPath"] + "/")]
    [volume] = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    assert volume["secret"] == {"secretName": "gatehouse-audit-key", "defaultMode": 0o440}
    [config] = [each for each in manifests if identity(each) == "ConfigMap gatehouse-system/gatehouse-credentials"]
    [made] = yaml.safe_load(config["data"]["credentials.yaml"])["secrets"]
    assert (made["namespace"], made["name"]) == ("gatehouse-system", volume["secret"]["secretName"])
    assert key == f"{mount['mountPath']}/{made['signing']}"


def test_the_component_of_the_catalogs_sources_names_the_registry_of_its_overlay(
    installed: RunningControlPlane, tmp_path: Path
) -> None:
    """The component adds no object, and so no right: the operator may patch ConfigMaps already."""
    manifests = with_component(installed, "rhoai", "model-catalog-sources", tmp_path)
    plain = rendered(installed, shipped("kustomize/overlays/rhoai"))
    assert sorted(map(identity, manifests)) == sorted(map(identity, plain))
    [operator] = [each for each in manifests if identity(each).startswith("Deployment gatehouse-system/gatehouse-op")]
    [container] = operator["spec"]["template"]["spec"]["containers"]
    [named] = [each["value"] for each in container["env"] if each["name"] == "GATEHOUSE_CATALOG_SOURCE"]
    registries = [each["metadata"] for each in manifests if each["kind"] == "ModelRegistry"]
    assert named in {f"{metadata['namespace']}/{metadata['name']}" for metadata in registries}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_monitoring_component_joins_every_overlay(
    installed: RunningControlPlane, overlay: str, tmp_path: Path
) -> None:
    manifests = rendered(installed, shipped(f"kustomize/overlays/{overlay}"))
    added = {identity(each) for each in with_component(installed, overlay, "monitoring", tmp_path)} - {
        identity(each) for each in manifests
    }
    label = {"app.kubernetes.io/name": "gatehouse-server"}.items()
    [server] = [
        each["metadata"]["namespace"]
        for each in manifests
        if each["kind"] == "Service" and label <= each["metadata"]["labels"].items()
    ]
    assert added == {
        "ConfigMap gatehouse-system/gatehouse-dashboard",
        "PrometheusRule gatehouse-system/gatehouse",
        f"PrometheusRule {server}/gatehouse-server",
        "ServiceMonitor gatehouse-system/gatehouse-operator",
        f"ServiceMonitor {server}/gatehouse-server",
    }


def settled(client: KubeClient, manifests: Iterable[Manifest]) -> bool:
    """Whether the controller manager has looked at every Deployment."""
    deployments = [live(client, each) for each in manifests if each["kind"] == "Deployment"]
    return all(
        each.get("status", {}).get("observedGeneration") == each["metadata"]["generation"] for each in deployments
    )


# Health


def test_argo_cd_shows_the_health_of_real_objects(world: World, operator: Operator) -> None:
    world.upload()
    shared = {"uri": world.uri("granite-1")}
    world.apply(world.registry(), world.model(), world.version(), world.version("absent"))
    world.apply(world.version("too-long", artifact=shared, serving={"maxModelLen": 90_000_000}))
    world.apply(world.version("draft", state="Draft"), world.version("old", state="Deprecated"))
    phases = {
        "granite-1": ("Ready to Deploy", "Healthy"),
        "absent": ("Artifact Missing", "Progressing"),
        "too-long": ("Does Not Fit", "Degraded"),
        "draft": ("Draft", "Suspended"),
        "old": ("Deprecated", "Healthy"),
    }
    assert {name: health(world.phase(name, phase)).status for name, (phase, _) in phases.items()} == {
        name: status for name, (_, status) in phases.items()
    }
    for kind, name in (("ModelRegistry", "registry"), ("RegisteredModel", "granite"), ("HardwareProfile", "nvidia-l4")):
        assert health(world.final(name, kind=kind)).status == "Healthy"


def test_an_object_that_nobody_looked_at_progresses(world: World) -> None:
    """The operator does not run: the API server's default of the status is all there is."""
    for manifest in (world.registry(), world.model(), world.version()):
        assert health(apply(world.kube, manifest)) == Health(
            "Progressing", "Gatehouse has not reconciled this generation yet"
        )


def test_the_component_puts_every_script_into_argocd_cm(installed: RunningControlPlane, tmp_path: Path) -> None:
    component = os.path.relpath(shipped("gitops/argocd/health"), tmp_path)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm"},
        "data": {"url": "https://a"},
    }
    (tmp_path / "argocd-cm.yaml").write_text(json.dumps(config_map))
    (tmp_path / "kustomization.yaml").write_text(
        json.dumps({"namespace": "argocd", "resources": ["argocd-cm.yaml"], "components": [component]})
    )
    [found] = rendered(installed, tmp_path)
    assert found["metadata"] == {"name": "argocd-cm", "namespace": "argocd"}
    assert found["data"] == {
        "url": "https://a",
        **{
            f"resource.customizations.health.gatehouse.dev_{folder.name}": (folder / "health.lua").read_text()
            for folder in HEALTH.iterdir()
        },
    }


# The example


def test_the_folder_of_every_environment_is_tested() -> None:
    found = sorted(path.parent for path in shipped("gitops/example/models").glob("*/envs/*/kustomization.yaml"))
    assert found == sorted(shipped(f"gitops/example/models/{path}") for path in ENVIRONMENTS)


@pytest.mark.parametrize("path", ["platform", *(f"models/{path}" for path in ENVIRONMENTS)])
def test_the_api_server_takes_the_example(installed: RunningControlPlane, admin: KubeClient, path: str) -> None:
    manifests = rendered(installed, shipped(f"gitops/example/{path}"))
    [namespace] = [manifest for manifest in manifests if manifest["kind"] == "Namespace"]
    apply(admin, namespace)
    try:
        for manifest in manifests:
            taken = apply(admin, manifest, dry_run=True)
            assert merged(manifest, taken) == taken, identity(manifest)
            assert manifest is namespace or taken["metadata"]["namespace"] == namespace["metadata"]["name"]
    finally:
        admin.request("DELETE", admin.path_of(namespace))


def test_production_takes_the_versions_of_staging_with_their_digests(installed: RunningControlPlane) -> None:
    def versions(environment: str) -> dict[str, Manifest]:
        folder = shipped(f"gitops/example/models/nlp/envs/{environment}")
        found = rendered(installed, folder)
        return {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "ModelVersion"}

    staging = versions("staging")
    production = versions("production")
    assert production
    for name, spec in production.items():
        assert spec["artifact"].pop("digest").startswith("sha256:")
        assert spec == staging[name]
