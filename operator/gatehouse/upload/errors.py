"""What can go wrong while models are published, as one tree.

::

    PublishError
      InputInvalid          a flag, file or manifest is not what is expected
      ObjectMismatch        an object in the cluster stands for something else
      ApplyRefused          the API server refused an object for good
      NotRegistered         registration failed, or did not complete in time
      UploadError           an upload did not complete: no manifest was written
        FolderRefused       the operator would reject the folder
        ObjectsInTheWay     other objects are below the prefix
        FileChanged         a file changed while it was checked or sent
        SentDiffers         the store has other bytes than were sent
"""

from __future__ import annotations

from collections.abc import Sequence

from gatehouse.domain.common.finding import Finding
from gatehouse.storage.s3.body import BodyError

__all__ = [
    "ApplyRefused",
    "FileChanged",
    "FolderRefused",
    "InputInvalid",
    "NotRegistered",
    "ObjectMismatch",
    "ObjectsInTheWay",
    "PublishError",
    "SentDiffers",
    "UploadError",
]


class PublishError(Exception):
    """Anything that publishing ends with, as one message that names the thing, what was found and what to do."""


class InputInvalid(PublishError):
    """A flag, a file or a manifest is not what is wanted."""


class ObjectMismatch(PublishError):
    """An object of that name is there already and stands for something else."""


class ApplyRefused(PublishError):
    """The API server refused an object, and would again."""


class NotRegistered(PublishError):
    """Registration failed, or was not complete in time."""


class UploadError(PublishError):
    """An upload did not take place, or not wholly: the manifest was not written."""


class FolderRefused(UploadError):
    """The folder has problems for which the operator would refuse the artifact; nothing was sent."""

    def __init__(self, problems: Sequence[Finding]) -> None:
        lines = (f"{each.reason}: found {each.found}; wanted {each.expected}. {each.remedy}" for each in problems)
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


class ObjectsInTheWay(UploadError):
    """Objects below the prefix differ from the folder's files, or are not among them; nothing was sent."""


class FileChanged(UploadError, BodyError):
    """A file is not the one that was looked at first."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} changed while it was being read; the manifest was not written. "
            "Run the command again when nothing writes to the folder any more."
        )
        self.path = path


class SentDiffers(UploadError):
    """The store has other bytes under a name than were sent, or lost an object."""
