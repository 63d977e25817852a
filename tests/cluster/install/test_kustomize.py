"""The overlays on a real API server: rendered, applied, applied again, admitted."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from typer.testing import CliRunner

from cluster.servers import available
from cluster.tokens import account_kubeconfig
from gatehouse.api.model_registry import DatabaseConnection, ServingDefaults
from gatehouse.app.settings import Settings
from gatehouse.cli.main import app
from gatehouse.cli.options import seconds
from gatehouse.cluster.errors import FENCING
from gatehouse.cluster.secrets import LABEL_USE
from gatehouse.domain.audit.keys import new_key_pem
from gatehouse.install.connections import MANAGED
from gatehouse.install.credentials_file import (
    CA_KEY,
    CERTIFICATE_KEY,
    PRIVATE_KEY,
    CredentialsFile,
    WantedSecret,
    load_credentials_file,
)
from gatehouse.install.kubectl import Kubectl
from gatehouse.install.manifests import Manifest, dump, load, of_kind, tagged_images
from gatehouse.install.overlays import overlay_names, render
from gatehouse.install.shipped_files import shipped
from gatehouse.install.store_users import StoreUsersFile
from gatehouse.storage.providers.s3 import ACCESS_KEY, SECRET_KEY
from gatehouse_local import ephemeral
from gatehouse_local.binaries import Binaries
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import namespace as namespace_manifest
from openshift import route_kind

OVERLAYS = ("embedded", "kind", "postgres", "rhoai")
FOLDER = shipped("kustomize")
INSTALL = Path(__file__).parents[3] / "docs" / "install.md"
ROOT = "minio-root"
"""The Secret of MinIO's administrator."""
WITH_CONTROLLERS = {
    "CronJob",
    "Deployment",
    "Job",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "ValidatingAdmissionPolicy",
}


@pytest.fixture(scope="module")
def kubectl_program() -> Path:
    return Binaries().obtain(["kubectl"])["kubectl"]


@pytest.fixture(scope="module")
def rendered(kubectl_program: Path) -> dict[str, tuple[Manifest, ...]]:
    """Every overlay with MinIO beside it."""
    kubectl = Kubectl(kubectl_program)
    return {
        name: render(name, folder=FOLDER, kustomize=kubectl.render, object_store="minio").manifests for name in OVERLAYS
    }


@pytest.fixture(scope="module")
def plane() -> Iterator[RunningControlPlane]:
    """A cluster of its own that has never heard of Gatehouse."""
    with available(ephemeral.control_plane(bare=True)) as running:
        yield running


@pytest.fixture
def admin(plane: RunningControlPlane) -> Iterator[KubeClient]:
    with contextlib.closing(plane.client()) as client:
        yield client


def apply(program: Path, plane: RunningControlPlane, folder: Path) -> subprocess.CompletedProcess[str]:
    """What people type."""
    return subprocess.run(
        [str(program), "apply", "--server-side", "--force-conflicts", "-k", str(folder)],
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
    )


def names(manifests: Sequence[Manifest], *kinds: str) -> set[str]:
    return {f"{each.namespace}/{each.name}" for each in of_kind(manifests, *kinds)}


def registries_of(manifests: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The registries of Gatehouse; OpenShift AI's kind has the same name."""
    return tuple(each for each in of_kind(manifests, "ModelRegistry") if each.api_version.startswith("gatehouse.dev/"))


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in of_kind(manifests, "CronJob", "Deployment", "Job"):
        yield str(each), pod_template(each)


def pod_template(workload: Manifest) -> dict[str, Any]:
    """The template of its Pods."""
    spec = workload.body["spec"]
    found: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec)["template"]
    return found


# What is rendered


