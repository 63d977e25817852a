"""The adapter against real stores: MinIO, with and without TLS, and versitygw."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from bench.granite import PARAMETERS, WEIGHTS_BYTES, granite_files, upload
from cluster.buckets import Bucket, Metrics, WallClock, bucket_at, opened
from collisions import ONE, OTHER
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, CheckResult, Verifier
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.errors import Transient, Waiting
from gatehouse.domain.formats.layout import lay_out
from gatehouse.domain.version.records import FileRecord
from gatehouse.storage.s3.client import S3Store
from gatehouse_local.ephemeral import RunningVersitygw
from gatehouse_local.s3 import S3Endpoint
from modelfiles import config_json, safetensors_file


async def objects(store: S3Store, prefix: str) -> dict[str, StoredObject]:
    listing = await store.list(prefix, limit=100)
    assert listing is not None
    return {stored.path: stored for stored in listing.objects}


async def check(store: S3Store, prefix: str, **options: bool) -> CheckResult:
    request = CheckRequest(store=store, prefix=prefix, artifact_format="safetensors", **options)
    return await Verifier(request, clock=WallClock(), slots=CheckSlots()).run()


def whole_seconds(files: Sequence[FileRecord]) -> bool:
    """Whether the store writes times without fractions of a second."""
    return all(not datetime.fromisoformat(file.modified).microsecond for file in files)


async def test_a_tiny_artifact_costs_one_list_and_one_get_an_object(bucket: Bucket) -> None:
    bucket.put("m/config.json", config_json())
    bucket.put("m/model.safetensors", safetensors_file({"a": ("BF16", (4, 4))}))
    bucket.put("m/tokenizer.json", b"{}")
    bucket.put("m-2/evil.pkl", b"not this one")
    metrics = Metrics()
    async with opened(bucket, metrics=metrics) as store:
        result = await check(store, "m/")
    assert result.record.outcome == "Verified"
    assert metrics.requests["read"] == 3
    # A store that counts whole seconds is listed again until the second is over in which the objects were written.
    assert metrics.requests["list"] <= (3 if whole_seconds(result.files or ()) else 1)
    assert result.record.summary is not None
    assert metrics.bytes == result.record.summary.total_bytes


FINE = [
    "%2e%2e/x",
    "..%2f",
    "plus+ and space",
    "ünï/漢字",
    "a&b<c>'\"",
    "q?x=1#f",
    "~*!()'",
    "{}|^`[]",
    " lead",
    "trail ",
]
HOSTILE = ["back\\slash", "tab\there", "new\nline", "one\x01", "delete\x7f", "\u202egpj.txt", "../up", "a//b", "./x"]


async def test_every_name_is_read_as_listed_or_refused(bucket: Bucket) -> None:
    stored_at_all = []
    for name in [*FINE, *HOSTILE]:
        with contextlib.suppress(ClientError):
            bucket.put(f"m/{name}", name.encode())
            stored_at_all.append(name)
    assert set(FINE) <= set(stored_at_all)
    async with opened(bucket) as store:
        listed = await objects(store, "m/")
        refused = {stored.path for stored in listed.values() if _is_refused(stored)}
        assert set(FINE) <= set(listed) - refused
        assert refused
        # A store may have normalised a name before it stored it: then it is another, plain one.
        for path in set(listed) - refused:
            content = (await store.read("m/", listed[path], start=0, length=listed[path].size)).decode()
            assert content == path or content in HOSTILE


def _is_refused(stored: StoredObject) -> bool:
    found = lay_out(Listing.of([stored]), artifact_format="other")
    return [problem.reason for problem in found.problems] == ["HostileName"]


async def test_a_file_name_that_is_not_utf_8_is_refused(versitygw: RunningVersitygw) -> None:
    with bucket_at(versitygw.endpoint, versitygw.data) as bucket:
        bucket.put("m/plain", b"1")
        assert bucket.data is not None
        (bucket.data / "m" / "plain").rename(bucket.data / "m" / "not-utf8-\udcff")
        async with opened(bucket) as store:
            # The gateway keeps no ETag for a file that it did not write, so nothing below the prefix is trusted.
            with pytest.raises(Transient) as raised:
                await store.list("m/", limit=10)
        assert raised.value.reason == "StoreAnswerInvalid"


async def test_markers_of_folders_are_no_files(bucket: Bucket) -> None:
    bucket.put("m/", b"")
    bucket.put("m/sub/", b"")
    async with opened(bucket) as store:
        assert (await check(store, "m/")).record.outcome == "Missing"
        bucket.put("m/config.json", config_json())
        bucket.put("m/sub/model.txt", b"1")
        found = lay_out(Listing.of((await objects(store, "m/")).values()), artifact_format="other")
        assert [stored.path for stored in found.files] == ["config.json", "sub/model.txt"]


async def test_what_is_not_there(bucket: Bucket) -> None:
    async with opened(bucket) as store:
        assert await store.list("nothing/", limit=10) == Listing(())
    async with opened(bucket, name="no-such-bucket-here") as store:
        assert await store.list("m/", limit=10) is None


@pytest.mark.parametrize("credentials", [("unknown-key", "x" * 40), (None, "wrong-secret-wrong-secret-wrong-secret")])
async def test_wrong_credentials(bucket: Bucket, credentials: tuple[str | None, str]) -> None:
    key = credentials[0] or bucket.endpoint.credentials.access_key
    async with opened(bucket, credentials=(key, credentials[1])) as store:
        with pytest.raises(Waiting) as raised:
            await store.list("m/", limit=10)
    assert raised.value.reason == "CredentialsRejected"
    assert credentials[1] not in raised.value.message


async def test_anonymous_is_denied_where_the_bucket_is_private(bucket: Bucket) -> None:
    async with opened(bucket, anonymous=True) as store:
        with pytest.raises(Waiting) as raised:
            await store.list("m/", limit=10)
    assert raised.value.reason == "AccessDenied"


async def test_anonymous_reads_a_public_bucket(minio: S3Endpoint) -> None:
    with bucket_at(minio) as bucket:
        bucket.put("m/a", b"public")
        bucket.client.put_bucket_policy(
            Bucket=bucket.name,
            Policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
            '"Action":["s3:GetObject","s3:ListBucket"],'
            f'"Resource":["arn:aws:s3:::{bucket.name}","arn:aws:s3:::{bucket.name}/*"]}}]}}',
        )
        async with opened(bucket, anonymous=True) as store:
            stored = (await objects(store, "m/"))["a"]
            assert await store.read("m/", stored, start=0, length=6) == b"public"


async def test_another_object_of_the_same_etag_is_noticed(bucket: Bucket) -> None:
    """A time in whole seconds is another one after a second: the object is put until the store shows another time."""
    bucket.put("m/a", ONE)
    async with opened(bucket) as store:
        before = await store.list("m/", limit=10)
        assert before is not None
        while True:
            bucket.put("m/a", OTHER)
            after = await store.list("m/", limit=10)
            assert after is not None
            if after.objects[0].modified != before.objects[0].modified:
                break
        assert (after.objects[0].etag, after.objects[0].size) == (before.objects[0].etag, before.objects[0].size)
        assert after.fingerprint != before.fingerprint


@pytest.fixture
def minio_bucket(minio: S3Endpoint) -> Iterator[Bucket]:
    with bucket_at(minio) as made:
        yield made


def keep_versions(bucket: Bucket) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})


async def test_a_bucket_that_keeps_versions_shows_every_overwrite(minio_bucket: Bucket) -> None:
    minio_bucket.put("m/before", b"1")
    keep_versions(minio_bucket)
    minio_bucket.put("m/a", ONE)
    minio_bucket.put("m/gone", b"1")
    minio_bucket.client.delete_object(Bucket=minio_bucket.name, Key="m/gone")
    for number in range(3):
        minio_bucket.put("m/b", str(number).encode())
    async with opened(minio_bucket, versioned=True) as store, opened(minio_bucket) as plain:
        first = await objects(store, "m/")
        shown = {path: replace(each, version_id="") for path, each in first.items()}
        assert shown == await objects(plain, "m/")
        assert set(first) == {"a", "b", "before"}
        assert first["before"].version_id == "null"
        assert await store.read("m/", first["b"], start=0, length=1) == b"2"
        assert await store.read("m/", first["before"], start=0, length=1) == b"1"

        # The same ETag and the same size; whether the same time does not matter.
        minio_bucket.put("m/a", OTHER)
        second = await objects(store, "m/")
        assert second["a"].version_id != first["a"].version_id
        assert second["a"].etag == first["a"].etag
        for ask in (
            store.read("m/", first["a"], start=0, length=8),
            store.sha256("m/", first["a"], progress=lambda _: None),
            store.stored_sha256("m/", first["a"]),
        ):
            with pytest.raises(Transient) as raised:
                await ask
            assert raised.value.reason == "ObjectChanged"


async def test_versions_are_listed_page_by_page(minio_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatehouse.storage.s3.client._PAGE_KEYS", 2)
    keep_versions(minio_bucket)
    for key in ("m/a b+c", "m/ü&<x>", "m/z"):
        for number in range(5):
            minio_bucket.put(key, str(number).encode())
    async with opened(minio_bucket, versioned=True) as store, opened(minio_bucket) as plain:
        found = await objects(store, "m/")
        assert set(found) == {"a b+c", "ü&<x>", "z"}
        assert {path: each.etag for path, each in found.items()} == {
            path: each.etag for path, each in (await objects(plain, "m/")).items()
        }
        limited = await store.list("m/", limit=1)
        assert limited is not None
        assert len(limited.objects) == 2
        monkeypatch.setattr("gatehouse.storage.s3.client._MOST_PAGES", 3)
        with pytest.raises(Transient, match="remove old versions") as raised:
            await store.list("m/", limit=10)
        assert raised.value.reason == "StoreAnswerInvalid"


async def test_a_listing_shows_when_objects_were_written_and_when_it_was_made(bucket: Bucket) -> None:
    bucket.put("m/a", b"1")
    async with opened(bucket) as store:
        listing = await store.list("m/", limit=10)
    assert listing is not None
    assert listing.answered_at is not None
    written = datetime.fromisoformat(listing.objects[0].modified)
    assert abs(written - listing.answered_at) < timedelta(minutes=1)


async def test_a_replaced_object_is_noticed(bucket: Bucket) -> None:
    bucket.put("m/a", b"a" * 20_000_000)
    async with opened(bucket) as store:
        stored = (await objects(store, "m/"))["a"]
        assert (
            await store.sha256("m/", stored, progress=lambda _: None) == hashlib.sha256(b"a" * 20_000_000).hexdigest()
        )
        bucket.put("m/a", b"b" * 20_000_000)
        for ask in (
            store.read("m/", stored, start=5, length=5),
            store.sha256("m/", stored, progress=lambda _: None),
            store.stored_sha256("m/", stored),
        ):
            with pytest.raises(Transient) as raised:
                await ask
            assert raised.value.reason == "ObjectChanged"
        bucket.client.delete_object(Bucket=bucket.name, Key="m/a")
        with pytest.raises(Transient) as raised:
            await store.read("m/", stored, start=5, length=5)
        assert raised.value.reason == "ObjectChanged"


# Checksums: only those of a whole object count.

PART = 5 * 1024 * 1024


async def stored_checksum(bucket: Bucket, key: str) -> str | None:
    async with opened(bucket) as store:
        return await store.stored_sha256("m/", (await objects(store, "m/"))[key])


async def test_the_checksum_of_a_single_upload_counts(bucket: Bucket) -> None:
    data = b"content" * 1000
    checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
    bucket.client.put_object(Bucket=bucket.name, Key="m/a", Body=data, ChecksumSHA256=checksum)
    assert await stored_checksum(bucket, "a") == hashlib.sha256(data).hexdigest()


async def test_an_object_without_checksum_has_none(bucket: Bucket) -> None:
    bucket.put("m/a", b"content")
    assert await stored_checksum(bucket, "a") is None


@pytest.mark.parametrize("parts", [1, 2])
async def test_the_checksum_of_a_multipart_upload_does_not(bucket: Bucket, parts: int) -> None:
    client, name = bucket.client, bucket.name
    started = client.create_multipart_upload(Bucket=name, Key="m/a", ChecksumAlgorithm="SHA256")
    uploaded = [
        client.upload_part(
            Bucket=name,
            Key="m/a",
            UploadId=started["UploadId"],
            PartNumber=number,
            Body=bytes([number]) * PART,
            ChecksumAlgorithm="SHA256",
        )
        for number in range(1, parts + 1)
    ]
    client.complete_multipart_upload(
        Bucket=name,
        Key="m/a",
        UploadId=started["UploadId"],
        MultipartUpload={
            "Parts": [
                {"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}
                for number, part in enumerate(uploaded, start=1)
            ]
        },
    )
    assert await stored_checksum(bucket, "a") is None


# TLS


async def test_the_authority_in_the_secret_is_the_only_one_trusted(minio_tls: S3Endpoint, tmp_path: Path) -> None:
    assert minio_tls.authority is not None
    with bucket_at(minio_tls) as bucket:
        bucket.put("m/a", b"over TLS")
        async with opened(bucket, ca_pem=minio_tls.authority.read_text()) as store:
            stored = (await objects(store, "m/"))["a"]
            assert await store.read("m/", stored, start=5, length=3) == b"TLS"


async def test_another_authority_and_none_are_refused(minio_tls: S3Endpoint, tmp_path: Path) -> None:
    from gatehouse_local.pki import ensure_certificate

    other = ensure_certificate(tmp_path / "tls", authority="another")
    with bucket_at(minio_tls) as bucket:
        for ca_pem in (other.authority.read_text(), None):
            async with opened(bucket, ca_pem=ca_pem) as store:
                with pytest.raises(Waiting) as raised:
                    await store.list("m/", limit=10)
            assert raised.value.reason == "CertificateRejected"
            assert minio_tls.url in raised.value.message


async def test_the_structure_of_a_full_size_granite_costs_kilobytes(versitygw: RunningVersitygw) -> None:
    with bucket_at(versitygw.endpoint, versitygw.data) as bucket:
        assert bucket.data is not None
        upload(
            granite_files(),
            put=lambda path, body: bucket.put(f"granite/{path}", body),
            folder=bucket.data / "granite",
        )
        metrics = Metrics()
        async with opened(bucket, metrics=metrics) as store:
            result = await check(store, "granite/", content=False, trust_store_checksums=False)
    summary = result.record.summary
    assert summary is not None
    assert (summary.parameters, summary.weights_bytes) == (PARAMETERS, WEIGHTS_BYTES)
    assert metrics.requests["read"] + metrics.requests["head"] <= 11
    assert metrics.requests["list"] <= 3
    assert metrics.bytes <= 2 * 1024 * 1024
