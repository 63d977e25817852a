"""Routes as data: families of endpoints, and the search for the endpoint of a path.

A family is one API with one form of errors. Its endpoints are declared, not registered: a family is a value that is
built with all that its handlers need.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from starlette.responses import Response

from gatehouse.server.errors import MethodNotAllowed, NotFound
from gatehouse.server.rendering import ErrorRenderer

if TYPE_CHECKING:
    from gatehouse.server.calls import Call, UncheckedCall

__all__ = ["Endpoint", "Family", "Handler", "RouteMatch", "RouteTable", "UncheckedEndpoint", "UncheckedHandler"]

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Handler = Callable[["Call"], Awaitable[Response]]
UncheckedHandler = Callable[["UncheckedCall"], Awaitable[Response]]
_LONGEST_SEGMENT: Final = 512
_READING: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path. ``path`` is below the family's prefix, as in ``/registered_models/{id}/versions``.

    A parameter as ``{name+}`` may hold slashes. What follows it in a path of the family is matched from the right: of
    ``/models/{name+}`` and ``/models/{name+}/artifacts``, the second has every path that ends so.
    """

    method: Method
    path: str
    handler: Handler


@dataclass(frozen=True, slots=True, kw_only=True)
class UncheckedEndpoint:
    """As :class:`Endpoint`, for callers that are no users of the cluster: the handler checks their credentials."""

    method: Method
    path: str
    handler: UncheckedHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The endpoints below a prefix, and how their errors look.

    ``documents`` are JSON texts by their whole paths. They say nothing of the registry, so everyone may read them.
    ``headers`` are those of every answer, refusals too.
    """

    prefix: str
    endpoints: Sequence[Endpoint | UncheckedEndpoint]
    render: ErrorRenderer
    documents: Mapping[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """The endpoint of a request, the values of its path, and the template of the path with the family's prefix."""

    endpoint: Endpoint | UncheckedEndpoint
    params: Mapping[str, str]
    template: str


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: tuple[str, _Node] | None = None
    spanning: tuple[str, _Node] | None = None
    endpoints: dict[str, Endpoint | UncheckedEndpoint] = field(default_factory=dict)
    template: str = ""


class RouteTable:
    """Finds the family and the endpoint of a path, in time that grows with the path and not with the routes."""

    def __init__(self, families: Iterable[Family]) -> None:
        # The longest prefix goes first.
        self._families = sorted(families, key=lambda family: len(family.prefix), reverse=True)
        self._roots = [_tree(family) for family in self._families]
        self._documents = {path: text for family in self._families for path, text in family.documents.items()}

    def family(self, path: str) -> Family | None:
        """The family of a path, also of a path that the family does not have."""
        index = self._index(path)
        return None if index is None else self._families[index]

    def document(self, method: str, path: str) -> bytes | None:
        """The document of a path; None where the path has none. Raises MethodNotAllowed."""
        document = self._documents.get(path)
        if document is not None and method not in _READING:
            raise MethodNotAllowed(_known(method), allowed=_READING)
        return document

    def match(self, method: str, path: str) -> RouteMatch:
        """The endpoint of a request. GET answers HEAD too.

        Raises:
            NotFound: no family has the path.
            MethodNotAllowed: the path has other methods.
        """
        index = self._index(path)
        if index is not None:
            rest = path[len(self._families[index].prefix) :]
            parts = rest.split("/")[1:]
            params: dict[str, str] = {}
            node = _walk(self._roots[index], parts, 0, params)
            if node is not None:
                endpoint = node.endpoints.get("GET" if method == "HEAD" else method)
                if endpoint is None:
                    raise MethodNotAllowed(_known(method), allowed=_allowed(node))
                return RouteMatch(endpoint=endpoint, params=params, template=node.template)
        raise NotFound("the path was not found")

    def _index(self, path: str) -> int | None:
        for index, family in enumerate(self._families):
            if path.startswith(family.prefix) and path[len(family.prefix) :][:1] in {"", "/"}:
                return index
        return None


def _tree(family: Family) -> _Node:
    root = _Node()
    for endpoint in family.endpoints:
        node = root
        for part in endpoint.path.split("/")[1:]:
            node = _child(node, part, endpoint)
        if endpoint.method in node.endpoints:
            raise ValueError(f"{endpoint.method} {family.prefix}{endpoint.path} is declared twice")
        node.endpoints[endpoint.method] = endpoint
        node.template = f"{family.prefix}{endpoint.path}"
    return root


def _child(node: _Node, part: str, endpoint: Endpoint | UncheckedEndpoint) -> _Node:
    if not part.startswith("{"):
        return node.literals.setdefault(part, _Node())
    name = part.removeprefix("{").removesuffix("}")
    if name.endswith("+"):
        name = name.removesuffix("+")
        if node.spanning is None:
            node.spanning = (name, _Node())
        if node.spanning[0] != name:
            raise ValueError(f"{endpoint.path} names a parameter {name}; its neighbours name {node.spanning[0]}")
        return node.spanning[1]
    if node.parameter is None:
        node.parameter = (name, _Node())
    if node.parameter[0] != name:
        raise ValueError(f"{endpoint.path} names a parameter {name}; its neighbours name {node.parameter[0]}")
    return node.parameter[1]


def _walk(node: _Node, parts: Sequence[str], at: int, params: dict[str, str]) -> _Node | None:
    if at == len(parts):
        return node if node.endpoints else None
    part = parts[at]
    literal = node.literals.get(part)
    if literal is not None and (ended := _walk(literal, parts, at + 1, params)) is not None:
        return ended
    if not part or len(part) > _LONGEST_SEGMENT:
        return None
    if node.parameter is not None:
        name, child = node.parameter
        ended = _walk(child, parts, at + 1, params)
        if ended is not None:
            params[name] = part
            return ended
    return None if node.spanning is None else _span(*node.spanning, parts, at, params)


def _span(name: str, child: _Node, parts: Sequence[str], at: int, params: dict[str, str]) -> _Node | None:
    """The endpoint behind a parameter that may hold slashes: one with an ending comes before one without."""
    nearest = max(at + 1, len(parts) - _depth(child))
    for end in [*range(nearest, len(parts)), len(parts)]:
        value = "/".join(parts[at:end])
        if len(value) > _LONGEST_SEGMENT or not all(parts[at:end]):
            continue
        ended = _walk(child, parts, end, params)
        if ended is not None:
            params[name] = value
            return ended
    return None


def _depth(node: _Node) -> int:
    """The number of segments of the longest path below a node."""
    children = [*node.literals.values()]
    children += [pair[1] for pair in (node.parameter, node.spanning) if pair is not None]
    return max((1 + _depth(child) for child in children), default=0)


def _allowed(node: _Node) -> tuple[str, ...]:
    methods = set(node.endpoints) | ({"HEAD"} if "GET" in node.endpoints else set())
    return tuple(sorted(methods))


def _known(method: str) -> str:
    """The method, where it is a word that a client can have meant."""
    return method if method.isascii() and method.isalpha() and len(method) <= 16 else "of that name"