def test_the_overlays_are_those_that_the_documents_name() -> None:
    assert overlay_names(FOLDER) == OVERLAYS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_overlay_holds_a_secret_or_a_password(rendered: dict[str, tuple[Manifest, ...]], overlay: str) -> None:
    assert not of_kind(rendered[overlay], "Secret")
    for where, template in pods(rendered[overlay]):
        for container in template["spec"]["containers"]:
            for variable in container.get("env", ()):
                if "PASSWORD" in variable["name"]:
                    assert "secretKeyRef" in variable["valueFrom"], where


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_lease_that_admission_asks_is_the_one_that_the_operator_may_hold(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    [binding] = [
        each.body for each in of_kind(rendered[overlay], "ValidatingAdmissionPolicyBinding") if each.name == FENCING
    ]
    [operator] = [each for each in of_kind(rendered[overlay], "Deployment") if each.name == "gatehouse-operator"]
    [role] = [each for each in of_kind(rendered[overlay], "Role") if each.name == "gatehouse-operator"]
    [named] = [rule["resourceNames"] for rule in role.body["rules"] if "resourceNames" in rule]
    asked = binding["spec"]["paramRef"]
    assert asked["namespace"] == operator.namespace == role.namespace
    assert [asked["name"]] == named == [Settings().lease_name]
    assert asked["parameterNotFoundAction"] == "Deny"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_has_its_wave_and_the_label_it_is_found_by(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    for each in rendered[overlay]:
        metadata = each.body["metadata"]
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "gatehouse", each
        assert -5 <= int(metadata["annotations"]["argocd.argoproj.io/sync-wave"]) <= 5, each
    for where, template in pods(rendered[overlay]):
        assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "gatehouse", where


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_volume_is_in_the_wave_of_its_consumer(rendered: dict[str, tuple[Manifest, ...]], overlay: str) -> None:
    """Argo CD waits for a wave; a volume that waits for its first consumer would never be bound before it."""
    waves = {
        (each.namespace, each.kind, each.name): each.body["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]
        for each in rendered[overlay]
    }
    for each in of_kind(rendered[overlay], "Deployment"):
        for volume in each.body["spec"]["template"]["spec"]["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                key = (each.namespace, "PersistentVolumeClaim", claim["claimName"])
                assert waves[key] == waves[each.namespace, "Deployment", each.name]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_seeds_tries_fit_into_its_deadline(rendered: dict[str, tuple[Manifest, ...]], overlay: str) -> None:
    (seed,) = (each for each in of_kind(rendered[overlay], "Job") if each.name == "model-registry-seed")
    spec = seed.body["spec"]
    command = spec["template"]["spec"]["containers"][0]["command"]
    (timeout,) = (seconds(each.partition("=")[2]) for each in command if each.startswith("--timeout="))
    # The Job waits 10 s after the first failure, 20 s after the second, and so on.
    pauses = sum(10 * 2**tried for tried in range(spec["backoffLimit"]))
    assert (spec["backoffLimit"] + 1) * timeout + pauses < spec["activeDeadlineSeconds"]


def test_rhoai_has_the_names_that_its_users_expect(rendered: dict[str, tuple[Manifest, ...]]) -> None:
    found = rendered["rhoai"]
    assert names(found, "Namespace") == {"/gatehouse-system", "/private-ai", "/rhoai-model-registries", "/minio"}
    assert names(found, "Deployment") == {
        "gatehouse-system/gatehouse-operator",
        "private-ai/model-registry-db",
        "rhoai-model-registries/private-ai-registry",
        "minio/minio",
    }
    assert names(found, "Service") >= {"private-ai/model-registry-db", "rhoai-model-registries/private-ai-registry"}
    assert names(found, "Route") == {"rhoai-model-registries/private-ai-registry-rest"}
    assert names(found, "PersistentVolumeClaim") == {"private-ai/model-registry-db-pvc", "minio/minio-pvc"}
    assert names(found, "ModelRegistry") == {"rhoai-model-registries/private-ai-registry"}
    assert "rhoai-model-registries/model-registry-seed" in names(found, "Job")
    database = next(each for each in of_kind(found, "Deployment") if each.name == "model-registry-db")
    assert database.body["metadata"]["labels"]["app"] == "model-registry-db"
    claim = next(each for each in of_kind(found, "PersistentVolumeClaim") if each.name == "model-registry-db-pvc")
    assert claim.body["spec"]["resources"]["requests"]["storage"] == "5Gi"
    registry = of_kind(found, "ModelRegistry")[0].body
    assert registry["metadata"]["annotations"]["gatehouse.dev/default-registry"] == "true"
    assert registry["spec"]["mysql"] == {
        "host": "model-registry-db.private-ai.svc",
        "port": 3306,
        "database": "model_registry",
        "username": "mlmd",
        "tls": "Required",
        "caSecret": {"name": "private-ai-registry-db-creds", "key": "ca.crt"},
        "passwordSecret": {"name": "private-ai-registry-db-creds", "key": "database-password"},
    }
    groups = {
        (subject["name"], each.body["roleRef"]["name"])
        for each in of_kind(found, "ClusterRoleBinding", "RoleBinding")
        for subject in each.body["subjects"]
        if subject["kind"] == "Group"
    }
    assert groups == {
        ("rhoai-admins", "gatehouse-admin"),
        ("rhoai-admins", "gatehouse-approver"),
        ("rhoai-admins", "gatehouse-classifier"),
        ("rhoai-admins", "gatehouse-stage-admin"),
        ("rhoai-users", "gatehouse-viewer"),
        ("rhoai-users", "gatehouse-deployer"),
        ("rhoai-users", "view"),
    }


SERVERS = {
    "rhoai": ("rhoai-model-registries", "private-ai-registry"),
    "kind": ("rhoai-model-registries", "private-ai-registry"),
    "postgres": ("gatehouse-system", "gatehouse-server"),
    "embedded": ("gatehouse-system", "gatehouse-operator"),
}
"""Namespace and name of the Deployment that has the server, and of its service account."""


def server_of(manifests: Sequence[Manifest], overlay: str) -> dict[str, Any]:
    """The Deployment that has the server, and the container of the server in ``container``."""
    namespace, name = SERVERS[overlay]
    [found] = [each for each in of_kind(manifests, "Deployment") if (each.namespace, each.name) == (namespace, name)]
    [container] = [each for each in pod_template(found)["spec"]["containers"] if each["name"] == "server"]
    return {"deployment": found, "container": container, "pod": pod_template(found)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_dashboards_find_one_service_and_it_reaches_the_server(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    services = [
        each
        for each in of_kind(rendered[overlay], "Service")
        if each.body["metadata"]["labels"].get("component") == "model-registry"
    ]
    [service] = services
    [registry] = registries_of(rendered[overlay])
    named = registry.body["spec"]["serving"]["registryService"]
    assert (named["namespace"], named["name"]) == (service.namespace, service.name)
    assert len({"http-api", "https-api"} & {port["name"] for port in service.body["spec"]["ports"]}) == 1
    assert "type" not in service.body["spec"]  # a ClusterIP
    assert {"displayName", "description"} <= service.body["metadata"]["annotations"].keys()
    server = server_of(rendered[overlay], overlay)
    assert service.namespace == server["deployment"].namespace
    assert service.body["spec"]["selector"].items() <= server["pod"]["metadata"]["labels"].items()
    others = [
        each
        for each in of_kind(rendered[overlay], "Deployment")
        if service.body["spec"]["selector"].items() <= pod_template(each)["metadata"]["labels"].items()
        and each.namespace == service.namespace
    ]
    assert others == [server["deployment"]]
    ports = {port["name"] for each in server["pod"]["spec"]["containers"] for port in each["ports"]}
    assert {port["targetPort"] for port in service.body["spec"]["ports"]} <= ports
    [policy] = [
        each
        for each in of_kind(rendered[overlay], "NetworkPolicy")
        if each.namespace == service.namespace
        and each.body["spec"]["podSelector"]["matchLabels"] == service.body["spec"]["selector"]
    ]
    allowed = {port["port"] for rule in policy.body["spec"]["ingress"] for port in rule["ports"]}
    assert allowed == ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_server_shows_the_registry_of_the_overlay_and_clients_need_name_no_namespace(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    environment = {each["name"]: each["value"] for each in server_of(rendered[overlay], overlay)["container"]["env"]}
    [registry] = registries_of(rendered[overlay])
    assert environment["GATEHOUSE_REGISTRY"] == f"{registry.namespace}/{registry.name}"
    assert registry.body["spec"]["defaults"]["namespace"] in {
        each.name for each in of_kind(rendered[overlay], "Namespace")
    }
    behind = overlay in {"rhoai", "kind"}
    assert environment.get("GATEHOUSE_LOOPBACK_IDENTITY") == ("true" if behind else None)
    assert environment["GATEHOUSE_LISTEN_ADDRESS"] == ("127.0.0.1:8080" if behind else "0.0.0.0:8080")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_database_lets_the_operator_and_the_server_in_and_nobody_else(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    policies = [each for each in of_kind(rendered[overlay], "NetworkPolicy") if each.name == "model-registry-db"]
    assert len(policies) == (overlay != "embedded")
    for policy in policies:
        [rule] = policy.body["spec"]["ingress"]
        let_in = {
            (
                each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
                each["podSelector"]["matchLabels"]["app.kubernetes.io/name"],
            )
            for each in rule["from"]
        }
        server = server_of(rendered[overlay], overlay)
        labels = server["pod"]["metadata"]["labels"]
        assert let_in == {
            ("gatehouse-system", "gatehouse-operator"),
            (server["deployment"].namespace, labels["app.kubernetes.io/name"]),
        }


def test_the_server_beside_the_operator_is_the_one_that_runs_alone(rendered: dict[str, tuple[Manifest, ...]]) -> None:
    """The component has a copy of the container, because kustomize cannot share one."""
    alone, beside = (server_of(rendered[name], name)["container"] for name in ("postgres", "embedded"))
    rename = {"health": "server-health"}
    expected = {
        **alone,
        "ports": [{**port, "name": rename.get(port["name"], port["name"])} for port in alone["ports"]],
        **{
            probe: {**alone[probe], "httpGet": {"path": "/healthz", "port": "server-health"}}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        },
    }
    assert beside == expected
    pod = server_of(rendered["embedded"], "embedded")["pod"]["spec"]
    operator = next(each for each in pod["containers"] if each["name"] == "operator")
    # Both open the SQLite file.
    assert (
        beside["volumeMounts"][0] == operator["volumeMounts"][0] == {"name": "data", "mountPath": "/var/lib/gatehouse"}
    )


@pytest.mark.parametrize("overlay", ["rhoai", "kind"])
def test_only_the_proxy_is_reached_from_outside_of_the_pod(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    server = server_of(rendered[overlay], overlay)
    spec = server["pod"]["spec"]
    proxy = next(each for each in spec["containers"] if each["name"] == "kube-rbac-proxy")
    flags = dict(each.split("=", 1) for each in proxy["args"])
    assert flags["--upstream"] == "http://127.0.0.1:8080/"
    assert flags["--ignore-paths"].split(",") == ["/", *("/*" * depth for depth in range(1, 11))]
    assert "http-api" not in {port["name"] for each in spec["containers"] for port in each["ports"]}
    assert {server["container"][probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")} == {
        "health"
    }
    certified = {"--tls-cert-file", "--tls-private-key-file"}
    assert certified & flags.keys() == (certified if overlay == "rhoai" else set())
    assert ("tls" in {each["name"] for each in spec["volumes"]}) == (overlay == "rhoai")
    routes = of_kind(rendered[overlay], "Route")
    assert len(routes) == (overlay == "rhoai")
    for route in routes:
        assert route.body["spec"]["tls"] == {"termination": "reencrypt", "insecureEdgeTerminationPolicy": "None"}
        assert route.body["spec"]["to"]["name"] == "private-ai-registry"
        assert route.body["spec"]["port"] == {"targetPort": "https-api"}
    [service] = [each for each in of_kind(rendered[overlay], "Service") if each.name == "private-ai-registry"]
    annotations = service.body["metadata"]["annotations"]
    secret = annotations.get("service.beta.openshift.io/serving-cert-secret-name")
    assert secret == ("private-ai-registry-tls" if overlay == "rhoai" else None)
    assert annotations["routing.opendatahub.io/external-address-rest"]


def test_openshift_ais_kind_is_brought_only_where_its_operator_is_not(
    rendered: dict[str, tuple[Manifest, ...]],
) -> None:
    group = "modelregistry.opendatahub.io"
    for overlay, found in rendered.items():
        brought = [
            each for each in found if each.api_version.startswith(f"{group}/") or each.name.endswith(f".{group}")
        ]
        assert {each.kind for each in brought} == (
            {"CustomResourceDefinition", "ModelRegistry"} if overlay == "kind" else set()
        )
    [foreign] = [each for each in of_kind(rendered["kind"], "ModelRegistry") if each.api_version.startswith(group)]
    [own] = registries_of(rendered["kind"])
    assert (foreign.namespace, foreign.name) == (own.namespace, own.name)
    named = foreign.body["spec"]["mysql"]
    assert {**own.body["spec"]["mysql"], **named} == own.body["spec"]["mysql"]


@pytest.mark.parametrize(("component", "kind"), [("ingress", "Ingress"), ("http-route", "HTTPRoute")])
@pytest.mark.parametrize("overlay", ["postgres", "embedded"])
def test_a_route_of_plain_kubernetes_names_the_service_and_its_host_is_shown(
    kubectl_program: Path, tmp_path: Path, overlay: str, component: str, kind: str
) -> None:
    copied = tmp_path / "kustomize"
    shutil.copytree(FOLDER, copied)
    for beside in ("crds", "manifests"):
        shutil.copytree(shipped(beside), tmp_path / beside)
    mine = copied / "overlays" / "mine"
    mine.mkdir()
    mine.joinpath("kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "resources": [f"../{overlay}"],
                "components": [f"../../components/{component}"],
            }
        )
    )
    found = load(Kubectl(kubectl_program).render(mine))
    [route] = of_kind(found, kind)
    [service] = [each for each in of_kind(found, "Service") if each.name == "gatehouse-server"]
    spec = route.body["spec"]
    rule = spec["rules"][0]
    backend = rule["http"]["paths"][0]["backend"]["service"] if kind == "Ingress" else rule["backendRefs"][0]
    assert (route.namespace, backend["name"]) == (service.namespace, service.name)
    port = backend["port"]["name"] if kind == "Ingress" else backend["port"]
    assert port in {member for each in service.body["spec"]["ports"] for member in (each["name"], each["port"])}
    host = rule["host"] if kind == "Ingress" else spec["hostnames"][0]
    assert service.body["metadata"]["annotations"]["gatehouse.dev/external-address-rest"] == host


def test_the_operator_has_two_replicas_where_its_database_allows(rendered: dict[str, tuple[Manifest, ...]]) -> None:
    operators = {
        overlay: next(each for each in of_kind(found, "Deployment") if each.name == "gatehouse-operator").body["spec"]
        for overlay, found in rendered.items()
    }
    assert {overlay: spec["replicas"] for overlay, spec in operators.items()} == {
        "embedded": 1,
        "kind": 2,
        "postgres": 2,
        "rhoai": 2,
    }
    assert operators["embedded"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_operator_reads_secrets_only_where_registries_are(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    bound = [each for each in rendered[overlay] if each.name == "gatehouse-registry-secrets"]
    assert {each.kind for each in bound} == {"ClusterRole", "RoleBinding"}
    bindings = {each.namespace for each in of_kind(bound, "RoleBinding")}
    assert bindings == {each.namespace for each in registries_of(rendered[overlay])}


def test_a_database_is_probed_by_a_user_that_is_named(rendered: dict[str, tuple[Manifest, ...]]) -> None:
    """Clients look up the name of the Pod's user otherwise, and a user that OpenShift assigned has none."""
    for overlay, variable in (("rhoai", "$MARIADB_USER"), ("postgres", "$POSTGRES_USER")):
        database = next(each for each in of_kind(rendered[overlay], "Deployment") if each.name == "model-registry-db")
        container = database.body["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert variable in container[probe]["exec"]["command"][-1]


def test_only_rhoai_leaves_users_and_groups_to_openshift(rendered: dict[str, tuple[Manifest, ...]]) -> None:
    for overlay, found in rendered.items():
        databases = [each for each in of_kind(found, "Deployment") if each.name in {"model-registry-db", "minio"}]
        contexts = [each.body["spec"]["template"]["spec"]["securityContext"] for each in databases]
        assert all(("fsGroup" in context) == (overlay != "rhoai") for context in contexts), overlay


def test_the_documents_list_every_image_that_is_named_by_tag(rendered: dict[str, tuple[Manifest, ...]]) -> None:
    section = INSTALL.read_text().partition("\n## Images\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    named = {image for manifests in rendered.values() for image in tagged_images(manifests)}
    assert set(listed) == {*named, ServingDefaults().vllm_image}
    assert len(set(listed)) == len(listed)


# On the API server


def test_applying_all_in_one_go_heals_when_it_is_run_again_and_then_changes_nothing(
    kubectl_program: Path, plane: RunningControlPlane, rendered: dict[str, tuple[Manifest, ...]]
) -> None:
    first = apply(kubectl_program, plane, FOLDER / "overlays" / "kind")
    if first.returncode != 0:  # the kinds may be served in time
        refused = [line for line in first.stderr.strip().splitlines() if line != "ensure CRDs are installed first"]
        assert all(
            'no matches for kind "ModelRegistry"' in line or 'no matches for kind "GovernancePolicy"' in line
            for line in refused
        ), first.stderr
    kubectl = Kubectl(kubectl_program, kubeconfig=plane.kubeconfig)
    kubectl.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    second = apply(kubectl_program, plane, FOLDER / "overlays" / "kind")
    assert second.returncode == 0, second.stderr
    # The defaults of a custom resource that an apply made are stored with its next write, which its status would be.
    assert apply(kubectl_program, plane, FOLDER / "overlays" / "kind").returncode == 0
    before = versions(kubectl, rendered["kind"])
    third = apply(kubectl_program, plane, FOLDER / "overlays" / "kind")
    assert third.returncode == 0, third.stderr
    assert versions(kubectl, rendered["kind"]) == before
    assert len(before) == len(rendered["kind"])


def versions(kubectl: Kubectl, manifests: Sequence[Manifest]) -> dict[str, str]:
    """What any write would change: the resourceVersion, or the generation where a controller writes a status."""
    found = {}
    for each in manifests:
        group, slash, version = each.api_version.partition("/")
        kind = f"{each.kind}.{version}.{group}" if slash else each.kind
        where = [f"--namespace={each.namespace}"] if each.namespace else []
        column = "{.metadata.generation}" if each.kind in WITH_CONTROLLERS else "{.metadata.resourceVersion}"
        found[f"{each} {group}"] = kubectl.run("get", kind, each.name, *where, f"--output=jsonpath={column}")
        assert found[f"{each} {group}"] or each.kind in WITH_CONTROLLERS
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_restricted_pod_security_admits_every_pod(
    plane: RunningControlPlane, admin: KubeClient, rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    name = f"restricted-{overlay}"
    enforced = namespace_manifest(name)
    enforced["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.apply(enforced)
    seen = 0
    for where, template in pods(rendered[overlay]):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "probe-"},
            "spec": {"restartPolicy": "Never", **template["spec"]},
        }
        answer = admin.request("POST", f"/api/v1/namespaces/{name}/pods?dryRun=All", pod)
        assert answer["kind"] == "Pod", where
        seen += 1
    assert seen >= 2
    for template in (template for _, template in pods(rendered[overlay])):
        for container in (*template["spec"].get("initContainers", ()), *template["spec"]["containers"]):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("overlay", ["rhoai", "postgres", "embedded"])
def test_the_jobs_that_make_secrets_have_the_rights_they_need_and_no_more(
    kubectl_program: Path,
    plane: RunningControlPlane,
    rendered: dict[str, tuple[Manifest, ...]],
    tmp_path: Path,
    overlay: str,
) -> None:
    kubectl = Kubectl(kubectl_program, kubeconfig=plane.kubeconfig)
    needed = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "PersistentVolumeClaim")
    kubectl.apply(of_kind(rendered[overlay], *needed))
    configs = [each for each in of_kind(rendered[overlay], "ConfigMap") if each.name == "gatehouse-credentials"]
    assert {each.namespace for each in configs} >= {"minio", "gatehouse-system"}
    for each in configs:
        file = tmp_path / f"{each.namespace}.yaml"
        file.write_text(each.body["data"]["credentials.yaml"])
        token = account_kubeconfig(plane, each.namespace, "gatehouse-credentials", folder=tmp_path)
        command = ["credentials", str(file), f"--kubeconfig={token}"]
        made = CliRunner().invoke(app, command)
        assert made.exit_code == 0, made.output
        wanted = load_credentials_file(file).secrets
        copies = [copy for secret in wanted for copy in secret.copies]
        published = [secret.published for secret in wanted if secret.published]
        for secret in wanted:
            rotate(kubectl, secret)
        again = CliRunner().invoke(app, command)
        assert again.exit_code == 0, again.output
        assert again.output.count("updated Secret") == len(copies) + sum(bool(each.certificate) for each in wanted)
        assert again.output.count("updated ConfigMap") == len(published)
        account = f"--as=system:serviceaccount:{each.namespace}:gatehouse-credentials"
        asked = kubectl.run("auth", "can-i", "--list", account, f"--namespace={each.namespace}")
        rights = {tuple(line.split()) for line in asked.splitlines() if line.startswith(("secrets", "configmaps"))}
        public = ("configmaps", "[]", "[gatehouse-audit-public-key]", "[get", "update]")
        assert rights == {
            ("secrets", "[]", "[]", "[create]"),
            *(("secrets", "[]", f"[{secret.name}]", "[get]") for secret in wanted if not secret.certificate),
            *(("secrets", "[]", f"[{secret.name}]", "[get", "update]") for secret in wanted if secret.certificate),
            *(
                ("secrets", "[]", f"[{copy.name}]", "[get", "update]")
                for copy in copies
                if copy.namespace == each.namespace
            ),
            *([("configmaps", "[]", "[]", "[create]"), public] if published else []),
        }


def rights_of(kubectl: Kubectl, account: str, namespace: str) -> set[tuple[str, ...]]:
    """The rights of an account in a namespace beyond those that every account has: resource, names and verbs."""

    def listed(user: str) -> set[tuple[str, ...]]:
        table = kubectl.run("auth", "can-i", "--list", f"--as={user}", f"--namespace={namespace}").splitlines()
        return {tuple(re.split(r"\s{2,}", line.strip())) for line in table}

    return {row for row in listed(account) - listed("system:serviceaccount:none:none") if row[0] != "Resources"}


@pytest.mark.parametrize("overlay", ["kind", "postgres", "rhoai"])
def test_the_account_of_the_server_has_the_rights_it_needs_and_no_more(
    kubectl_program: Path, plane: RunningControlPlane, rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    kubectl = Kubectl(kubectl_program, kubeconfig=plane.kubeconfig)
    kinds = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    kubectl.apply(of_kind(rendered[overlay], *kinds))
    namespace, name = SERVERS[overlay]
    account = f"system:serviceaccount:{namespace}:{name}"
    everywhere = {
        ("tokenreviews.authentication.k8s.io", "[]", "[]", "[create]"),
        ("subjectaccessreviews.authorization.k8s.io", "[]", "[]", "[create]"),
        ("modelregistries.gatehouse.dev", "[]", "[]", "[get list]"),
    }
    [registry] = registries_of(rendered[overlay])
    [password] = [
        registry.body["spec"][part]["passwordSecret"]["name"]
        for part in ("mysql", "postgres")
        if part in registry.body["spec"]
    ]
    of_loopback = {
        ("registeredmodels.gatehouse.dev", "[]", "[]", "[get list patch]"),
        ("modelversions.gatehouse.dev", "[]", "[]", "[get list patch]"),
    }
    expected = {each.name: set(everywhere) for each in of_kind(rendered[overlay], "Namespace")}
    events = registry.body["spec"]["hooks"]["tokenSecret"]["name"]
    expected[registry.namespace] |= {("secrets", "[]", f"[{secret}]", "[get]") for secret in (password, events)}
    if overlay in {"rhoai", "kind"}:
        expected["private-ai"] |= of_loopback
    for where, rights in expected.items():
        assert rights_of(kubectl, account, where) == rights, where


def test_beside_the_operator_the_server_adds_only_its_questions_to_the_rights_of_the_pod(
    rendered: dict[str, tuple[Manifest, ...]],
) -> None:
    def bound(overlay: str) -> set[tuple[str, str]]:
        subject = {"kind": "ServiceAccount", "name": "gatehouse-operator", "namespace": "gatehouse-system"}
        return {
            (each.kind, each.body["roleRef"]["name"])
            for each in of_kind(rendered[overlay], "RoleBinding", "ClusterRoleBinding")
            if subject in each.body["subjects"]
        }

    assert bound("embedded") - bound("postgres") == {("ClusterRoleBinding", "gatehouse-server")}
    assert (
        bound("rhoai")
        == bound("postgres")
        == bound("kind") - {("ClusterRoleBinding", "gatehouse-operator-opendatahub")}
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_server_takes_every_object_of_an_overlay(
    kubectl_program: Path, plane: RunningControlPlane, rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    kubectl = Kubectl(kubectl_program, kubeconfig=plane.kubeconfig)
    definitions = of_kind(rendered[overlay], "CustomResourceDefinition")
    kubectl.apply((*load(yaml.safe_dump(route_kind())), *definitions, *of_kind(rendered[overlay], "Namespace")))
    kubectl.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    others = [each for each in rendered[overlay] if each.kind != "CustomResourceDefinition"]
    kubectl.run("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename=-", text=dump(others))


@pytest.mark.parametrize("overlay", ["rhoai", "postgres", "embedded"])
def test_what_a_registry_names_is_labelled_and_the_audit_key_is_where_no_registry_is(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    made = wanted_secrets(rendered[overlay])
    labelled = {(copy.namespace, copy.name) for each in made for copy in each.copies if copy.labels.get(LABEL_USE)}
    registries = registries_of(rendered[overlay])
    named = {
        (registry.namespace, reference["name"])
        for registry in registries
        for part in (
            *registry.body["spec"]["objectStores"],
            registry.body["spec"].get("mysql"),
            registry.body["spec"].get("postgres"),
            registry.body["spec"].get("hooks"),
        )
        for reference in (
            (part or {}).get(each) for each in ("credentialsSecret", "passwordSecret", "caSecret", "tokenSecret")
        )
        if reference
    }
    assert named == labelled
    assert not {each.namespace for each in registries} & {each.namespace for each in made if each.signing}


@pytest.mark.parametrize("overlay", ["rhoai", "postgres", "embedded"])
def test_minio_sends_the_events_of_the_bucket_to_the_registrys_hook_with_its_token(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    [registry] = of_kind(rendered[overlay], "ModelRegistry")
    [minio] = [each for each in of_kind(rendered[overlay], "Deployment") if each.name == "minio"]
    env = {each["name"]: each for each in pod_template(minio)["spec"]["containers"][0]["env"]}
    assert env["MINIO_NOTIFY_WEBHOOK_ENABLE_GATEHOUSE"]["value"] == "on"
    endpoint = urlsplit(env["MINIO_NOTIFY_WEBHOOK_ENDPOINT_GATEHOUSE"]["value"])
    assert endpoint.path == f"/hooks/s3/{registry.name}"
    [service] = [
        each
        for each in of_kind(rendered[overlay], "Service")
        if endpoint.hostname == f"{each.name}.{each.namespace}.svc"
    ]
    assert {"http": "http-api", "https": "https-api"}[endpoint.scheme] in {
        port["name"] for port in service.body["spec"]["ports"] if port["port"] == endpoint.port
    }
    [policy] = [each for each in of_kind(rendered[overlay], "NetworkPolicy") if each.name == "minio"]
    [to_server] = [rule for rule in policy.body["spec"]["egress"] if "to" in rule]
    [peer] = to_server["to"]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": service.namespace}}
    assert to_server["ports"] == [{"port": endpoint.port}]
    reference = env["MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_GATEHOUSE"]["valueFrom"]["secretKeyRef"]
    [made] = [wanted for wanted in wanted_secrets(rendered[overlay]) if wanted.name == reference["name"]]
    assert made.generate == [reference["key"]]
    [copy] = made.copies
    token = registry.body["spec"]["hooks"]["tokenSecret"]
    assert (copy.namespace, copy.name) == (registry.namespace, token["name"])
    assert copy.keys == {token["key"]: reference["key"]}
    [config] = [each for each in of_kind(rendered[overlay], "ConfigMap") if each.name == "minio-users"]
    file = StoreUsersFile.model_validate(yaml.safe_load(config.body["data"]["users.yaml"]))
    assert [(each.bucket, each.webhook) for each in file.events] == [("models", "GATEHOUSE")]
    [role] = [each for each in of_kind(rendered[overlay], "Role") if each.name == "gatehouse-server-hooks"]
    assert role.namespace == registry.namespace
    assert role.body["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [token["name"]], "verbs": ["get"]}
    ]


@pytest.mark.parametrize("overlay", ["rhoai", "postgres", "embedded"])
def test_nobody_but_minio_and_the_job_that_makes_its_users_has_the_administrators_credentials(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    workloads = of_kind(rendered[overlay], "CronJob", "Deployment", "Job")
    users = {f"{each.kind} {each.name}" for each in workloads if uses(each, ROOT)}
    assert users == {"Deployment minio", "Job minio-users"}
    assert not [wanted.copies for wanted in wanted_secrets(rendered[overlay]) if wanted.name == ROOT if wanted.copies]


@pytest.mark.parametrize("overlay", ["rhoai", "postgres", "embedded"])
def test_who_reads_may_only_read_and_who_serves_is_somebody_else(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    [job] = [each for each in of_kind(rendered[overlay], "Job") if each.name == "minio-users"]
    [config] = [each for each in of_kind(rendered[overlay], "ConfigMap") if each.name == "minio-users"]
    file = StoreUsersFile.model_validate(yaml.safe_load(config.body["data"]["users.yaml"]))
    pod = job.body["spec"]["template"]["spec"]
    secrets_of = {each["name"]: each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
    mounted = {each["mountPath"]: secrets_of.get(each["name"]) for each in pod["containers"][0]["volumeMounts"]}
    assert mounted[str(file.administrator)] == ROOT
    access = {mounted[str(user.credentials)]: user.access for user in file.users}
    assert access == {"minio-operator": "read", "minio-serving": "read", "minio-uploader": "write"}
    assert {user.bucket for user in file.users} == {"models"}
    made = {wanted.name: wanted for wanted in wanted_secrets(rendered[overlay])}
    assert all({ACCESS_KEY, SECRET_KEY} == set(made[str(name)].keys) for name in access)
    assert len({made[str(name)].values[ACCESS_KEY] for name in access}) == len(access)
    # What a registry names has the label; what OpenShift AI makes a connection of has its own.
    for name, wanted in made.items():
        for copy in wanted.copies:
            if LABEL_USE in copy.labels and SECRET_KEY in copy.keys:
                assert name == "minio-operator", copy
            if MANAGED in copy.labels:
                assert name == "minio-serving", copy


@pytest.mark.parametrize(("overlay", "part"), [("rhoai", "mysql"), ("kind", "mysql"), ("postgres", "postgres")])
def test_a_registry_checks_the_certificate_that_its_database_serves(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str, part: str
) -> None:
    [registry] = registries_of(rendered[overlay])
    connection = DatabaseConnection.model_validate(registry.body["spec"][part])
    assert connection.tls == "Required"
    assert connection.ca_secret is not None
    [made] = [wanted for wanted in wanted_secrets(rendered[overlay]) if wanted.certificate]
    assert connection.host in made.certificate
    [copy] = made.copies
    assert (copy.namespace, copy.name) == (registry.namespace, connection.ca_secret.name)
    assert copy.keys == {connection.ca_secret.key: CA_KEY}

    [database] = [each for each in of_kind(rendered[overlay], "Deployment") if each.name == "model-registry-db"]
    assert (made.namespace, connection.host) == (database.namespace, f"model-registry-db.{database.namespace}.svc")
    pod = pod_template(database)["spec"]
    [volume] = [each for each in pod["volumes"] if each.get("secret", {}).get("secretName") == made.name]
    [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    assert {each["key"] for each in volume["secret"]["items"]} == {CERTIFICATE_KEY, PRIVATE_KEY}
    # PostgreSQL takes no key of root's that others may read, and nobody but the Pod's groups needs to.
    assert volume["secret"]["defaultMode"] == 0o440
    arguments = " ".join(pod["containers"][0]["args"])
    for file in (CERTIFICATE_KEY, PRIVATE_KEY):
        assert f"{mount['mountPath']}/{file}" in arguments
    assert f"{mount['mountPath']}/{CERTIFICATE_KEY}" in pod["containers"][0]["livenessProbe"]["exec"]["command"][-1]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_certificate_is_looked_after_each_week_as_at_an_installation(
    rendered: dict[str, tuple[Manifest, ...]], overlay: str
) -> None:
    namespaces = {wanted.namespace for wanted in wanted_secrets(rendered[overlay]) if wanted.certificate}
    weekly = {each.namespace: each for each in of_kind(rendered[overlay], "CronJob")}
    assert weekly.keys() == namespaces
    jobs = {each.namespace: each for each in of_kind(rendered[overlay], "Job") if each.name == "gatehouse-credentials"}
    for namespace, renewal in weekly.items():
        assert pod_template(renewal) == pod_template(jobs[namespace])
        once = renewal.body["spec"]["jobTemplate"]["spec"]
        assert {**once, "template": None} == {**jobs[namespace].body["spec"], "template": None}
        assert re.fullmatch(r"[0-9]+ [0-9]+ \* \* [0-6]", renewal.body["spec"]["schedule"])


def wanted_secrets(manifests: Sequence[Manifest]) -> list[WantedSecret]:
    """All that the Jobs of an overlay make."""
    configs = [each for each in of_kind(manifests, "ConfigMap") if each.name == "gatehouse-credentials"]
    files = [CredentialsFile.model_validate(yaml.safe_load(each.body["data"]["credentials.yaml"])) for each in configs]
    return [wanted for file in files for wanted in file.secrets]


def uses(workload: Manifest, secret: str) -> bool:
    """Whether a Pod of it is given the Secret, in any way that a Pod is."""
    named = re.compile(rf'"(name|secretName)": "{re.escape(secret)}"')
    return named.search(json.dumps(pod_template(workload))) is not None


def rotate(kubectl: Kubectl, wanted: WantedSecret) -> None:
    values = {key: secrets.token_hex(8) for key in wanted.generate[:1]}
    if wanted.signing:
        values[wanted.signing] = new_key_pem()[0].decode()
    if wanted.certificate:
        values[CERTIFICATE_KEY] = "of nobody"
    patch = json.dumps({"stringData": values})
    kubectl.run("patch", "secret", wanted.name, f"--namespace={wanted.namespace}", f"--patch={patch}")


@pytest.mark.parametrize("folder", ["manifests/hardware", "manifests/rbac", "manifests/seed", "crds"])
def test_the_kustomization_of_a_folder_lists_its_files(kubectl_program: Path, folder: str) -> None:
    listed = len(load(Kubectl(kubectl_program).render(shipped(folder))))
    files = [path for path in shipped(folder).glob("*.yaml") if path.name != "kustomization.yaml"]
    assert listed == sum(len(load(path.read_text())) for path in files)
