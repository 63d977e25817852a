"""Refusals as the clients of the Kubeflow Model Registry read them: their codes and the texts that clients compare."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from gatehouse.server.errors import BadRequest, Conflict, NotFound, RequestError, Unprocessable

__all__ = ["CODES", "already_exists", "invalid_find", "not_found", "required_missing"]

CODES: Final[Mapping[int, str]] = {
    **{status.value: status.phrase for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST},
    HTTPStatus.UNPROCESSABLE_ENTITY: "Bad Request",
}
"""The code of each status. The clients' tests compare the code of 422 word for word."""


def required_missing(name: str) -> RequestError:
    """422 for a required member that is missing or empty."""
    return Unprocessable(f"required field '{name}' is zero value.", code=CODES[422])


def not_found(what: str, where: str) -> NotFound:
    """404 for an entry, as in ``no model version found for id 7: not found``; clients look for the last words."""
    return NotFound(f"no {what} found for {where}: not found")


def already_exists(what: str, name: str) -> Conflict:
    """409 for an entry with a name that is taken."""
    return Conflict(f"{what} with name {name} already exists: conflict")


def invalid_find(names: str) -> BadRequest:
    """400 for a search without the words that identify one entry; ``names`` are these words."""
    return BadRequest(f"invalid parameters call, supply either {names}, or externalId: bad request")
