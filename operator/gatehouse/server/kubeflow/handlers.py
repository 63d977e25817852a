"""The handlers of the contract: each binds one operation to the registry's entries, as the caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar
from uuid import uuid4

from starlette.responses import Response

from gatehouse.actions.identity import Action as Right
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.entries.artifact_uris import outward
from gatehouse.domain.entries.entry import ARTIFACT_KINDS, FIRST_RECORDED_ID, Entry, EntryKind, NewEntry
from gatehouse.domain.entries.observed import adds_nothing, is_observed
from gatehouse.domain.entries.refusals import EntryExists, EntryGoverned, EntryMissing, ParentMissing
from gatehouse.domain.query.filters import All, Comparison, Filter
from gatehouse.domain.query.page_tokens import write_token
from gatehouse.domain.query.pages import Order, Page
from gatehouse.domain.query.scopes import Scope
from gatehouse.registry.entries import Entries
from gatehouse.registry.entry_pages import EntryPage, position_of
from gatehouse.registry.entry_updates import EntryChange
from gatehouse.server.calls import Call
from gatehouse.server.errors import BadRequest, Conflict
from gatehouse.server.kubeflow.answers import write_entry, write_list
from gatehouse.server.kubeflow.bodies import EntryBody, check_artifact_type, new_entry, read_body, updated_entry
from gatehouse.server.kubeflow.errors import already_exists, not_found
from gatehouse.server.kubeflow.governed import change_state, govern, is_artifact_of, own_uri
from gatehouse.server.kubeflow.members import ApiVersion
from gatehouse.server.kubeflow.operations import Action, RestOperation
from gatehouse.server.kubeflow.queries import EntryList, read_id, read_list, read_namespace, read_search
from gatehouse.server.kubeflow.resources import RestResource, resource_of
from gatehouse.server.rendering import json_response
from gatehouse.server.routing import Handler
from gatehouse.server.served_registry import ServedRegistry

__all__ = ["Handlers"]

E = TypeVar("E", bound=NewEntry)
NAMESPACE_HEADER: Final = "x-gatehouse-namespace"
_REFERENCES: Final[Mapping[str, EntryKind]] = {
    "registeredModelId": "registered_model",
    "modelVersionId": "model_version",
}
"""Members that name another entry, which must exist."""
_DECLARED: Final[tuple[EntryKind, ...]] = ("registered_model", "model_version")
"""The kinds whose state an object may declare."""
_CURL: Final = ("application/x-www-form-urlencoded",)
"""What curl says of the body of ``--data``. People archive versions so."""
_BROWSER: Final = (b"origin", b"cookie", b"sec-fetch-")
"""How the headers of a browser begin. A foreign page can make a browser send a form, but no JSON."""


class Handlers:
    """The handlers of one version of the contract, over one registry."""

    def __init__(self, registry: ServedRegistry, *, version: ApiVersion) -> None:
        self._registry = registry
        self._version = version
        self._actions: Mapping[Action, Callable[[RestOperation, Call], Awaitable[Response]]] = {
            "list": self._list,
            "metric_history": self._list,
            "find": self._find,
            "get": self._get,
            "create": self._create,
            "upsert": self._upsert,
            "update": self._update,
            "model_of_service": self._model_of_service,
            "version_of_service": self._version_of_service,
        }

    def handler(self, operation: RestOperation) -> Handler:
        """The handler of an operation."""
        return partial(self._actions[operation.action], operation)

    # Reading

    async def _list(self, operation: RestOperation, call: Call) -> Response:
        path = operation.path.format(id=call.params.get("id", ""))
        asked = read_list(dict(call.query), operation=operation, version=self._version, path=path)
        reader = await self._reader(call)
        parent = await self._parent_of_path(operation, call, reader)
        page = await reader.page(asked, parent_id=None if parent is None else parent.id)
        token = ""
        if page.more:
            token = write_token(position_of(page.entries[-1], asked.page.order), identity=asked.identity)
        listing = write_list(
            page.entries,
            version=self._version,
            next_page_token=token,
            page_size=asked.page.size,
            outward=outward(reader.registry),
        )
        return json_response(listing)

    async def _find(self, operation: RestOperation, call: Call) -> Response:
        search = read_search(dict(call.query), operation=operation)
        reader = await self._reader(call)
        found = await reader.entries.find(
            kinds=operation.kinds, name=search.name, parent_id=search.parent_id, external_id=search.external_id
        )
        if found is None or not await reader.may_read(found):
            named = f"name={search.name}" if search.name is not None else f"externalId={search.external_id}"
            raise not_found(_words(operation), named)
        return self._answer(found, reader)

    async def _get(self, operation: RestOperation, call: Call) -> Response:
        reader = await self._reader(call)
        return self._answer(await self._named(operation, call, reader), reader)

    async def _model_of_service(self, _operation: RestOperation, call: Call) -> Response:
        reader = await self._reader(call)
        service = await reader.named("inference_service", call.params["id"])
        model = _reference(service, "registeredModelId")
        return self._answer(await reader.named("registered_model", str(model)), reader)

    async def _version_of_service(self, _operation: RestOperation, call: Call) -> Response:
        reader = await self._reader(call)
        service = await reader.named("inference_service", call.params["id"])
        chosen = _reference(service, "modelVersionId")
        if chosen:
            return self._answer(await reader.named("model_version", str(chosen)), reader)
        model = _reference(service, "registeredModelId")
        newest = await reader.newest_version(model)
        if newest is None:
            raise not_found("model version", f"registered model {model}")
        return self._answer(newest, reader)

    # Writing

    async def _create(self, operation: RestOperation, call: Call) -> Response:
        body = await self._body(operation, call)
        reader = await self._reader(call)
        created = await self._created(operation, call, reader, body)
        return self._answer(created, reader, status=operation.statuses(self._version)[0])

    async def _upsert(self, operation: RestOperation, call: Call) -> Response:
        body = await self._body(operation, call)
        reader = await self._reader(call)
        if body.id is None:
            return self._answer(await self._created(operation, call, reader, body), reader, status=201)
        existing = await reader.named(body.resource.kind, str(body.id))
        parent = await self._parent_of_path(operation, call, reader)
        if parent is not None and parent.namespace != existing.namespace:
            raise Conflict(
                f"{body.resource.words} {existing.id} is in namespace {existing.namespace}, and "
                f"{resource_of(parent.kind).words} {parent.id} in {parent.namespace}; expected one namespace: conflict"
            )
        return self._answer(await self._changed(call, reader, existing, body, parent=parent), reader)

    async def _update(self, operation: RestOperation, call: Call) -> Response:
        reader = await self._reader(call)
        existing = await self._named(operation, call, reader)
        resources = operation.resources if len(operation.resources) == 1 else (resource_of(existing.kind),)
        body = await self._body(operation, call, resources=operation.resources)
        check_artifact_type(resources[0], body)
        return self._answer(await self._changed(call, reader, existing, body), reader)

    async def _created(self, operation: RestOperation, call: Call, reader: _Reader, body: EntryBody) -> Entry:
        parent = await self._parent_of_path(operation, call, reader)
        if parent is None and body.parent_id is not None and body.resource.parent is not None:
            parent = await reader.named(body.resource.parent, str(body.parent_id))
        if parent is not None and body.parent_id is not None and body.parent_id != parent.id:
            raise BadRequest(
                f"the path names the {resource_of(parent.kind).words} {parent.id}, and the body names "
                f"{body.parent_id}; expected the same id in both"
            )
        await reader.check_references(body)
        namespace = parent.namespace if parent is not None else self._namespace(call, reader.registry)
        await call.access.require(_right("create", body.resource.kind, namespace))
        entry = new_entry(
            body, namespace=namespace, fallback_name=str(uuid4()), parent_id=None if parent is None else parent.id
        )
        entry = _in_run(own_uri(entry, reader.registry), parent)
        if parent is not None and parent.kind == "model_version" and entry.kind == "model_artifact":
            await self._govern(call, reader, version=parent, artifact=entry)
        created = await _written(body.resource, entry.name, reader.entries.create(entry, actor=call.caller.person.name))
        self._registry.forget_namespaces()
        return created

    async def _changed(
        self, call: Call, reader: _Reader, existing: Entry, body: EntryBody, *, parent: Entry | None = None
    ) -> Entry:
        patch, observed = _right_on("patch", existing), is_observed(existing)
        if not observed:
            await call.access.require(patch)
        wanted = _in_run(own_uri(updated_entry(existing, body), reader.registry), parent)
        if observed:
            if adds_nothing(existing, wanted):
                return existing
            await call.access.require(patch)
        declared = existing.governed is not None and not observed
        if body.state is not None and existing.kind in _DECLARED:
            declared = await change_state(call.access, existing, registry=reader.registry, state=body.state)
        if existing.kind == "model_artifact":
            await self._artifact_changed(call, reader, existing, wanted, parent=parent)
        change = EntryChange(
            external_id=body.external_id,
            state=None if declared or observed else body.state,
            declared_state=body.state if declared else None,
            members={name: wanted.members[name] for name in (*body.members, *_run_members(parent))} or None,
            properties=None if body.properties is None else wanted.properties,
            parent_id=None if parent is None or existing.parent_id == parent.id else parent.id,
        )
        changed = await _written(
            body.resource,
            existing.name,
            reader.entries.update(
                kinds=(existing.kind,),
                id=existing.id,
                change=change,
                actor=call.caller.person.name,
            ),
        )
        return replace(changed, state=wanted.state) if declared else changed

    async def _artifact_changed(
        self, call: Call, reader: _Reader, existing: Entry, wanted: Entry, *, parent: Entry | None
    ) -> None:
        """What another URI, or a first version, means for the version of an artifact. Raises Conflict."""
        before, now = existing.members.get("uri"), wanted.members.get("uri")
        if before == now and parent is None:
            return
        version = parent
        if version is None and existing.parent_id is not None and existing.parent_id < FIRST_RECORDED_ID:
            version = await reader.named("model_version", str(existing.parent_id))
        if version is None or version.kind != "model_version":
            return
        if version.governed is not None and before != now and is_artifact_of(version, before):
            raise Conflict(
                f"the URI of {existing.name} is that of ModelVersion {version.namespace}/"
                f"{version.governed.object_name}, which never changes; register another version: conflict"
            )
        await self._govern(call, reader, version=version, artifact=wanted)

    async def _govern(self, call: Call, reader: _Reader, *, version: Entry, artifact: NewEntry) -> None:
        """Writes the objects of a version whose artifact lies in a store of the registry, as the caller."""
        if version.governed is not None or version.parent_id is None:
            return
        model = await reader.named("registered_model", str(version.parent_id))
        await govern(
            call.access,
            registry=reader.registry,
            model=model,
            version=version,
            artifact=artifact,
            traceparent=call.trace.traceparent,
        )

    # What all share

    async def _body(
        self, operation: RestOperation, call: Call, *, resources: tuple[RestResource, ...] | None = None
    ) -> EntryBody:
        call.require_media_type("application/json", *(() if _from_browser(call) else _CURL))
        if operation.form is None:
            raise TypeError(f"{operation.id} reads no body")
        return read_body(
            await call.body(),
            form=operation.form,
            resources=resources or operation.resources,
            version=self._version,
        )

    async def _named(self, operation: RestOperation, call: Call, reader: _Reader) -> Entry:
        return await reader.one_of(operation.kinds, call.params["id"], words=_words(operation))

    async def _parent_of_path(self, operation: RestOperation, call: Call, reader: _Reader) -> Entry | None:
        return None if operation.parent is None else await reader.named(operation.parent, call.params["id"])

    async def _reader(self, call: Call) -> _Reader:
        rows = await self._registry.rows()
        return _Reader(call, rows.entries, await self._registry.registry())

    def _namespace(self, call: Call, registry: ModelRegistry) -> str:
        named = read_namespace(dict(call.query).get("namespace", "") or call.header(NAMESPACE_HEADER) or "")
        namespace = named or registry.spec.defaults.namespace
        if namespace is None:
            raise BadRequest(
                f"no namespace is named; expected: the query word namespace, the header {NAMESPACE_HEADER}, or "
                "spec.defaults.namespace of the ModelRegistry"
            )
        return namespace

    def _answer(self, entry: Entry, reader: _Reader, *, status: int = 200) -> Response:
        document = write_entry(entry, version=self._version, outward=outward(reader.registry))
        return json_response(document, status=status)


class _Reader:
    """Reads entries as one caller: what the caller may not read is not there."""

    def __init__(self, call: Call, entries: Entries, registry: ModelRegistry) -> None:
        self.entries = entries
        self.registry = registry
        self._call = call

    async def scope(self, kind: EntryKind) -> Scope:
        """The namespaces whose entries of a kind the caller may read."""
        return await self._call.access.readable_namespaces(_plural(kind))

    async def may_read(self, entry: Entry) -> bool:
        """Whether the caller may read an entry."""
        return await self._call.access.may_on(_right_on("get", entry))

    async def one_of(self, kinds: tuple[EntryKind, ...], text: str, *, words: str) -> Entry:
        """The entry of an id in a path. Raises NotFound, and BadRequest for a text that is no id."""
        id_ = read_id(text, what=words)
        found = None
        if id_ is not None:
            found = await self.entries.get(kinds=kinds, id=id_)
        if found is None or not await self.may_read(found):
            raise not_found(words, f"id {text[:32]}")
        return found

    async def named(self, kind: EntryKind, text: str) -> Entry:
        """The entry of a kind and an id. Raises as :meth:`one_of`."""
        return await self.one_of((kind,), text, words=resource_of(kind).words)

    async def page(self, asked: EntryList, *, parent_id: int | None) -> EntryPage:
        """The page that a list asks for."""
        return await self.entries.page(
            kinds=asked.kinds,
            page=asked.page,
            parent_id=parent_id,
            tree=_tree(asked),
            namespaces=await self.scope(asked.kinds[0]),
        )

    async def newest_version(self, model: int) -> Entry | None:
        """The version of a model that was created last."""
        page = await self.entries.page(
            kinds=("model_version",),
            page=Page(order=Order("CREATE_TIME", descending=True), size=1),
            parent_id=model,
            namespaces=await self.scope("model_version"),
        )
        return page.entries[0] if page.entries else None

    async def check_references(self, body: EntryBody) -> None:
        """Raises NotFound for a member that names an entry that is not there."""
        for name, kind in _REFERENCES.items():
            value = body.members.get(name)
            if isinstance(value, str):
                await self.named(kind, value)


def _from_browser(call: Call) -> bool:
    return any(name.startswith(_BROWSER) for name, _ in call.headers)


def _plural(kind: EntryKind) -> str:
    """The Kubernetes resource whose rights count for entries of a kind."""
    return (RegisteredModel if kind == "registered_model" else ModelVersion).info.plural


def _right(verb: str, kind: EntryKind, namespace: str) -> Right:
    return Right(verb=verb, resource=_plural(kind), namespace=namespace)


def _right_on(verb: str, entry: Entry) -> Right:
    """A verb on an entry: on its object, where the entry has one. What runs is read with the right to versions."""
    right = _right(verb, entry.kind, entry.namespace)
    if entry.governed is None or is_observed(entry):
        return right
    return replace(right, name=entry.governed.object_name)


def _words(operation: RestOperation) -> str:
    return operation.resources[0].words if len(operation.resources) == 1 else "artifact"


def _reference(entry: Entry, member: str) -> int:
    """The id that a member names; 0, which no entry has, without one."""
    value = entry.members.get(member)
    return int(value) if isinstance(value, str) and value.isdecimal() else 0


def _run_members(parent: Entry | None) -> dict[str, str]:
    """The members that an artifact of an experiment run has beside the client's."""
    if parent is None or parent.kind != "experiment_run":
        return {}
    of_experiment = {} if parent.parent_id is None else {"experimentId": str(parent.parent_id)}
    return {"experimentRunId": str(parent.id), **of_experiment}


