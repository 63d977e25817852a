"""The meaning of stores' refusals: one table from codes, statuses and sentences to reasons that have a remedy.

Stores that implement S3 differ most in their refusals. A row of the table is a meaning with the codes and statuses that
stand for it in any store; ``_BY_WORDS`` has the codes with several meanings. A dialect is one more word in a row, and
one more line in the test's table. A store's sentence is matched and never quoted, because it may repeat signatures.

A person must correct the cause of a refusal that waits. Other refusals are retried. ``docs/stores.md`` documents each
reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["ARCHIVED", "CHANGED", "PROXY", "UNAVAILABLE", "Meaning", "StoreRefusal", "meaning_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRefusal:
    """A refusal as the store wrote it, with all values unchecked.

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


@dataclass(frozen=True, slots=True)
class Meaning:
    """``found`` and ``expected`` are clauses, ``remedy`` sentences. A request whose refusal does not wait is retried.

    ``codes`` are S3's and those of dialects, separated by blanks; ``statuses`` count where no code is known.
    """

    reason: str
    found: str
    expected: str = ""
    remedy: str = ""
    codes: str = ""
    statuses: tuple[int, ...] = ()
    waits: bool = True


DENIED: Final = Meaning(
    "AccessDenied",
    "access is denied",
    "credentials that may list the prefix and read its objects",
    "Allow the credentials in the credentialsSecret to list the prefix and to read its objects. For objects that "
    "are encrypted with a key of KMS, the credentials must also decrypt with that key. A bucket whose requesters pay "
    "requires requesterPays: true.",
    "AccessDenied AccessForbidden Forbidden InsufficientPermissions",
    (403,),
)
CREDENTIALS: Final = Meaning(
    "CredentialsRejected",
    "the credentials are not accepted",
    "an access key that the store knows",
    "Put a valid AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the credentialsSecret.",
    "InvalidAccessKeyId SignatureDoesNotMatch InvalidToken InvalidClientTokenId InvalidSecurity "
    "UnrecognizedClientException MissingAuthenticationToken UserSuspended Unauthorized "
    "AccessKeyDisabled InvalidAccessKey AuthFailure "
    # versitygw's word for an unknown access key, with status 404.
    "XAdminUserNotFound",
    (401,),
)
EXPIRED: Final = Meaning(
    "CredentialsExpired",
    "the credentials have expired",
    "credentials that are valid now",
    "Renew the credentials in the credentialsSecret. Temporary credentials expire: use a permanent key, or set "
    "workloadIdentity, which renews them.",
    "ExpiredToken ExpiredTokenException TokenRefreshRequired SecurityTokenExpired RequestExpired",
)
CLOCK: Final = Meaning(
    "ClockSkewed",
    "the clocks differ too much to sign requests",
    "clocks that are less than 15 minutes apart",
    "Set the clock of the node or of the store.",
    "RequestTimeTooSkewed RequestInTheFuture",
)
REGION: Final = Meaning(
    "RegionMismatch",
    "the bucket belongs to another region",
    "a request to the bucket's own region",
    "Set region and endpoint of the object store to those of the bucket.",
    "AuthorizationHeaderMalformed PermanentRedirect TemporaryRedirect Redirect BucketRegionError "
    "IllegalLocationConstraintException IncorrectEndpoint InvalidRegion",
)
REDIRECT: Final = Meaning(
    "RedirectRefused",
    "the endpoint redirects to another address",
    "an answer of the endpoint itself: no signed request follows a redirect",
    "Set endpoint to the address at which the store itself answers, if the store redirects. Otherwise check the "
    "proxies between the operator and the store.",
)
TLS: Final = Meaning(
    "TlsRequired",
    "the endpoint accepts https only",
    "an endpoint with https",
    "Write https:// into endpoint and leave tls at Required. If the store has a private authority, name its "
    "certificate in caSecret.",
)
ADDRESSING: Final = Meaning(
    "AddressingRefused",
    "the store does not accept the bucket's name in the path",
    "the bucket's name in the host's name",
    "Set addressing: VirtualHost for the object store.",
    # Alibaba OSS, Tencent COS, Volcengine TOS and Huawei OBS.
    "SecondLevelDomainForbidden PathStyleDomainForbidden InvalidPathAccess VirtualHostDomainRequired",
)
ARCHIVED: Final = Meaning(
    "ObjectArchived",
    "the object is in an archive and cannot be read",
    "an object in a storage class that can be read immediately",
    "Restore the object, or copy it to a class such as STANDARD, and exclude models in use from the lifecycle "
    "rules of the bucket.",
    "InvalidObjectState ObjectAlreadyInArchive ObjectNotRestored",
)
PAYS: Final = Meaning(
    "RequesterPays",
    "the requester must pay for each read of the bucket",
    "a request that accepts the payment",
    "Set requesterPays: true for the object store, if the account of its credentials may pay.",
    "UserProjectMissing RequesterPaysMissing",
)
KEY: Final = Meaning(
    "EncryptionKeyRefused",
    "the store could not use the encryption key of the object",
    "a key that is enabled, and credentials that may decrypt with the key",
    "Give the credentials kms:Decrypt for the key (and kms:GenerateDataKey to write). Check that the key exists and "
    "is enabled.",
    "KMSAccessDenied KMSNotConfigured KMSKeyNotFound KmsKeyNotFound XMinioKMSNotConfigured XMinioKMSKeyNotFound",
)
CUSTOMER_KEY: Final = Meaning(
    "EncryptedWithCustomerKey",
    "the object is encrypted with a key that each request must contain (SSE-C)",
    "objects that the store can decrypt",
    "Copy the object with SSE-S3 or SSE-KMS, or without a key of its own: KServe cannot read it either.",
    "MissingSSECustomerKey MissingSSECustomerKeyMD5 InvalidSSECustomerParameters "
    "ResourceIsEncryptedWithCustomerEncryptionKey CustomerEncryptionKeyIsIncorrect",
)
SUSPENDED: Final = Meaning(
    "AccountSuspended",
    "the account or the bucket is suspended",
    "an account in good standing",
    "Ask the provider of the store. In most cases a bill is due, or billing is disabled.",
    "AccountProblem AllAccessDisabled UserDisable NotSignedUp AccountSuspended UnpaidAccount InArrears "
    "UserProjectAccountProblem BillingDisabled",
    (402,),
)
BUCKET_NAME: Final = Meaning(
    "BucketNameRefused",
    "the store does not accept the name of the bucket",
    "a name of 3 to 63 lower-case letters, digits, dots and dashes",
    "Correct uriPrefix in the registry.",
    "InvalidBucketName",
)
LACKS: Final = Meaning(
    "StoreLacksOperation",
    "the store does not support the operation, or one of its options",
    "S3's ListObjectsV2, HeadObject and GetObject, and for uploads PutObject and multipart uploads",
    "Check that endpoint is the S3 API of the store, not its console or another API; otherwise use a store that "
    "supports the operation.",
    "NotImplemented XNotImplemented MethodNotAllowed NotSupported UnsupportedOperation",
    (405, 501),
)
PROXY: Final = Meaning(
    "ProxyRefused",
    "the proxy does not connect to the store",
    "a proxy that connects to the endpoint without credentials of its own",
    "Correct proxy of the object store, or configure the proxy to connect to the endpoint.",
    statuses=(407,),
)
FULL: Final = Meaning(
    "StoreFull",
    "the store has no space left",
    "space for the object",
    "Free space in the store, or raise the bucket's quota.",
    "QuotaExceeded XMinioAdminBucketQuotaExceeded XMinioStorageFull InsufficientStorage StorageFull "
    "EntityTooLargeForQuota InsufficientCapacity",
    (507,),
)
REFUSED: Final = Meaning(
    "StoreRefused",
    "the store refuses the request",
    "an answer of S3",
    "Check endpoint, bucket and region of the object store.",
)


