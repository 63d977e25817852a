"""What is made of the stores that speak S3 each in their own way. A dialect is one more line of a table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from botocore.credentials import Credentials

from cluster.faultstore import BUCKET, MODIFIED, FaultStore, running
from dialects import Refuses, UploadStore, error
from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient, Waiting
from gatehouse.domain.formats.layout import lay_out
from gatehouse.storage.limits import Limits, RetryPolicy
from gatehouse.storage.metrics import NoMetrics
from gatehouse.storage.port import bytes_body
from gatehouse.storage.s3.client import S3Store, S3Stores
from gatehouse.storage.s3.refusals import StoreRefusal, meaning_of
from gatehouse.storage.s3.uploads import BucketAccess, open_bucket
from gatehouse.upload.transfer import Summing

QUICK = Limits(
    connect=1.0,
    read=1.0,
    small=RetryPolicy(attempts=3, backoff=0.001, patience=0.0, deadline=5.0),
    content=RetryPolicy(attempts=3, backoff=0.001, patience=0.0, deadline=5.0),
)
SIGNATURE = "AKIDSECRET"
"""What stores like to repeat in their sentences."""


@asynccontextmanager
async def opened(store: FaultStore, **spec: Any) -> AsyncIterator[S3Store]:
    async with running(store), aclosing(S3Stores(NoMetrics(), limits=QUICK)) as stores:
        declared = ObjectStore.model_validate(
            {"uriPrefix": f"s3://{BUCKET}/", "endpoint": store.url, "tls": "Disabled", **spec}
        )
        yield stores.open(declared, bucket=BUCKET, credentials=("key-id", "secret"), ca_pem=None)


async def refused(answer: web.Response) -> tuple[ReconcileError, UploadStore]:
    """What a listing comes to that is answered so, and the store with what it was asked."""
    store = UploadStore(refuses=lambda _request: _copied(answer))
    async with opened(store) as bucket:
        with pytest.raises(ReconcileError) as raised:
            assert await bucket.list("m/", limit=10) is not None, "there is no such bucket"
    return raised.value, store


def _copied(answer: web.Response) -> web.Response:
    """An answer can be sent once."""
    kept = {name: value for name, value in answer.headers.items() if name != "Content-Length"}
    return web.Response(status=answer.status, body=answer.body, headers=kept)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Who says so, the reason that it comes to, and what the message tells beside it."""

    who: str
    answer: web.Response = field(compare=False)
    reason: str
    tells: str = ""


def says(who: str, reason: str, status: int, code: str, message: str = "", *, tells: str = "", **more: str) -> Dialect:
    """One line of the table."""
    return Dialect(
        who=who, reason=reason, tells=tells, answer=error(status, code, f"{message} {SIGNATURE}".strip(), **more)
    )


