"""Waits until objects are registered, or ready, and reports the reason of the wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar
from uuid import uuid4

from gatehouse.actions.apply import ObjectApi, why_wait
from gatehouse.actions.manifests import Declared
from gatehouse.actions.polling import Patience
from gatehouse.actions.readiness import Goal, Readiness, artifact_standing, model_standing, version_standing
from gatehouse.api.meta import ANNOTATION_RECONCILE_REQUESTED_AT, Resource
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ClusterError
from gatehouse.errors import ApplyRefused, NotRegistered

__all__ = ["await_first_check", "await_registration"]

STALLED_SECONDS: Final = 5.0
"""Seconds for which a stalled object is read again: a person may have corrected the cause just now."""

LOOK_SECONDS: Final = 60.0
"""Seconds to wait for the first check of a registered version whose store does not answer yet."""
ASK_SECONDS: Final = 10.0
"""Seconds between requests for a check during the wait: the operator itself backs off."""

R = TypeVar("R", bound=Resource)


async def await_registration(
    api: ObjectApi, objects: Sequence[Declared], *, goal: Goal, manager: str, patience: Patience
) -> tuple[Resource, ...]:
    """The models and versions of ``objects``, in their order, as soon as each has reached the goal.

    Raises NotRegistered with reason and message of the first object that has not when the time is over or a person
    must act, and ApplyRefused when the API server refuses to read an object.
    """
    wait = _Wait(api, goal=goal, manager=manager, patience=patience)
    return tuple([await wait.for_one(each) for each in objects if each.kind in (RegisteredModel, ModelVersion)])


async def await_first_check(
    api: ObjectApi, versions: Sequence[ModelVersion], *, manager: str, patience: Patience
) -> tuple[ModelVersion, ...]:
    """Registered versions, as soon as the operator has checked their files, or unchecked after a minute.

    A slow check is no error, because a version is registered without its files. Raises ApplyRefused when the API server
    refuses to read a version.
    """
    wait = _Wait(api, goal="registered", manager=manager, patience=patience.within(LOOK_SECONDS))
    return tuple([await wait.for_look(_declared(each), each) for each in versions])


class _Wait:
    def __init__(self, api: ObjectApi, *, goal: Goal, manager: str, patience: Patience) -> None:
        self._api = api
        self._goal: Goal = goal
        self._manager = manager
        self._patience = patience

    async def for_one(self, wanted: Declared) -> Resource:
        stalled_since: float | None = None
        while True:
            found = await self._read(wanted)
            standing = _standing(found, goal=self._goal)
            if standing.state == "Done":
                return found
            if standing.state == "Pending":
                stalled_since = None
            elif stalled_since is None:
                stalled_since = self._patience.now()
                await self._ask(wanted)
            elif self._patience.now() - stalled_since >= STALLED_SECONDS:
                raise NotRegistered(f"{wanted} is not {self._goal}: {standing}")
            why = f"{wanted} is not {self._goal} yet: {standing}"
            await self._patience.wait(why, topic=f"{wanted} {standing.reason}")

    async def for_look(self, wanted: Declared, found: ModelVersion) -> ModelVersion:
        asked = self._patience.now()
        try:
            while (standing := artifact_standing(found)).state != "Done":
                if self._patience.now() - asked >= ASK_SECONDS:
                    asked = self._patience.now()
                    await self._ask(wanted)
                why = f"the files of {wanted} were not checked yet: {standing}"
                await self._patience.wait(why, topic=f"{wanted} {standing.reason}")
                again = await self._read(wanted)
                found = again if isinstance(again, ModelVersion) else found
        except NotRegistered:
            return found
        return found

    async def _read(self, wanted: Declared) -> Resource:
        since = self._patience.now()
        while True:
            try:
                return wanted.kind.model_validate(await self._api.get(*wanted.key))
            except ClusterError as error:
                why = why_wait(error, wanted, waited=self._patience.now() - since)
                if why is None:
                    raise ApplyRefused(f"{wanted} cannot be read: {error}") from error
                await self._patience.wait(why)

    async def _ask(self, wanted: Declared) -> None:
        """Requests a reconcile now. Without the request, the operator reconciles within ten minutes."""
        annotations = {ANNOTATION_RECONCILE_REQUESTED_AT: uuid4().hex}
        try:
            await self._api.patch(
                *wanted.key,
                {"metadata": {"annotations": annotations}},
                kind="application/merge-patch+json",
                params={"fieldManager": self._manager},
            )
        except ClusterError as error:
            await self._patience.wait(f"{wanted}: {error}")


def _declared(version: ModelVersion) -> Declared:
    metadata = version.metadata
    return Declared(kind=ModelVersion, namespace=metadata.namespace, name=metadata.name, body={})


def _standing(found: Resource, *, goal: Goal) -> Readiness:
    if isinstance(found, ModelVersion):
        return version_standing(found, goal=goal)
    if isinstance(found, RegisteredModel):
        return model_standing(found)
    raise TypeError(f"{found.info.kind} is not registered")
