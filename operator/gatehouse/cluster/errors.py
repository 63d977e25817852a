"""Maps errors of the API server to errors of a reconcile."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from gatehouse.cluster.client import ApiError, ApiUnavailable, ClusterError, Fenced
from gatehouse.domain.common.errors import ReconcileError, Stalled, Superseded, Transient

__all__ = ["LONGEST_REFUSAL", "is_denial", "to_reconcile_error"]

FAILED_TEST: Final = "the server rejected our request due to an error in our request"
"""The API server's whole message when a JSON patch's ``test`` fails; a refusal by the schema names fields."""
LONGEST_REFUSAL: Final = 2000
"""How much of a refusal a message has."""
FENCING: Final = "gatehouse-fencing"
"""The ValidatingAdmissionPolicy that lets only the holder of the Lease write VettedArtifacts."""
_DENIED: Final = ("denied request", "denied the request")
"""What the API server says for a ValidatingAdmissionPolicy, and for a webhook."""


def is_denial(error: ClusterError) -> bool:
    """Whether admission refused a request."""
    return isinstance(error, ApiError) and any(said in error.message for said in _DENIED)


def to_reconcile_error(error: ClusterError, *, doing: str) -> ReconcileError:
    """The error that a controller raises for ``error`` while ``doing`` something, as in "writing the status"."""
    if isinstance(error, Fenced):
        return Superseded(reason="NotLeading", message=f"{doing}: {error}")
    if not isinstance(error, ApiError):
        reason = "ApiUnavailable" if isinstance(error, ApiUnavailable) else "ApiError"
        return Transient(reason=reason, message=f"{doing}: {error}")
    message = f"{doing}: the API server answered {error.status} {error.reason}: {error.message}"
    not_before = timedelta(seconds=error.retry_after) if error.retry_after is not None else None
    if FENCING in error.message:
        # The API server learns of a new holder by a watch, so a leader may be refused in its first moments.
        return Superseded(reason="NotLeading", message=message)
    if error.status == 403:
        return Transient(
            reason="ApiForbidden",
            message=message,
            remedy="bind the operator's user to the ClusterRole gatehouse-operator",
        )
    if error.status == 409 or (error.status == 422 and error.message == FAILED_TEST):
        return Superseded(reason="Conflict", message=message)
    if error.status in {400, 404, 405, 413, 415, 422}:
        return Stalled(reason="ApiRefused", message=message)
    return Transient(reason="ApiUnavailable", message=message, not_before=not_before)
