"""`gatehouse store-users` on a real MinIO: what each user may do, and that a second run changes nothing but keys."""

from __future__ import annotations

import secrets
from pathlib import Path

import boto3
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from typer.testing import CliRunner, Result

from gatehouse.cli.main import app
from gatehouse_local.net import free_port
from gatehouse_local.s3 import S3Endpoint, ensure_bucket
from storeaccess import READS, WRITES, allowed

OBJECT = "granite/config.json"
ACCESS = {"operator": "read", "serving": "read", "uploader": "write"}


class Store:
    """MinIO with one bucket, and the folders of Secrets as the Pod of the Job has them."""

    def __init__(self, endpoint: S3Endpoint, folder: Path) -> None:
        self.endpoint = endpoint
        self.folder = folder
        self.bucket = f"models-{secrets.token_hex(4)}"
        ensure_bucket(endpoint, self.bucket)
        self.s3(self.env()).put_object(Bucket=self.bucket, Key=OBJECT, Body=b"{}")
        self.write(
            "root", {"root-user": endpoint.credentials.access_key, "root-password": endpoint.credentials.secret_key}
        )
        self.keys = {name: secrets.token_hex(16) for name in ACCESS}
        # The users of a server outlive a test.
        self.names = {name: f"{name}-{self.bucket}" for name in ACCESS}
        for name in ACCESS:
            self.user(name)

    def write(self, secret: str, values: dict[str, str]) -> None:
        """A Secret as a volume shows it."""
        (self.folder / secret).mkdir(exist_ok=True)
        for key, value in values.items():
            (self.folder / secret / key).write_text(value)

    def user(self, name: str) -> None:
        """The Secret of a user, with its present key."""
        self.write(name, {"AWS_ACCESS_KEY_ID": self.names[name], "AWS_SECRET_ACCESS_KEY": self.keys[name]})

    def env(self, name: str | None = None, *, key: str | None = None) -> dict[str, str]:
        """The variables of a user, or of the administrator."""
        root = self.endpoint.credentials
        return {
            "AWS_ENDPOINT_URL": self.endpoint.url,
            "AWS_REGION": self.endpoint.region,
            "AWS_ACCESS_KEY_ID": self.names[name] if name else root.access_key,
            "AWS_SECRET_ACCESS_KEY": (key or self.keys[name]) if name else root.secret_key,
            "AWS_CA_BUNDLE": str(self.endpoint.authority or ""),
        }

    def s3(self, env: dict[str, str]):  # type: ignore[no-untyped-def]  # a generated client
        return boto3.client(
            "s3",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            verify=env["AWS_CA_BUNDLE"] or None,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def may(self, name: str) -> set[str]:
        """What a user is let do."""
        return allowed(self.env(name), bucket=self.bucket, key=OBJECT)

    def run(self, *options: str, endpoint: str | None = None) -> Result:
        """The command."""
        users = [
            {"credentials": str(self.folder / name), "access": access, "bucket": self.bucket}
            for name, access in ACCESS.items()
        ]
        content = {
            "endpoint": endpoint or self.endpoint.url,
            "administrator": str(self.folder / "root"),
            "users": users,
            **({"authority": str(self.endpoint.authority)} if self.endpoint.authority else {}),
        }
        file = self.folder / "users.yaml"
        file.write_text(yaml.safe_dump(content))
        return CliRunner().invoke(app, ["store-users", str(file), *options])


@pytest.fixture
def store(minio: S3Endpoint, tmp_path: Path) -> Store:
    return Store(minio, tmp_path)


def test_each_user_may_do_what_it_is_for_and_no_more(store: Store) -> None:
    made = store.run()
    assert made.exit_code == 0, made.output
    assert made.stdout.splitlines() == [
        f"{store.names[name]} may {access} bucket {store.bucket}" for name, access in ACCESS.items()
    ]
    for secret in (*store.keys.values(), store.endpoint.credentials.secret_key):
        assert secret not in made.output
    assert {name: store.may(name) for name in ACCESS} == {"operator": READS, "serving": READS, "uploader": WRITES}


def test_a_user_of_one_bucket_sees_no_other(store: Store) -> None:
    assert store.run().exit_code == 0
    other = f"others-{secrets.token_hex(4)}"
    ensure_bucket(store.endpoint, other)
    store.s3(store.env()).put_object(Bucket=other, Key=OBJECT, Body=b"{}")
    for name in ACCESS:
        assert allowed(store.env(name), bucket=other, key=OBJECT) == set()


def test_a_run_again_keeps_what_is_there_and_a_rotated_key_takes_the_place_of_the_old_one(store: Store) -> None:
    assert store.run().exit_code == 0
    assert store.run().exit_code == 0
    assert store.may("operator") == READS
    old = store.keys["operator"]
    store.keys["operator"] = secrets.token_hex(16)
    store.user("operator")
    assert store.run().exit_code == 0
    assert store.may("operator") == READS
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        store.s3(store.env("operator", key=old)).list_objects_v2(Bucket=store.bucket)


def admin_as(store: Store, name: str | None = None) -> MinioAdmin:
    """MinIO's admin API as one of the users, or as the administrator."""
    env = store.env(name)
    return MinioAdmin(
        endpoint=store.endpoint.url.partition("//")[2],
        credentials=StaticProvider(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]),
        region=store.endpoint.region,
        secure=False,
    )


def test_rights_that_somebody_added_are_taken_back(store: Store) -> None:
    assert store.run().exit_code == 0
    admin_as(store).policy_set("readwrite", user=store.names["operator"])
    assert store.may("operator") > READS
    assert store.run().exit_code == 0
    assert store.may("operator") == READS


def test_a_user_neither_changes_its_own_key_nor_makes_another(store: Store) -> None:
    """Whoever reads the key that models are loaded with must not lock the others out, nor outlive a rotation."""
    assert store.run().exit_code == 0
    for name, access in ACCESS.items():
        user = admin_as(store, name)
        with pytest.raises(MinioAdminException, match="403"):
            user.user_add(store.names[name], secrets.token_hex(16))
        with pytest.raises(MinioAdminException, match="403"):
            user.add_service_account()
        assert store.may(name) == (READS if access == "read" else WRITES)


def test_what_minio_refuses_ends_the_command_with_the_reason_and_no_key(store: Store) -> None:
    wrong = secrets.token_hex(16)
    store.write("root", {"root-password": wrong})
    refused = store.run()
    assert refused.exit_code == 1
    assert "HTTP 403 SignatureDoesNotMatch" in refused.output
    assert "restart the store after a change" in refused.output
    assert wrong not in refused.output


def test_a_server_that_does_not_answer_is_waited_for_and_named(store: Store) -> None:
    late = store.run("--timeout=2s", endpoint=f"http://127.0.0.1:{free_port()}")
    assert late.exit_code == 1
    assert "not done after 2 s; making user operator-" in late.output
    assert "no answer" in late.output


def test_a_server_with_a_certificate_is_checked_against_its_authority(minio_tls: S3Endpoint, tmp_path: Path) -> None:
    store = Store(minio_tls, tmp_path)
    made = store.run()
    assert made.exit_code == 0, made.output
    assert store.may("serving") == READS