REFUSALS = [
    says("anybody", "AccessDenied", 403, "AccessDenied", "Access Denied"),
    says("a proxy", "AccessDenied", 403, ""),
    says("AWS", "CredentialsRejected", 403, "InvalidAccessKeyId"),
    says("AWS, wrong secret", "CredentialsRejected", 403, "SignatureDoesNotMatch"),
    says("R2", "CredentialsRejected", 401, "Unauthorized"),
    says("Ceph, user suspended", "CredentialsRejected", 403, "UserSuspended"),
    says("versitygw", "CredentialsRejected", 404, "XAdminUserNotFound"),
    says("AWS, lent keys", "CredentialsExpired", 400, "ExpiredToken"),
    says("OSS, lent keys", "CredentialsExpired", 403, "SecurityTokenExpired"),
    says("AWS, presigned", "CredentialsExpired", 403, "AccessDenied", "Request has expired"),
    says(
        "AWS",
        "ClockSkewed",
        403,
        "RequestTimeTooSkewed",
        tells="the store says 2026-01-01T00:00:00Z",
        Date="Thu, 01 Jan 2026 00:00:00 GMT",
    ),
    says(
        "AWS, path style",
        "RegionMismatch",
        301,
        "PermanentRedirect",
        more="<Endpoint>models.s3-eu-west-1.amazonaws.com</Endpoint>",
        tells="models.s3-eu-west-1.amazonaws.com",
    ),
    says("AWS", "RegionMismatch", 301, "PermanentRedirect", x_amz_bucket_region="eu-west-1", tells="is eu-west-1"),
    says("AWS, without a body", "RegionMismatch", 301, "", x_amz_bucket_region="cn-north-1", tells="is cn-north-1"),
    says(
        "AWS, a new bucket",
        "RegionMismatch",
        307,
        "TemporaryRedirect",
        more="<Endpoint>models.s3-us-west-2.amazonaws.com</Endpoint>",
        tells="models.s3-us-west-2.amazonaws.com",
        location="https://models.s3-us-west-2.amazonaws.com/",
    ),
    says(
        "AWS, signed for another",
        "RegionMismatch",
        400,
        "AuthorizationHeaderMalformed",
        more="<Region>eu-central-1</Region>",
        tells="is eu-central-1",
    ),
    says("Ceph, another zone group", "RegionMismatch", 301, "PermanentRedirect"),
    says(
        "OSS",
        "RegionMismatch",
        403,
        "AccessDenied",
        "The bucket you are attempting to access must be addressed using the specified endpoint.",
        more="<Endpoint>oss-cn-hangzhou.aliyuncs.com</Endpoint>",
        tells="oss-cn-hangzhou.aliyuncs.com",
    ),
    says("a portal", "RedirectRefused", 302, "", location="https://login.example.com/start", tells="login.example.com"),
    says("a portal that lies", "RedirectRefused", 307, "", location="http://169.254.169.254/", tells="169.254.169.254"),
    says("a portal of nowhere", "RedirectRefused", 308, "", location="//user@/"),
    says("nginx", "TlsRequired", 400, "", location="/"),
    says("MinIO", "TlsRequired", 400, ""),
    says("OSS", "AddressingRefused", 403, "SecondLevelDomainForbidden", tells="in the host's name"),
    says("COS", "AddressingRefused", 403, "PathStyleDomainForbidden"),
    says("TOS", "AddressingRefused", 403, "InvalidPathAccess"),
    says("OBS", "AddressingRefused", 400, "VirtualHostDomainRequired"),
    says("AWS, Glacier", "ObjectArchived", 403, "InvalidObjectState", more="<StorageClass>GLACIER</StorageClass>"),
    says(
        "AWS",
        "RequesterPays",
        403,
        "AccessDenied",
        "Bucket is a requester pays bucket but no requester pays parameter was provided",
    ),
    says("GCS", "RequesterPays", 400, "UserProjectMissing"),
    says(
        "AWS, no leave",
        "EncryptionKeyRefused",
        403,
        "AccessDenied",
        "User: arn:aws:iam::1:user/a is not authorized to perform: kms:Decrypt on this resource",
    ),
    says("AWS, key off", "EncryptionKeyRefused", 400, "KMS.DisabledException", tells="KMS.DisabledException"),
    says("AWS, key to go", "EncryptionKeyRefused", 400, "KMS.KMSInvalidStateException"),
    says("AWS, no key", "EncryptionKeyRefused", 400, "KMS.NotFoundException"),
    says(
        "AWS, unsigned",
        "EncryptionKeyRefused",
        400,
        "InvalidArgument",
        "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.",
    ),
    says("GCS", "EncryptionKeyRefused", 403, "AccessDenied", "Permission denied on Cloud KMS key"),
    says("MinIO", "EncryptionKeyRefused", 400, "XMinioKMSNotConfigured"),
    says(
        "AWS, SSE-C",
        "EncryptedWithCustomerKey",
        400,
        "InvalidRequest",
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided",
    ),
    says("GCS", "EncryptedWithCustomerKey", 400, "ResourceIsEncryptedWithCustomerEncryptionKey"),
    says("AWS", "AccountSuspended", 403, "AccountProblem"),
    says("OSS", "AccountSuspended", 403, "UserDisable"),
    says("GCS", "AccountSuspended", 403, "UserProjectAccountProblem"),
    says("AWS", "BucketNameRefused", 400, "InvalidBucketName"),
    says("R2", "StoreLacksOperation", 501, "NotImplemented"),
    says("a console", "StoreLacksOperation", 405, ""),
    says("MinIO", "StoreFull", 507, "XMinioStorageFull"),
    says("Ceph", "StoreFull", 403, "QuotaExceeded"),
    says("anybody", "StoreRefused", 400, "InvalidRequest"),
    says("anybody", "StoreRefused", 418, ""),
    says("AWS", "StoreThrottled", 503, "SlowDown"),
    says("AWS, 200 of old", "StoreThrottled", 400, "RequestLimitExceeded"),
    says("GCS", "StoreThrottled", 429, "SlowDown"),
    says("GCS, JSON", "StoreThrottled", 429, "rateLimitExceeded"),
    says("R2", "StoreThrottled", 429, "TooManyRequests"),
    says("R2, one object", "StoreThrottled", 503, "ServiceUnavailable", "Reduce your concurrent request rate"),
    says("OSS, down", "StoreThrottled", 503, "DownloadTrafficRateLimitExceeded"),
    says("OSS, requests", "StoreThrottled", 503, "TotalQpsLimitExceeded"),
    says("Ceph", "StoreThrottled", 503, "SlowDown"),
    says("NetApp", "StoreThrottled", 503, "SlowDown"),
    says("versitygw", "StoreThrottled", 503, "SlowDown"),
    says("MinIO", "StoreThrottled", 503, "SlowDownRead"),
    says("B2", "StoreThrottled", 429, "too_many_requests"),
    says("TOS", "StoreThrottled", 429, "ExceedQPSLimit"),
    says("anybody", "StoreThrottled", 429, ""),
    says("AWS", "StoreUnavailable", 500, "InternalError"),
    says("AWS, a slow body", "StoreUnavailable", 400, "RequestTimeout"),
    says("AWS, two at once", "StoreUnavailable", 409, "OperationAborted"),
    says("B2", "StoreUnavailable", 503, "service_unavailable"),
    says("MinIO, starting", "StoreUnavailable", 503, "XMinioServerNotInitialized"),
    says("anybody", "StoreUnavailable", 502, ""),
]
PLAIN = {
    "nginx": "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
    "MinIO": "Client sent an HTTP request to an HTTPS server.\n",
}
"""Bodies of those who speak no XML."""
HEAL_BY_THEMSELVES = {"StoreThrottled", "StoreUnavailable"}


