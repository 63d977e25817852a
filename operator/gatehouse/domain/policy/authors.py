"""Who a version is of. Whoever may make service accounts can have one submit, so a machine is nobody's author."""

from __future__ import annotations

from gatehouse.api.model_version import ModelVersionSpec

__all__ = ["author", "is_service_account", "submitters"]


def is_service_account(user: str) -> bool:
    """Whether a user name is that of a machine."""
    return user.startswith(("system:serviceaccount:", "system:node:"))


def author(spec: ModelVersionSpec) -> str | None:
    """The person who submitted the version; None where nobody did, or only a machine."""
    by = spec.submitted_by
    return None if by is None or is_service_account(by) else by


def submitters(spec: ModelVersionSpec) -> frozenset[str]:
    """Who submitted the version and who applied it for the author: neither judges it."""
    return frozenset(each for each in (spec.submitted_by, spec.submitted_via) if each is not None)
