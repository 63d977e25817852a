"""Why an upload ends before its manifest is written.

::

    PublishError
      UploadError
        FolderRefused     the folder is not what the operator would accept
        ObjectsInTheWay   other objects are below the prefix
        FileChanged       a file changed while it was checked or sent
        SentDiffers       what the store has is not what was sent
"""

from __future__ import annotations

from collections.abc import Sequence

from gatehouse.domain.artifact import Problem
from gatehouse.objectstore.transport import BodyError
from gatehouse.publish.errors import PublishError

__all__ = ["FileChanged", "FolderRefused", "ObjectsInTheWay", "SentDiffers", "UploadError"]


class UploadError(PublishError):
    """An upload did not take place, or not wholly: the manifest was not written."""


class FolderRefused(UploadError):
    """The folder has problems for which the operator would refuse the artifact; nothing was sent."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = (f"{each.rule}: found {each.found}; wanted {each.wanted}. {each.remedy}" for each in problems)
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
