"""The overlay rhoai on a node with real Pods: used, disturbed and upgraded."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.databases import DATABASES, renewed_while_it_is_used
from e2e.installation import COMPLETE, MODEL, OPERATOR, READY, VERSION, Installation, Phases
from e2e.machine import Machine
from gatehouse.install.shipped_files import shipped
from storeaccess import READS

DOCS = Path(__file__).parents[2] / "docs"
PROMISED = [
    pytest.param(word, command, id=command.splitlines()[0])
    for document in ("backup.md", "install.md", "server.md", "troubleshooting.md")
    for word, command in re.findall(
        r"<!-- pods show: (.*?) -->\n```\n(.*?)\n```\n", (DOCS / document).read_text(), re.DOTALL
    )
]


@pytest.fixture(scope="module")
def rhoai(node: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The overlay rhoai with its seeded version Ready to Deploy, for the tests that disturb it."""
    installation = Installation(node=node, overlay="rhoai")
    installation.deploy()
    installation.upload(tmp_path_factory.mktemp("model") / "granite")
    installation.look_again()
    installation.wait_phase(READY)
    yield installation
    installation.undeploy("--delete-data")


def pod_uids(node: Machine) -> set[str]:
    """The operator's Pods that are not on their way out."""
    pods = node.get("pods", *OPERATOR)["items"]
    return {each["metadata"]["uid"] for each in pods if "deletionTimestamp" not in each["metadata"]}


def test_a_leader_that_is_deleted_is_followed_and_nothing_is_written_twice(rhoai: Installation, tmp_path: Path) -> None:
    node = rhoai.node
    for number in range(5):
        rhoai.upload(tmp_path / str(number), f"s3://models/many-{number}/", label=str(number))
    before, leader = rhoai.version(), rhoai.leader()
    names = [f"many-{number}" for number in range(20)]
    for number, name in enumerate(names):
        rhoai.submit(name, f"s3://models/many-{number % 5}/")
        if number == 10:
            node.kubectl("delete", "pod", leader, "--namespace=gatehouse-system", "--grace-period=0", "--force")
    found = [rhoai.wait_phase(READY, name) for name in names]
    assert rhoai.leader() != leader
    assert len({status["registryId"] for status in found}) == len(names)
    assert rhoai.version() == before
    events = node.get("events", f"--namespace={rhoai.models}")["items"]
    ready = [each["involvedObject"]["name"] for each in events if each["reason"] == "ReadyToDeploy"]
    assert sorted(name for name in ready if name in names) == sorted(names)
    rhoai.wait_operator()


@pytest.mark.parametrize(
    ("namespace", "selector"),
    [("private-ai", "app=model-registry-db"), ("minio", "app=minio")],
    ids=["database", "store"],
)
def test_a_server_that_is_deleted_in_mid_work_costs_no_phase(
    rhoai: Installation, tmp_path: Path, namespace: str, selector: str
) -> None:
    node, uri = rhoai.node, f"s3://models/beside-{namespace}/"
    rhoai.upload(tmp_path / "beside", uri, label=namespace)
    names = [f"beside-{namespace}-{number}" for number in range(8)]
    with Phases.watched(node, rhoai.models) as phases:
        for number, name in enumerate(names):
            rhoai.submit(name, uri)
            if number == 3:
                node.kubectl("delete", "pod", f"--namespace={namespace}", f"--selector={selector}")
        rhoai.look_again()
        found = [rhoai.wait_phase(READY, name, seconds=150) for name in names]
    assert len({status["registryId"] for status in found}) == len(names)
    assert set(phases.seen[VERSION]) == {READY}
    for name in names:
        assert not set(phases.seen[name]) - {"", "Verifying", READY}, name


def test_a_rolling_upgrade_loses_no_phase(rhoai: Installation) -> None:
    node = rhoai.node
    old = pod_uids(node)
    with Phases.watched(node, rhoai.models) as phases:
        node.kubectl("rollout", "restart", "deployment/gatehouse-operator", "--namespace=gatehouse-system")
        rhoai.wait_operator()
        rhoai.wait_handled(rhoai.look_again())
    assert not old & pod_uids(node)
    assert set(phases.seen[VERSION]) == {READY}


