"""versitygw, a second S3 server, which verifies that Gatehouse uses only generic S3.

Its objects are plain files, so a sparse file can represent a model of full size.
"""

from __future__ import annotations

from pathlib import Path

from gatehouse_local.files import make_private
from gatehouse_local.net import LOOPBACK, http_ready
from gatehouse_local.process import Server
from gatehouse_local.s3 import REGION, S3Credentials, S3Endpoint

__all__ = ["Versitygw"]


class Versitygw:
    """One gateway over the folder `data` in `home`: its folders are buckets, their files are objects."""

    def __init__(self, home: Path, *, program: Path, port: int, credentials: S3Credentials) -> None:
        self._home = home
        self._program = program
        self._port = port
        self._credentials = credentials

    @property
    def data(self) -> Path:
        """The folder whose sub-folders are the buckets."""
        return self._home / "data"

    @property
    def endpoint(self) -> S3Endpoint:
        """The endpoint for clients."""
        return S3Endpoint(url=f"http://{LOOPBACK}:{self._port}", credentials=self._credentials)

    def server(self) -> Server:
        """The server. Creates its folders."""
        return Server(
            name="versitygw",
            argv=(
                str(self._program),
                f"--port={LOOPBACK}:{self._port}",
                f"--region={REGION}",
                "--health=/health",
                "--quiet",
                "posix",
                # Metadata in separate files, because not every file system supports extended attributes.
                f"--sidecar={make_private(self._home / 'metadata')}",
                str(make_private(self.data)),
            ),
            env={
                "ROOT_ACCESS_KEY": self._credentials.access_key,
                "ROOT_SECRET_KEY": self._credentials.secret_key,
            },
            ready=http_ready(self._port, "/health"),
        )