@pytest.mark.parametrize("dialect", REFUSALS, ids=lambda dialect: f"{dialect.who}: {dialect.reason}")
async def test_each_refusal_has_its_reason_and_a_way_out(dialect: Dialect) -> None:
    answer = dialect.answer
    if dialect.reason == "TlsRequired":
        answer = web.Response(status=400, text=PLAIN[dialect.who])
    failure, store = await refused(answer)

    assert failure.reason == dialect.reason
    assert f"listing m/, bucket {BUCKET} at {store.url}: " in failure.message
    assert f"(HTTP {answer.status}" in failure.message
    assert dialect.tells in failure.message
    said = f"{failure.message} {failure.remedy}"
    assert SIGNATURE not in said
    assert len(failure.message) < 600
    if dialect.reason in HEAL_BY_THEMSELVES:
        assert isinstance(failure, Transient)
    else:
        assert isinstance(failure, Waiting)
        assert "; expected: " in failure.message
        assert failure.remedy.endswith(".")
        assert len(store.asked) == 1, "what somebody must mend is asked once"


def test_each_reason_has_a_remedy_of_its_own() -> None:
    waiting = {each.reason: meaning_of(_refusal(each)) for each in REFUSALS if each.reason not in HEAL_BY_THEMSELVES}
    assert len({meaning.remedy for meaning in waiting.values()}) == len(waiting)
    assert len({meaning.found for meaning in waiting.values()}) == len(waiting)
    assert all(reason == meaning.reason for reason, meaning in waiting.items())


def _refusal(dialect: Dialect) -> StoreRefusal:
    text = PLAIN.get(dialect.who, "") if dialect.reason == "TlsRequired" else dialect.answer.text or ""
    code = text.partition("<Code>")[2].partition("</Code>")[0]
    message = text.partition("<Message>")[2].partition("</Message>")[0] or text
    region = dialect.answer.headers.get("x-amz-bucket-region")
    return StoreRefusal(status=dialect.answer.status, code=code, message=message, region=region)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["list", "read", "put"])
async def test_nothing_follows_a_redirect(status: int, method: str) -> None:
    elsewhere, store = UploadStore(), UploadStore({"m/a": b"1"})
    async with running(elsewhere), running(store):
        if method == "put":
            store.refuses = lambda request: error(status, "", location=f"{elsewhere.url}{request.path_qs}")
        else:
            store.refuses = lambda _request: error(status, "TemporaryRedirect", location=f"{elsewhere.url}/")
        async with open_bucket(_access(store), metrics=NoMetrics(), limits=QUICK) as bucket:
            asking: dict[str, Callable[[], Awaitable[object]]] = {
                "list": lambda: bucket.store.list("m/", limit=1),
                "read": lambda: bucket.uploads.head("m/a"),
                "put": lambda: bucket.uploads.put("m/b", bytes_body(b"1")),
            }
            with pytest.raises(Waiting) as raised:
                await asking[method]()
    assert raised.value.reason in {"RedirectRefused", "RegionMismatch"}
    assert elsewhere.asked == []


