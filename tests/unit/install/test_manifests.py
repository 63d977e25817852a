"""Rendered overlays as data."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gatehouse.install.errors import OverlayInvalid
from gatehouse.install.manifests import dump, load, of_kind, tagged_images, with_image
from gatehouse.install.overlays import OverlayPlan, render

STREAM = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator, namespace: system}
spec:
  template:
    spec:
      initContainers: [{name: bucket, image: localhost/gatehouse:0.1.0}]
      containers: [{name: operator, image: localhost/gatehouse:0.1.0}, {name: db, image: mariadb:10.11}]
---
apiVersion: v1
kind: Namespace
metadata: {name: system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: note, namespace: system}
data: {image: localhost/gatehouse:0.1.0}
"""


def test_a_stream_is_loaded_in_its_order_and_dumped_as_it_was() -> None:
    manifests = load(STREAM)
    assert [str(each) for each in manifests] == [
        "Deployment system/operator",
        "Namespace system",
        "ConfigMap system/note",
    ]
    assert list(yaml.safe_load_all(dump(manifests))) == list(yaml.safe_load_all(STREAM))
    assert [each.name for each in of_kind(manifests, "Namespace", "ConfigMap")] == ["system", "note"]


def test_the_image_is_set_in_our_containers_and_nowhere_else() -> None:
    deployment, _, note = with_image(load(STREAM), "example.com/gatehouse@sha256:00")
    pod = deployment.body["spec"]["template"]["spec"]
    assert [each["image"] for each in (*pod["initContainers"], *pod["containers"])] == [
        "example.com/gatehouse@sha256:00",
        "example.com/gatehouse@sha256:00",
        "mariadb:10.11",
    ]
    assert note.body["data"] == {"image": "localhost/gatehouse:0.1.0"}


def test_an_image_without_a_digest_is_told_wherever_it_is() -> None:
    digest = f"mirror.example.com/mariadb@sha256:{'0a' * 32}"
    job = {"template": {"spec": {"initContainers": [{"image": "a:1"}], "containers": [{"image": digest}]}}}
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {"jobTemplate": {"spec": job}},
    }
    assert tagged_images((*load(STREAM), *load(yaml.safe_dump(cron)))) == (
        "a:1",
        "localhost/gatehouse:0.1.0",
        "mariadb:10.11",
    )
    job["template"]["spec"]["initContainers"] = [{"image": f"{digest}0"}, {"image": "b@sha256:00"}, {"image": "c"}]
    assert tagged_images(load(yaml.safe_dump(cron))) == ("b@sha256:00", "c", f"{digest}0")


def test_the_image_is_set_in_what_a_cron_job_runs() -> None:
    job = {"template": {"spec": {"containers": [{"name": "a", "image": "localhost/gatehouse:0.1.0"}]}}}
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {"jobTemplate": {"spec": job}},
    }
    [changed] = with_image(load(yaml.safe_dump(body)), "example.com/gatehouse:2")
    assert changed.body["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] == (
        "example.com/gatehouse:2"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("- 1", "is list; expected: an object"),
        ("kind: A", "without apiVersion, kind or metadata.name"),
        ("{apiVersion: v1, kind: A, metadata: 3}", "without apiVersion, kind or metadata.name"),
    ],
)
def test_what_is_no_object_is_refused(text: str, said: str) -> None:
    with pytest.raises(OverlayInvalid, match=said):
        load(text)


def folder(tmp_path: Path, *below: str) -> Path:
    for each in below:
        (tmp_path / each).mkdir(parents=True)
        (tmp_path / each / "kustomization.yaml").touch()
    return tmp_path


def test_minio_is_rendered_beside_the_overlay(tmp_path: Path) -> None:
    where = folder(tmp_path, "overlays/small", "minio/small")
    asked: list[str] = []

    def kustomize(path: Path) -> str:
        asked.append(str(path.relative_to(where)))
        return STREAM

    assert len(render("small", folder=where, kustomize=kustomize).manifests) == 3
    assert len(render("small", folder=where, kustomize=kustomize, object_store="minio").manifests) == 6
    assert asked == ["overlays/small", "overlays/small", "minio/small"]


def test_an_overlay_that_has_minio_does_not_get_it_twice(tmp_path: Path) -> None:
    where = folder(tmp_path, "overlays/small")
    minio = "{apiVersion: v1, kind: Namespace, metadata: {name: minio}}"
    assert len(render("small", folder=where, kustomize=lambda _: minio, object_store="minio").manifests) == 1


@pytest.mark.parametrize(
    ("overlay", "store", "said"),
    [
        ("large", None, r"there is no overlay 'large' in .*; it has small"),
        ("../small", None, r"there is no overlay '../small'"),
        ("small", "minio", r"there is no minio for the overlay 'small'"),
        ("small", "ceph", r"there is no object store 'ceph'; expected: minio"),
    ],
)
def test_an_unknown_overlay_or_store_is_named(tmp_path: Path, overlay: str, store: str | None, said: str) -> None:
    where = folder(tmp_path, "overlays/small")
    with pytest.raises(OverlayInvalid, match=said):
        render(overlay, folder=where, kustomize=lambda _: STREAM, object_store=store)


def in_wave(kind: str, wave: int | None) -> str:
    annotations = {} if wave is None else {"argocd.argoproj.io/sync-wave": str(wave)}
    metadata = {"name": f"{kind.lower()}-{wave}", "annotations": annotations}
    return yaml.safe_dump({"apiVersion": "v1", "kind": kind, "metadata": metadata})


def test_secrets_and_users_are_made_before_what_needs_them_starts() -> None:
    order = [("CustomResourceDefinition", -5), ("Namespace", -5), ("Role", -4), ("Deployment", -2), ("Job", 5)]
    order += [("Job", -2), ("Job", -1), ("PersistentVolumeClaim", -2), ("PersistentVolumeClaim", 0), ("Service", None)]
    plan = OverlayPlan(overlay="small", manifests=load("---\n".join(in_wave(*each) for each in order)))
    assert [each.name for each in plan.definitions] == ["customresourcedefinition--5"]
    assert [[each.name for each in part] for part in plan.parts] == [
        ["namespace--5", "role--4", "job--2", "persistentvolumeclaim--2"],
        ["deployment--2", "job--1"],
        ["job-5", "persistentvolumeclaim-0", "service-None"],
    ]
    assert plan.last_job is not None
    assert plan.last_job.name == "job-5"


def test_a_part_that_is_empty_is_left_out() -> None:
    plan = OverlayPlan(
        overlay="small", manifests=load("---\n".join(in_wave(*each) for each in [("Role", -4), ("Job", 5)]))
    )
    assert [[each.name for each in part] for part in plan.parts] == [["role--4"], ["job-5"]]
