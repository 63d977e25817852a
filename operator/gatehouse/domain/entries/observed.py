"""What the cluster shows of serving: the namespaces in which services may run, and the services that run a version.

An entry that the cluster shows is governed: the object decides these facts, and a client may only add to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.domain.entries.entry import Entry, EntryKind
from gatehouse.domain.entries.governed_properties import PREFIX
from gatehouse.domain.entries.properties import Property

__all__ = [
    "DEPLOYED",
    "OBSERVED_KINDS",
    "OF_PODS",
    "UNDEPLOYED",
    "URL",
    "ObservedEnvironment",
    "ObservedService",
    "ObservedServing",
    "adds_nothing",
    "is_observed",
    "own_members",
    "own_properties",
]

OBSERVED_KINDS: Final = frozenset[EntryKind]({"serving_environment", "inference_service"})
URL: Final = "url"
"""The custom property under which the InferenceService controllers of Kubeflow keep the address of a service."""
DIGEST: Final = f"{PREFIX}digest"
RUNNING_DIGEST: Final = f"{PREFIX}running_digest"
PODS: Final = f"{PREFIX}pods"
READY_PODS: Final = f"{PREFIX}ready_pods"
OF_PODS: Final = frozenset({RUNNING_DIGEST, PODS, READY_PODS})
"""What the Pods of a service tell."""
DEPLOYED: Final = "DEPLOYED"
UNDEPLOYED: Final = "UNDEPLOYED"
_FACTS: Final = frozenset({"registeredModelId", "modelVersionId", "runtime"})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObservedEnvironment:
    """A namespace in which services of a registry's versions may run."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObservedService:
    """An InferenceService that runs a version. ``deployed`` is False while the service is being deleted.

    ``digest`` is the one that the service declares, and ``running`` are those that its Pods loaded, sorted; ``ready``
    of the ``pods`` take requests. Both numbers are None while the Pods are not known.
    """

    namespace: str
    name: str
    uid: str
    version_id: int
    runtime: str = ""
    url: str = ""
    deployed: bool = True
    digest: str = ""
    running: tuple[str, ...] = ()
    pods: int | None = None
    ready: int | None = None

    @property
    def entry_name(self) -> str:
        """The name under which the InferenceService controllers of Kubeflow look for the entry of a service."""
        return f"{self.name}/{self.uid}"

    @property
    def properties(self) -> dict[str, Property]:
        """The custom properties that the cluster decides."""
        texts = {URL: self.url, DIGEST: self.digest, RUNNING_DIGEST: ", ".join(self.running)}
        numbers = {PODS: self.pods, READY_PODS: self.ready}
        shown = {name: Property("string", text) for name, text in texts.items() if text}
        return shown | {name: Property("int", number) for name, number in numbers.items() if number is not None}

    @property
    def state(self) -> str:
        """The desired state in the clients' words."""
        return DEPLOYED if self.deployed else UNDEPLOYED


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedServing:
    """All that the cluster shows for one registry. ``environments`` has the namespace of each service."""

    environments: frozenset[ObservedEnvironment] = frozenset()
    services: frozenset[ObservedService] = frozenset()


def is_observed(entry: Entry) -> bool:
    """Whether an object of the cluster decides what an entry of serving shows."""
    return entry.governed is not None and entry.kind in OBSERVED_KINDS


def own_members(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a service that the cluster does not decide."""
    return {name: value for name, value in members.items() if name not in _FACTS}


def own_properties(properties: Mapping[str, Property]) -> dict[str, Property]:
    """The properties of a service that the cluster does not decide."""
    return {name: value for name, value in properties.items() if name != URL and not name.startswith(PREFIX)}


def adds_nothing(shown: Entry, wanted: Entry) -> bool:
    """Whether a client asks for nothing that an entry of the cluster would keep.

    The controllers of Kubeflow write the address and the desired state of each service, which the cluster shows
    already. Such a call succeeds and changes nothing: a controller that is refused keeps its finalizer on the service.
    """
    return (
        wanted.external_id == shown.external_id
        and wanted.members == shown.members
        and own_properties(wanted.properties) == own_properties(shown.properties)
    )