def _in_run(entry: E, parent: Entry | None) -> E:
    """The entry with the ids of its experiment run, if its parent is one."""
    more = _run_members(parent)
    return replace(entry, members={**entry.members, **more}) if more and entry.kind in ARTIFACT_KINDS else entry


def _tree(asked: EntryList) -> Filter | None:
    """The filter of a list, with the words that narrow it."""
    narrowing: list[Filter] = []
    if asked.name is not None:
        narrowing.append(Comparison(("name",), "=", (asked.name,)))
    if asked.external_id is not None:
        narrowing.append(Comparison(("externalId",), "=", (asked.external_id,)))
    if asked.steps:
        narrowing.append(Comparison(("step",), "IN", asked.steps))
    if asked.filter is not None:
        narrowing.append(asked.filter)
    return All(tuple(narrowing)) if narrowing else None


async def _written(resource: RestResource, name: str, write: Awaitable[Entry]) -> Entry:
    """The written entry. Raises the contract's errors for the refusals of the rows."""
    try:
        return await write
    except EntryExists:
        raise already_exists(resource.words, name) from None
    except EntryMissing:
        raise not_found(resource.words, f"name {name}") from None
    except ParentMissing:
        parent = resource_of(resource.parent).words if resource.parent is not None else "parent"
        raise not_found(parent, f"{resource.words} {name}") from None
    except EntryGoverned as error:
        raise Conflict(error.message) from None
