"""What ``gatehouse upload`` sent to MinIO and versitygw, and what the operator makes of it."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials

from cluster.buckets import Bucket, Metrics, bucket_at
from cluster.upload.uploads import KEYS, LARGE, PARTS, Sender, keys, unfinished, verified
from gatehouse.api.governance_policy import SignatureRequirements
from gatehouse.domain.artifact.layout import MANIFEST
from gatehouse.domain.artifact.signature import SIGNATURE
from gatehouse.domain.common.errors import Waiting
from gatehouse.domain.governance.signature_trust import judge_signature
from gatehouse.upload.plan import ObjectsInTheWay
from gatehouse_local.ephemeral import RunningVersitygw
from signing import make_key, public_pem, sign_folder


def sha256sum_check(bucket: Bucket, folder: Path) -> str:
    """What sha256sum says of the objects and the manifest, downloaded."""
    folder.mkdir()
    for key in keys(bucket):
        bucket.client.download_file(bucket.name, key, str(folder / key.removeprefix("m/")))
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", MANIFEST], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_what_was_uploaded_verifies_to_the_digest_that_was_printed(
    bucket: Bucket, folder: Path, tmp_path: Path
) -> None:
    sender = Sender(folder, bucket)

    result = await sender.send()

    assert sender.artifact is not None
    assert (await verified(bucket)).record.digest == sender.artifact.digest
    assert sorted(keys(bucket)) == sorted(KEYS)
    assert unfinished(bucket, f"m/{LARGE}") == 0
    assert result.sent_bytes == sender.artifact.total_bytes
    # LARGE in four parts; three files and config.json whole, and the manifest.
    assert sender.metrics.requests["part"] == PARTS
    assert sender.metrics.requests["put"] == 5
    assert sha256sum_check(bucket, tmp_path / "downloaded").count(": OK\n") == 5
    text = (tmp_path / "downloaded" / MANIFEST).read_bytes()
    assert f"sha256:{hashlib.sha256(text).hexdigest()}" == sender.artifact.digest


async def test_on_minio_the_operator_reads_the_headers_alone(minio_bucket: Bucket, folder: Path) -> None:
    sender = Sender(folder, minio_bucket)
    result = await sender.send()
    metrics = Metrics()

    found = await verified(minio_bucket, metrics)

    assert result.unsummed == ()
    assert found.record.outcome == "Verified"
    # 64 KiB of the large shard for its header, and the small files and the manifest whole.
    assert sender.artifact is not None
    small_bytes = sum(file.size for file in sender.artifact.files if file.path != LARGE)
    assert metrics.bytes == 65_536 + small_bytes + len(sender.artifact.manifest.encode())
    # Even without reading content at all, for every file has its SHA-256 in the store.
    assert (await verified(minio_bucket, content=False)).record.digest == found.record.digest


async def test_where_the_store_keeps_the_sum_of_the_parts_the_operator_reads_and_finds_the_same(
    versitygw: RunningVersitygw, folder: Path
) -> None:
    with bucket_at(versitygw.endpoint, versitygw.data) as bucket:
        sender = Sender(folder, bucket)
        result = await sender.send()
        metrics = Metrics()
        found = await verified(bucket, metrics)

        assert result.unsummed == (LARGE,)
        assert sender.artifact is not None
        assert found.record.digest == sender.artifact.digest
        assert metrics.bytes > (folder / LARGE).stat().st_size

        again = Sender(folder, bucket)
        assert (await again.send()).unsummed == (LARGE,)
        assert again.metrics.requests["copy"] == 0


async def test_a_second_run_sends_nothing(bucket: Bucket, folder: Path) -> None:
    await Sender(folder, bucket).send()
    again = Sender(folder, bucket)

    result = await again.send()

    assert (result.sent, result.sent_bytes) == ((), 0)
    assert set(again.metrics.requests) == {"list", "head"}
    assert again.metrics.requests["head"] == len(KEYS)


async def test_a_signed_folder_keeps_its_signature(bucket: Bucket, small: Path) -> None:
    key = make_key()
    beside = sign_folder(small, key, into=small / SIGNATURE)
    wanted = SignatureRequirements.model_validate({"keys": [{"name": "us", "publicKey": public_pem(key)}]})
    sender = Sender(small, bucket)

    result = await sender.send()

    found = (await verified(bucket)).record
    assert judge_signature(found.signature, wanted).signed_by == "us"
    assert result.sent.index(SIGNATURE) < result.sent.index("config.json")
    assert bucket.client.get_object(Bucket=bucket.name, Key=f"m/{SIGNATURE}")["Body"].read() == beside
    assert sender.artifact is not None
    assert (sender.artifact.notes, found.digest) == (("there are no tokenizer files",), sender.artifact.digest)
    assert SIGNATURE not in sender.artifact.manifest


async def test_a_folder_may_be_signed_when_it_is_there_already(bucket: Bucket, small: Path) -> None:
    before = await Sender(small, bucket).send()
    sign_folder(small, make_key(), into=small / SIGNATURE)

    assert (await Sender(small, bucket).send()).sent == (SIGNATURE,)
    assert (await Sender(small, bucket).send()).sent == ()
    assert SIGNATURE not in before.sent

    sign_folder(small, make_key(), into=small / SIGNATURE)
    with pytest.raises(ObjectsInTheWay, match=r"another model\.sig exists already. Use --overwrite"):
        await Sender(small, bucket).send()
    assert (await Sender(small, bucket, overwrite=True).send()).sent == (SIGNATURE,)


async def test_a_signature_of_other_files_is_noted(minio_bucket: Bucket, small: Path) -> None:
    (small / ".hidden").write_text("signed, but not sent")
    sign_folder(small, make_key(), into=small / SIGNATURE)

    artifact = await Sender(small, minio_bucket).check()

    assert (
        "model.sig: the signature does not cover exactly these files: signed, but missing: '.hidden'"
        in artifact.notes[-1]
    )


async def test_credentials_for_a_time_are_signed_with_their_token(minio_bucket: Bucket, small: Path) -> None:
    endpoint = minio_bucket.endpoint
    sts = boto3.client(
        "sts",
        endpoint_url=endpoint.url,
        region_name=endpoint.region,
        aws_access_key_id=endpoint.credentials.access_key,
        aws_secret_access_key=endpoint.credentials.secret_key,
        config=Config(proxies={}),
    )
    role = sts.assume_role(RoleArn="arn:any:any:any:role", RoleSessionName="upload", DurationSeconds=900)
    sts.close()
    lent = role["Credentials"]
    sender = Sender(small, minio_bucket)
    keys_lent = (lent["AccessKeyId"], lent["SecretAccessKey"])
    sender.access = replace(sender.access, credentials=Credentials(*keys_lent, lent["SessionToken"]))
    await sender.send()

    sender.access = replace(sender.access, credentials=Credentials(*keys_lent))
    with pytest.raises(Waiting):
        await sender.send()
