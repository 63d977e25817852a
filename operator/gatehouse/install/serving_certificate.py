"""The certificate of an installed server: made once, and renewed before its expiry.

Certificate, key and authorities are one Secret and change in one write. The API server accepts the write only if the
Secret is unchanged since it was read. Of two concurrent runs one renews, and the other finds the new certificate.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from gatehouse.domain.common.certificates import Issued, authorities, fault_of, issue, new_authority_name
from gatehouse.install.credentials_file import CA_KEY, CERTIFICATE_KEY, CERTIFICATE_KEYS, PRIVATE_KEY, WantedSecret
from gatehouse.install.errors import SecretIncomplete
from gatehouse.install.secret_objects import (
    MANAGED_BY,
    MANAGER,
    SECRETS,
    Body,
    SecretApi,
    SecretOutcome,
    find,
    managed,
    settled,
)

__all__ = ["RENEWED_BEFORE", "VALIDITY", "ensure_certificate"]

VALIDITY: Final = timedelta(days=365)
RENEWED_BEFORE: Final = timedelta(days=120)
"""Time before expiry at which a certificate is renewed: many weekly runs may fail before the certificate expires."""


async def ensure_certificate(api: SecretApi, secret: WantedSecret, *, now: datetime) -> tuple[Body, SecretOutcome]:
    """Ensures a certificate that is valid for ``RENEWED_BEFORE``. A certificate of another maker is kept unchanged.

    Raises:
        SecretIncomplete: the Secret of another maker lacks a key.
        ApiError: the API server refused.
    """
    what = f"Secret {secret.namespace}/{secret.name}"
    return await settled(lambda: _once(api, secret, now=now), what=what)


async def _once(api: SecretApi, secret: WantedSecret, *, now: datetime) -> tuple[Body, SecretOutcome]:
    kept = SecretOutcome(namespace=secret.namespace, name=secret.name, done="kept")
    found = await find(api, SECRETS, secret.namespace, secret.name)
    if found is None:
        data = _data(_issued(secret, now=now), b"", now=now)
        body = {**managed("Secret", secret.namespace, secret.name, data), "type": "kubernetes.io/tls"}
        return await api.create(SECRETS, secret.namespace, body), replace(kept, done="created")
    if (found["metadata"].get("labels") or {}).get(MANAGED_BY) != MANAGER:
        _refuse_incomplete(found, secret)
        return found, kept
    there = {key: _decoded(found, key) for key in CERTIFICATE_KEYS}
    fault = fault_of(
        certificate=there[CERTIFICATE_KEY],
        key=there[PRIVATE_KEY],
        authority=there[CA_KEY],
        names=secret.certificate,
        now=now,
        margin=RENEWED_BEFORE,
    )
    if fault is None:
        return found, kept
    data = {**(found.get("data") or {}), **_data(_issued(secret, now=now), there[CA_KEY], now=now)}
    # The body has its resourceVersion: a change in between is a conflict and leads to a retry.
    renewed = await api.update(SECRETS, secret.namespace, secret.name, {**found, "data": data})
    return renewed, replace(kept, done="updated", why=f"{fault}; the certificate was renewed")


def _issued(secret: WantedSecret, *, now: datetime) -> Issued:
    return issue(
        authority=new_authority_name(secret.name),
        subject=secret.name,
        usage="server",
        names=secret.certificate,
        now=now,
        validity=VALIDITY,
    )


def _data(issued: Issued, earlier: bytes, *, now: datetime) -> dict[str, str]:
    """The three keys. The server may serve the earlier certificate for a while, so its authority stays trusted."""
    values = {
        CERTIFICATE_KEY: issued.certificate,
        PRIVATE_KEY: issued.key,
        CA_KEY: authorities(issued.authority, earlier, now=now),
    }
    return {key: b64encode(value).decode() for key, value in values.items()}


def _decoded(found: Mapping[str, Any], key: str) -> bytes:
    try:
        return b64decode((found.get("data") or {}).get(key, ""), validate=True)
    except NotBase64:
        return b""


def _refuse_incomplete(found: Mapping[str, Any], secret: WantedSecret) -> None:
    data = found.get("data") or {}
    if missing := [key for key in CERTIFICATE_KEYS if key not in data]:
        raise SecretIncomplete(
            f"Secret {secret.namespace}/{secret.name} belongs to another owner and stays unchanged, but has no key "
            f"{', '.join(missing)} (it has {', '.join(sorted(data)) or 'none'}); add the missing keys, or delete the "
            "Secret to create it again"
        )
