"""What the refusals of stores mean: one table from their codes, statuses and sentences to reasons that have a remedy.

Stores that speak S3 differ most where they refuse. A row of the table says which code, which status or which words of
which sentence stand for a meaning; a dialect is one more row, and one more line in the test's table. A store's
sentence is matched and never quoted, as it may repeat signatures.

========================== ========= ==============================================================
reason                     kind      when
========================== ========= ==============================================================
AccessDenied               waits     the credentials may not do this, or there are none
CredentialsRejected        waits     unknown or wrong keys
CredentialsExpired         waits     keys or a token that were lent and ran out
CertificateRejected        waits     the store's certificate does not chain to the trusted ones
ClockSkewed                waits     the store's clock and ours differ too much
RegionMismatch             waits     the bucket lives in another region, or at another endpoint
RedirectRefused            waits     a redirect that is not S3's: nothing signed follows it
TlsRequired                waits     the endpoint takes https and was asked by http
AddressingRefused          waits     the store wants the bucket in the host's name
ObjectArchived             waits     the object lies in an archive and must be restored first
RequesterPays              waits     who asks has to say that they pay
EncryptionKeyRefused       waits     the key of the object is disabled, gone, or not the credentials' to use
EncryptedWithCustomerKey   waits     the object opens only with a key that comes with each request
AccountSuspended           waits     the account does not pay, or was shut
BucketNameRefused          waits     no store has buckets of such a name
StoreLacksOperation        waits     the store does not have what was asked for
ProxyRefused               waits     the proxy before the store lets nothing through
StoreFull                  waits     the store or the bucket's quota has no room left
StoreRefused               waits     any other 3xx or 4xx
StoreThrottled             transient too many requests, in any store's words; carries Retry-After
StoreUnavailable           transient 5xx, no connection, no answer in time, a body cut short
StoreAnswerInvalid         transient an answer that is not S3's
ObjectChanged              transient an object is not the one that was listed
BucketMissing              transient there is no such bucket; a listing says so by being None
BytesRefused               transient the bytes that arrived have not the checksum that was announced
UploadGone                 transient an upload in parts was completed or given up by somebody else
========================== ========= ==============================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["ARCHIVED", "CHANGED", "PROXY", "UNAVAILABLE", "Meaning", "Refusal", "meaning_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is no success, as the store wrote it: nothing of it is checked yet.

    ``code`` is S3's, or empty. ``message`` is the store's sentence, which is matched and never shown. ``location`` is
    the header of a redirect, ``endpoint`` the host that the body names, ``date`` the store's time.
    """

    status: int
    code: str = ""
    message: str = ""
    retry_after: str | None = None
    region: str | None = None
    endpoint: str | None = None
    location: str | None = None
    date: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """``found`` and ``expected`` are clauses, ``remedy`` sentences. What does not wait is tried again by itself."""

    reason: str
    found: str
    expected: str = ""
    remedy: str = ""
    waits: bool = True