async def test_a_redirect_to_https_of_the_same_host_asks_for_https() -> None:
    store = UploadStore(refuses=lambda request: error(301, "", location=f"https://{request.host}/models"))
    async with opened(store) as bucket:
        with pytest.raises(Waiting) as raised:
            await bucket.list("m/", limit=1)
    assert (raised.value.reason, "https" in raised.value.remedy) == ("TlsRequired", True)


# What stores show


PAGE = (
    '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><KeyCount>0</KeyCount>'
    "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken></ListBucketResult>"
)


@dataclass
class EmptyPages(UploadStore):
    """``pages`` of none before the objects; ``same`` for ever the same token."""

    pages: int = 1
    same: bool = False
    shown: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "list-type" in request.query and self.shown < self.pages:
            self.shown += 1
            token = "again" if self.same else f"empty-{self.shown:04}"
            return web.Response(text=PAGE.format(token), content_type="application/xml")
        if request.query.get("continuation-token", "").startswith("empty-"):
            request = request.clone(rel_url=request.rel_url.without_query_params("continuation-token"))
        return await super().handle(request)


@pytest.mark.parametrize("pages", [1, 2, 100])
@pytest.mark.parametrize("limit", [1, 1000])
async def test_pages_without_objects_that_are_not_the_last_lead_on(pages: int, limit: int) -> None:
    store = EmptyPages({"m/a": b"1", "m/b": b"22"}, pages=pages)
    async with opened(store) as bucket:
        listing = await bucket.list("m/", limit=limit)
    assert listing is not None
    assert [(each.path, each.size) for each in listing.objects] == [("a", 1), ("b", 2)]
    assert store.shown == pages


@pytest.mark.parametrize(("pages", "same", "asked"), [(10_000, False, 101), (10_000, True, 2)])
async def test_pages_without_objects_come_to_an_end(pages: int, same: bool, asked: int) -> None:
    store = EmptyPages({"m/a": b"1"}, pages=pages, same=same)
    async with opened(store) as bucket:
        with pytest.raises(Transient) as raised:
            await bucket.list("m/", limit=1000)
    assert (raised.value.reason, store.shown) == ("StoreAnswerInvalid", asked)


@pytest.mark.parametrize("marker", ["m/", "m/sub/", "m/sub/deeper/"])
async def test_markers_of_directories_are_no_files(marker: str) -> None:
    files = {"m/config.json": b"{}", "m/sub/deeper/a.txt": b"1"}
    async with opened(FaultStore({**files, marker: b""})) as bucket:
        listing = await bucket.list("m/", limit=10)
    assert listing is not None
    laid_out = lay_out(listing, artifact_format="other")
    assert ([each.path for each in laid_out.files], laid_out.problems) == (["config.json", "sub/deeper/a.txt"], ())


CLASSES = [
    ("GLACIER", False),
    ("DEEP_ARCHIVE", False),
    ("ARCHIVE", False),
    ("ColdArchive", False),
    ("GLACIER", True),
    ("ARCHIVE", True),
    ("GLACIER_IR", True),
    ("STANDARD_IA", True),
    ("WARM-TIER", True),
]


@pytest.mark.parametrize(("storage_class", "handed_out"), CLASSES)
async def test_archived_objects_are_told_and_restored_ones_are_read(storage_class: str, handed_out: bool) -> None:
    def refuses(request: web.Request) -> web.Response | None:
        if "list-type" in request.query:
            return web.Response(
                text="<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>m/a</Key><Size>1000</Size>"
                f"<ETag>{store.etag('m/a')}</ETag><LastModified>{MODIFIED}</LastModified><StorageClass>"
                f"{storage_class}</StorageClass></Contents></ListBucketResult>",
                content_type="application/xml",
            )
        return None if handed_out else error(403, "InvalidObjectState")

    store = UploadStore({"m/a": b"a" * 1000}, refuses=refuses)
    async with opened(store) as bucket:
        # Whoever only asks whether the bucket answers reads nothing.
        assert await bucket.list("m/", limit=1) is not None
        assert store.asked == ["list"]
        if handed_out:
            assert await bucket.list("m/", limit=10, readable=True) is not None
            return
        with pytest.raises(Waiting) as raised:
            await bucket.list("m/", limit=10, readable=True)
    assert raised.value.reason == "ObjectArchived"
    assert f"reading m/a, bucket {BUCKET}" in raised.value.message
    assert storage_class in raised.value.message
    assert "Restore" in raised.value.remedy


