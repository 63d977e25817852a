"""What can go wrong while models are published, as one tree.

::

    PublishError
      InputInvalid         a flag, file or manifest is not what is wanted
      ObjectMismatch       what is in the cluster stands for something else
      ApplyRefused         the API server refused an object for good
      NotRegistered        the operator says why it is not (yet) so
      UploadError          an upload did not take place (publish.upload_errors has its own)
"""

from __future__ import annotations

__all__ = ["ApplyRefused", "InputInvalid", "NotRegistered", "ObjectMismatch", "PublishError"]


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
