"""The release archive of envtest: kube-apiserver, etcd and kubectl, ready built."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import platform
import shutil
import sys
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from gatehouse_local.errors import DownloadUnavailable

__all__ = ["INDEX_URL", "EnvtestArchive", "Reader", "choose", "download", "unpack"]

INDEX_URL = "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml"
_SILENCE_SECONDS = 5.0
_MAX_INDEX_BYTES = 4 << 20
_MAX_ARCHIVE_BYTES = 512 << 20
_CHUNK_BYTES = 1 << 20
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "ppc64le": "ppc64le"}


@dataclass(frozen=True, slots=True)
class EnvtestArchive:
    """One release archive; `sha512` is the digest in the release index."""

    version: str
    url: str
    sha512: str


class Reader(Protocol):
    """Reads the content of a URL."""

    def __call__(self, url: str, *, limit: int) -> Iterator[bytes]: ...


def choose(index: bytes, *, kubernetes: str, system: str, machine: str) -> EnvtestArchive:
    """The newest archive of the given minor version for this machine.

    Raises:
        DownloadUnavailable: the index is unreadable or lists no matching archive.
    """
    minor = kubernetes.rpartition(".")[0] + "."
    platform_name = f"{system}-{_MACHINES.get(machine, machine)}"
    try:
        releases = yaml.safe_load(index)["releases"]
        versions = sorted(
            (version for version in releases if version.startswith(minor) and version[len(minor) :].isdigit()),
            key=lambda version: int(version[len(minor) :]),
            reverse=True,
        )
        for version in versions:
            entry = releases[version].get(f"envtest-{version}-{platform_name}.tar.gz")
            if entry is not None:
                return EnvtestArchive(version, str(entry["selfLink"]), str(entry["hash"]))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise DownloadUnavailable(f"the envtest release index is not readable: {error!r}") from error
    raise DownloadUnavailable(f"envtest has no release {minor}x for {platform_name}")


def download(
    target: Path, *, kubernetes: str, index_url: str = INDEX_URL, read: Reader | None = None
) -> EnvtestArchive:
    """Downloads the matching archive to `target` and verifies its sha512.

    A refusal is final at once; a silent network counts as unavailable after five seconds.

    Args:
        target: the file to write.
        kubernetes: the version; the newest patch release of its minor version is taken.
        index_url: the URL of the release index.
        read: yields the content of a URL in chunks, at most `limit` bytes; by https when None.

    Raises:
        DownloadUnavailable: the archive cannot be downloaded, or does not match the index.
    """
    read = read or _read
    index = b"".join(read(index_url, limit=_MAX_INDEX_BYTES))
    archive = choose(index, kubernetes=kubernetes, system=sys.platform, machine=platform.machine().lower())
    digest = hashlib.sha512()
    with target.open("wb") as handle:
        for chunk in read(archive.url, limit=_MAX_ARCHIVE_BYTES):
            digest.update(chunk)
            handle.write(chunk)
    if not hmac.compare_digest(digest.hexdigest(), archive.sha512.lower()):
        raise DownloadUnavailable(
            f"{archive.url} has sha512 {digest.hexdigest()}, the release index says {archive.sha512}"
        )
    return archive


def unpack(archive: Path, folder: Path, *, names: frozenset[str]) -> None:
    """Copies only the named programs out of the archive.

    Raises:
        DownloadUnavailable: the archive is unreadable or lacks a program.
    """
    missing = set(names)
    try:
        with tarfile.open(archive) as bundle:
            for member in bundle:
                name = member.name.rpartition("/")[2]
                content = bundle.extractfile(member) if member.isfile() and name in missing else None
                if content is not None:
                    with content, (folder / name).open("wb") as handle:
                        shutil.copyfileobj(content, handle)
                    (folder / name).chmod(0o755)
                    missing.discard(name)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DownloadUnavailable(f"the envtest archive is not readable: {error}") from error
    if missing:
        raise DownloadUnavailable(f"the envtest archive lacks {', '.join(sorted(missing))}")


def _read(url: str, *, limit: int) -> Iterator[bytes]:
    if urllib.parse.urlsplit(url).scheme != "https":
        raise DownloadUnavailable(f"{url} is not an https address")
    seen = 0
    try:
        with urllib.request.urlopen(url, timeout=_SILENCE_SECONDS) as response:  # noqa: S310  https, checked above
            while chunk := response.read(_CHUNK_BYTES):
                seen += len(chunk)
                if seen > limit:
                    raise DownloadUnavailable(f"{url} is larger than {limit} bytes")
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise DownloadUnavailable(f"{url}: {error}") from error