async def test_minio_says_in_a_header_what_head_has_no_body_for() -> None:
    store = UploadStore({"m/a": b"1"}, refuses=lambda _request: error(503, "", x_minio_error_code="SlowDownRead"))
    async with running(store), open_bucket(_access(store), metrics=NoMetrics(), limits=QUICK) as bucket:
        with pytest.raises(Transient) as raised:
            await bucket.uploads.head("m/a")
    assert raised.value.reason == "StoreThrottled"


# How stores want to be asked


async def test_the_bucket_is_in_the_name_of_the_host_where_the_store_wants_it() -> None:
    """The store is asked by way of a proxy, so that its name need not resolve."""
    hosts: list[tuple[str, str]] = []

    def refuses(request: web.Request) -> web.Response | None:
        hosts.append((request.headers["Host"], request.path))
        return error(404, "NoSuchBucket")

    store = UploadStore(refuses=refuses)
    async with running(store), aclosing(S3Stores(NoMetrics(), limits=QUICK)) as stores:
        for endpoint in ("http://oss.example.com:8080", "http://models.oss.example.com:8080"):
            spec = ObjectStore(
                uri_prefix=f"s3://{BUCKET}/",
                endpoint=endpoint,
                tls="Disabled",
                addressing="VirtualHost",
                proxy=store.url,
            )
            bucket = stores.open(spec, bucket=BUCKET, credentials=("key-id", "secret"), ca_pem=None)
            assert await bucket.list("m/", limit=1) is None
    assert hosts == [("models.oss.example.com:8080", "/")] * 2


@pytest.mark.parametrize("pays", [True, False])
async def test_who_pays_says_so(pays: bool) -> None:
    store = UploadStore({"m/a": b"1"})
    async with opened(store, requesterPays=pays) as bucket:
        assert await bucket.list("m/", limit=1) is not None
    (seen,) = store.headers_seen
    assert seen.get("x-amz-request-payer") == ("requester" if pays else None)
    assert ("x-amz-request-payer" in seen["authorization"]) == pays


