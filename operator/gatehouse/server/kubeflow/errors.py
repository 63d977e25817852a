"""Refusals as the clients of the Kubeflow Model Registry read them: a status, and JSON with a code and a message."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

__all__ = ["CODES", "RegistryError", "already_exists", "error_document", "invalid_find", "not_found"]

CODES: Final[Mapping[int, str]] = {
    **{status.value: status.phrase for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST},
    HTTPStatus.UNPROCESSABLE_ENTITY: "Bad Request",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Request Entity Too Large",
}
"""The code of each status. The clients' tests compare the code of 422 word for word."""


class RegistryError(Exception):
    """A request that the contract refuses: the status and the message of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status: Final = status
        self.message: Final = message

    def __str__(self) -> str:
        return f"{self.status} {CODES[self.status]}: {self.message}"


def error_document(status: int, message: str) -> dict[str, str]:
    """The body of a refusal."""
    return {"code": CODES[status], "message": message}


def not_found(what: str, where: str) -> RegistryError:
    """404 for an entry, as in ``no model version found for id 7: not found``; clients look for the last words."""
    return RegistryError(404, f"no {what} found for {where}: not found")


def already_exists(what: str, name: str) -> RegistryError:
    """409 for an entry with a name that is taken."""
    return RegistryError(409, f"{what} with name {name} already exists: conflict")


def invalid_find(names: str) -> RegistryError:
    """400 for a search without the words that identify one entry; ``names`` are these words."""
    return RegistryError(400, f"invalid parameters call, supply either {names}, or externalId: bad request")
