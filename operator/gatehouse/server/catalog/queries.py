"""The words of a query to the catalog, read into values. v1 refuses an unknown order; v1alpha1 takes the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from gatehouse.domain.catalog.listed_models import AVERAGE
from gatehouse.domain.common.format_error import shown
from gatehouse.domain.query.filter_query import FilterQueryError, parse_filter
from gatehouse.domain.query.filters import Filter
from gatehouse.domain.query.page_tokens import PageQueryError, PageRules, list_identity, parse_page, write_token
from gatehouse.domain.query.pages import Page
from gatehouse.server.catalog.paging import CatalogPage
from gatehouse.server.errors import BadRequest

__all__ = [
    "ARTIFACT_RULES",
    "ARTIFACT_TYPES",
    "ASSET_TYPES",
    "LABEL_RULES",
    "LONGEST_SEARCH",
    "MODEL_RULES",
    "MOST_NAMES",
    "SOURCE_RULES",
    "CatalogList",
    "CatalogVersion",
    "ListRules",
    "Words",
    "read_catalog_list",
]

CatalogVersion = Literal["v1alpha1", "v1"]
Words = Sequence[tuple[str, str]]
T = TypeVar("T")
LONGEST_SEARCH: Final = 1_000
MOST_NAMES: Final = 40
"""Values of source, sourceLabel or artifactType in one query; all of them fit into the most fields of a query."""
_MODEL_ORDERS: Final = ("NAME", "ID", "CREATE_TIME", "LAST_UPDATE_TIME", "ACCURACY", "RECOMMENDED")
ASSET_TYPES: Final = ("models", "mcp_servers", "agents", "skills")
ARTIFACT_TYPES: Final = ("model-artifact", "metrics-artifact")
_ONCE: Final = ("pageSize", "orderBy", "sortOrder", "nextPageToken", "filterQuery", "q", "name", "assetType")
_REPEATED: Final = ("source", "sourceLabel", "artifactType")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRules:
    """What a list reads: its orders, whether properties order it, and its words besides those of pages."""

    orders: tuple[str, ...]
    by_property: bool = False
    words: tuple[str, ...] = ()


MODEL_RULES: Final = ListRules(
    orders=_MODEL_ORDERS, by_property=True, words=("filterQuery", "q", "source", "sourceLabel")
)
ARTIFACT_RULES: Final = ListRules(
    orders=("ID", "CREATE_TIME", "LAST_UPDATE_TIME", "NAME"), by_property=True, words=("filterQuery", "artifactType")
)
SOURCE_RULES: Final = ListRules(orders=("NAME", "ID"), words=("name", "assetType"))
LABEL_RULES: Final = ListRules(orders=("name", "displayName", "description"), words=("assetType",))


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogList:
    """What a list asks for. An empty tuple of names does not narrow the list."""

    page: Page

    identity: str
    filter: Filter | None = None
    search: str = ""
    name: str = ""
    asset_type: str = ""
    sources: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    artifact_types: tuple[str, ...] = ()

    def next_token(self, page: CatalogPage[T]) -> str:
        """The token of the page after this one; empty after the last."""
        return "" if page.last is None else write_token(page.last, identity=self.identity)


def read_catalog_list(words: Words, *, rules: ListRules, version: CatalogVersion, path: str) -> CatalogList:
    """What a list asks for; ``path`` is the path of the request. Raises BadRequest."""
    once = _once(words)
    repeated = {name: _repeated(words, name, version=version) for name in _REPEATED if name in rules.words}
    used = {name: text for name, text in once.items() if name not in _ONCE[4:] or name in rules.words}
    used |= {name: ",".join(values) for name, values in repeated.items() if values}
    if rules.by_property and "ACCURACY" in rules.orders and used.get("orderBy") == "ACCURACY":
        used["orderBy"] = f"artifacts.{AVERAGE}.double_value"
    others = [name for name in rules.words if name != "filterQuery" and name in used]
    try:
        page = parse_page(
            used,
            rules=PageRules(orders=rules.orders, by_property=rules.by_property, strict=version == "v1"),
            path=path,
            others=others,
        )
        filter_ = parse_filter(used.get("filterQuery", ""), not_in=True)
    except (PageQueryError, FilterQueryError) as error:
        raise BadRequest(f"{error}: bad request") from None
    search = used.get("q", "")
    if len(search) > LONGEST_SEARCH:
        raise BadRequest(f"q has {len(search)} characters; expected at most {LONGEST_SEARCH}: bad request")
    return CatalogList(
        page=page,
        identity=list_identity(used, path=path, order=page.order, others=others),
        filter=filter_,
        search=search.strip(),
        name=used.get("name", ""),
        asset_type=_known("assetType", used.get("assetType", ""), ASSET_TYPES),
        sources=repeated.get("source", ()),
        labels=repeated.get("sourceLabel", ()),
        artifact_types=tuple(_known("artifactType", text, ARTIFACT_TYPES) for text in repeated.get("artifactType", ())),
    )


def _once(words: Words) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in words:
        if "\0" in text or "\0" in name:
            raise BadRequest(f"Invalid {shown(name)} query parameter: contains null bytes which are not allowed")
        if name in _ONCE:
            found[name] = text
    return found


def _repeated(words: Words, name: str, *, version: CatalogVersion) -> tuple[str, ...]:
    """The values of a word that stands several times, or has several values between commas."""
    names = {name, "artifact_type"} if name == "artifactType" and version == "v1alpha1" else {name}
    values = [part.strip() for given, text in words if given in names for part in text.split(",")]
    chosen = tuple(dict.fromkeys(value for value in values if value))
    if len(chosen) > MOST_NAMES:
        raise BadRequest(f"{name} has {len(chosen)} values; expected at most {MOST_NAMES}: bad request")
    return chosen


def _known(name: str, text: str, known: Sequence[str]) -> str:
    if text and text not in known:
        raise BadRequest(f"{name} is {shown(text)}; expected {', '.join(known)}: bad request")
    return text
