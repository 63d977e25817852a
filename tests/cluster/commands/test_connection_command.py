"""`gatehouse connection create` on the real API server, in a namespace with a stage."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
from typer.testing import CliRunner, Result

from cluster.gated import DEVELOPER, Gate
from gatehouse.cli.main import app

SECRET = "s3cr3t-half"
MANIFEST = "/api/v1/namespaces/{}/secrets/storage-config"


def create(gate: Gate, *more: str, user: str = "admin") -> Result:
    """Calls the command as one of the users; of an option that is given twice the later one counts."""
    return CliRunner().invoke(
        app,
        [
            *("connection", "create", "minio-connection", f"--namespace={gate.namespace}"),
            *("--endpoint=https://minio.example.com", f"--kubeconfig={gate.plane.kubeconfig}", f"--context={user}"),
            *more,
        ],
        env={"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": SECRET},
    )


@pytest.fixture(autouse=True)
def nothing_left(gate: Gate) -> None:
    """Each test begins without the Secret."""
    path = MANIFEST.format(gate.namespace)
    found = gate.admin.request("GET", path.rpartition("/")[0])["items"]
    if any(each["metadata"]["name"] == "storage-config" for each in found):
        gate.admin.request("DELETE", path)


def test_it_is_made_kept_and_brought_in_line(gate: Gate) -> None:
    secret = f"Secret {gate.namespace}/storage-config with the key minio-connection"
    for said, more in (
        (f"created {secret}\n", ()),
        (f"kept {secret}\n", ()),
        (f"updated {secret}: region\n", ("--region=eu-1",)),
    ):
        result = create(gate, *more)
        assert (result.exit_code, result.output) == (0, said)
    data = gate.admin.request("GET", MANIFEST.format(gate.namespace))["data"]
    assert json.loads(b64decode(data["minio-connection"])) == {
        "type": "s3",
        "endpoint_url": "https://minio.example.com",
        "region": "eu-1",
        "access_key_id": "reader",
        "secret_access_key": SECRET,
    }


def test_only_an_administrator_of_the_stage_says_where_models_come_from(gate: Gate) -> None:
    result = create(gate, user=DEVELOPER)
    assert result.exit_code == 2
    assert "names the server that vetted models are loaded from" in result.output
    assert SECRET not in result.output


def test_the_two_halves_come_from_a_secret_of_the_cluster(gate: Gate) -> None:
    namespace = f"/api/v1/namespaces/{gate.namespace}/secrets"
    path = f"{namespace}/minio-serving"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "minio-serving", "namespace": gate.namespace}}
    gate.admin.apply(
        {**secret, "stringData": {"AWS_ACCESS_KEY_ID": "of-the-secret", "AWS_SECRET_ACCESS_KEY": "its key"}}
    )
    try:
        result = create(gate, f"--credentials-secret={gate.namespace}/minio-serving")
        assert result.exit_code == 0, result.output
        data = gate.admin.request("GET", MANIFEST.format(gate.namespace))["data"]
        entry = json.loads(b64decode(data["minio-connection"]))
        assert (entry["access_key_id"], entry["secret_access_key"]) == ("of-the-secret", "its key")
        assert "its key" not in result.output

        gate.admin.request("DELETE", path)
        gate.admin.apply({**secret, "stringData": {"root-password": "not for this"}})
        refused = create(gate, f"--credentials-secret={gate.namespace}/minio-serving")
        assert refused.exit_code == 2
        assert "has no key AWS_ACCESS_KEY_ID and no key AWS_SECRET_ACCESS_KEY" in refused.output
        assert "not for this" not in refused.output
    finally:
        gate.admin.request("DELETE", path)


def test_a_store_of_aws_needs_no_endpoint(gate: Gate) -> None:
    """What is written is where Gatehouse itself reads, in the partition of the region."""
    registry = {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "ModelRegistry",
        "metadata": {"name": "in-china", "namespace": gate.namespace},
        "spec": {
            "objectStores": [{"uriPrefix": "s3://models-in-china/", "region": "cn-north-1", "requesterPays": True}],
            "serving": {"connectionSecret": "weights"},
        },
    }
    gate.admin.apply(registry)
    path = f"/apis/gatehouse.dev/v1alpha1/namespaces/{gate.namespace}/modelregistries/in-china"
    try:
        result = CliRunner().invoke(
            app,
            [
                *("connection", "create", f"--registry={gate.namespace}/in-china", f"--namespace={gate.namespace}"),
                *(f"--kubeconfig={gate.plane.kubeconfig}", "--context=admin"),
            ],
            env={"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": ""},
        )
        assert result.exit_code == 0, result.output
        assert "created Secret" in result.stdout
        assert "warning: requests to s3://models-in-china/ must state that the requester pays" in result.stderr
        data = gate.admin.request("GET", MANIFEST.format(gate.namespace))["data"]
        entry = json.loads(b64decode(data["weights"]))
        assert (entry["endpoint_url"], entry["region"]) == ("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1")
    finally:
        gate.admin.request("DELETE", path)


def test_who_may_not_read_the_secret_makes_no_connection_of_it(gate: Gate) -> None:
    result = create(gate, "--credentials-secret=minio/minio-serving", user=DEVELOPER)
    assert result.exit_code == 2
    assert "orbidden" in result.output or "cannot get" in result.output
