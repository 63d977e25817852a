"""Reads Secrets by name when a connection is opened. Only adapters get the values; nothing else keeps them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.domain.common.errors import Waiting

__all__ = ["LABEL_USE", "REGISTRY_USE", "KubernetesSecrets"]

LABEL_USE: Final = "gatehouse.dev/use"
REGISTRY_USE: Final = "registry"
"""The label's value on each Secret that ModelRegistries of the same namespace may name."""
LOOK_AGAIN: Final = timedelta(seconds=30)
"""Interval of new reads. Secrets are not watched: the right to watch is the right to read all of them."""


class KubernetesSecrets:
    """Implements the port ``SecretReader``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def read(self, namespace: str, name: str, keys: Iterable[str]) -> Mapping[str, str]:
        """The named keys, decoded.

        :raises Waiting: SecretNotFound, SecretForbidden, SecretNotLabelled, SecretKeyMissing.
        :raises Transient: the API server does not answer.
        """
        try:
            secret = await self._client.get("secrets", namespace, name)
        except ApiError as error:
            if error.status == 404:
                raise _waiting("SecretNotFound", f"Secret {namespace}/{name} does not exist", "create it") from error
            if error.status == 403:
                raise _waiting(
                    "SecretForbidden",
                    f"the operator may not read Secret {namespace}/{name}",
                    f"bind the ClusterRole gatehouse-registry-secrets to it in namespace {namespace}",
                ) from error
            raise to_reconcile_error(error, doing=f"reading Secret {namespace}/{name}") from error
        except ClusterError as error:
            raise to_reconcile_error(error, doing=f"reading Secret {namespace}/{name}") from error
        if (secret["metadata"].get("labels") or {}).get(LABEL_USE) != REGISTRY_USE:
            raise _waiting(
                "SecretNotLabelled",
                f"Secret {namespace}/{name} has no label {LABEL_USE}={REGISTRY_USE}: a ModelRegistry may send only "
                "what is labelled so to the host that it names",
                f"kubectl label secret {name} -n {namespace} {LABEL_USE}={REGISTRY_USE}",
            )
        data = secret.get("data") or {}
        return {key: _value(namespace, name, key, data) for key in keys}


def _value(namespace: str, name: str, key: str, data: Mapping[str, str]) -> str:
    if key not in data:
        raise _waiting(
            "SecretKeyMissing",
            f"Secret {namespace}/{name} has no key {key}; it has {', '.join(sorted(data)) or 'none'}",
            f"add the key {key}",
        )
    try:
        return base64.b64decode(data[key], validate=True).decode("utf-8").strip()
    except (binascii.Error, UnicodeDecodeError):
        # Without the cause, which would quote the bytes.
        raise _waiting(
            "SecretInvalid", f"key {key} of Secret {namespace}/{name} is not UTF-8 text", "write it as text"
        ) from None


def _waiting(reason: str, message: str, remedy: str) -> Waiting:
    return Waiting(reason=reason, message=message, remedy=remedy, after=LOOK_AGAIN)
