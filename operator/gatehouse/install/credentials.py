"""Secrets with generated passwords and keys: made once, kept, and copied to their users.

Every step reads the current state and writes only the differences. The next run therefore continues an interrupted run,
and two concurrent runs reach the same result. Values are never logged and never part of an error.
"""

from __future__ import annotations

import secrets
import string
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from gatehouse.cluster.client import ApiError
from gatehouse.domain.audit.checkpoints import AuditKeyError
from gatehouse.domain.audit.keys import Signer, new_key_pem
from gatehouse.install.credentials_file import PublishedKey, SecretCopy, WantedSecret
from gatehouse.install.errors import SecretIncomplete, SecretLost
from gatehouse.install.secret_objects import (
    CONFIG_MAPS,
    SECRETS,
    Body,
    Done,
    SecretApi,
    SecretOutcome,
    encoded,
    find,
    managed,
    settled,
)
from gatehouse.install.serving_certificate import ensure_certificate

__all__ = ["INITIALISED_WITH", "ensure", "new_password"]

INITIALISED_WITH: Final = "gatehouse.dev/initialised-with"
"""Annotation of a volume: the Secret with whose passwords the volume's database was initialised."""

_CLAIMS: Final = "persistentvolumeclaims"
_ALPHABET: Final = string.ascii_letters + string.digits
_LENGTH: Final = 32
_ATTEMPTS: Final = 5
_KEPT: Done = "kept"


def new_password() -> str:
    """32 letters and digits, 190 bits: safe in every shell, URL and SQL statement."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


async def ensure(
    api: SecretApi, secret: WantedSecret, *, password: Callable[[], str] = new_password, now: datetime | None = None
) -> tuple[SecretOutcome, ...]:
    """Ensures the Secret, and that its copies and its public key match.

    After writing a copy, this function reads the source once more: another run may have renewed the source, and the
    older copy must not remain.

    Raises:
        SecretIncomplete: the Secret exists but lacks a key, or its private key is invalid.
        SecretLost: the Secret is missing, but a volume was initialised with it.
        ApiError: the API server refused, for example because a namespace does not exist yet.
    """
    told: dict[tuple[str, str, str], SecretOutcome] = {}
    for _ in range(_ATTEMPTS):
        source, outcome = await _source(api, secret, password=password, now=now or datetime.now(UTC))
        await _mark_volume(api, secret)
        copied = [await _copy(api, source, copy) for copy in secret.copies]
        for each in (outcome, *copied):
            key = (each.kind, each.namespace, each.name)
            if key not in told or told[key].done == _KEPT:
                told[key] = each
        if all(each.done == _KEPT for each in copied) or await _stands(api, source):
            break
    else:
        raise SecretIncomplete(
            f"Secret {secret.namespace}/{secret.name} changes all the time; stop the other process that changes it, "
            "and run the command again"
        )
    outcomes = list(told.values())
    if secret.signing is not None and secret.published is not None:
        outcomes.append(await _publish(api, _public_pem(source, secret, secret.signing), secret.published))
    return tuple(outcomes)


async def _stands(api: SecretApi, source: Body) -> bool:
    """Whether the Secret is unchanged since it was read."""
    metadata = source["metadata"]
    found = await find(api, SECRETS, metadata["namespace"], metadata["name"])
    return found is not None and found["metadata"]["resourceVersion"] == metadata["resourceVersion"]


async def _source(
    api: SecretApi, secret: WantedSecret, *, password: Callable[[], str], now: datetime
) -> tuple[Body, SecretOutcome]:
    if secret.certificate:
        return await ensure_certificate(api, secret, now=now)
    found, done = await find(api, SECRETS, secret.namespace, secret.name), _KEPT
    if found is None:
        await _refuse_lost(api, secret)
        values = {**secret.values, **{key: password() for key in secret.generate}}
        if secret.signing is not None:
            values[secret.signing] = new_key_pem()[0].decode()
        body = managed("Secret", secret.namespace, secret.name, encoded(values))
        try:
            found, done = await api.create(SECRETS, secret.namespace, body), "created"
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # Another run was faster: its Secret is kept.
            found = await api.get(SECRETS, secret.namespace, secret.name)
    data = found.get("data") or {}
    if missing := [key for key in secret.keys if key not in data]:
        raise SecretIncomplete(
            f"Secret {secret.namespace}/{secret.name} exists and stays unchanged, but has no key {', '.join(missing)} "
            f"(it has {', '.join(sorted(data)) or 'none'}); add them, or delete the Secret to create it again"
        )
    return found, SecretOutcome(namespace=secret.namespace, name=secret.name, done=done)


async def _refuse_lost(api: SecretApi, secret: WantedSecret) -> None:
    if secret.volume is None:
        return
    claim = await find(api, _CLAIMS, secret.namespace, secret.volume)
    if claim is not None and INITIALISED_WITH in (claim["metadata"].get("annotations") or {}):
        raise SecretLost(
            f"Secret {secret.namespace}/{secret.name} is missing, but the database on PersistentVolumeClaim "
            f"{secret.volume} was initialised with its passwords, and new passwords cannot open it. Restore the Secret "
            f"with the keys {', '.join(secret.keys)} from a backup, or set new passwords in the database "
            f"(docs/install.md); if you do not need the data, delete the PersistentVolumeClaim"
        )


async def _mark_volume(api: SecretApi, secret: WantedSecret) -> None:
    """Records on the volume which Secret its data belongs to."""
    if secret.volume is None:
        return
    claim = await find(api, _CLAIMS, secret.namespace, secret.volume)
    if claim is None or (claim["metadata"].get("annotations") or {}).get(INITIALISED_WITH) == secret.name:
        return
    patch = {"metadata": {"annotations": {INITIALISED_WITH: secret.name}}}
    await api.patch(_CLAIMS, secret.namespace, secret.volume, patch, kind="application/merge-patch+json")


async def _copy(api: SecretApi, source: Body, copy: SecretCopy) -> SecretOutcome:
    """Ensures that the copy has the source's keys and its own labels. Everything else in the copy stays."""
    data = {**{key: str(source["data"][origin]) for key, origin in copy.keys.items()}, **encoded(copy.values)}
    return await settled(lambda: _copy_once(api, data, copy), what=f"Secret {copy.namespace}/{copy.name}")


