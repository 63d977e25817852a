"""What the operator declares for one kind: what it watches, its indexes, its rights and its controller.

Each module of a kind ends with its declaration, and :mod:`gatehouse.controllers.table` lists the declarations. The
operator derives from them all watches, caches, workers, and the rules of its ClusterRole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gatehouse.api.meta import GROUP, VERSION, Resource
from gatehouse.controllers.dependencies import Dependencies
from gatehouse.runtime.cache import Caches, slim
from gatehouse.runtime.controller import Reconcile
from gatehouse.runtime.refs import Body, Gvr, ObjectKey
from gatehouse.runtime.watches import FanOut, Watch
from gatehouse.runtime.workqueue import Backoff

__all__ = ["SUMMARY_SETTLE", "Declaration", "Right", "Trigger", "resource_of", "watches_of"]

SUMMARY_SETTLE: Final = 1.0
"""Seconds without a change of any version, after which models, profiles and registries count their versions once."""


def resource_of(kind: type[Resource]) -> Gvr:
    """The API resource of a kind of Gatehouse."""
    return Gvr(GROUP, VERSION, kind.info.plural, kind.info.namespaced)


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Verbs on a resource in all namespaces; on the objects of these names only, if there are names."""

    resource: str
    verbs: tuple[str, ...]
    group: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A change of ``kind`` (plural) that enqueues the ``dependents``; see :class:`gatehouse.runtime.watches.FanOut`.

    The functions here and of indexes get objects of one kind, so their types name the kind's members (``api.wire``).
    """

    kind: str
    relevant: Callable[[Any], object]
    dependents: Callable[[Any, Caches], Iterable[ObjectKey]]
    settle: float = 0.0
    listed: Callable[[Caches], Iterable[ObjectKey]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One watched kind.

    ``build`` makes the controller; without it only other kinds depend on the kind. ``triggers`` are the changes of
    other kinds, and of other objects of the kind, that enqueue objects of this kind. All objects of a kind with
    ``together`` are reconciled as one, under that key, after every change of the kinds in ``woken_by``.

    ``workers`` is None for the number in the settings. A kind that ``waits_for_database`` shares its workers fairly
    between databases. ``rights`` are those that the controller uses beyond its own objects and their status.

    ``optional`` and ``keep`` are those of :class:`gatehouse.runtime.watches.Watch`.
    """

    resource: Gvr
    build: Callable[[Dependencies], Reconcile] | None = None
    indexes: Mapping[str, Callable[[Any], Iterable[str]]] = field(default_factory=dict)
    triggers: Sequence[Trigger] = ()
    together: str | None = None
    woken_by: Sequence[str] = ()
    workers: int | None = 1
    backoff: Callable[[Dependencies], Backoff] | None = None
    waits_for_database: bool = False
    rights: Sequence[Right] = ()
    optional: bool = False
    keep: Callable[[Body], Body] = slim

    @property
    def kind(self) -> str:
        """The plural name."""
        return self.resource.plural

    @property
    def all_rights(self) -> Sequence[Right]:
        """The rights of the watch and of the controller. A kind that is reconciled as a whole has no status."""
        group, kind = self.resource.group, self.kind
        watched = Right(group=group, resource=kind, verbs=("list", "watch"))
        if self.build is None or self.together is not None:
            return (watched, *self.rights)
        status = Right(group=group, resource=f"{kind}/status", verbs=("patch",))
        return (watched, status, Right(resource="events", verbs=("create",)), *self.rights)


def watches_of(declarations: Sequence[Declaration]) -> tuple[Watch, ...]:
    """The watches: for each kind, who depends on its objects."""
    return tuple(
        Watch(
            resource=declared.resource,
            indexes=declared.indexes,
            reconciled=declared.build is not None,
            together=declared.together,
            wakes=tuple(_woken_by(declared.kind, declarations)),
            fan_outs=tuple(
                FanOut(
                    relevant=trigger.relevant,
                    dependents=trigger.dependents,
                    settle=trigger.settle,
                    listed=trigger.listed,
                )
                for other in declarations
                for trigger in other.triggers
                if trigger.kind == declared.kind
            ),
            optional=declared.optional,
            keep=declared.keep,
        )
        for declared in declarations
    )


def _woken_by(kind: str, declarations: Iterable[Declaration]) -> Iterable[ObjectKey]:
    for declared in declarations:
        if declared.together is not None and kind in declared.woken_by:
            yield ObjectKey(declared.kind, "", declared.together)
