"""The upload of a folder, from its check to the report, for a person or a program that gives the request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

from gatehouse.actions.upload_report import UploadReport, VersionNames
from gatehouse.domain.artifact.values import CheckProgress
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.common.locations import ArtifactLocation
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.errors import ActionError
from gatehouse.storage.port import Bucket, StoreFlags
from gatehouse.storage.providers.table import PROVIDERS
from gatehouse.storage.stores import location_of, open_location
from gatehouse.upload.check import CheckedArtifact, FolderCheck, check_names, guess_format
from gatehouse.upload.folder import scan
from gatehouse.upload.folder_store import FolderStore
from gatehouse.upload.transfer import Upload, UploadOptions, UploadProgress

__all__ = ["Progress", "UploadObserver", "UploadRequest", "upload_folder"]

Progress: TypeAlias = CheckProgress | UploadProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRequest:
    """What to send where, and how. Without a format, the names of the files tell the format."""

    folder: Path
    uri: str
    artifact_format: ArtifactFormat | None = None
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    store: StoreFlags
    options: UploadOptions
    dry_run: bool = False
    names: VersionNames


class UploadObserver(Protocol):
    """Receives the progress of an upload while it runs."""

    def left_out(self, names: tuple[str, ...]) -> None:
        """These files and folders are not sent."""
        ...

    def working(self, what: str, progress: Callable[[], Progress]) -> AbstractAsyncContextManager[None]:
        """Files are checked or sent until the context ends; ``what`` is the word for the work."""
        ...

    def checked(self, artifact: CheckedArtifact) -> None:
        """The folder is an artifact that the operator would accept."""
        ...


async def upload_folder(request: UploadRequest, *, observer: UploadObserver) -> UploadReport:
    """Check a folder, compare it with the objects below the URI, and send the missing files unless it is a dry run.

    Raises:
        FolderRefused: the operator would reject the folder; no file was sent.
        ObjectsInTheWay: other objects exist below the URI; no file was sent.
        FileChanged, SentDiffers: no manifest was written.
        InputInvalid: the URI, a setting of the store or a name of the version is invalid.
        ActionError: the store refused, or did not answer.
        OSError: a file cannot be read.
    """
    location = location_of(request.uri)
    try:
        # Missing credentials end the upload here rather than after the check of a large folder.
        async with open_location(location, request.store) as bucket:
            return await _sent(request, location, bucket, observer)
    except ReconcileError as error:
        remedies = PROVIDERS[location.scheme].command_remedies
        remedy = remedies.get(error.reason, error.remedy) or "Run the same command again to continue."
        raise ActionError(f"{error.message}. {remedy}") from error


async def _sent(
    request: UploadRequest, location: ArtifactLocation, bucket: Bucket, observer: UploadObserver
) -> UploadReport:
    folder = scan(request.folder, exclude=request.exclude, follow_links=request.follow_links)
    observer.left_out(folder.left_out)
    check_names(folder, prefix=location.prefix)
    store = FolderStore(folder)
    check = FolderCheck(store, artifact_format=request.artifact_format or guess_format(folder))
    async with observer.working("checking", lambda: check.progress):
        artifact = await check.run()
    observer.checked(artifact)
    upload = Upload(bucket, location.prefix, folder=store, artifact=artifact, options=request.options)
    plan = await upload.plan()
    report = UploadReport(
        uri=request.uri, artifact=artifact, plan=plan, result=None, left_out=folder.left_out, names=request.names
    )
    # A wrong name ends the upload before hours of sending, not after.
    report.model_version()
    if request.dry_run:
        return report
    async with observer.working("sending", lambda: upload.progress):
        return replace(report, result=await upload.run(plan))