DENIED: Final = Meaning(
    reason="AccessDenied",
    found="access is denied",
    expected="credentials that may list the prefix and read its objects",
    remedy="Give the credentials in the credentialsSecret leave to list the prefix and to read its objects. Objects "
    "that are encrypted with a key of KMS take leave to decrypt by that key too, and a bucket whose requesters pay "
    "takes requesterPays: true.",
)
CREDENTIALS: Final = Meaning(
    reason="CredentialsRejected",
    found="the credentials are not accepted",
    expected="an access key that the store knows",
    remedy="Put a valid AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the credentialsSecret.",
)
EXPIRED: Final = Meaning(
    reason="CredentialsExpired",
    found="the credentials have expired",
    expected="credentials that are valid now",
    remedy="Renew what the credentialsSecret holds. Credentials that are lent run out: name a key that lasts, or set "
    "workloadIdentity, which renews them.",
)
CLOCK: Final = Meaning(
    reason="ClockSkewed",
    found="the clocks differ too much to sign requests",
    expected="clocks that are less than 15 minutes apart",
    remedy="Set the clock of the node, or that of the store.",
)
REGION: Final = Meaning(
    reason="RegionMismatch",
    found="the bucket belongs to another region",
    expected="a request to the bucket's own region",
    remedy="Set region and endpoint of the object store to those of the bucket.",
)
REDIRECT: Final = Meaning(
    reason="RedirectRefused",
    found="the endpoint redirects to another address",
    expected="an answer of the endpoint itself: no signed request follows a redirect",
    remedy="Set endpoint to the address that the store itself answers at, if it is the store that redirects. Otherwise "
    "look at what stands between.",
)
TLS: Final = Meaning(
    reason="TlsRequired",
    found="the endpoint takes https only",
    expected="an endpoint with https",
    remedy="Write https:// into endpoint and leave tls at Required. Name the store's authority in caSecret where that "
    "is a private one.",
)
ADDRESSING: Final = Meaning(
    reason="AddressingRefused",
    found="the store does not take the bucket's name in the path",
    expected="the bucket's name in the host's name",
    remedy="Set addressing: VirtualHost for the object store.",
)
ARCHIVED: Final = Meaning(
    reason="ObjectArchived",
    found="the object lies in an archive and cannot be read",
    expected="an object in a storage class that is read at once",
    remedy="Restore the object, or copy it to a class such as STANDARD, and keep the bucket's lifecycle rules away "
    "from models in use.",
)
PAYS: Final = Meaning(
    reason="RequesterPays",
    found="whoever reads the bucket has to pay for it",
    expected="a request that says so",
    remedy="Set requesterPays: true for the object store, if the account of its credentials is to pay.",
)
KEY: Final = Meaning(
    reason="EncryptionKeyRefused",
    found="the store could not use the key that the object is encrypted with",
    expected="a key that is enabled, and credentials that may decrypt by it",
    remedy="Give the credentials kms:Decrypt for the key (and kms:GenerateDataKey to write), and see that the key is "
    "enabled and there.",
)
CUSTOMER_KEY: Final = Meaning(
    reason="EncryptedWithCustomerKey",
    found="the object is encrypted with a key that has to come with each request (SSE-C)",
    expected="objects that the store decrypts by itself",
    remedy="Copy the object with SSE-S3 or SSE-KMS, or without encryption of its own: KServe cannot read it either.",
)
SUSPENDED: Final = Meaning(
    reason="AccountSuspended",
    found="the account or the bucket is shut",
    expected="an account in good standing",
    remedy="Ask the provider of the store: mostly a bill is due, or billing is off.",
)
BUCKET_NAME: Final = Meaning(
    reason="BucketNameRefused",
    found="the store takes no bucket of such a name",
    expected="a name of 3 to 63 lower-case letters, digits, dots and dashes",
    remedy="Mend uriPrefix in the registry.",
)
LACKS: Final = Meaning(
    reason="StoreLacksOperation",
    found="the store does not have that operation, or an option of it",
    expected="S3's ListObjectsV2, HeadObject and GetObject, and for uploads PutObject and multipart uploads",
    remedy="Check that endpoint is the S3 API of the store, not its console or another API; otherwise use a store that "
    "has the operation.",
)
PROXY: Final = Meaning(
    reason="ProxyRefused",
    found="the proxy lets no request through to the store",
    expected="a proxy that connects to the endpoint without credentials of its own",
    remedy="Mend proxy of the object store, or have the proxy let the endpoint through.",
)
FULL: Final = Meaning(
    reason="StoreFull",
    found="there is no room left",
    expected="room for the object",
    remedy="Free space in the store, or raise the bucket's quota.",
)
REFUSED: Final = Meaning(
    reason="StoreRefused",
    found="the store refuses the request",
    expected="an answer of S3",
    remedy="Check endpoint, bucket and region of the object store.",
)
THROTTLED: Final = Meaning(reason="StoreThrottled", found="the store asks for fewer requests", waits=False)
UNAVAILABLE: Final = Meaning(reason="StoreUnavailable", found="the store is not available", waits=False)
CHANGED: Final = Meaning(reason="ObjectChanged", found="the object is not the one that was listed", waits=False)
NO_BUCKET: Final = Meaning(reason="BucketMissing", found="there is no such bucket", waits=False)
BYTES: Final = Meaning(
    reason="BytesRefused", found="the bytes that arrived are not those that were announced", waits=False
)
GONE: Final = Meaning(reason="UploadGone", found="the upload in parts is no longer there", waits=False)


