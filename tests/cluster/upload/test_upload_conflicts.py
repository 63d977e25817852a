"""Objects that are in the way of an upload, files that change, and uploads that overtake each other."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from cluster.buckets import Bucket
from cluster.countingproxy import refuse, running
from gatehouse.domain.artifact.layout import MANIFEST
from gatehouse.storage.parts import PART_BYTES
from gatehouse.upload.folder import FileChanged
from gatehouse.upload.plan import ObjectsInTheWay

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef
from cluster.upload.uploads import LARGE, Sender, keys, pass_on, verified


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

    with pytest.raises(Exception, match="other bytes than were announced"):
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
