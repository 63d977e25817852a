"""What a store's refusals and outages mean: one table from S3's codes to the errors that carry a policy.

Messages name the endpoint and the bucket and never quote the store's own sentence, which may repeat signatures.

========================= ========= ==============================================================
reason                    kind      when
========================= ========= ==============================================================
AccessDenied              Waiting   the credentials may not do this, or there are none
CredentialsRejected       Waiting   unknown, expired or wrong keys
CertificateRejected       Waiting   the store's certificate does not chain to the trusted ones
ClockSkewed               Waiting   the store's clock and ours differ too much
RegionMismatch            Waiting   the bucket lives in another region
StoreRefused              Waiting   any other 3xx or 4xx
StoreThrottled            Transient 429, or 503 with S3's words for it; carries Retry-After
StoreUnavailable          Transient 5xx, no connection, no answer in time, a body cut short
StoreAnswerInvalid        Transient an answer that is not S3's
ObjectChanged             Transient an object is not the one that was listed
BucketMissing             Transient there is no such bucket; a listing says so by being None
BytesRefused              Transient the bytes that arrived have not the checksum that was announced
UploadGone                Transient an upload in parts was completed or given up by somebody else
StoreFull                 Waiting   the store or the bucket's quota has no room left
========================= ========= ==============================================================
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp

from gatehouse.domain.errors import ReconcileError, Transient, Waiting

__all__ = ["Refusal", "StoreAddress", "answer_invalid", "cut_short", "from_exception", "from_refusal", "object_changed"]

_LOOK_AGAIN = timedelta(minutes=1)
_LONGEST_RETRY_AFTER = timedelta(minutes=10)
_REGION = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Which bucket of which endpoint, for messages."""

    endpoint: str
    bucket: str

    def __str__(self) -> str:
        return f"bucket {self.bucket} at {self.endpoint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is no success: its status, S3's code (letters and digits, or empty) and two headers."""

    status: int
    code: str
    retry_after: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class _Meaning:
    reason: str
    sentence: str
    remedy: str = ""
    waits: bool = True


_DENIED = _Meaning(
    "AccessDenied",
    "access is denied",
    "Give the credentials in the credentialsSecret leave to list the prefix and to read its objects.",
)
_CREDENTIALS = _Meaning(
    "CredentialsRejected",
    "the credentials are not accepted",
    "Put a valid AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the credentialsSecret.",
)
_REGION_WRONG = _Meaning(
    "RegionMismatch", "the bucket belongs to another region", "Set region and endpoint of the object store."
)
_CLOCK = _Meaning("ClockSkewed", "the clocks differ too much to sign requests", "Set the clock of the node.")
_THROTTLED = _Meaning("StoreThrottled", "the store asks for fewer requests", waits=False)
_UNAVAILABLE = _Meaning("StoreUnavailable", "the store is not available", waits=False)
_CHANGED = _Meaning("ObjectChanged", "the object is not the one that was listed", waits=False)
_NO_BUCKET = _Meaning("BucketMissing", "there is no such bucket", waits=False)
_BYTES = _Meaning("BytesRefused", "the bytes that arrived are not those that were announced", waits=False)
_GONE = _Meaning("UploadGone", "the upload in parts is no longer there", waits=False)
_FULL = _Meaning("StoreFull", "there is no room left", "Free space in the store, or raise the bucket's quota.")
_REFUSED = _Meaning(
    "StoreRefused", "the store refuses the request", "Check endpoint, bucket and region of the object store."
)