def _codes(rows: Iterable[tuple[Meaning, str]]) -> Mapping[str, Meaning]:
    return MappingProxyType({code: meaning for meaning, codes in rows for code in codes.split()})


_BY_CODE: Final = _codes(
    (
        (DENIED, "AccessDenied AccessForbidden Forbidden InsufficientPermissions"),
        (CREDENTIALS, "InvalidAccessKeyId SignatureDoesNotMatch InvalidToken InvalidClientTokenId InvalidSecurity"),
        (CREDENTIALS, "UnrecognizedClientException MissingAuthenticationToken UserSuspended Unauthorized"),
        (CREDENTIALS, "AccessKeyDisabled InvalidAccessKey AuthFailure"),
        # versitygw's word for an unknown access key, with status 404.
        (CREDENTIALS, "XAdminUserNotFound"),
        (EXPIRED, "ExpiredToken ExpiredTokenException TokenRefreshRequired SecurityTokenExpired RequestExpired"),
        (CLOCK, "RequestTimeTooSkewed RequestInTheFuture"),
        (REGION, "AuthorizationHeaderMalformed PermanentRedirect TemporaryRedirect Redirect BucketRegionError"),
        (REGION, "IllegalLocationConstraintException IncorrectEndpoint InvalidRegion"),
        # Alibaba OSS, Tencent COS, Volcengine TOS and Huawei OBS.
        (ADDRESSING, "SecondLevelDomainForbidden PathStyleDomainForbidden InvalidPathAccess VirtualHostDomainRequired"),
        (ARCHIVED, "InvalidObjectState ObjectAlreadyInArchive ObjectNotRestored"),
        (PAYS, "UserProjectMissing RequesterPaysMissing"),
        (KEY, "KMSAccessDenied KMSNotConfigured KMSKeyNotFound KmsKeyNotFound"),
        (KEY, "XMinioKMSNotConfigured XMinioKMSKeyNotFound"),
        (CUSTOMER_KEY, "MissingSSECustomerKey MissingSSECustomerKeyMD5 InvalidSSECustomerParameters"),
        (CUSTOMER_KEY, "ResourceIsEncryptedWithCustomerEncryptionKey CustomerEncryptionKeyIsIncorrect"),
        (
            SUSPENDED,
            "AccountProblem AllAccessDisabled UserDisable NotSignedUp AccountSuspended UnpaidAccount InArrears",
        ),
        (SUSPENDED, "UserProjectAccountProblem BillingDisabled"),
        (BUCKET_NAME, "InvalidBucketName"),
        (LACKS, "NotImplemented XNotImplemented MethodNotAllowed NotSupported UnsupportedOperation"),
        (FULL, "QuotaExceeded XMinioAdminBucketQuotaExceeded XMinioStorageFull InsufficientStorage StorageFull"),
        (FULL, "EntityTooLargeForQuota InsufficientCapacity"),
        # AWS, and with 503 Ceph, NetApp StorageGRID, versitygw, Wasabi and GCS.
        (
            THROTTLED,
            "SlowDown RequestLimitExceeded Throttling ThrottlingException RequestThrottled BandwidthLimitExceeded",
        ),
        # MinIO, R2, GCS and Backblaze B2.
        (THROTTLED, "SlowDownRead SlowDownWrite TooManyRequests RateLimitExceeded rateLimitExceeded too_many_requests"),
        (THROTTLED, "userRateLimitExceeded XMinioServerTooBusy TooManyRequestsException"),
        # Alibaba OSS and Volcengine TOS.
        (THROTTLED, "DownloadTrafficRateLimitExceeded UploadTrafficRateLimitExceeded QpsLimitExceeded ExceedQPSLimit"),
        (THROTTLED, "TotalQpsLimitExceeded MetaOperationQpsLimitExceeded ExceedRateLimit RequestRateTooHigh"),
        # With 400 or 409 as well, and yet over the next time.
        (UNAVAILABLE, "RequestTimeout InternalError ServiceUnavailable OperationAborted ConditionalRequestConflict"),
        (UNAVAILABLE, "IncompleteBody XMinioServerNotInitialized XMinioBackendDown service_unavailable internal_error"),
        (CHANGED, "NoSuchKey NoSuchVersion PreconditionFailed InvalidRange"),
        (NO_BUCKET, "NoSuchBucket"),
        (BYTES, "BadDigest XAmzContentChecksumMismatch XAmzContentSHA256Mismatch"),
        (GONE, "InvalidPart NoSuchUpload"),
    )
)

