"""What the adapter makes of a store that refuses, throttles, stalls, lies or cuts answers short."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from cluster.faultstore import (
    BUCKET,
    Fault,
    FaultStore,
    abort,
    changed,
    code,
    hang,
    running,
    stalling,
    truncated,
)
from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.artifact.layout import MAX_FILES
from gatehouse.domain.artifact.values import StoredObject
from gatehouse.domain.common.errors import ReconcileError, Transient, Waiting
from gatehouse.domain.formats.layout import lay_out
from gatehouse.storage.limits import Limits, RetryPolicy
from gatehouse.storage.s3.client import S3Store, S3Stores

SECRET = "do-not-show-this"
QUICK = Limits(
    connect=1.0,
    read=0.3,
    batch=0.3,
    small=RetryPolicy(attempts=3, backoff=0.001, patience=0.0, deadline=0.6),
    content=RetryPolicy(attempts=4, backoff=0.001, patience=1.5, deadline=None),
)


class Metrics:
    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.bytes = 0

    def request(self, operation: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.requests[operation, outcome] += 1

    def received(self, amount: int) -> None:
        self.bytes += amount


class Rig:
    def __init__(self, faults: FaultStore, store: S3Store, metrics: Metrics) -> None:
        self.faults = faults
        self.store = store
        self.metrics = metrics

    async def listed(self, path: str) -> StoredObject:
        listing = await self.store.list("m/", limit=MAX_FILES)
        assert listing is not None
        return next(stored for stored in listing.objects if stored.path == path)


@asynccontextmanager
async def rig_for(faults: FaultStore, *, limits: Limits = QUICK) -> AsyncIterator[Rig]:
    metrics = Metrics()
    async with running(faults), aclosing(S3Stores(metrics, limits=limits)) as stores:
        spec = ObjectStore(uri_prefix=f"s3://{BUCKET}/", endpoint=faults.url)
        yield Rig(faults, stores.open(spec, bucket=BUCKET, credentials=("key-id", SECRET), ca_pem=None), metrics)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rig_for(FaultStore({"m/a": b"a" * 1000, "m/big": bytes(range(256)) * 20_000})) as made:
        yield made


async def raised_by(rig: Rig, operation: str) -> ReconcileError:
    stored = StoredObject(path="a", size=1000, etag=rig.faults.etag("m/a"))
    match operation:
        case "list":
            asking: Coroutine[Any, Any, object] = rig.store.list("m/", limit=10)
        case "head":
            asking = rig.store.stored_sha256("m/", stored)
        case _:
            asking = rig.store.read("m/", stored, start=0, length=100)
    with pytest.raises(ReconcileError) as raised:
        await asking
    return raised.value


REFUSALS = [
    (code(403, "AccessDenied"), "AccessDenied", Waiting),
    (code(403), "AccessDenied", Waiting),
    (code(401), "CredentialsRejected", Waiting),
    (code(403, "InvalidAccessKeyId"), "CredentialsRejected", Waiting),
    (code(403, "SignatureDoesNotMatch"), "CredentialsRejected", Waiting),
    (code(404, "XAdminUserNotFound"), "CredentialsRejected", Waiting),
    (code(403, "RequestTimeTooSkewed"), "ClockSkewed", Waiting),
    (code(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"), "RegionMismatch", Waiting),
    (code(307, "", location="http://169.254.169.254/"), "RedirectRefused", Waiting),
    (code(404), "StoreRefused", Waiting),
    (code(400, "InvalidRequest"), "StoreRefused", Waiting),
    (code(412, "PreconditionFailed"), "ObjectChanged", Transient),
    (code(416, "InvalidRange"), "ObjectChanged", Transient),
    (code(404, "NoSuchKey"), "ObjectChanged", Transient),
    (code(429, "TooManyRequests"), "StoreThrottled", Transient),
    (code(503, "SlowDown"), "StoreThrottled", Transient),
]


@pytest.mark.parametrize(("fault", "reason", "kind"), REFUSALS)
async def test_refusals_are_told_apart_and_not_repeated(
    rig: Rig, fault: Fault, reason: str, kind: type[ReconcileError]
) -> None:
    rig.faults.fail("read", fault, forever=True)
    error = await raised_by(rig, "read")
    assert (error.reason, type(error)) == (reason, kind)
    assert rig.faults.requests["read"] == 1
    assert rig.metrics.requests == Counter({("read", reason): 1})


@pytest.mark.parametrize("operation", ["list", "read", "head"])
@pytest.mark.parametrize("fault", [code(500, "InternalError"), code(503), code(502), abort, hang])
async def test_outages_are_tried_three_times(rig: Rig, operation: str, fault: Fault) -> None:
    rig.faults.fail(operation, fault, forever=True)
    error = await raised_by(rig, operation)
    assert (error.reason, type(error)) == ("StoreUnavailable", Transient)
    # After a connection that ended without an answer aiohttp itself asks once more.
    assert rig.faults.requests[operation] == (6 if fault is abort else 3)
    assert rig.metrics.requests == Counter({(operation, "StoreUnavailable"): 3})


@pytest.mark.parametrize("operation", ["list", "read", "head"])
async def test_a_single_outage_goes_unnoticed(rig: Rig, operation: str) -> None:
    rig.faults.fail(operation, abort)
    stored = StoredObject(path="a", size=1000, etag=rig.faults.etag("m/a"))
    match operation:
        case "list":
            assert await rig.store.list("m/", limit=10) is not None
        case "read":
            assert await rig.store.read("m/", stored, start=0, length=3) == b"aaa"
        case "head":
            assert await rig.store.stored_sha256("m/", stored) is None
    assert rig.faults.requests[operation] == 2


async def test_messages_name_endpoint_and_bucket_and_quote_nothing(rig: Rig) -> None:
    for fault, *_ in REFUSALS:
        rig.faults.fail("read", fault)
        error = await raised_by(rig, "read")
        assert f"bucket {BUCKET} at {rig.faults.url}" in error.message
        assert "m/a" in error.message
        for secret in (SECRET, "key-id", "AKIDSECRET", "Signature="):
            assert secret not in f"{error} {error.remedy} {error!r}"
        assert len(error.message) < 500


async def test_the_region_of_the_bucket_is_named(rig: Rig) -> None:
    rig.faults.fail("list", code(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"))
    assert "eu-west-1" in (await raised_by(rig, "list")).message
    rig.faults.fail("list", code(301, "PermanentRedirect", x_amz_bucket_region="<script>"))
    assert "script" not in (await raised_by(rig, "list")).message


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("7", timedelta(seconds=7)),
        ("86400", timedelta(minutes=10)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", timedelta(0)),
        ("soon", None),
        ("-1", None),
        ("9" * 5000, None),
    ],
)
async def test_retry_after_is_passed_on(rig: Rig, header: str, wanted: timedelta | None) -> None:
    rig.faults.fail("list", code(429, "TooManyRequests", retry_after=header))
    error = await raised_by(rig, "list")
    assert isinstance(error, Transient)
    assert error.not_before == wanted


async def test_no_server_at_all() -> None:
    faults = FaultStore({"m/a": b"1"})
    async with running(faults):
        pass
    stores = S3Stores(Metrics(), limits=QUICK)
    store = stores.open(
        ObjectStore(uri_prefix="s3://models/", endpoint=faults.url), bucket="models", credentials=None, ca_pem=None
    )
    with pytest.raises(Transient) as raised:
        await store.list("m/", limit=10)
    assert raised.value.reason == "StoreUnavailable"
    assert "no connection" in raised.value.message
    await stores.aclose()


async def test_a_name_that_does_not_resolve() -> None:
    stores = S3Stores(Metrics(), limits=QUICK)
    spec = ObjectStore(uri_prefix="s3://models/", endpoint="http://store.invalid:9000")
    with pytest.raises(Transient) as raised:
        await stores.open(spec, bucket="models", credentials=None, ca_pem=None).list("m/", limit=1)
    assert (raised.value.reason, "resolve" in raised.value.message) == ("StoreUnavailable", True)
    await stores.aclose()


async def test_plain_http_where_tls_is_expected(rig: Rig) -> None:
    stores = S3Stores(Metrics(), limits=QUICK)
    spec = ObjectStore(uri_prefix="s3://models/", endpoint=rig.faults.url.replace("http:", "https:"))
    with pytest.raises(Waiting) as raised:
        await stores.open(spec, bucket="models", credentials=None, ca_pem=None).list("m/", limit=1)
    assert raised.value.reason == "CertificateRejected"
    await stores.aclose()


async def test_certificates_that_are_none() -> None:
    stores = S3Stores(Metrics())
    spec = ObjectStore(uri_prefix="s3://models/", endpoint="https://127.0.0.1:9")
    for pem in ("", "not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(Waiting) as raised:
            stores.open(spec, bucket="models", credentials=None, ca_pem=pem)
        assert raised.value.reason == "CertificateRejected"
    await stores.aclose()


@pytest.mark.parametrize(
    ("fault", "reason", "requests"),
    [
        (truncated(10), "StoreUnavailable", 3),
        (truncated(10, announced=False), "StoreUnavailable", 3),
        (stalling(10), "StoreUnavailable", 3),
        (changed(body=b"a" * 101), "StoreAnswerInvalid", 1),
        (changed(status=200, body=b"a" * 1000, content_range=None), "StoreAnswerInvalid", 1),
        (changed(content_range="bytes 1-100/1000"), "StoreAnswerInvalid", 1),
        (changed(content_range="bytes 0-99/*"), "StoreAnswerInvalid", 1),
        (changed(content_range="bytes 0-99/999"), "ObjectChanged", 1),
        (changed(etag='"another"'), "ObjectChanged", 1),
    ],
)
async def test_ranges_that_are_not_what_was_asked_for(rig: Rig, fault: Fault, reason: str, requests: int) -> None:
    rig.faults.fail("read", fault, forever=True)
    error = await raised_by(rig, "read")
    assert (error.reason, rig.faults.requests["read"]) == (reason, requests)


async def test_a_range_is_one_request_with_if_match(rig: Rig) -> None:
    stored = await rig.listed("a")
    assert await rig.store.read("m/", stored, start=10, length=5) == b"aaaaa"
    assert rig.faults.ranges == ["bytes=10-14"]
    assert await rig.store.read("m/", stored, start=0, length=1000) == b"a" * 1000
    assert rig.faults.ranges[1] is None
    rig.faults.objects["m/a"] = b"b" * 1000
    with pytest.raises(Transient) as raised:
        await rig.store.read("m/", stored, start=10, length=5)
    assert raised.value.reason == "ObjectChanged"


async def test_a_replaced_object_is_noticed_even_if_the_store_ignores_if_match(rig: Rig) -> None:
    stored = await rig.listed("a")
    rig.faults.honours_if_match = False
    rig.faults.objects["m/a"] = b"b" * 1000
    with pytest.raises(Transient) as raised:
        await rig.store.read("m/", stored, start=10, length=5)
    assert raised.value.reason == "ObjectChanged"
    rig.faults.objects["m/a"] = b"a" * 999
    with pytest.raises(Transient) as raised:
        await rig.store.read("m/", stored, start=0, length=1000)
    assert raised.value.reason == "ObjectChanged"


# Hashing


async def hashed(rig: Rig, told: list[int] | None = None) -> str:
    stored = StoredObject(path="big", size=5_120_000, etag=rig.faults.etag("m/big"))
    return await rig.store.sha256("m/", stored, progress=(told if told is not None else []).append)


BIG_SHA256 = hashlib.sha256(bytes(range(256)) * 20_000).hexdigest()


async def test_content_is_one_request_and_progress_adds_up(rig: Rig) -> None:
    told: list[int] = []
    assert await hashed(rig, told) == BIG_SHA256
    assert (rig.faults.requests["read"], sum(told), rig.metrics.bytes) == (1, 5_120_000, 5_120_000)
    assert len(told) == 3


@pytest.mark.parametrize(
    "faults",
    [
        [truncated(3_000_000)],
        [truncated(2_097_152), truncated(10), truncated(1_000_000, announced=False)],
        [stalling(2_500_000)],
        [truncated(100_000)] * 9,
        [code(503, "SlowDown", retry_after="1"), truncated(100)],
        [code(500), abort, truncated(4_000_000), abort, code(500)],
    ],
)
async def test_a_hash_goes_on_where_the_connection_broke(rig: Rig, faults: list[Fault]) -> None:
    told: list[int] = []
    rig.faults.fail("read", *faults)
    assert await hashed(rig, told) == BIG_SHA256
    assert sum(told) == 5_120_000
    assert rig.faults.requests["read"] == len(faults) + 1
    assert rig.metrics.bytes == 5_120_000


async def test_a_hash_gives_up_when_nothing_comes_any_more(rig: Rig) -> None:
    rig.faults.fail("read", truncated(1_000_000), abort, forever=True)
    with pytest.raises(Transient) as raised:
        await hashed(rig)
    assert raised.value.reason == "StoreUnavailable"
    # Something came during the first round of attempts, so there is a second.
    assert rig.metrics.requests == Counter({("read", "StoreUnavailable"): 2 * QUICK.content.attempts})


async def test_a_store_that_throttles_for_long_is_left_alone(rig: Rig) -> None:
    rig.faults.fail("read", code(503, "SlowDown", retry_after="60"), forever=True)
    with pytest.raises(Transient) as raised:
        await hashed(rig)
    assert (raised.value.reason, raised.value.not_before) == ("StoreThrottled", timedelta(seconds=60))
    assert rig.faults.requests["read"] == 1


async def test_an_object_replaced_between_two_connections_is_noticed(rig: Rig) -> None:
    etag = rig.faults.etag("m/big")
    rig.faults.fail("read", truncated(1_000_000))

    def replace(operation: str, key: str) -> None:
        if operation == "read":
            rig.faults.objects[key] = b"x" * 5_120_000

    rig.faults.after = replace
    with pytest.raises(Transient) as raised:
        await rig.store.sha256("m/", StoredObject(path="big", size=5_120_000, etag=etag), progress=lambda _: None)
    assert raised.value.reason == "ObjectChanged"


# Listing


async def test_paging_stops_at_the_limit() -> None:
    faults = FaultStore({f"m/{number:06}": b"1" for number in range(100_000)})
    async with rig_for(faults, limits=Limits()) as rig:  # a page of so many takes a moment, in this same process
        listing = await rig.store.list("m/", limit=MAX_FILES)
        assert listing is not None
        assert len(listing.objects) == MAX_FILES + 1
        assert faults.requests["list"] == 11
        assert [problem.reason for problem in lay_out(listing, artifact_format="other").problems] == ["TooManyFiles"]


async def test_pages_are_joined() -> None:
    faults = FaultStore({f"m/{number}": b"1" for number in range(25)}, page_keys=10)
    async with rig_for(faults) as rig:
        listing = await rig.store.list("m/", limit=MAX_FILES)
        assert listing is not None
        assert {stored.path for stored in listing.objects} == {str(number) for number in range(25)}
        assert faults.requests["list"] == 3


HOSTILE = [
    "../up",
    "a/../b",
    "a//b",
    "./x",
    "back\\slash",
    "tab\there",
    "new\nline",
    "carriage\rreturn",
    "bell\x07",
    "nul\x00",
    "delete\x7f",
    "\u202egpj.txt",
    "folder/",
    "-",
]
FINE = ["%2e%2e/x", "..%2f", "plus+ and space", "ünï/漢字", "a&b<c>'\"", "q?x=1#f", "~*!()'", "{}|^`[]"]


@pytest.mark.parametrize("url_encoding", [True, False])
async def test_names_are_listed_as_they_are_and_hostile_ones_refused(url_encoding: bool) -> None:
    carried = [name for name in HOSTILE if url_encoding or not any(character in "\x07\x00\r" for character in name)]
    faults = FaultStore({f"m/{name}": b"1" for name in [*carried, *FINE]}, url_encoding=url_encoding)
    async with rig_for(faults) as rig:
        listing = await rig.store.list("m/", limit=MAX_FILES)
        assert listing is not None
        assert {stored.path for stored in listing.objects} == {*carried, *FINE}
        found = lay_out(listing, artifact_format="other")
        assert [problem.reason for problem in found.problems] == ["HostileName"] * len(carried)


@pytest.mark.parametrize("name", FINE)
async def test_the_object_read_is_the_one_listed(name: str) -> None:
    decoys = {f"m/{decoy}": b"decoy" for decoy in ("../x", "x", "plus  and space", "a&amp;b")}
    async with rig_for(FaultStore({**decoys, f"m/{name}": b"right"})) as rig:
        stored = await rig.listed(name)
        assert await rig.store.read("m/", stored, start=0, length=5) == b"right"


async def test_a_name_that_is_not_utf_8_is_refused() -> None:
    async with rig_for(FaultStore({"m/a": b"1"})) as rig:
        rig.faults.fail("list", changed(body=page(b"<Key>m/not-utf8-%FF</Key><Size>1</Size><ETag>x</ETag>")))
        listing = await rig.store.list("m/", limit=10)
        assert listing is not None
        assert [problem.reason for problem in lay_out(listing, artifact_format="other").problems] == ["HostileName"]


async def test_a_sibling_prefix_is_not_asked_for() -> None:
    async with rig_for(FaultStore({"m/a": b"1", "m-2/b": b"1", "mm": b"1"})) as rig:
        listing = await rig.store.list("m/", limit=10)
        assert listing is not None
        assert [stored.path for stored in listing.objects] == ["a"]


def page(*entries: bytes, more: bytes = b"") -> bytes:
    """Entries that say nothing else of it were written at the same time."""
    contents = b"".join(
        b"<Contents>" + entry + (b"" if b"LastModified" in entry else WRITTEN) + b"</Contents>" for entry in entries
    )
    return b"<ListBucketResult><EncodingType>url</EncodingType>" + more + contents + b"</ListBucketResult>"


WRITTEN = b"<LastModified>2026-11-01T00:00:00.000Z</LastModified>"
OBJECT = b"<Key>m/a</Key><Size>1</Size><ETag>x</ETag>"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<html><body>Sign in</body></html>",
        b"\x00\x01\x02",
        page(OBJECT)[:-10],
        page(b"<Size>1</Size><ETag>x</ETag>"),
        page(b"<Key>m/a</Key><ETag>x</ETag>"),
        page(b"<Key>m/a</Key><Size>1</Size>"),
        page(OBJECT + b"<LastModified></LastModified>"),
        page(OBJECT + b"<LastModified>now</LastModified>"),
        page(OBJECT + b"<LastModified>" + b"1" * 65 + b"</LastModified>"),
        page(OBJECT + b"<Other/>").replace(WRITTEN, b""),
        page(b"<Key>m/a</Key><Size>-1</Size><ETag>x</ETag>"),
        page(b"<Key>m/a</Key><Size>1e9</Size><ETag>x</ETag>"),
        page(b"<Key>m/a</Key><Size>1</Size><ETag>x\r\ny</ETag>"),
        page(b"<Key>m/a</Key><Size>1</Size><ETag>" + b"x" * 300 + b"</ETag>"),
        page(b"<Key>m/" + b"x" * 1100 + b"</Key><Size>1</Size><ETag>x</ETag>"),
        page(b"<Key>m/" + b"x" * 20_000 + b"</Key><Size>1</Size><ETag>x</ETag>"),
        page(b"<Key>other/a</Key><Size>1</Size><ETag>x</ETag>"),
        page(OBJECT, OBJECT),
        page(b"<Key>m/a</Key><Key>m/b</Key><Size>1</Size><ETag>x</ETag>"),
        page(b"<Key>m/a<b/></Key><Size>1</Size><ETag>x</ETag>"),
        page(more=b"<IsTruncated>true</IsTruncated>"),
        page(more=b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"),
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + page(OBJECT),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + page(OBJECT),
        b"<a>" * 100,
        b"<ListBucketResult>" + b"<a>" * 100,
        page(OBJECT) + b" " * (9 * 1024 * 1024),
    ],
)
async def test_answers_that_are_no_listing(body: bytes) -> None:
    async with rig_for(FaultStore({"m/a": b"1"})) as rig:
        rig.faults.fail("list", changed(body=body), forever=True)
        error = await raised_by(rig, "list")
        assert (error.reason, type(error)) == ("StoreAnswerInvalid", Transient)
        assert rig.faults.requests["list"] <= 2


async def test_an_answer_that_is_not_http(rig: Rig) -> None:
    async def garbage(request: object, _answer: object) -> object:
        transport = request.transport  # type: ignore[attr-defined]  # an aiohttp request
        transport.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        transport.close()
        raise ConnectionResetError

    rig.faults.fail("list", garbage, forever=True)  # type: ignore[arg-type]  # never answers
    error = await raised_by(rig, "list")
    assert error.reason in {"StoreAnswerInvalid", "StoreUnavailable"}


async def test_a_missing_bucket_lists_as_none(rig: Rig) -> None:
    rig.faults.fail("list", code(404, "NoSuchBucket"))
    assert await rig.store.list("m/", limit=10) is None
    rig.faults.fail("read", code(404, "NoSuchBucket"))
    assert (await raised_by(rig, "read")).reason == "BucketMissing"


async def test_the_same_connection_is_the_same_store_and_rotated_credentials_are_another(rig: Rig) -> None:
    stores = S3Stores(Metrics())
    spec = ObjectStore(uri_prefix="s3://models/", endpoint=rig.faults.url)
    first = stores.open(spec, bucket="models", credentials=("a", "1"), ca_pem=None)
    assert stores.open(spec, bucket="models", credentials=("a", "1"), ca_pem=None) is first
    rotated = stores.open(spec, bucket="models", credentials=("a", "2"), ca_pem=None)
    assert rotated is not first
    assert stores.open(spec, bucket="models", credentials=("a", "1"), ca_pem=None) is not first
    assert stores.open(spec, bucket="other", credentials=("a", "2"), ca_pem=None) is not rotated
    await stores.aclose()