async def _copy_once(api: SecretApi, data: Mapping[str, str], copy: SecretCopy) -> SecretOutcome:
    found = await find(api, SECRETS, copy.namespace, copy.name)
    if found is None:
        body = managed("Secret", copy.namespace, copy.name, data, labels=copy.labels, annotations=copy.annotations)
        await api.create(SECRETS, copy.namespace, body)
        return SecretOutcome(namespace=copy.namespace, name=copy.name, done="created")
    current = found.get("data") or {}
    labels = found["metadata"].get("labels") or {}
    missing = {key: value for key, value in copy.labels.items() if key not in labels}
    if not missing and all(current.get(key) == value for key, value in data.items()):
        return SecretOutcome(namespace=copy.namespace, name=copy.name, done="kept")
    # The body has its resourceVersion: a change in between is a conflict and leads to a retry.
    metadata = {**found["metadata"], "labels": {**labels, **missing}}
    body = {**found, "metadata": metadata, "data": {**current, **data}}
    await api.update(SECRETS, copy.namespace, copy.name, body)
    return SecretOutcome(namespace=copy.namespace, name=copy.name, done="updated")


def _public_pem(source: Body, secret: WantedSecret, key: str) -> str:
    """The public half of the existing private key, whatever its origin."""
    where = f"key {key} of Secret {secret.namespace}/{secret.name}"
    try:
        return Signer.from_pem(b64decode(source["data"][key]), where=where).public_pem.decode()
    except AuditKeyError as error:
        raise SecretIncomplete(f"{error}; write one there, or delete the Secret to create one") from None


async def _publish(api: SecretApi, pem: str, published: PublishedKey) -> SecretOutcome:
    """Ensures the public key in the ConfigMap, before the earlier keys, which still verify earlier signatures."""
    what = f"ConfigMap {published.namespace}/{published.name}"
    return await settled(lambda: _publish_once(api, pem, published), what=what)


async def _publish_once(api: SecretApi, pem: str, published: PublishedKey) -> SecretOutcome:
    where = (CONFIG_MAPS, published.namespace)
    found = await find(api, *where, published.name)
    done: Done = "kept"
    if found is None:
        body = managed("ConfigMap", published.namespace, published.name, {published.key: pem})
        await api.create(*where, body)
        done = "created"
    else:
        there = (found.get("data") or {}).get(published.key, "")
        if pem.strip() not in there:
            data = {**(found.get("data") or {}), published.key: f"{pem}{there}"}
            await api.update(*where, published.name, {**found, "data": data})
            done = "updated"
    return SecretOutcome(namespace=published.namespace, name=published.name, done=done, kind="ConfigMap")
