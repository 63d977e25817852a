"""What ends a request, as one tree. Each error has an HTTP status and one message for the client.

::

    RequestError
      BadRequest            400   the request is not what is expected
      Unauthenticated       401   no credentials, or credentials that do not count
      Forbidden             403   a missing right or a rule forbids the action
      NotFound              404
      MethodNotAllowed      405   with Allow
      RequestTimeout        408   the body did not arrive in time
      Conflict              409   another object or a newer state is in the way
      BodyTooLarge          413
      MediaTypeRefused      415
      Unprocessable         422
      TooManyRequests       429
      Internal              500   an error of the server; the message says nothing else
      Unavailable           503   the database or the API server does not answer; with Retry-After

:func:`request_error` turns every other error into one of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar, Final

from gatehouse.cluster.client import ApiError, ClusterError
from gatehouse.domain.common.errors import ReconcileError, Stalled, Superseded, Waiting
from gatehouse.errors import (
    ActionError,
    ApplyRefused,
    ConditionNotMet,
    InputInvalid,
    NothingToDo,
    ObjectMismatch,
    Refused,
)

__all__ = [
    "BadRequest",
    "BodyTooLarge",
    "Conflict",
    "Forbidden",
    "Internal",
    "MediaTypeRefused",
    "MethodNotAllowed",
    "NotFound",
    "RequestError",
    "RequestTimeout",
    "TooManyRequests",
    "Unauthenticated",
    "Unavailable",
    "Unprocessable",
    "request_error",
    "server_refused",
]

_RETRY_AFTER: Final = 5.0
"""Seconds after which a client may try again, where the server behind does not say."""
_RETRY_AFTER_REPAIR: Final = 30.0
"""The same, where a person must act first."""


class RequestError(Exception):
    """Ends a request. ``code`` is the word beside the message, by default the phrase of the HTTP status."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.status.phrase
        self.headers: Mapping[str, str] = headers or {}


class BadRequest(RequestError):
    """The request is not what is expected."""

    status = HTTPStatus.BAD_REQUEST


class Unauthenticated(RequestError):
    """No credentials, or credentials that do not count."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, message: str, *, code: str | None = None, rejected: bool = False) -> None:
        """``rejected``: there was a token, and it does not count (RFC 6750)."""
        challenge = 'Bearer realm="gatehouse"' + (', error="invalid_token"' if rejected else "")
        super().__init__(message, code=code, headers={"WWW-Authenticate": challenge})


class Forbidden(RequestError):
    """A missing right or a rule forbids the action."""

    status = HTTPStatus.FORBIDDEN


class NotFound(RequestError):
    """The path or the entry does not exist, or the caller may not see the entry."""

    status = HTTPStatus.NOT_FOUND


class MethodNotAllowed(RequestError):
    """The path has no such method."""

    status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, method: str, *, allowed: tuple[str, ...]) -> None:
        names = ", ".join(allowed)
        super().__init__(f"the path has no method {method}; expected: {names}", headers={"Allow": names})


class RequestTimeout(RequestError):
    """The body did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"Connection": "close"})


class Conflict(RequestError):
    """Another object or a newer state is in the way."""

    status = HTTPStatus.CONFLICT


class BodyTooLarge(RequestError):
    """The body is larger than the server reads. The rest is not read: the connection ends."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes", headers={"Connection": "close"})


class MediaTypeRefused(RequestError):
    """The body has another media type than the route reads."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class Unprocessable(RequestError):
    """The request reads well and breaks a rule."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class TooManyRequests(RequestError):
    """The caller asks too often."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, headers=_retry_after(retry_after))


class Internal(RequestError):
    """An error of the server. The log has the error under the trace id; the client learns only the trace id."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class Unavailable(RequestError):
    """The database or the API server does not answer."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, headers=_retry_after(retry_after))


def request_error(error: Exception) -> RequestError:
    """The error of the request for any error that a handler raises."""
    match error:
        case RequestError():
            return error
        case ApiError():
            return _of_api(error)
        case ClusterError():
            return Unavailable("the Kubernetes API does not answer")
        case ReconcileError():
            return _of_reconcile(error)
        case ActionError():
            return _of_action(error)
        case _:
            return Internal("the server failed; its log has the error under the trace id of this answer")


def server_refused(error: ClusterError, *, doing: str) -> Unavailable:
    """The error for a call that the server made for itself: a caller never sees the server's missing right as their
    own.

    ``doing`` says what the server does, as in "reading the ModelRegistry".
    """
    if not isinstance(error, ApiError):
        return Unavailable("the Kubernetes API does not answer")
    if error.status in {401, 403}:
        return Unavailable(
            f"the server itself may not do this: {doing}; expected: its account is bound to the ClusterRole "
            "gatehouse-server",
            retry_after=_RETRY_AFTER_REPAIR,
        )
    return Unavailable(f"the Kubernetes API answered {error.status} while {doing}", retry_after=error.retry_after)


def _of_api(error: ApiError) -> RequestError:
    """The API server's refusal, in its own words."""
    match error.status:
        case 401:
            return Unauthenticated(
                "the Kubernetes API does not take the caller's token: it expired, or has another audience",
                rejected=True,
            )
        case 403:
            return Forbidden(error.message)
        case 404:
            return NotFound(error.message)
        case 409:
            return Conflict(error.message)
        case 413:
            return Unprocessable(error.message)
        case 429:
            return TooManyRequests(error.message, retry_after=error.retry_after)
        case 400 | 415 | 422:
            return Unprocessable(error.message)
        case _:
            return Unavailable(f"the Kubernetes API answered {error.status}", retry_after=error.retry_after)


def _of_reconcile(error: ReconcileError) -> RequestError:
    """An error of the rows. The client learns the reason; the log has the message, which names the database."""
    match error:
        case Superseded():
            return Conflict("another writer changed the entry at the same time; try again")
        case Stalled(reason="RowRejected"):
            return Unprocessable("the registry's database refuses the values")
        case Stalled() | Waiting():
            return Unavailable(f"the registry cannot be used: {error.reason}", retry_after=_RETRY_AFTER_REPAIR)
        case _:
            return Unavailable(f"the registry's database cannot be used now: {error.reason}")


def _of_action(error: ActionError) -> RequestError:
    match error:
        case Refused():
            return Forbidden(str(error))
        case NothingToDo():
            return NotFound(str(error))
        case InputInvalid():
            return BadRequest(str(error))
        case ObjectMismatch() | ConditionNotMet():
            return Conflict(str(error))
        case ApplyRefused():
            return Unprocessable(str(error))
        case _:
            return Internal("the action failed; the server's log has the error under the trace id of this answer")


def _retry_after(seconds: float | None) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(_RETRY_AFTER if seconds is None else seconds)))}
