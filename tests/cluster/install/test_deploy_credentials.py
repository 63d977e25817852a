"""`gatehouse credentials` on a real API server: what it makes, keeps, mends, and may do at all."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from gatehouse.cli.main import app
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.audit.keys import PublicKeys, Signer, new_key_pem
from gatehouse.domain.common.certificates import authorities, fault_of, issue, new_authority_name
from gatehouse.install.credentials import INITIALISED_WITH, ensure
from gatehouse.install.credentials_file import PublishedKey, SecretCopy, WantedSecret
from gatehouse.install.errors import SecretLost
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.objects import namespace as namespace_manifest

SOURCE, COPY, VOLUME = "db-creds", "registry-db-creds", "db-pvc"


@pytest.fixture
def admin(control_plane: RunningControlPlane) -> Iterator[KubeClient]:
    with contextlib.closing(control_plane.client()) as client:
        yield client


@pytest.fixture
def other(admin: KubeClient) -> Iterator[str]:
    """A second namespace."""
    name = f"test-{secrets.token_hex(4)}"
    admin.apply(namespace_manifest(name))
    yield name
    admin.request("DELETE", f"/api/v1/namespaces/{name}")


def wanted(namespace: str, other: str) -> WantedSecret:
    return WantedSecret(
        namespace=namespace,
        name=SOURCE,
        values={"database-user": "mlmd"},
        generate=["database-password", "database-root-password"],
        volume=VOLUME,
        copies=[
            SecretCopy(
                namespace=other,
                name=COPY,
                keys={"password": "database-password"},
                values={"host": "db"},
                labels={"team": "a"},
            )
        ],
    )


def file_for(folder: Path, secret: WantedSecret) -> Path:
    path = folder / "credentials.yaml"
    path.write_text(yaml.safe_dump({"secrets": [secret.model_dump(mode="json", exclude_defaults=True)]}))
    return path


def run(plane: RunningControlPlane, file: Path) -> Result:
    return CliRunner().invoke(app, ["credentials", str(file), f"--kubeconfig={plane.kubeconfig}"])


def read(admin: KubeClient, namespace: str, name: str) -> dict[str, str]:
    body = admin.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
    return {key: base64.b64decode(value).decode() for key, value in body["data"].items()}


def version(admin: KubeClient, namespace: str, name: str) -> str:
    body = admin.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
    return str(body["metadata"]["resourceVersion"])


def claim(admin: KubeClient, namespace: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    admin.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": VOLUME, "namespace": namespace},
            "spec": spec,
        }
    )


def test_it_makes_secrets_once_and_keeps_them(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, other: str, tmp_path: Path
) -> None:
    file = file_for(tmp_path, wanted(namespace, other))
    first = run(control_plane, file)
    assert first.exit_code == 0, first.output
    made, copied = read(admin, namespace, SOURCE), read(admin, other, COPY)
    assert made.keys() == {"database-user", "database-password", "database-root-password"}
    assert made["database-password"] != made["database-root-password"]
    assert min(len(made["database-password"]), len(made["database-root-password"])) == 32
    assert copied == {"password": made["database-password"], "host": "db"}
    assert first.output.splitlines() == [f"created Secret {namespace}/{SOURCE}", f"created Secret {other}/{COPY}"]
    before = version(admin, namespace, SOURCE), version(admin, other, COPY)
    again = run(control_plane, file)
    assert again.output.splitlines() == [f"kept Secret {namespace}/{SOURCE}", f"kept Secret {other}/{COPY}"]
    assert (version(admin, namespace, SOURCE), version(admin, other, COPY)) == before
    for value in (*made.values(), copied["password"]):
        assert value == "mlmd" or value not in first.output + again.output


def test_a_copy_follows_a_rotated_source_and_keeps_what_is_not_its_business(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, other: str, tmp_path: Path
) -> None:
    file = file_for(tmp_path, wanted(namespace, other))
    assert run(control_plane, file).exit_code == 0
    patch(admin, namespace, SOURCE, {"stringData": {"database-password": "rotated"}})
    patch(admin, other, COPY, {"stringData": {"extra": "of somebody"}, "metadata": {"labels": {"team": "b"}}})
    answer = run(control_plane, file)
    assert answer.output.splitlines() == [f"kept Secret {namespace}/{SOURCE}", f"updated Secret {other}/{COPY}"]
    assert read(admin, other, COPY) == {"password": "rotated", "host": "db", "extra": "of somebody"}
    body = admin.request("GET", f"/api/v1/namespaces/{other}/secrets/{COPY}")
    assert body["metadata"]["labels"]["team"] == "b"
    assert "rotated" not in answer.output


def test_a_run_that_was_cut_short_is_continued(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    missing = f"test-{secrets.token_hex(4)}"
    file = file_for(tmp_path, wanted(namespace, missing))
    first = run(control_plane, file)
    assert first.exit_code == 2
    assert f'namespaces "{missing}" not found' in first.output
    password = read(admin, namespace, SOURCE)["database-password"]
    admin.apply(namespace_manifest(missing))
    assert run(control_plane, file).exit_code == 0
    assert read(admin, namespace, SOURCE)["database-password"] == password
    assert read(admin, missing, COPY)["password"] == password
    admin.request("DELETE", f"/api/v1/namespaces/{missing}")


async def test_runs_at_once_come_to_the_same_end(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, other: str
) -> None:
    async with await ApiClient.connect(kubeconfig=control_plane.kubeconfig) as client:
        outcomes = await asyncio.gather(*(ensure(client, wanted(namespace, other)) for _ in range(8)))
    assert sum(outcome[0].done == "created" for outcome in outcomes) == 1
    assert read(admin, other, COPY)["password"] == read(admin, namespace, SOURCE)["database-password"]


def test_what_somebody_made_is_kept_and_completeness_is_demanded(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, other: str, tmp_path: Path
) -> None:
    own = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SOURCE, "namespace": namespace}}
    admin.apply({**own, "stringData": {"database-password": "chosen", "database-user": "me"}})
    file = file_for(tmp_path, wanted(namespace, other))
    refused = run(control_plane, file)
    assert refused.exit_code == 2
    assert "has no key database-root-password (it has database-password, database-user)" in refused.output
    assert "chosen" not in refused.output
    admin.apply({**own, "stringData": {"database-password": "chosen", "database-root-password": "too"}})
    patch(admin, namespace, SOURCE, {"stringData": {"database-user": "me"}})
    assert run(control_plane, file).exit_code == 0
    assert read(admin, namespace, SOURCE)["database-user"] == "me"
    assert read(admin, other, COPY)["password"] == "chosen"


def test_a_lost_secret_of_an_initialised_volume_is_not_made_anew(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, other: str, tmp_path: Path
) -> None:
    file = file_for(tmp_path, wanted(namespace, other))
    claim(admin, namespace)
    assert run(control_plane, file).exit_code == 0
    body = admin.request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{VOLUME}")
    assert body["metadata"]["annotations"][INITIALISED_WITH] == SOURCE
    admin.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{SOURCE}")
    refused = run(control_plane, file)
    assert refused.exit_code == 2
    assert "is missing, but the database on PersistentVolumeClaim db-pvc was initialised with its passwords" in (
        refused.output
    )
    with pytest.raises(ApiRefused, match="not found"):
        read(admin, namespace, SOURCE)


async def test_a_volume_that_comes_later_is_marked_by_the_next_run(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, other: str
) -> None:
    async with await ApiClient.connect(kubeconfig=control_plane.kubeconfig) as client:
        await ensure(client, wanted(namespace, other))
        claim(admin, namespace)
        await ensure(client, wanted(namespace, other))
        admin.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{SOURCE}")
        with pytest.raises(SecretLost):
            await ensure(client, wanted(namespace, other))


# Keys


def signing(namespace: str) -> WantedSecret:
    published = PublishedKey(namespace=namespace, name="public-key", key="audit.pub")
    return WantedSecret(namespace=namespace, name="audit-key", signing="audit.key", published=published)


def published(admin: KubeClient, namespace: str) -> str:
    body = admin.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/public-key")
    return str(body["data"]["audit.pub"])


def test_a_key_is_made_once_and_its_public_half_verifies(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    file = file_for(tmp_path, signing(namespace))
    first = run(control_plane, file)
    assert first.output.splitlines() == [
        f"created Secret {namespace}/audit-key",
        f"created ConfigMap {namespace}/public-key",
    ]
    private = read(admin, namespace, "audit-key")["audit.key"]
    signer = Signer.from_pem(private.encode(), where="the Secret")
    keys = PublicKeys.from_pem(published(admin, namespace).encode(), where="the ConfigMap")
    assert keys.made(signer.key_id, signer.sign(b"x"), b"x")
    again = run(control_plane, file)
    assert [line.split()[0] for line in again.output.splitlines()] == ["kept", "kept"]
    assert read(admin, namespace, "audit-key")["audit.key"] == private
    body = admin.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/public-key")
    assert "PRIVATE" not in json.dumps(body) + first.output + again.output


def test_a_key_that_somebody_made_is_kept_and_earlier_ones_stay_published(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    file = file_for(tmp_path, signing(namespace))
    assert run(control_plane, file).exit_code == 0
    earlier = Signer.from_pem(read(admin, namespace, "audit-key")["audit.key"].encode(), where="the Secret")
    private, _ = new_key_pem()
    own = Signer.from_pem(private, where="a test")
    patch(admin, namespace, "audit-key", {"stringData": {"audit.key": private.decode()}})
    changed = run(control_plane, file)
    assert [line.split()[0] for line in changed.output.splitlines()] == ["kept", "updated"]
    assert read(admin, namespace, "audit-key")["audit.key"].encode() == private
    found = PublicKeys.from_pem(published(admin, namespace).encode(), where="the ConfigMap")
    assert found.ids == (own.key_id, earlier.key_id)
    assert run(control_plane, file).output.splitlines()[1].startswith("kept ConfigMap")


def test_what_is_no_key_is_refused_and_not_shown(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, tmp_path: Path
) -> None:
    own = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "audit-key", "namespace": namespace}}
    admin.apply({**own, "stringData": {"audit.key": "the-secret-word"}})
    refused = run(control_plane, file_for(tmp_path, signing(namespace)))
    assert refused.exit_code == 2
    assert f"key audit.key of Secret {namespace}/audit-key holds no private key in PEM" in refused.output
    assert "the-secret-word" not in refused.output


async def test_runs_at_once_publish_the_one_key(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str
) -> None:
    async with await ApiClient.connect(kubeconfig=control_plane.kubeconfig) as client:
        await asyncio.gather(*(ensure(client, signing(namespace)) for _ in range(8)))
    signer = Signer.from_pem(read(admin, namespace, "audit-key")["audit.key"].encode(), where="the Secret")
    assert PublicKeys.from_pem(published(admin, namespace).encode(), where="the ConfigMap").ids == (signer.key_id,)


# Certificates


def serving(namespace: str, other: str) -> WantedSecret:
    copies = [SecretCopy(namespace=other, name=COPY, keys={"ca.crt": "ca.crt"})]
    return WantedSecret(namespace=namespace, name="db-tls", certificate=[f"db.{namespace}.svc"], copies=copies)


def fault(admin: KubeClient, namespace: str, other: str) -> str | None:
    """What is wrong with the certificate for whoever trusts the copy."""
    made, trusted = read(admin, namespace, "db-tls"), read(admin, other, COPY)
    return fault_of(
        certificate=made["tls.crt"].encode(),
        key=made["tls.key"].encode(),
        authority=trusted["ca.crt"].encode(),
        names=[f"db.{namespace}.svc"],
        now=datetime.now(UTC),
        margin=timedelta(days=200),
    )


def test_a_certificate_is_made_once_and_renewed_in_time(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, other: str, tmp_path: Path
) -> None:
    file = file_for(tmp_path, serving(namespace, other))
    assert run(control_plane, file).output.splitlines() == [
        f"created Secret {namespace}/db-tls",
        f"created Secret {other}/{COPY}",
    ]
    assert admin.request("GET", f"/api/v1/namespaces/{namespace}/secrets/db-tls")["type"] == "kubernetes.io/tls"
    assert fault(admin, namespace, other) is None
    before = read(admin, namespace, "db-tls")
    assert [line.split()[0] for line in run(control_plane, file).output.splitlines()] == ["kept", "kept"]
    assert read(admin, namespace, "db-tls") == before

    patch(admin, namespace, "db-tls", {"stringData": soon_over(namespace, before["ca.crt"])})
    renewed = run(control_plane, file)
    assert [line.split()[0] for line in renewed.output.splitlines()] == ["updated", "updated"]
    assert "it expires on" in renewed.output
    assert fault(admin, namespace, other) is None
    assert read(admin, other, COPY)["ca.crt"].count("BEGIN CERTIFICATE") == 3
    assert "PRIVATE" not in renewed.output


async def test_runs_at_once_renew_a_certificate_once_and_it_matches_its_key(
    control_plane: RunningControlPlane, admin: KubeClient, namespace: str, other: str
) -> None:
    async with await ApiClient.connect(kubeconfig=control_plane.kubeconfig) as client:
        for round_ in range(5):
            outcomes = await asyncio.gather(*(ensure(client, serving(namespace, other)) for _ in range(8)))
            assert sum(outcome[0].done != "kept" for outcome in outcomes) == 1, round_
            assert fault(admin, namespace, other) is None
            assert read(admin, namespace, "db-tls")["ca.crt"] == read(admin, other, COPY)["ca.crt"]
            earlier = read(admin, namespace, "db-tls")["ca.crt"]
            patch(admin, namespace, "db-tls", {"stringData": soon_over(namespace, earlier)})


def soon_over(namespace: str, earlier: str) -> dict[str, str]:
    """A certificate that ends in a month."""
    now = datetime.now(UTC)
    made = issue(
        authority=new_authority_name("soon"),
        subject="db-tls",
        usage="server",
        names=[f"db.{namespace}.svc"],
        now=now,
        validity=timedelta(days=30),
    )
    return {
        "tls.crt": made.certificate.decode(),
        "tls.key": made.key.decode(),
        "ca.crt": authorities(made.authority, earlier.encode(), now=now).decode(),
    }


def patch(admin: KubeClient, namespace: str, name: str, body: dict[str, Any]) -> None:
    admin.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/secrets/{name}",
        body,
        content_type="application/merge-patch+json",
    )
