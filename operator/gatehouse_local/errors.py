"""The errors of the local cluster, as one tree."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ApiRefused",
    "BuildFailed",
    "DownloadUnavailable",
    "LocalClusterError",
    "NodeImpossible",
    "NotReady",
    "NotUp",
    "ProgramMissing",
    "ServerDied",
    "StateUnreadable",
]


class LocalClusterError(Exception):
    """An error that the user of the local cluster sees as one message."""


class ProgramMissing(LocalClusterError):
    """A program is neither installed nor obtainable."""


class DownloadUnavailable(LocalClusterError):
    """The release archive cannot be downloaded; the caller builds instead."""


class BuildFailed(LocalClusterError):
    """`go build`, or a prerequisite, failed."""


class ServerDied(LocalClusterError):
    """A server ended during its start."""

    def __init__(self, name: str, log: Path, tail: str) -> None:
        super().__init__(f"{name} ended while starting. The end of {log}:\n{tail or '(empty)'}")
        self.name = name
        self.log = log


class NotReady(LocalClusterError):
    """A server runs but does not answer in time."""


class ApiRefused(LocalClusterError):
    """The Kubernetes API answered a request with an error status."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: the API server answered {status}: {message}")
        self.status = status


class NodeImpossible(LocalClusterError):
    """This machine cannot run a node, or not now; the message names the remedy."""


class NotUp(LocalClusterError):
    """This directory has no local cluster."""


class StateUnreadable(LocalClusterError):
    """The state file of a local cluster does not have this version's format."""
