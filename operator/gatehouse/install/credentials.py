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
from gatehouse.domain.audit.checkpoints import AuditKeyError, Signer, new_key_pem
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
    api: SecretApi, wanted: WantedSecret, *, password: Callable[[], str] = new_password, now: datetime | None = None
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
        source, outcome = await _source(api, wanted, password=password, now=now or datetime.now(UTC))
        await _mark_volume(api, wanted)
        copied = [await _copy(api, source, copy) for copy in wanted.copies]
        for each in (outcome, *copied):
            key = (each.kind, each.namespace, each.name)
            if key not in told or told[key].done == _KEPT:
                told[key] = each
        if all(each.done == _KEPT for each in copied) or await _stands(api, source):
            break
    else:
        raise SecretIncomplete(
            f"Secret {wanted.namespace}/{wanted.name} is changed by somebody else all the time; stop that and run this "
            "again"
        )
    outcomes = list(told.values())
    if wanted.signing is not None and wanted.published is not None:
        outcomes.append(await _publish(api, _public_pem(source, wanted, wanted.signing), wanted.published))
    return tuple(outcomes)


async def _stands(api: SecretApi, source: Body) -> bool:
    """Whether the Secret is unchanged since it was read."""
    metadata = source["metadata"]
    found = await find(api, SECRETS, metadata["namespace"], metadata["name"])
    return found is not None and found["metadata"]["resourceVersion"] == metadata["resourceVersion"]


async def _source(
    api: SecretApi, wanted: WantedSecret, *, password: Callable[[], str], now: datetime
) -> tuple[Body, SecretOutcome]:
    if wanted.certificate:
        return await ensure_certificate(api, wanted, now=now)
    found, done = await find(api, SECRETS, wanted.namespace, wanted.name), _KEPT
    if found is None:
        await _refuse_lost(api, wanted)
        values = {**wanted.values, **{key: password() for key in wanted.generate}}
        if wanted.signing is not None:
            values[wanted.signing] = new_key_pem()[0].decode()
        body = managed("Secret", wanted.namespace, wanted.name, encoded(values))
        try:
            found, done = await api.create(SECRETS, wanted.namespace, body), "created"
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # Another run was faster: its Secret is kept.
            found = await api.get(SECRETS, wanted.namespace, wanted.name)
    data = found.get("data") or {}
    if missing := [key for key in wanted.keys if key not in data]:
        raise SecretIncomplete(
            f"Secret {wanted.namespace}/{wanted.name} is there and so is kept, but has no key {', '.join(missing)} "
            f"(it has {', '.join(sorted(data)) or 'none'}); add what is missing, or delete it to have it made anew"
        )
    return found, SecretOutcome(namespace=wanted.namespace, name=wanted.name, done=done)


async def _refuse_lost(api: SecretApi, wanted: WantedSecret) -> None:
    if wanted.volume is None:
        return
    claim = await find(api, _CLAIMS, wanted.namespace, wanted.volume)
    if claim is not None and INITIALISED_WITH in (claim["metadata"].get("annotations") or {}):
        raise SecretLost(
            f"Secret {wanted.namespace}/{wanted.name} is gone, but the database on PersistentVolumeClaim "
            f"{wanted.volume} was initialised with its passwords, and new ones would not open it. Restore the Secret "
            f"with the keys {', '.join(wanted.keys)} from a backup, or set new passwords in the database "
            f"(docs/install.md); to give the data up, delete the PersistentVolumeClaim"
        )


async def _mark_volume(api: SecretApi, wanted: WantedSecret) -> None:
    """Records on the volume which Secret its data belongs to."""
    if wanted.volume is None:
        return
    claim = await find(api, _CLAIMS, wanted.namespace, wanted.volume)
    if claim is None or (claim["metadata"].get("annotations") or {}).get(INITIALISED_WITH) == wanted.name:
        return
    patch = {"metadata": {"annotations": {INITIALISED_WITH: wanted.name}}}
    await api.patch(_CLAIMS, wanted.namespace, wanted.volume, patch, kind="application/merge-patch+json")


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


def _public_pem(source: Body, wanted: WantedSecret, key: str) -> str:
    """The public half of the existing private key, whatever its origin."""
    where = f"key {key} of Secret {wanted.namespace}/{wanted.name}"
    try:
        return Signer.from_pem(b64decode(source["data"][key]), where=where).public_pem.decode()
    except AuditKeyError as error:
        raise SecretIncomplete(f"{error}; put one there, or delete the Secret to have one made") from None


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
