"""MinIO as the object store of the local cluster."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from gatehouse_local.files import make_private
from gatehouse_local.kube import trust
from gatehouse_local.net import LOOPBACK, http_ready
from gatehouse_local.pki import ensure_certificate
from gatehouse_local.process import Server
from gatehouse_local.s3 import REGION, S3Credentials, S3Endpoint

__all__ = ["WEBHOOK", "Minio", "MinioWebhook"]

WEBHOOK = "GATEHOUSE"
"""The name of the webhook in MinIO's settings."""


@dataclass(frozen=True, slots=True)
class MinioWebhook:
    """Where MinIO sends events, with the token that proves MinIO."""

    url: str
    token: str = field(repr=False)


class Minio:
    """One MinIO server with its data in `home`; with `tls`, a certificate of its own authority.

    `webhook` is where events can be sent; which buckets send them is said by `ensure_bucket_events`.
    """

    def __init__(
        self,
        home: Path,
        *,
        program: Path,
        port: int,
        credentials: S3Credentials,
        tls: bool = False,
        webhook: MinioWebhook | None = None,
    ) -> None:
        self._home = home
        self._program = program
        self._port = port
        self._credentials = credentials
        self._tls = tls
        self._webhook = webhook

    @property
    def endpoint(self) -> S3Endpoint:
        """The endpoint for clients."""
        return S3Endpoint(
            url=f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self._port}",
            credentials=self._credentials,
            authority=self._home / "tls" / "ca.crt" if self._tls else None,
        )

    def server(self) -> Server:
        """The server. Creates its folders."""
        certificates = make_private(self._home / "certs")
        context = None
        if self._tls:
            certificate = ensure_certificate(self._home / "tls", authority="gatehouse-local-minio")
            shutil.copy(certificate.certificate, certificates / "public.crt")
            shutil.copy(certificate.key, certificates / "private.key")
            context = trust(certificate.authority)
        return Server(
            name="minio",
            argv=(
                str(self._program),
                "server",
                "--quiet",
                f"--address={LOOPBACK}:{self._port}",
                # Otherwise MinIO looks for certificates in the caller's home folder.
                f"--certs-dir={certificates}",
                str(make_private(self._home / "data")),
            ),
            env={
                "MINIO_ROOT_USER": self._credentials.access_key,
                "MINIO_ROOT_PASSWORD": self._credentials.secret_key,
                "MINIO_SITE_REGION": REGION,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
                **self._events(),
            },
            # /minio/health/ready returns 200 before initialisation; this path waits for credentials and buckets.
            ready=http_ready(self._port, "/minio/health/cluster", tls=context),
        )

    def _events(self) -> dict[str, str]:
        if self._webhook is None:
            return {}
        # Without a queue on disk, which MinIO looks into every 3 seconds. An event is a hint: a lost one costs little.
        return {
            f"MINIO_NOTIFY_WEBHOOK_ENABLE_{WEBHOOK}": "on",
            f"MINIO_NOTIFY_WEBHOOK_ENDPOINT_{WEBHOOK}": self._webhook.url,
            f"MINIO_NOTIFY_WEBHOOK_AUTH_TOKEN_{WEBHOOK}": self._webhook.token,
        }
