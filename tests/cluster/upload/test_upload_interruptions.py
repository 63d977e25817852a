"""``gatehouse upload`` against MinIO and versitygw: what goes over the wire, and what the operator makes of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
import yaml
from aiohttp import web
from botocore.config import Config
from botocore.credentials import Credentials

from cluster.countingproxy import cut, hold, refuse, running
from cluster.storage.test_objectstore_servers import Bucket, Metrics, WallClock, bucket_at, opened
from gatehouse.api.governance_policy import SignatureRequirements
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, CheckResult, Verifier
from gatehouse.domain.artifact.layout import MANIFEST
from gatehouse.domain.artifact.signature import SIGNATURE
from gatehouse.domain.common.errors import Waiting
from gatehouse.domain.governance.signature_trust import judge_signature
from gatehouse.storage.limits import Limits, RetryPolicy
from gatehouse.storage.s3.multipart import PART_BYTES
from gatehouse.storage.s3.uploads import BucketAccess, open_bucket
from gatehouse.upload.check import CheckedArtifact, FolderCheck
from gatehouse.upload.errors import FileChanged, ObjectsInTheWay
from gatehouse.upload.folder import scan
from gatehouse.upload.folder_store import FolderStore
from gatehouse.upload.transfer import Upload, UploadOptions, UploadResult
from gatehouse_local.ephemeral import RunningVersitygw
from gatehouse_local.s3 import S3Endpoint
from modelfiles import config_json, safetensors_file, shard_index
from signing import make_key, public_pem, sign_folder

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

LARGE = "model-00001-of-00002.safetensors"
SMALL = "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
QUICK = Limits(
    small=RetryPolicy(attempts=4, backoff=0.01, patience=1.0, deadline=20.0),
    content=RetryPolicy(attempts=4, backoff=0.01, patience=1.0, deadline=60.0),
)
PARTS = 4
KEYS = [f"m/{name}" for name in (LARGE, SMALL, INDEX, "tokenizer.json", "config.json", MANIFEST)]


@pytest.fixture(autouse=True)
async def _connections_end() -> AsyncIterator[None]:
    """A connection that was given up in mid-body stays until what was written to it has gone: too long for a test."""
    yield
    for transport in list(asyncio.get_running_loop()._transports.values()):  # type: ignore[attr-defined]
        if transport.get_write_buffer_size():
            transport.abort()
    # The sockets are closed in the loop's next round.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@pytest.fixture(params=["minio", "versitygw"])
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    if request.param == "minio":
        with bucket_at(request.getfixturevalue("minio")) as made:
            yield made
    else:
        gateway: RunningVersitygw = request.getfixturevalue("versitygw")
        with bucket_at(gateway.endpoint, gateway.data) as made:
            yield made


@pytest.fixture
def minio_bucket(minio: S3Endpoint) -> Iterator[Bucket]:
    with bucket_at(minio) as made:
        yield made


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A safetensors file of four parts, no two of them alike."""
    elements = (3 * PART_BYTES + 1_000_000) // 2
    frame = safetensors_file({"a": ("BF16", (elements,))}, fill=b"")
    return frame + random.Random(1).randbytes(2 * elements)


@pytest.fixture
def folder(tmp_path: Path, weights: bytes) -> Path:
    """A model of two shards, the first of which is sent in four parts."""
    root = tmp_path / "model"
    write(
        root,
        {
            LARGE: weights,
            SMALL: safetensors_file({"b": ("BF16", (8, 8))}),
            INDEX: shard_index({"a": LARGE, "b": SMALL}),
            "config.json": config_json(),
            "tokenizer.json": b"{}",
        },
    )
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = tmp_path / "small"
    write(root, {"model.safetensors": safetensors_file({"a": ("BF16", (4, 4))}), "config.json": config_json()})
    return root


def write(root: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Sender:
    """One upload of a folder, from its check on."""

    def __init__(self, folder: Path, bucket: Bucket, *, url: str | None = None, **options: int) -> None:
        endpoint = bucket.endpoint
        self.access = BucketAccess(
            endpoint=url or endpoint.url,
            region=endpoint.region,
            bucket=bucket.name,
            credentials=Credentials(endpoint.credentials.access_key, endpoint.credentials.secret_key),
            ca_pem=endpoint.authority.read_text() if endpoint.authority else None,
        )
        self.store = FolderStore(scan(folder))
        self.options = UploadOptions(**{"parallel": 4, **options})
        self.metrics = Metrics()
        self.artifact: CheckedArtifact | None = None

    async def check(self) -> CheckedArtifact:
        self.artifact = await FolderCheck(self.store, artifact_format="safetensors").run()
        return self.artifact

    async def send(self) -> UploadResult:
        artifact = self.artifact or await self.check()
        async with open_bucket(self.access, metrics=self.metrics, limits=QUICK) as opened_bucket:
            upload = Upload(opened_bucket, "m/", folder=self.store, artifact=artifact, options=self.options)
            return await upload.run(await upload.plan())


def keys(bucket: Bucket) -> list[str]:
    return [found["Key"] for found in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])]