def _passes(reason: str, found: str, codes: str, *statuses: int) -> Meaning:
    """A meaning whose requests are retried."""
    return Meaning(reason, found, codes=codes, statuses=statuses, waits=False)


THROTTLED: Final = _passes(
    "StoreThrottled",
    "the store asks for fewer requests",
    # AWS, and with 503 Ceph, NetApp StorageGRID, versitygw, Wasabi and GCS.
    "SlowDown RequestLimitExceeded Throttling ThrottlingException RequestThrottled BandwidthLimitExceeded "
    # MinIO, R2, GCS and Backblaze B2.
    "SlowDownRead SlowDownWrite TooManyRequests RateLimitExceeded rateLimitExceeded too_many_requests "
    "userRateLimitExceeded XMinioServerTooBusy TooManyRequestsException "
    # Alibaba OSS and Volcengine TOS.
    "DownloadTrafficRateLimitExceeded UploadTrafficRateLimitExceeded QpsLimitExceeded ExceedQPSLimit "
    "TotalQpsLimitExceeded MetaOperationQpsLimitExceeded ExceedRateLimit RequestRateTooHigh",
    429,
)
UNAVAILABLE: Final = _passes(
    "StoreUnavailable",
    "the store is not available",
    # With 400 or 409 as well, and yet transient.
    "RequestTimeout InternalError ServiceUnavailable OperationAborted ConditionalRequestConflict "
    "IncompleteBody XMinioServerNotInitialized XMinioBackendDown service_unavailable internal_error",
    408,
)
CHANGED: Final = _passes(
    "ObjectChanged",
    "the object is not the one that was listed",
    "NoSuchKey NoSuchVersion PreconditionFailed InvalidRange",
    412,
    416,
)
NO_BUCKET: Final = _passes("BucketMissing", "there is no such bucket", "NoSuchBucket")
BYTES: Final = _passes(
    "BytesRefused",
    "the store received other bytes than were announced",
    "BadDigest XAmzContentChecksumMismatch XAmzContentSHA256Mismatch",
)
GONE: Final = _passes("UploadGone", "the upload in parts no longer exists", "InvalidPart NoSuchUpload")