def test_the_operator_and_the_servers_run_restricted(rhoai: Installation) -> None:
    pods = rhoai.node.get("pods", "--all-namespaces", "--selector=app.kubernetes.io/part-of=gatehouse")["items"]
    assert pods
    for each in pods:
        for container in each["spec"]["containers"]:
            context: dict[str, Any] = container["securityContext"]
            assert context["readOnlyRootFilesystem"], each["metadata"]["name"]
            assert context["allowPrivilegeEscalation"] is False, each["metadata"]["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}, each["metadata"]["name"]


def test_a_certificate_of_mariadb_that_ends_soon_is_renewed_and_served_and_costs_no_phase(rhoai: Installation) -> None:
    with Phases.watched(rhoai.node, rhoai.models) as phases:
        renewed_while_it_is_used(rhoai, DATABASES["rhoai"])
        rhoai.wait_handled(rhoai.look_again())
    assert set(phases.seen[VERSION]) == {READY}


def test_who_serves_reads_and_no_secret_but_its_own_has_the_administrators_password_of_the_store(
    rhoai: Installation,
) -> None:
    assert rhoai.may("private-ai", "minio-connection") == READS
    found = rhoai.node.get("secrets", "--all-namespaces")["items"]
    root = rhoai.node.get("secret", "minio-root", "--namespace=minio")["data"]["root-password"]
    having = [each["metadata"]["name"] for each in found if root in (each.get("data") or {}).values()]
    assert having == ["minio-root"]


def test_people_may_what_their_group_may(rhoai: Installation) -> None:
    node, models = rhoai.node, f"--namespace={rhoai.models}"
    assert VERSION in node.kubectl("get", "modelversions", "--all-namespaces", context="ai-developer")
    with pytest.raises(AssertionError, match="orbidden"):
        node.kubectl("delete", "modelversion", VERSION, models, context="ai-developer")
    patch = json.dumps({"spec": {"description": "changed by ai-admin"}})
    node.kubectl("patch", "modelversion", VERSION, models, "--type=merge", "-p", patch, context="ai-admin")
    with pytest.raises(AssertionError, match="orbidden"):
        node.kubectl("get", "secrets", "--namespace=private-ai", context="ai-developer")


CURL = ("exec", "--namespace=rhoai-model-registries", "deployment/private-ai-registry", "--", "curl", "-sf")
REST = "http://localhost:8080/api/model_registry/v1alpha3"


def test_the_commands_that_people_type_list_and_archive_as_the_account_of_the_pod(
    rhoai: Installation, tmp_path: Path
) -> None:
    node, name = rhoai.node, "typed"
    rhoai.upload(tmp_path / name, f"s3://models/{name}/", label=name)
    rhoai.submit(name, f"s3://models/{name}/")
    number = rhoai.wait_phase(READY, name)["registryId"]
    models = json.loads(node.kubectl(*CURL, f"{REST}/registered_models"))
    assert [item["name"] for item in models["items"]] == [MODEL]
    command = ("-X", "PATCH", f"{REST}/model_versions/{number}", "-d", '{"state": "ARCHIVED"}')
    assert json.loads(node.kubectl(*CURL, *command))["state"] == "ARCHIVED"
    rhoai.wait_phase("Archived", name)
    pods = "--selector=app.kubernetes.io/name=gatehouse-server"
    said = node.kubectl("logs", "--namespace=rhoai-model-registries", pods, "--container=server", "--tail=-1")
    assert "system:serviceaccount:rhoai-model-registries:private-ai-registry" in said


def test_an_upload_sends_events_to_the_server_and_is_verified_at_once(rhoai: Installation, tmp_path: Path) -> None:
    node, name = rhoai.node, "told"
    rhoai.submit(name, f"s3://models/{name}/")
    rhoai.wait_phase("Artifact Missing", name)
    rhoai.upload(tmp_path / name, f"s3://models/{name}/", label=name)
    rhoai.wait_phase(READY, name)
    pods = "--selector=app.kubernetes.io/name=gatehouse-server"
    said = node.kubectl("logs", "--namespace=rhoai-model-registries", pods, "--container=server", "--tail=-1")
    taken = [line for line in map(json.loads, said.splitlines()) if line.get("route", "").startswith("/hooks/s3/")]
    assert {line["status"] for line in taken} == {202}


def test_what_passes_the_proxy_is_judged_by_its_own_token(rhoai: Installation) -> None:
    path = "/api/model_registry/v1alpha3/registered_models"
    assert rhoai.rest(path)[0] == 401
    code, listed = rhoai.rest(path, token=rhoai.token("reader", "gatehouse-viewer"))
    assert (code, [item["name"] for item in listed["items"]]) == (200, [MODEL])
    assert rhoai.rest(path, token=rhoai.token("nobody"))[1]["items"] == []


def test_openshift_ais_kind_lists_the_registry_as_available(rhoai: Installation, tmp_path: Path) -> None:
    node, where = rhoai.node, "--namespace=rhoai-model-registries"
    component = os.path.relpath(shipped("kustomize/components/opendatahub"), tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\ncomponents: [{component}]\n"
    )
    rendered = node.kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", str(tmp_path))
    kinds = [each for each in yaml.safe_load_all(rendered) if each["kind"] == "CustomResourceDefinition"]
    others = [each for each in yaml.safe_load_all(rendered) if each["kind"] != "CustomResourceDefinition"]
    node.apply(*kinds)
    [name] = [each["metadata"]["name"] for each in kinds]
    node.wait("default", f"crd/{name}", "condition=Established")
    try:
        node.apply(*others)
        registry = "modelregistry.modelregistry.opendatahub.io/private-ai-registry"
        node.wait("rhoai-model-registries", registry, "condition=Available", seconds=150)
        assert "private-ai-registry   True" in node.kubectl("get", "modelregistry.modelregistry.opendatahub.io", where)
    finally:
        # With the kind go its objects.
        node.kubectl("delete", "--filename=-", "--ignore-not-found", given=rendered)


def test_a_seed_that_is_made_anew_says_the_same(rhoai: Installation) -> None:
    node, namespace = rhoai.node, "rhoai-model-registries"
    job = node.get("job", "model-registry-seed", f"--namespace={namespace}")
    node.kubectl("delete", "job", "model-registry-seed", f"--namespace={namespace}")
    job["metadata"] = {key: job["metadata"][key] for key in ("name", "namespace", "labels")}
    del job["status"], job["spec"]["selector"]
    del job["spec"]["template"]["metadata"]
    node.apply(job)
    node.wait(namespace, "job/model-registry-seed", "condition=complete")
    log = node.logs(namespace, "job/model-registry-seed")
    assert COMPLETE in log
    assert READY in log


@pytest.mark.parametrize(("word", "command"), PROMISED)
def test_the_commands_of_the_docs_show_what_they_are_for(rhoai: Installation, word: str, command: str) -> None:
    rhoai.wait_operator()
    assert word in rhoai.shell(command)


def test_an_operator_that_is_stopped_for_a_restore_goes_on_where_it_was(rhoai: Installation) -> None:
    commands = dict(
        re.findall(r"<!-- pods (stop|start) -->\n```\n(.*?)\n```\n", (DOCS / "backup.md").read_text(), re.DOTALL)
    )
    before = rhoai.version()
    rhoai.shell(commands["stop"])
    assert pod_uids(rhoai.node) == set()
    rhoai.shell(commands["start"])
    assert len(pod_uids(rhoai.node)) == 2
    rhoai.wait_handled(rhoai.look_again())
    after = rhoai.version()
    assert (after["phase"], after["registryId"], after["artifact"]) == (READY, before["registryId"], before["artifact"])