def unfinished(bucket: Bucket, key: str) -> int:
    return len(bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=key).get("Uploads", []))


async def verified(bucket: Bucket, metrics: Metrics | None = None, *, content: bool = True) -> CheckResult:
    """What the operator finds."""
    async with opened(bucket, metrics=metrics) as store:
        request = CheckRequest(store=store, prefix="m/", artifact_format="safetensors", content=content)
        return await Verifier(request, clock=WallClock(), slots=CheckSlots()).run()


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


def command(folder: Path, bucket: Bucket, url: str, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gatehouse",
        "upload",
        str(folder),
        f"s3://{bucket.name}/m/",
        f"--endpoint={url}",
        *options,
    ]


def environment(bucket: Bucket) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    credentials = bucket.endpoint.credentials
    return kept | {"AWS_ACCESS_KEY_ID": credentials.access_key, "AWS_SECRET_ACCESS_KEY": credentials.secret_key}


async def run(
    folder: Path, bucket: Bucket, url: str, *options: str, secret: str | None = None
) -> tuple[int | None, str, str]:
    changed = {} if secret is None else {"AWS_SECRET_ACCESS_KEY": secret}
    process = await asyncio.create_subprocess_exec(
        *command(folder, bucket, url, *options),
        env=environment(bucket) | changed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_after_kill_9_only_what_is_missing_is_sent(bucket: Bucket, folder: Path) -> None:
    async with running(bucket.endpoint.url) as proxy:
        reached = asyncio.Event()
        proxy.fail("part", pass_on, pass_on, hold(reached))
        process = await asyncio.create_subprocess_exec(
            *command(folder, bucket, proxy.url, "--parallel=1"),
            env=environment(bucket),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await asyncio.wait_for(reached.wait(), 60)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        assert proxy.parts == [1, 2, 3]
        assert unfinished(bucket, f"m/{LARGE}") == 1
        assert (await verified(bucket)).record.outcome in {"Missing", "Invalid"}
        proxy.reset()

        code, out, err = await run(folder, bucket, proxy.url, "-o", "json")

    assert code == 0, err
    assert sorted(proxy.parts) == [3, 4]
    size = (folder / LARGE).stat().st_size
    assert proxy.body_bytes["part"] == size - 2 * PART_BYTES
    assert proxy.requests["begin"] == 0
    report = json.loads(out)
    assert report["keptBytes"] == 2 * PART_BYTES
    assert report["digest"] == (await verified(bucket)).record.digest
    assert unfinished(bucket, f"m/{LARGE}") == 0


async def test_after_kill_9_between_files_the_finished_ones_are_not_sent_again(bucket: Bucket, small: Path) -> None:
    async with running(bucket.endpoint.url) as proxy:
        reached = asyncio.Event()
        proxy.fail("put", pass_on, hold(reached))
        process = await asyncio.create_subprocess_exec(
            *command(small, bucket, proxy.url),
            env=environment(bucket),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await asyncio.wait_for(reached.wait(), 60)
        process.kill()
        await process.wait()
        # config.json is the last of the model's files: until it is there, nobody takes the rest for a model.
        assert proxy.keys[-2:] == [("put", "m/model.safetensors"), ("put", "m/config.json")]
        assert keys(bucket) == ["m/model.safetensors"]
        proxy.reset()

        code, _, err = await run(small, bucket, proxy.url)

        assert code == 0, err
        assert [key for operation, key in proxy.keys if operation == "put"] == ["m/config.json", f"m/{MANIFEST}"]


async def pass_on(_request: object) -> None:
    return None


async def test_outages_on_the_way_are_gone_over(bucket: Bucket, folder: Path) -> None:
    async with running(bucket.endpoint.url) as proxy:
        proxy.fail("put", refuse(503, "SlowDown", retry_after="0"), cut)
        proxy.fail("part", cut, refuse(500, "InternalError"), pass_on, cut)
        proxy.fail("begin", refuse(503, "SlowDown"))
        proxy.fail("complete", refuse(200, "InternalError"))
        sender = Sender(folder, bucket, url=proxy.url)

        result = await sender.send()

        assert proxy.requests["part"] == PARTS + 3
        assert proxy.requests["complete"] == 2
    assert sender.artifact is not None
    assert result.sent_bytes == sender.artifact.total_bytes
    assert (await verified(bucket)).record.digest == sender.artifact.digest


async def test_a_lost_answer_to_the_completion_is_no_failure(bucket: Bucket, folder: Path) -> None:
    async with running(bucket.endpoint.url) as proxy:

        async def complete_but_lose_the_answer(request: web.Request) -> web.StreamResponse:
            await proxy.pass_on(request, "complete")
            return await cut(request)

        proxy.fail("complete", complete_but_lose_the_answer)
        sender = Sender(folder, bucket, url=proxy.url)
        await sender.send()
        assert proxy.requests["part"] == PARTS
    assert sender.artifact is not None
    assert (await verified(bucket)).record.digest == sender.artifact.digest


async def test_so_many_parts_go_at_once_and_no_more(minio_bucket: Bucket, folder: Path) -> None:
    async with running(minio_bucket.endpoint.url) as proxy:
        both = asyncio.Barrier(2)

        async def meet(_request: object) -> None:
            await asyncio.wait_for(both.wait(), 30)

        # Neither of the first two is passed on before the other is there.
        proxy.fail("part", meet, meet)
        await Sender(folder, minio_bucket, url=proxy.url, parallel=2).send()

        assert proxy.requests["part"] == PARTS
        assert proxy.most_bodies_at_once == 2


async def test_after_kill_9_before_the_checksum_only_that_is_computed(minio_bucket: Bucket, folder: Path) -> None:
    async with running(minio_bucket.endpoint.url) as proxy:
        reached = asyncio.Event()
        proxy.fail("copy", hold(reached))
        process = await asyncio.create_subprocess_exec(
            *command(folder, minio_bucket, proxy.url),
            env=environment(minio_bucket),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await asyncio.wait_for(reached.wait(), 60)
        process.kill()
        await process.wait()
        proxy.reset()

        result = await Sender(folder, minio_bucket, url=proxy.url).send()

        assert (proxy.requests["part"], proxy.requests["begin"], proxy.requests["copy"]) == (0, 0, 1)
        assert LARGE not in result.sent
        assert result.unsummed == ()
    assert (await verified(minio_bucket, content=False)).record.outcome == "Verified"


async def test_a_file_that_changes_is_noticed_and_the_manifest_not_written(bucket: Bucket, folder: Path) -> None:
    sender = Sender(folder, bucket)
    await sender.check()
    with (folder / LARGE).open("r+b") as file:
        file.seek(PART_BYTES * 2)
        file.write(b"changed")

    with pytest.raises(FileChanged, match=re.escape(LARGE)):
        await sender.send()

    assert f"m/{MANIFEST}" not in keys(bucket)
    assert f"m/{LARGE}" not in keys(bucket)


async def test_bytes_that_change_without_a_trace_are_refused_by_the_store(bucket: Bucket, folder: Path) -> None:
    sender = Sender(folder, bucket)
    await sender.check()
    before = (folder / LARGE).stat()
    with (folder / LARGE).open("r+b") as file:
        file.seek(PART_BYTES * 2)
        file.write(b"changed")
    os.utime(folder / LARGE, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(Exception, match="not those that were announced"):
        await sender.send()

    assert f"m/{LARGE}" not in keys(bucket)


async def test_a_file_that_changes_while_it_is_sent(minio_bucket: Bucket, folder: Path) -> None:
    async with running(minio_bucket.endpoint.url) as proxy:

        async def write_to_it(_request: object) -> None:
            with (folder / LARGE).open("ab") as file:
                file.write(b"more")

        proxy.fail("part", pass_on, pass_on, write_to_it)
        sender = Sender(folder, minio_bucket, url=proxy.url, parallel=1)
        with pytest.raises(FileChanged, match=re.escape(LARGE)):
            await sender.send()
        # It is noticed at once, and not asked again and again.
        assert proxy.requests["part"] <= 4
    assert f"m/{MANIFEST}" not in keys(minio_bucket)


async def test_another_object_is_in_the_way_until_it_may_be_overwritten(bucket: Bucket, small: Path) -> None:
    bucket.put("m/model.safetensors", b"another model")
    bucket.put("m/config.json", (small / "config.json").read_bytes())

    with pytest.raises(ObjectsInTheWay, match=r"'model.safetensors' of 13 bytes.*new version.*--overwrite"):
        await Sender(small, bucket).send()
    assert bucket.client.get_object(Bucket=bucket.name, Key="m/model.safetensors")["Body"].read() == b"another model"

    sender = Sender(small, bucket, overwrite=True)
    result = await sender.send()
    assert result.sent == ("model.safetensors",)
    assert sender.artifact is not None
    assert (await verified(bucket)).record.digest == sender.artifact.digest


async def test_an_object_of_the_same_size_is_told_by_its_bytes(bucket: Bucket, small: Path) -> None:
    data = (small / "model.safetensors").read_bytes()
    bucket.put("m/model.safetensors", data[:-1] + b"\x01")
    with pytest.raises(ObjectsInTheWay, match=r"model\.safetensors"):
        await Sender(small, bucket).send()

    # Written without a checksum, by whatever client: read, and found to be the same.
    bucket.put("m/model.safetensors", data)
    assert (await Sender(small, bucket).send()).sent == ("config.json",)


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
    with pytest.raises(ObjectsInTheWay, match=r"another model\.sig already. Say --overwrite"):
        await Sender(small, bucket).send()
    assert (await Sender(small, bucket, overwrite=True).send()).sent == (SIGNATURE,)


async def test_a_signature_of_other_files_is_noted(minio_bucket: Bucket, small: Path) -> None:
    (small / ".hidden").write_text("signed, but not sent")
    sign_folder(small, make_key(), into=small / SIGNATURE)

    artifact = await Sender(small, minio_bucket).check()

    assert "model.sig: the signature is not of these files: signed, but not there: '.hidden'" in artifact.notes[-1]


async def test_the_manifest_of_another_artifact_is_in_the_way(bucket: Bucket, small: Path) -> None:
    await Sender(small, bucket).send()
    (small / "README.md").write_text("more")
    with pytest.raises(ObjectsInTheWay, match=re.escape(MANIFEST)):
        await Sender(small, bucket).send()


async def test_objects_that_would_count_to_the_artifact_are_named_until_they_may_be_deleted(
    bucket: Bucket, small: Path
) -> None:
    bucket.put("m/old/model.safetensors", b"left behind")
    bucket.put("m/model.sig", b"a signature does not count")
    bucket.put("mm/other", b"not below the prefix")

    with pytest.raises(ObjectsInTheWay, match=r"'old/model.safetensors' of 11 bytes.*--prune"):
        await Sender(small, bucket).send()
    with pytest.raises(ObjectsInTheWay, match="--prune"):
        await Sender(small, bucket, overwrite=True).send()

    sender = Sender(small, bucket, prune=True)
    assert (await sender.send()).deleted == ("old/model.safetensors",)
    assert sorted(keys(bucket)) == [
        "m/config.json",
        f"m/{MANIFEST}",
        "m/model.safetensors",
        "m/model.sig",
        "mm/other",
    ]
    assert sender.artifact is not None
    assert (await verified(bucket)).record.digest == sender.artifact.digest


async def test_two_at_once_of_the_same_end_well(bucket: Bucket, folder: Path) -> None:
    senders = [Sender(folder, bucket) for _ in range(2)]
    for sender in senders:
        await sender.check()

    await asyncio.gather(*(sender.send() for sender in senders))

    assert senders[0].artifact is not None
    assert (await verified(bucket)).record.digest == senders[0].artifact.digest


def sent_again(bucket: Bucket, data: bytes) -> None:
    """What another upload of the same does: the large file is there anew, in parts."""
    large = {"Bucket": bucket.name, "Key": f"m/{LARGE}"}
    upload = bucket.client.create_multipart_upload(**large, ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE")
    parts: list[CompletedPartTypeDef] = []
    for number, start in enumerate(range(0, len(data), PART_BYTES), 1):
        part = bucket.client.upload_part(
            **large,
            UploadId=upload["UploadId"],
            PartNumber=number,
            Body=data[start : start + PART_BYTES],
            ChecksumAlgorithm="SHA256",
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]})
    bucket.client.complete_multipart_upload(**large, UploadId=upload["UploadId"], MultipartUpload={"Parts": parts})


@pytest.mark.parametrize(
    ("order", "copies"),
    [
        ("the other is done before the copy", 1),
        ("the other is done while the store copies", 1),
        ("the other completes while the store copies", 2),
        ("the other completes after the copy", 2),
    ],
)
async def test_whoever_has_the_checksum_computed_may_be_overtaken(
    minio_bucket: Bucket, folder: Path, weights: bytes, order: str, copies: int
) -> None:
    # What MinIO answers when the object is replaced while it reads it; the wait that it asks for is far too long here.
    replaced = refuse(503, "SlowDownRead", retry_after="60")
    async with running(minio_bucket.endpoint.url) as proxy:

        async def overtaken(request: web.Request) -> web.StreamResponse | None:
            match order:
                case "the other is done before the copy":
                    await Sender(folder, minio_bucket).send()
                    return None
                case "the other is done while the store copies":
                    await Sender(folder, minio_bucket).send()
                    return await replaced(request)
                case "the other completes while the store copies":
                    await asyncio.to_thread(sent_again, minio_bucket, weights)
                    return await replaced(request)
                case _:
                    answer = await proxy.pass_on(request, "copy")
                    await asyncio.to_thread(sent_again, minio_bucket, weights)
                    return answer

        proxy.fail("copy", overtaken)
        sender = Sender(folder, minio_bucket, url=proxy.url)

        result = await sender.send()

        assert proxy.requests["copy"] == copies
        assert result.unsummed == ()
    assert sender.artifact is not None
    assert (await verified(minio_bucket, content=False)).record.digest == sender.artifact.digest


async def test_tls_with_the_stores_own_authority(minio_tls: S3Endpoint, small: Path) -> None:
    with bucket_at(minio_tls) as bucket:
        code, out, err = await run(small, bucket, minio_tls.url, f"--ca={minio_tls.authority}", "-o", "json")
        assert code == 0, err
        assert json.loads(out)["digest"] == (await verified_at(bucket, minio_tls)).record.digest

        code, out, err = await run(small, bucket, minio_tls.url)
        assert (code, out) == (2, "")
        assert "--ca" in err


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


async def verified_at(bucket: Bucket, endpoint: S3Endpoint) -> CheckResult:
    assert endpoint.authority is not None
    async with opened(bucket, ca_pem=endpoint.authority.read_text()) as store:
        request = CheckRequest(store=store, prefix="m/", artifact_format="safetensors")
        return await Verifier(request, clock=WallClock(), slots=CheckSlots()).run()


async def test_the_command_prints_the_digest_and_a_version_to_apply(minio_bucket: Bucket, small: Path) -> None:
    (small / ".gitattributes").write_text("*.safetensors filter=lfs")
    options = ("--model=Granite 3.1", "--version=3.1", "--hardware-profile=nvidia-l40s", "--namespace=private-ai")
    code, out, err = await run(small, minio_bucket, minio_bucket.endpoint.url, "--dry-run", *options)
    assert code == 0, err
    assert keys(minio_bucket) == []
    assert "would send 2 of 2 files" in out

    code, out, err = await run(small, minio_bucket, minio_bucket.endpoint.url, *options)

    assert code == 0, err
    digest = (await verified(minio_bucket)).record.digest
    assert out.startswith(f"# {digest}\n")
    assert "left out: .gitattributes" in err
    assert minio_bucket.endpoint.credentials.secret_key not in out + err
    version = yaml.safe_load(out)
    assert version["metadata"] == {"name": "granite-3.1-3.1", "namespace": "private-ai"}
    assert version["spec"] == {
        "modelRef": {"name": "granite-3.1"},
        "version": "3.1",
        "artifact": {"uri": f"s3://{minio_bucket.name}/m/", "format": "safetensors", "digest": digest},
        "hardwareProfileRef": {"name": "nvidia-l40s"},
    }


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"evil.pkl": b"x"}, 1, "UnsafeFile"),
        ({"config.json": b"{"}, 1, "config.json"),
        ({"model.safetensors": safetensors_file({"a": ("BF16", (4, 4))})[:-1]}, 1, "model.safetensors"),
        ({"empty.txt": b""}, 1, "EmptyFile"),
        ({"new\nline.txt": b"x"}, 1, "HostileName"),
    ],
)
async def test_what_the_operator_would_refuse_is_refused_before_a_byte_is_sent(
    minio_bucket: Bucket, small: Path, change: dict[str, bytes], code: int, said: str
) -> None:
    write(small, change)
    async with running(minio_bucket.endpoint.url) as proxy:
        found = await run(small, minio_bucket, proxy.url)
        assert (found[0], found[1]) == (code, "")
        assert said in found[2]
        assert proxy.requests == Counter()


async def test_wrong_credentials_and_no_bucket_are_errors_that_say_so(minio_bucket: Bucket, small: Path) -> None:
    other = Bucket(minio_bucket.endpoint, "no-such-bucket", minio_bucket.client)
    code, _, err = await run(small, other, other.endpoint.url)
    assert code == 1
    assert "no such bucket" in err

    code, _, err = await run(small, minio_bucket, minio_bucket.endpoint.url, secret="wrong-wrong-wrong")
    assert code == 2
    assert "AWS_SECRET_ACCESS_KEY" in err
    assert "wrong-wrong" not in err
