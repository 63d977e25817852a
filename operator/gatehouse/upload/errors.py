"""What ends an upload, beside the errors of :mod:`gatehouse.errors`. After each of them no manifest was written."""

from __future__ import annotations

from collections.abc import Sequence

from gatehouse.domain.common.finding import Finding
from gatehouse.errors import ActionError, ConditionNotMet
from gatehouse.storage.s3.body import BodyError

__all__ = ["FileChanged", "FolderRefused", "ObjectsInTheWay", "SentDiffers"]


class FolderRefused(ConditionNotMet):
    """The operator would reject the artifact because of these problems; no file was sent."""

    def __init__(self, problems: Sequence[Finding]) -> None:
        lines = (
            f"{problem.reason}: found {problem.found}; expected {problem.expected}. {problem.remedy}"
            for problem in problems
        )
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


class ObjectsInTheWay(ConditionNotMet):
    """Objects below the prefix differ from the files of the folder, or belong to no file; no file was sent."""


class FileChanged(ActionError, BodyError):
    """A file is not the file that the scan of the folder saw."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} changed while it was being read; the manifest was not written. "
            "Run the command again when nothing writes to the folder any more."
        )
        self.path = path


class SentDiffers(ActionError):
    """The store has other bytes under a name than were sent, or lost an object."""
