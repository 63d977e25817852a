"""Who asks and what is there, for tests of actions: a person with a table of rights, and objects in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatehouse.actions.identity import Action, Person
from gatehouse.actions.objects import StoredObjects
from gatehouse.api.meta import Resource

__all__ = ["TableAuthorizer", "stored"]


class TableAuthorizer:
    """A person with exactly these rights."""

    def __init__(self, name: str, *rights: Action, groups: tuple[str, ...] = ()) -> None:
        self._person = Person(name=name, groups=groups)
        self._rights = frozenset(rights)
        self.asked: list[Action] = []

    async def whoami(self) -> Person:
        """The person."""
        return self._person

    async def allowed(self, actions: Iterable[Action]) -> Mapping[Action, bool]:
        """Whether each action is one of the rights."""
        asked = list(actions)
        self.asked += asked
        return {action: action in self._rights for action in asked}


def stored(*objects: Resource) -> StoredObjects:
    """The objects as a source."""
    return StoredObjects({**body.wire(), "kind": body.info.kind} for body in objects)
