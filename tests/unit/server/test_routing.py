"""Paths whose middle may hold slashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from gatehouse.server.calls import Call
from gatehouse.server.errors import MethodNotAllowed, NotFound
from gatehouse.server.rendering import kubeflow_error
from gatehouse.server.routing import Endpoint, Family, RouteTable

NAME = "/sources/{source_id}/models/{model_name+}"
ENDINGS = ("", "/artifacts", "/artifacts/performance")
SEGMENT = st.sampled_from(["artifacts", "performance", "models", "sources", "a", "b.c"])


async def nothing(call: Call) -> Response:
    raise AssertionError(call)


def endpoint(path: str) -> Endpoint:
    return Endpoint(method="GET", path=path, handler=nothing)


TABLE = RouteTable(
    [
        Family(
            prefix="/p",
            endpoints=[endpoint(NAME + ending) for ending in ENDINGS] + [endpoint("/sources")],
            render=kubeflow_error,
        )
    ]
)


def expected(segments: list[str]) -> tuple[str, str]:
    """The ending and the name, by the rule: the longest ending that leaves a name."""
    for ending in (["artifacts", "performance"], ["artifacts"]):
        if len(segments) > len(ending) and segments[-len(ending) :] == ending:
            return "/" + "/".join(ending), "/".join(segments[: -len(ending)])
    return "", "/".join(segments)


@given(st.lists(SEGMENT, min_size=1, max_size=7))
def test_reserved_endings_are_matched_from_the_right(segments: list[str]) -> None:
    match = TABLE.match("GET", f"/p/sources/s/models/{'/'.join(segments)}")
    ending, name = expected(segments)
    assert match.template == f"/p{NAME}{ending}"
    assert match.params == {"source_id": "s", "model_name": name}


@given(st.text(alphabet="a/", max_size=12))
def test_empty_segments_are_no_name(text: str) -> None:
    path = f"/p/sources/s/models/{text}"
    if all(text.split("/")):
        assert TABLE.match("GET", path).params["model_name"] == text
    else:
        with pytest.raises(NotFound):
            TABLE.match("GET", path)


def test_a_name_is_bounded_and_a_long_path_costs_little() -> None:
    assert TABLE.match("GET", f"/p/sources/s/models/{'a/' * 255}b").params["model_name"].endswith("/b")
    for name in ("a/" * 256 + "b", "a" * 513, "a/" * 30_000 + "artifacts"):
        with pytest.raises(NotFound):
            TABLE.match("GET", f"/p/sources/s/models/{name}")


def test_other_methods_and_other_names() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.match("POST", "/p/sources/s/models/a/b/artifacts")
    assert refused.value.headers["Allow"] == "GET, HEAD"
    with pytest.raises(ValueError, match="names a parameter other; its neighbours name name"):
        RouteTable(
            [Family(prefix="", endpoints=[endpoint("/{name+}"), endpoint("/{other+}/x")], render=kubeflow_error)]
        )