@pytest.mark.parametrize(
    ("spec", "host", "region"),
    [
        ({"region": "eu-west-1"}, "s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ({"region": "cn-north-1"}, "s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ({"region": "us-gov-west-1"}, "s3.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ({"region": "us-iso-east-1"}, "s3.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        ({"region": "us-isob-east-1"}, "s3.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
        (
            {"endpoint": "https://s3.dualstack.us-west-2.amazonaws.com"},
            "s3.dualstack.us-west-2.amazonaws.com",
            "us-west-2",
        ),
        (
            {"endpoint": "https://s3-fips.us-gov-east-1.amazonaws.com"},
            "s3-fips.us-gov-east-1.amazonaws.com",
            "us-gov-east-1",
        ),
        ({"endpoint": "https://minio.example.com", "region": "garage"}, "minio.example.com", "garage"),
    ],
)
async def test_requests_go_to_the_partition_and_are_signed_for_the_region_of_the_host(
    spec: dict[str, Any], host: str, region: str
) -> None:
    async with aclosing(S3Stores(NoMetrics(), limits=QUICK)) as stores:
        declared = ObjectStore.model_validate({"uriPrefix": "s3://models/", **spec})
        bucket = stores.open(declared, bucket=BUCKET, credentials=("key-id", "secret"), ca_pem=None)
        transport = bucket._transport
        assert transport.address.endpoint == f"https://{host}"
        assert transport._signer is not None
        signed = await transport._signer.sign("GET", url=f"https://{host}/models", headers={"host": host})
    assert f"/{region}/s3/aws4_request" in signed["Authorization"]


async def test_a_region_that_aws_has_not_needs_an_endpoint() -> None:
    async with aclosing(S3Stores(NoMetrics())) as stores:
        with pytest.raises(Stalled) as raised:
            stores.open(
                ObjectStore(uri_prefix="s3://models/", region="garage"), bucket=BUCKET, credentials=None, ca_pem=None
            )
    assert (raised.value.reason, "garage" in raised.value.message) == ("RegionUnknown", True)


# What stores lack


def _access(store: UploadStore) -> BucketAccess:
    return BucketAccess(
        endpoint=store.url, region="us-east-1", bucket=BUCKET, credentials=Credentials("key-id", "secret")
    )


def _names_checksums(request: web.Request) -> bool:
    return any(name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum")) for name in request.headers)


def _when(asked: bool, answer: web.Response) -> web.Response | None:
    return answer if asked else None


LACKING: dict[str, Refuses] = {
    "S3 itself": lambda _request: None,
    "R2: no checksums of uploads in parts": lambda request: _when(
        "uploads" in request.query and "x-amz-checksum-algorithm" in request.headers,
        error(501, "NotImplemented", "Header 'x-amz-checksum-algorithm' with value 'SHA256' not implemented"),
    ),
    "no checksums at all": lambda request: _when(_names_checksums(request), error(501, "NotImplemented")),
    "no checksums at all, as a bad request": lambda request: _when(
        _names_checksums(request) and "x-amz-copy-source" not in request.headers, error(400, "InvalidArgument")
    ),
    "no list of unfinished uploads": lambda request: _when(
        request.method == "GET" and "uploads" in request.query, error(501, "NotImplemented")
    ),
    "no copies": lambda request: _when("x-amz-copy-source" in request.headers, error(501, "NotImplemented")),
}


@pytest.mark.parametrize("lacking", LACKING)
async def test_an_upload_goes_on_without_what_the_store_lacks(lacking: str) -> None:
    store = UploadStore(refuses=LACKING[lacking])
    parts = [b"a" * 1000, b"b" * 10]
    async with running(store), open_bucket(_access(store), metrics=NoMetrics(), limits=QUICK) as bucket:
        uploads = bucket.uploads
        assert await uploads.unfinished("m/big") == ()
        upload = await uploads.begin("m/big")
        sent = [
            await uploads.put_part("m/big", upload, number, bytes_body(part)) for number, part in enumerate(parts, 1)
        ]
        await uploads.complete("m/big", upload, sent)
        await uploads.put("m/small", bytes_body(b"small"))
        known = await Summing(uploads).ask("m/big")
    assert store.objects == {"m/big": b"".join(parts), "m/small": b"small"}
    assert known is not None
    assert (known.size, known.sha256) == (1010, None)
    for operation in ("begin", "uploads", "copy"):
        assert store.asked.count(operation) <= 2, "a store that lacks something is not asked again and again"
    known_by_store = lacking in {"S3 itself", "no list of unfinished uploads", "no copies"}
    assert ("ChecksumSHA256" in store.completions[0]) == known_by_store
    assert all(seen.get("authorization", "").startswith("AWS4-HMAC-SHA256") for seen in store.headers_seen)


async def test_a_store_without_checksums_has_none_to_read() -> None:
    store = UploadStore({"m/a": b"1"}, refuses=lambda request: _when(_names_checksums(request), error(501, "")))
    async with opened(store) as bucket:
        listing = await bucket.list("m/", limit=1)
        assert listing is not None
        assert await bucket.stored_sha256("m/", listing.objects[0]) is None


# What stands between


@pytest.mark.parametrize(
    ("status", "reason"),
    [(403, "ProxyRefused"), (407, "ProxyRefused"), (502, "StoreUnavailable"), (504, "StoreUnavailable")],
)
async def test_a_proxy_that_lets_nothing_through_is_told_as_the_proxy(status: int, reason: str) -> None:
    """It is asked to connect to a host with https, and says no."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"CONNECT store.example.com:443 ")
        writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aclosing(S3Stores(NoMetrics(), limits=QUICK)) as stores:
        spec = ObjectStore(
            uri_prefix=f"s3://{BUCKET}/", endpoint="https://store.example.com", proxy=f"http://127.0.0.1:{port}"
        )
        bucket = stores.open(spec, bucket=BUCKET, credentials=("key-id", "secret"), ca_pem=None)
        with pytest.raises(ReconcileError) as raised:
            await bucket.list("m/", limit=1)
    assert raised.value.reason == reason
    assert "proxy" in raised.value.message
    assert f"(HTTP {status})" in raised.value.message