_MEANINGS: Final = (
    *(DENIED, CREDENTIALS, EXPIRED, CLOCK, REGION, REDIRECT, TLS, ADDRESSING, ARCHIVED, PAYS, KEY, CUSTOMER_KEY),
    *(SUSPENDED, BUCKET_NAME, LACKS, PROXY, FULL, REFUSED, THROTTLED, UNAVAILABLE, CHANGED, NO_BUCKET, BYTES, GONE),
)
_BY_CODE: Final[Mapping[str, Meaning]] = MappingProxyType(
    {code: meaning for meaning in _MEANINGS for code in meaning.codes.split()}
)
_BY_STATUS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {status: meaning for meaning in _MEANINGS for status in meaning.statuses}
)


@dataclass(frozen=True, slots=True)
class _Words:
    """A sentence that identifies the meaning of an ambiguous code; empty ``codes`` match any code, and none."""

    codes: frozenset[str]
    words: re.Pattern[str]
    meaning: Meaning


def _words(codes: str, pattern: str, meaning: Meaning) -> _Words:
    return _Words(frozenset(codes.split()), re.compile(pattern, re.IGNORECASE), meaning)


_BY_WORDS: Final = (
    _words("", r"HTTP request (was sent )?to (an )?HTTPS|HTTP request was sent to HTTPS port|use https", TLS),
    # AWS's own code is AccessDenied, as for every refusal by a policy.
    _words("AccessDenied InvalidArgument InvalidRequest", r"requester pays", PAYS),
    _words("AccessDenied AccessForbidden InvalidArgument InvalidRequest", r"\bkms\b|cloudkms|CryptoKey", KEY),
    _words("AccessDenied InvalidRequest", r"customer master key|ciphertext refers to", KEY),
    _words("InvalidRequest InvalidArgument", r"form of server.side encryption|customer.provided key", CUSTOMER_KEY),
    _words("AccessDenied", r"request has expired", EXPIRED),
    # AWS's sentence for 301; OSS has the same sentence with 403.
    _words("AccessDenied", r"must be addressed using the specified endpoint", REGION),
    _words("InvalidRequest InvalidBucketName InvalidURI", r"virtual.?host(ed)?.style|path.style", ADDRESSING),
    _words("ServiceUnavailable InternalError", r"reduce your|too many requests|rate limit", THROTTLED),
)
"""Matched in this order, before the codes."""

_KMS_CODE: Final = re.compile(r"KMS\.[A-Za-z]{1,60}")
_REDIRECTS: Final = range(300, 400)


def meaning_of(refusal: StoreRefusal) -> Meaning:
    """The meaning of a refusal: by its sentence where its code has several meanings, by its code, by its status."""
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
