"""Finding and calling kubectl, with a script in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatehouse.install.errors import ClusterNotUsable, KubectlFailed, KubectlMissing
from gatehouse.install.kubectl import Kubectl, find_kubectl
from gatehouse.install.manifests import load
from gatehouse.install.overlays import OverlayPlan
from gatehouse.install.preflight import check_cluster, check_kinds, served


def program(folder: Path, script: str) -> Path:
    path = folder / "kubectl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_one_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = program(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_kubectl(local=lambda: tmp_path / "other") == kubectl


def test_else_the_one_of_the_local_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_kubectl(local=lambda: tmp_path / "other") == tmp_path / "other"


def test_without_any_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubectlMissing, match="gatehouse local programs"):
        find_kubectl(local=lambda: None)


def test_the_context_is_passed_and_errors_are_kubectls_own_words(tmp_path: Path) -> None:
    echo = Kubectl(program(tmp_path, 'echo "$@"'), context="staging", kubeconfig=tmp_path / "config")
    assert echo.run("get", "pods").split() == [f"--kubeconfig={tmp_path}/config", "--context=staging", "get", "pods"]
    broken = Kubectl(program(tmp_path, "echo refused >&2; exit 1"), context="staging")
    with pytest.raises(KubectlFailed, match=r"^kubectl get: refused$"):
        broken.run("get", "pods")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo connection refused >&2; exit 1", "the cluster does not answer: kubectl version: connection refused"),
        (
            """echo '{"serverVersion": {"gitVersion": "v1.28.4"}}'""",
            "runs Kubernetes v1.28.4; expected: v1.29 or newer",
        ),
        ("echo '{}'", "did not report the version"),
        (
            """case "$*" in *can-i*) exit 1;; *) echo '{"serverVersion": {"gitVersion": "v1.30.0+k3s1"}}';; esac""",
            "this user may not create namespaces, patch customresourcedefinitions",
        ),
    ],
)
def test_a_cluster_that_cannot_be_installed_on_is_refused(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(ClusterNotUsable, match=said.replace("+", r"\+")):
        check_cluster(Kubectl(program(tmp_path, script)))


def test_a_usable_cluster_tells_its_version(tmp_path: Path) -> None:
    script = """case "$*" in *version*) echo '{"serverVersion": {"gitVersion": "v1.36.3"}}';; *) echo yes;; esac"""
    assert check_cluster(Kubectl(program(tmp_path, script))) == "v1.36.3"


PLAN = OverlayPlan(
    overlay="rhoai",
    manifests=load(
        """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: models.example.com}
spec: {group: example.com, versions: [{name: v1}]}
---
{apiVersion: example.com/v1, kind: Model, metadata: {name: brought}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: always}}
---
{apiVersion: route.openshift.io/v1, kind: Route, metadata: {name: elsewhere}}
"""
    ),
)


def test_a_kind_that_neither_the_cluster_nor_the_overlay_has_is_named(tmp_path: Path) -> None:
    kubectl = Kubectl(program(tmp_path, "echo v1; echo apiextensions.k8s.io/v1"))
    with pytest.raises(ClusterNotUsable, match=r"does not serve Route \(route.openshift.io/v1\); expected: .* rhoai"):
        check_kinds(kubectl, PLAN)
    assert [each.name for each in served(kubectl, PLAN.manifests)] == ["models.example.com", "always"]
    check_kinds(Kubectl(program(tmp_path, "echo v1; echo route.openshift.io/v1")), PLAN)
