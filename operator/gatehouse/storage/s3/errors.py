"""The errors for refusals and outages of a store, each with a policy, the finding and the expectation.

Messages name the endpoint and the bucket and never quote the store's own sentence, which may repeat signatures.
:mod:`gatehouse.storage.s3.refusals` lists the reasons.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from gatehouse.domain.common.errors import ReconcileError, Transient, Waiting
from gatehouse.storage.s3.refusals import ARCHIVED, CHANGED, PROXY, UNAVAILABLE, Meaning, StoreRefusal, meaning_of

__all__ = [
    "StoreAddress",
    "answer_invalid",
    "cut_short",
    "from_exception",
    "from_refusal",
    "object_archived",
    "object_changed",
]

_LOOK_AGAIN: Final = timedelta(minutes=1)
_LONGEST_RETRY_AFTER: Final = timedelta(minutes=10)
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """One bucket of one endpoint, for messages."""

    endpoint: str
    bucket: str

    def __str__(self) -> str:
        return f"bucket {self.bucket} at {self.endpoint}"


def from_refusal(address: StoreAddress, refusal: StoreRefusal, *, what: str) -> ReconcileError:
    """The error for a refusal; ``what`` names the request, as in "listing models/x/"."""
    meaning = meaning_of(refusal)
    if meaning.reason == "RedirectRefused" and _is_own_https(address, refusal.location):
        meaning = meaning_of(StoreRefusal(status=400, message="use https"))
    code = f" {refusal.code}" if refusal.code else ""
    found = f"{meaning.found} (HTTP {refusal.status}{code}){_detail(meaning, refusal)}"
    return _error(address, meaning, what=what, found=found, not_before=_retry_after(refusal.retry_after))


def _detail(meaning: Meaning, refusal: StoreRefusal) -> str:
    """The part of the answer that helps to correct the cause, if that part is only a name or a time."""
    match meaning.reason:
        case "RegionMismatch":
            region = refusal.region if refusal.region and _REGION.fullmatch(refusal.region) else None
            endpoint = refusal.endpoint if refusal.endpoint and _HOST.fullmatch(refusal.endpoint) else None
            return (f"; its region is {region}" if region else "") + (
                f"; its endpoint is {endpoint}" if endpoint else ""
            )
        case "RedirectRefused":
            host = _host(refusal.location)
            return f"; it leads to {host}" if host else ""
        case "ClockSkewed":
            there = _moment(refusal.date)
            return (
                f"; the store says {there:%Y-%m-%dT%H:%M:%SZ}, it is {_now():%Y-%m-%dT%H:%M:%SZ} here" if there else ""
            )
    return ""


def _is_own_https(address: StoreAddress, location: str | None) -> bool:
    """Whether a redirect leads to the same host by https."""
    own = urlsplit(address.endpoint).hostname
    host = _host(location)
    if host is None or own is None or not (location or "").startswith("https://"):
        return False
    return host.partition(":")[0] == own.lower()


def _host(location: str | None) -> str | None:
    """Host, and port if given, of a redirect's location; None where the location has no plain name."""
    try:
        host = urlsplit((location or "")[:2048]).netloc.lower()
    except ValueError:
        return None
    return host if _HOST.fullmatch(host) else None


def _now() -> datetime:
    return datetime.now(UTC)


def from_exception(address: StoreAddress, error: Exception, *, what: str) -> ReconcileError:
    """The error for a request that got no answer or only a part of one."""
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return _tls_error(address, error, what=what)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status >= 500:
            return _error(address, UNAVAILABLE, what=what, found=f"the proxy cannot reach it (HTTP {error.status})")
        return _error(address, PROXY, what=what, found=f"{PROXY.found} (HTTP {error.status})")
    if isinstance(error, aiohttp.http.HttpProcessingError | aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return answer_invalid(address, what=what, found="an answer that is not HTTP")
    return _error(address, UNAVAILABLE, what=what, found=_outage(error))


def answer_invalid(address: StoreAddress, *, what: str, found: str) -> Transient:
    """The error for an answer that violates the S3 protocol."""
    return Transient(
        reason="StoreAnswerInvalid",
        message=f"{what}, {address}: {found}",
        remedy="Check that the endpoint is an S3 API and nothing between changes its answers.",
    )


def cut_short(address: StoreAddress, *, what: str, received: int, length: int) -> Transient:
    """The error for a body that ended early without an error of the connection."""
    return Transient(
        reason=UNAVAILABLE.reason, message=f"{what}, {address}: {received} bytes arrived of {length} requested"
    )


def object_changed(address: StoreAddress, *, what: str, found: str) -> Transient:
    """The error for an object that differs from the listed one."""
    return Transient(reason=CHANGED.reason, message=f"{what}, {address}: {found}")


def object_archived(address: StoreAddress, *, what: str, storage_class: str) -> ReconcileError:
    """The error for an object that is listed in an archive class and has no restored copy."""
    found = f"{ARCHIVED.found} (storage class {storage_class})"
    return _error(address, ARCHIVED, what=what, found=found)


def _error(
    address: StoreAddress, meaning: Meaning, *, what: str, found: str, not_before: timedelta | None = None
) -> ReconcileError:
    message = f"{what}, {address}: {found}" + (f"; expected: {meaning.expected}" if meaning.expected else "")
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
    at = _moment(value)
    if at is None:
        return None
    return min(max(at - _now(), timedelta(0)), _LONGEST_RETRY_AFTER)


def _moment(value: str | None) -> datetime | None:
    """A date of HTTP in UTC; None where the value is no date."""
    try:
        at = parsedate_to_datetime(value or "")
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
