"""Errors of an installation: a branch of the tree in :mod:`gatehouse.errors`."""

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
    """An error that the installing person sees as one message."""


class KubectlMissing(DeployError):
    """kubectl is not installed."""


class KubectlFailed(DeployError):
    """kubectl ended with an error; the message is kubectl's."""


class ClusterNotUsable(DeployError):
    """The cluster does not answer, is too old, or does not allow this user to install."""


class OverlayInvalid(DeployError):
    """The overlay does not exist, or does not render to objects."""


class NotComplete(DeployError, ConditionNotMet):
    """Everything was applied, but does not run in time, or a Job failed. Applied objects stay."""


class CredentialsInvalid(DeployError):
    """The file that names the Secrets to make is invalid."""


class SecretIncomplete(DeployError):
    """An existing Secret, which is kept, lacks a key or has an invalid value."""


class SecretLost(DeployError):
    """A Secret with the passwords of an initialised database is missing: new passwords would not open the database."""


class ForeignSecret(DeployError):
    """A Secret of this name exists and belongs to another writer."""


class FileNotShipped(DeployError):
    """A file of the project is missing from this installation and from the checkout."""
