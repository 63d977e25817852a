"""The informer's credentials for the API server: the same as the client's, in kopf's form."""

from __future__ import annotations

import asyncio
from pathlib import Path

import kopf

from gatehouse.cluster.client import load_configuration
from gatehouse.runtime.kopf_source import Login

__all__ = ["login_with"]


def login_with(*, kubeconfig: Path | None, context: str | None) -> Login:
    """Finds the credentials at each login of the informer, which thus uses rotated credentials. Runs in a thread."""

    def login() -> kopf.ConnectionInfo:
        configuration = asyncio.run(load_configuration(kubeconfig=kubeconfig, context=context))
        scheme, _, token = str(configuration.api_key.get("BearerToken", "")).rpartition(" ")
        return kopf.ConnectionInfo(
            server=str(configuration.host),
            ca_path=configuration.ssl_ca_cert,
            ca_data=configuration.ca_cert_data,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme or "Bearer",
            token=token or None,
        )

    return login
