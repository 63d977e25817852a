"""The words of a query, and the id of a path, read into values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.common.format_error import shown
from gatehouse.domain.entries.entry import EntryKind
from gatehouse.domain.query.filter_query import FilterQueryError, parse_filter
from gatehouse.domain.query.filters import Filter
from gatehouse.domain.query.page_tokens import PageQueryError, PageRules, list_identity, parse_page
from gatehouse.domain.query.pages import Page
from gatehouse.server.errors import BadRequest
from gatehouse.server.kubeflow.errors import invalid_find
from gatehouse.server.kubeflow.members import ApiVersion
from gatehouse.server.kubeflow.operations import RestOperation, WordName
from gatehouse.server.kubeflow.resources import artifact_of_type

__all__ = ["EntryList", "EntrySearch", "read_id", "read_list", "read_namespace", "read_search"]

MOST_STEPS: Final = 1_000
"""Numbers of ``stepIds``."""
_ID: Final = re.compile(r"[1-9][0-9]{0,8}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_STEP: Final = re.compile(r"[0-9]{1,9}")
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NARROWING: Final[tuple[WordName, ...]] = ("name", "externalId", "artifactType", "stepIds")


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrySearch:
    """One entry by its external id, or by its name in its parent; the parent is None for kinds without one."""

    name: str | None = None
    parent_id: int | None = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryList:
    """What a list asks for. ``identity`` is that of its tokens; ``write_token`` takes it.

    ``kinds`` are those of the operation, or the one that ``artifactType`` names.
    """

    page: Page
    identity: str
    kinds: tuple[EntryKind, ...]
    filter: Filter | None = None
    name: str | None = None
    external_id: str | None = None
    steps: tuple[int, ...] = ()


def read_id(text: str, *, what: str) -> int | None:
    """The id in a path; None for a number that no entry can have, which is 404. Raises BadRequest."""
    if _ID.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return None
    raise BadRequest(
        f"invalid {what} ID: found {shown(text)}; expected a whole number from 1 to 999999999: bad request"
    )


def read_search(words: Mapping[str, str], *, operation: RestOperation) -> EntrySearch:
    """What a search looks for. Raises BadRequest without words that identify one entry."""
    _check_words(words)
    name, external_id = words.get("name") or None, words.get("externalId") or None
    if "parentResourceId" not in operation.words:
        if name is None and external_id is None:
            raise invalid_find("name")
        return EntrySearch(name=name) if name is not None else EntrySearch(external_id=external_id)
    parent = words.get("parentResourceId") or None
    parent_id = None if parent is None else read_id(parent, what="parent resource")
    if name is not None and parent is not None:
        # No entry has the id 0.
        return EntrySearch(name=name, parent_id=parent_id or 0)
    if external_id is None:
        raise invalid_find("(name and parentResourceId)")
    return EntrySearch(external_id=external_id)


def read_list(words: Mapping[str, str], *, operation: RestOperation, version: ApiVersion, path: str) -> EntryList:
    """What a list asks for; ``path`` is the path of the request, with ids. Raises BadRequest."""
    _check_words(words)
    used: dict[str, str] = {name: words[name] for name in operation.words if words.get(name)}
    narrowing = [name for name in _NARROWING if name in used]
    try:
        page = parse_page(used, rules=PageRules(strict=version == "v1"), path=path, others=narrowing)
        filter_ = parse_filter(used.get("filterQuery", ""))
    except (PageQueryError, FilterQueryError) as error:
        raise BadRequest(f"{error}: bad request") from None
    return EntryList(
        page=page,
        identity=list_identity(used, path=path, order=page.order, others=narrowing),
        kinds=_kinds(used.get("artifactType", ""), operation=operation),
        filter=filter_,
        name=used.get("name"),
        external_id=used.get("externalId"),
        steps=_steps(used.get("stepIds", "")),
    )


def read_namespace(text: str) -> str | None:
    """The namespace that a client names; None without one. Raises BadRequest."""
    if not text:
        return None
    if not _NAMESPACE.fullmatch(text):
        raise BadRequest(f"namespace is {shown(text)}; expected the name of a Kubernetes namespace")
    return text


def _check_words(words: Mapping[str, str]) -> None:
    for name, text in words.items():
        if "\0" in text:
            raise BadRequest(f"Invalid {shown(name)} query parameter: contains null bytes which are not allowed")


def _kinds(artifact_type: str, *, operation: RestOperation) -> tuple[EntryKind, ...]:
    if not artifact_type:
        return operation.kinds
    chosen = artifact_of_type(artifact_type)
    if chosen is None:
        types = ", ".join(resource.artifact_type for resource in operation.resources)
        raise BadRequest(f"artifactType is {shown(artifact_type)}; expected one of {types}")
    return (chosen.kind,)


def _steps(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > MOST_STEPS:
        raise BadRequest(f"stepIds has {len(parts)} numbers; expected at most {MOST_STEPS}")
    for part in parts:
        if not _STEP.fullmatch(part):
            raise BadRequest(f"invalid step ID {shown(part)}: must be a valid integer: bad request")
    return tuple(int(part) for part in parts)