_BY_STATUS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        401: CREDENTIALS,
        402: SUSPENDED,
        403: DENIED,
        405: LACKS,
        407: PROXY,
        408: UNAVAILABLE,
        412: CHANGED,
        416: CHANGED,
        429: THROTTLED,
        501: LACKS,
        507: FULL,
    }
)


@dataclass(frozen=True, slots=True)
class _Words:
    """A code that means several things is told apart by the sentence; ``codes`` empty is any code, and none."""

    codes: frozenset[str]
    words: re.Pattern[str]
    meaning: Meaning


def _words(codes: str, pattern: str, meaning: Meaning) -> _Words:
    return _Words(frozenset(codes.split()), re.compile(pattern, re.IGNORECASE), meaning)


_BY_WORDS: Final = (
    _words("", r"HTTP request (was sent )?to (an )?HTTPS|HTTP request was sent to HTTPS port|use https", TLS),
    # AWS's own word is AccessDenied, as for everything that a policy refuses.
    _words("AccessDenied InvalidArgument InvalidRequest", r"requester pays", PAYS),
    _words("AccessDenied AccessForbidden InvalidArgument InvalidRequest", r"\bkms\b|cloudkms|CryptoKey", KEY),
    _words("AccessDenied InvalidRequest", r"customer master key|ciphertext refers to", KEY),
    _words("InvalidRequest InvalidArgument", r"form of server.side encryption|customer.provided key", CUSTOMER_KEY),
    _words("AccessDenied", r"request has expired", EXPIRED),
    # AWS's sentence for 301; OSS says the same with 403.
    _words("AccessDenied", r"must be addressed using the specified endpoint", REGION),
    _words("InvalidRequest InvalidBucketName InvalidURI", r"virtual.?host(ed)?.style|path.style", ADDRESSING),
    _words("ServiceUnavailable InternalError", r"reduce your|too many requests|rate limit", THROTTLED),
)
"""Matched in this order, before the codes."""

_KMS_CODE: Final = re.compile(r"KMS\.[A-Za-z]{1,60}")
_REDIRECTS: Final = range(300, 400)


def meaning_of(refusal: Refusal) -> Meaning:
    """What a refusal means: by its sentence where its code has several meanings, by its code, by its status."""
    for row in _BY_WORDS:
        if (not row.codes or refusal.code in row.codes) and row.words.search(refusal.message):
            return row.meaning
    known = KEY if _KMS_CODE.fullmatch(refusal.code) else _BY_CODE.get(refusal.code)
    if known is not None:
        return known
    if refusal.status in _REDIRECTS:
        return REGION if refusal.region else REDIRECT
    known = _BY_STATUS.get(refusal.status)
    if known is not None:
        return known
    return UNAVAILABLE if refusal.status >= 500 else REFUSED
