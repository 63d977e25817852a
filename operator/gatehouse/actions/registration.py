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
    return tuple([await wait.for_one(target) for target in objects if target.kind in (RegisteredModel, ModelVersion)])


async def await_first_check(
    api: ObjectApi, versions: Sequence[ModelVersion], *, manager: str, patience: Patience
) -> tuple[ModelVersion, ...]:
    """Registered versions, as soon as the operator has checked their files, or unchecked after a minute.

    A slow check is no error, because a version is registered without its files. Raises ApplyRefused when the API server
    refuses to read a version.
    """
    wait = _Wait(api, goal="registered", manager=manager, patience=patience.within(LOOK_SECONDS))
    return tuple([await wait.for_look(_declared(version), version) for version in versions])


class _Wait:
    def __init__(self, api: ObjectApi, *, goal: Goal, manager: str, patience: Patience) -> None:
        self._api = api
        self._goal: Goal = goal
        self._manager = manager
        self._patience = patience

    async def for_one(self, target: Declared) -> Resource:
        stalled_since: float | None = None
        while True:
            resource = await self._read(target)
            standing = _standing(resource, goal=self._goal)
            if standing.state == "Done":
                return resource
            if standing.state == "Pending":
                stalled_since = None
            elif stalled_since is None:
                stalled_since = self._patience.now()
                await self._ask(target)
            elif self._patience.now() - stalled_since >= STALLED_SECONDS:
                raise NotRegistered(f"{target} is not {self._goal}: {standing}")
            why = f"{target} is not {self._goal} yet: {standing}"
            await self._patience.wait(why, topic=f"{target} {standing.reason}")

    async def for_look(self, target: Declared, resource: ModelVersion) -> ModelVersion:
        asked = self._patience.now()
        try:
            while (standing := artifact_standing(resource)).state != "Done":
                if self._patience.now() - asked >= ASK_SECONDS:
                    asked = self._patience.now()
                    await self._ask(target)
                why = f"the operator has not checked the files of {target} yet: {standing}"
                await self._patience.wait(why, topic=f"{target} {standing.reason}")
                again = await self._read(target)
                resource = again if isinstance(again, ModelVersion) else resource
        except NotRegistered:
            return resource
        return resource

    async def _read(self, target: Declared) -> Resource:
        since = self._patience.now()
        while True:
            try:
                return target.kind.model_validate(await self._api.get(*target.key))
            except ClusterError as error:
                why = why_wait(error, target, waited=self._patience.now() - since)
                if why is None:
                    raise ApplyRefused(f"{target} cannot be read: {error}") from error
                await self._patience.wait(why)

    async def _ask(self, target: Declared) -> None:
        """Requests a reconcile now. Without the request, the operator reconciles within ten minutes."""
        annotations = {ANNOTATION_RECONCILE_REQUESTED_AT: uuid4().hex}
        try:
            await self._api.patch(
                *target.key,
                {"metadata": {"annotations": annotations}},
                kind="application/merge-patch+json",
                params={"fieldManager": self._manager},
            )
        except ClusterError as error:
            await self._patience.wait(f"{target}: {error}")


def _declared(version: ModelVersion) -> Declared:
    metadata = version.metadata
    return Declared(kind=ModelVersion, namespace=metadata.namespace, name=metadata.name, body={})


def _standing(resource: Resource, *, goal: Goal) -> Readiness:
    if isinstance(resource, ModelVersion):
        return version_standing(resource, goal=goal)
    if isinstance(resource, RegisteredModel):
        return model_standing(resource)
    raise TypeError(f"{resource.info.kind} is not registered")