_BY_CODE: Mapping[str, _Meaning] = {
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AuthorizationHeaderMalformed": _REGION_WRONG,
    "BadDigest": _BYTES,
    "ExpiredToken": _CREDENTIALS,
    "InvalidAccessKeyId": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "NoSuchBucket": _NO_BUCKET,
    "InvalidPart": _GONE,
    "NoSuchKey": _CHANGED,
    "NoSuchUpload": _GONE,
    "PermanentRedirect": _REGION_WRONG,
    "QuotaExceeded": _FULL,
    "RequestLimitExceeded": _THROTTLED,
    "RequestTimeTooSkewed": _CLOCK,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "SlowDown": _THROTTLED,
    "SlowDownRead": _THROTTLED,
    "TemporaryRedirect": _REGION_WRONG,
    "TooManyRequests": _THROTTLED,
    "XAmzContentChecksumMismatch": _BYTES,
    "XAmzContentSHA256Mismatch": _BYTES,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    # versitygw's word for an unknown access key, with status 404.
    "XAdminUserNotFound": _CREDENTIALS,
}
_BY_STATUS: Mapping[int, _Meaning] = {
    301: _REGION_WRONG,
    307: _REGION_WRONG,
    401: _CREDENTIALS,
    403: _DENIED,
    408: _UNAVAILABLE,
    412: _CHANGED,
    416: _CHANGED,
    429: _THROTTLED,
    507: _FULL,
}


def from_refusal(address: StoreAddress, refusal: Refusal, *, what: str) -> ReconcileError:
    """The error for an answer that is no success; ``what`` was asked for, as in "listing models/x/"."""
    meaning = _BY_CODE.get(refusal.code) or _BY_STATUS.get(refusal.status)
    if meaning is None:
        meaning = _UNAVAILABLE if refusal.status >= 500 else _REFUSED
    code = f" {refusal.code}" if refusal.code else ""
    found = f"{meaning.sentence} (HTTP {refusal.status}{code})"
    if meaning is _REGION_WRONG and refusal.region and _REGION.fullmatch(refusal.region):
        found += f"; its region is {refusal.region}"
    return _error(address, meaning, what=what, found=found, not_before=_retry_after(refusal.retry_after))


def from_exception(address: StoreAddress, error: Exception, *, what: str) -> ReconcileError:
    """The error for a request that got no answer, or not all of it."""
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return _tls_error(address, error, what=what)
    if isinstance(error, aiohttp.http.HttpProcessingError | aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return answer_invalid(address, what=what, found="an answer that is not HTTP")
    return _error(address, _UNAVAILABLE, what=what, found=_outage(error))


def answer_invalid(address: StoreAddress, *, what: str, found: str) -> Transient:
    """The error for an answer that is not what S3 answers."""
    return Transient(
        reason="StoreAnswerInvalid",
        message=f"{what}, {address}: {found}",
        remedy="Check that the endpoint is an S3 API and nothing between changes its answers.",
    )


def cut_short(address: StoreAddress, *, what: str, received: int, wanted: int) -> Transient:
    """The error for a body that ended early without the connection saying so."""
    return Transient(
        reason=_UNAVAILABLE.reason, message=f"{what}, {address}: {received} bytes came of {wanted} asked for"
    )


def object_changed(address: StoreAddress, *, what: str, found: str) -> Transient:
    """The error for an object that is not the one that was listed."""
    return Transient(reason=_CHANGED.reason, message=f"{what}, {address}: {found}")


def _error(
    address: StoreAddress, meaning: _Meaning, *, what: str, found: str, not_before: timedelta | None = None
) -> ReconcileError:
    message = f"{what}, {address}: {found}"
    if meaning.waits:
        return Waiting(reason=meaning.reason, message=message, after=_LOOK_AGAIN, remedy=meaning.remedy)
    return Transient(reason=meaning.reason, message=message, not_before=not_before, remedy=meaning.remedy)


def _tls_error(address: StoreAddress, error: Exception, *, what: str) -> Waiting:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    detail = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or "handshake failed"
    return Waiting(
        reason="CertificateRejected",
        message=f"{what}, {address}: no trusted TLS connection ({str(detail)[:200]})",
        after=_LOOK_AGAIN,
        remedy="Put the PEM certificate of the store's authority into the caSecret, or correct the endpoint.",
    )


def _outage(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the name of the endpoint does not resolve"
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorError():
            return f"no connection ({(error.os_error.strerror or 'failed')[:100]})"
        case _:
            return "the connection ended before the whole answer had come"


def _retry_after(value: str | None) -> timedelta | None:
    """Seconds or a date, as in RFC 9110 section 10.2.3; never more than ten minutes."""
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(timedelta(seconds=int(value)), _LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    left = at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)
    return min(max(left, timedelta(0)), _LONGEST_RETRY_AFTER)
