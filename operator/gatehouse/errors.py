"""What ends an action of a person or a pipeline, as one tree. Each error is one message for the person.

::

    ActionError               the action failed, or is refused
      ConditionNotMet         a condition does not hold, or does not hold yet
        NothingToDo           there is no object to act on
        NotRegistered         registration failed, or did not complete in time
        FolderRefused         the operator would reject the folder                 (upload.check)
        ObjectsInTheWay       other objects are below the prefix                   (upload.plan)
        NotComplete           an installation does not run, or not in time         (install.errors)
        NoEvidence            no digest is recorded for a version                  (evidence.errors)
      Refused                 a rule or a missing right forbids the action
      InputInvalid            a flag, a file or a manifest is not what is expected
      ObjectMismatch          an object in the cluster stands for something else
      ApplyRefused            the API server refused an object for good
      FileChanged             a file changed while it was checked or sent          (upload.folder)
      SentDiffers             the store has other bytes than were sent             (upload.transfer)
      DeployError             an installation failed                               (install.errors)
      EvidenceError           evidence cannot be collected or read                 (evidence.errors)

The commands exit with 1 for a ConditionNotMet and with 2 for every other ActionError (:mod:`gatehouse.cli.exits`).
"""

from __future__ import annotations

__all__ = [
    "ActionError",
    "ApplyRefused",
    "ConditionNotMet",
    "InputInvalid",
    "NotRegistered",
    "NothingToDo",
    "ObjectMismatch",
    "Refused",
]


class ActionError(Exception):
    """One message that names the object, what was found, what is expected, and what to do."""


class ConditionNotMet(ActionError):
    """Nothing is wrong with the request, but a condition that it depends on does not hold."""


class NothingToDo(ConditionNotMet):
    """There is no object that the action could act on."""


class NotRegistered(ConditionNotMet):
    """Registration failed, or did not complete in time."""


class Refused(ActionError):
    """A rule or a missing right forbids the action.

    The check comes before the first write, so that people read the reason. Admission enforces the rule.
    """


class InputInvalid(ActionError):
    """A flag, a file or a manifest is not what is expected."""


class ObjectMismatch(ActionError):
    """An object of that name exists and stands for something else."""


class ApplyRefused(ActionError):
    """The API server refused an object, and would refuse it again."""
