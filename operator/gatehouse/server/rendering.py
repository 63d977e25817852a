"""Answers: JSON bodies, and errors in the form of each family of routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.responses import Response

from gatehouse.server.errors import RequestError

__all__ = ["ErrorRenderer", "json_response", "kubeflow_error", "own_error"]

ErrorRenderer = Callable[[RequestError, str], Response]
"""The answer for an error; the second argument is the trace id."""


def json_response(body: object, *, status: int = 200) -> Response:
    """A JSON body. NaN, which JSON has not, becomes null."""
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


def own_error(error: RequestError, trace_id: str) -> Response:
    """An error in the form of Gatehouse's own API."""
    body: dict[str, Any] = {"code": error.code, "message": error.message, "traceId": trace_id}
    return _with_headers(json_response({"error": body}, status=error.status), error)


def kubeflow_error(error: RequestError, trace_id: str) -> Response:  # noqa: ARG001 - the header x-request-id has the id
    """An error in the form of the Kubeflow Model Registry: the text of the status, and the message."""
    return _with_headers(json_response({"code": error.code, "message": error.message}, status=error.status), error)


def _with_headers(response: Response, error: RequestError) -> Response:
    response.headers.update(error.headers)
    return response
