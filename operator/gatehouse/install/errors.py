"""What can go wrong with an installation: a branch of the tree in :mod:`gatehouse.errors`."""

from __future__ import annotations

from gatehouse.errors import ActionError, ConditionNotMet

__all__ = [
    "ClusterNotUsable",
    "CredentialsInvalid",
    "DeployError",
    "FileNotShipped",
    "ForeignSecret",
    "KubectlFailed",
    "KubectlMissing",
    "NotComplete",
    "OverlayInvalid",
    "SecretIncomplete",
    "SecretLost",
]


class DeployError(ActionError):
    """Anything the person who installs is told as one message."""


class KubectlMissing(DeployError):
    """There is no kubectl."""


class KubectlFailed(DeployError):
    """kubectl ended with an error; the message is what it said."""


class ClusterNotUsable(DeployError):
    """The cluster does not answer, is too old, or does not let this user install."""


class OverlayInvalid(DeployError):
    """There is no such overlay, or it renders to something else than objects."""


class NotComplete(DeployError, ConditionNotMet):
    """All was applied, but it does not run (in time), or a Job failed. What was applied stays."""


class CredentialsInvalid(DeployError):
    """The file that says which Secrets to make is not what it must be."""


class SecretIncomplete(DeployError):
    """A Secret that is there, and so is kept, lacks a key, or has something else in it."""


class SecretLost(DeployError):
    """A Secret is gone whose passwords a database was initialised with: new ones would not open it."""


class ForeignSecret(DeployError):
    """A Secret of the name is there and is somebody else's to write."""


class FileNotShipped(DeployError):
    """A file of the project is neither in this installation nor in a checkout around it."""
