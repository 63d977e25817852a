"""Where an upload goes, from flags and environment, and what it says at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gatehouse.actions.upload_report import UploadReport, VersionNames
from gatehouse.domain.artifact.signature import LARGEST_SIGNATURE
from gatehouse.errors import InputInvalid
from gatehouse.printing.progress import Amounts, line
from gatehouse.storage.port import StoreFlags
from gatehouse.storage.s3.environment import bucket_access
from gatehouse.storage.stores import location_of
from gatehouse.upload.check import CheckedArtifact, CheckedFile, FolderRefused, check_names
from gatehouse.upload.folder import scan
from gatehouse.upload.plan import Plan

DIGEST = "sha256:" + "1f" * 32


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "PROFILE",
        "REGION",
        "DEFAULT_REGION",
        "ENDPOINT_URL",
        "ENDPOINT_URL_S3",
        "CA_BUNDLE",
        "SESSION_TOKEN",
    ):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")


def test_the_environment_counts_and_flags_go_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example:9000/")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    found = bucket_access("models", StoreFlags())
    assert (found.endpoint, found.region, found.ca_pem) == ("https://store.example:9000", "eu-central-1", None)
    assert "s3cr3t" not in repr(found)

    found = bucket_access("models", StoreFlags(endpoint="http://127.0.0.1:9000", region="us-west-2"))
    assert (found.endpoint, found.region) == ("http://127.0.0.1:9000", "us-west-2")


def test_a_profile_is_found_as_boto3_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "credentials").write_text(
        "[lab]\naws_access_key_id = a\naws_secret_access_key = b\naws_session_token = c\n"
    )
    (tmp_path / "config").write_text("[profile lab]\nendpoint_url = https://lab.example\n")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    found = bucket_access("models", StoreFlags())
    assert found.endpoint == "https://lab.example"
    assert found.credentials.get_frozen_credentials().token == "c"

    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(InputInvalid, match="other"):
        bucket_access("models", StoreFlags())


def test_without_credentials_it_says_which_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputInvalid, match="AWS_ACCESS_KEY_ID"):
        bucket_access("models", StoreFlags(endpoint="http://127.0.0.1:9000"))


@pytest.mark.parametrize(
    "endpoint",
    [
        "store.example",
        "ftp://store.example",
        "https://user:pw@store.example/x",
        "https://user:pw@store.example",
        "https://store.example/x",
    ],
)
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        bucket_access("models", StoreFlags(endpoint=endpoint))
    assert "pw@" not in str(refused.value)


def test_a_bundle_without_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(InputInvalid, match=r"ca\.pem holds no certificates"):
        bucket_access("models", StoreFlags(endpoint="https://h", ca=tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    "uri", ["models/x", "s3://models", "s3://models/", "s3://m/a/../b", "s3://models/a b", "gs://m/a"]
)
def test_uris_that_a_version_could_not_name(uri: str) -> None:
    with pytest.raises(InputInvalid, match="URI"):
        location_of(uri)


def test_the_prefix_ends_with_a_slash() -> None:
    assert location_of("s3://models/a/b") == location_of("s3://models/a/b/")
    assert location_of("s3://models/a/b").prefix == "a/b/"


def report(names: VersionNames, uri: str = "s3://models/Granite-3.1_8b/") -> UploadReport:
    file = CheckedFile(path="config.json", size=2048, sha256="0" * 64)
    artifact = CheckedArtifact(artifact_format="gguf", digest=DIGEST, manifest="", files=(file,), notes=())
    plan = Plan(data=(file,), unsummed=(), config=(), delete=(), manifest=True)
    return UploadReport(uri=uri, artifact=artifact, plan=plan, result=None, left_out=(".git",), names=names)


def test_names_come_of_the_uri_and_the_digest() -> None:
    text = report(VersionNames(hardware_profile="nvidia-l4")).yaml()
    assert text.startswith(f"# {DIGEST}\n# s3://models/Granite-3.1_8b/: would send 1 of 1 files, 2.0 KiB (2.0 KiB)\n")
    version = yaml.safe_load(text)
    assert version["metadata"] == {"name": "granite-3.1-8b-1f1f1f1f1f1f"}
    assert version["spec"]["artifact"]["format"] == "gguf"
    assert version["spec"]["version"] == "1f1f1f1f1f1f"


def test_a_name_that_is_none_is_said() -> None:
    with pytest.raises(InputInvalid, match="version of the ModelVersion"):
        report(VersionNames(hardware_profile="nvidia-l4", version="3 1")).model_version()


def test_the_json_says_what_would_be_sent() -> None:
    wire = report(VersionNames(hardware_profile="nvidia-l4")).wire()
    assert (wire["dryRun"], wire["sent"], wire["sentBytes"], wire["leftOut"]) == (True, ["config.json"], 2048, [".git"])
    assert wire["manifest"] == "s3://models/Granite-3.1_8b/gatehouse.manifest"


def test_the_signature_is_told_beside_the_files() -> None:
    signature = CheckedFile(path="model.sig", size=10, sha256="1" * 64)
    plain = report(VersionNames(hardware_profile="nvidia-l4"))
    signed = replace(
        plain,
        artifact=replace(plain.artifact, signature=signature),
        plan=replace(plain.plan, data=(*plain.plan.data, signature)),
    )

    assert signed.summary() == "would send 1 of 1 files, 2.0 KiB, and model.sig (2.0 KiB)"
    assert signed.wire()["signature"] == "s3://models/Granite-3.1_8b/model.sig"
    assert [file["path"] for file in signed.wire()["files"]] == ["config.json"]
    assert plain.wire()["signature"] is None


def test_a_signature_that_is_too_large_to_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.sig").write_bytes(b" " * (LARGEST_SIGNATURE + 1))

    with pytest.raises(FolderRefused, match=r"--exclude model\.sig"):
        check_names(scan(tmp_path), prefix="m/")


def test_a_line_of_progress() -> None:
    now = Amounts(files_done=1, files=3, bytes_done=3 << 20, bytes=8 << 20, bytes_kept=1 << 20, note="and more")
    assert line("sending", now, 2.0) == "sending: 3.0 MiB of 8.0 MiB, 1 of 3 files, 1.0 MiB/s, and more"
    assert line("sending", now, 0.0) == "sending: 3.0 MiB of 8.0 MiB, 1 of 3 files, and more"
