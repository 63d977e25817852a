"""What a data scientist does with PyPI's ``model-registry``, unchanged: prints what the client saw, as JSON.

The tests run this file as a program, with the newest client and with the last client that speaks v1alpha3.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib.metadata import version as installed
from typing import Any

from model_registry import ModelRegistry
from model_registry.exceptions import StoreError
from model_registry.types import ModelArtifact
from mr_openapi.exceptions import ApiException

MODELS = 21
METADATA = {"whole": 1, "double": 0.5, "text": "a b, ü", "yes": True}


def main(url: str, token: str, uri: str, story: str) -> None:
    """Runs one story against a server and prints what the client saw."""
    client = ModelRegistry(url, author="ann", user_token=token, log_level=40, async_runner=asyncio.run)
    print(json.dumps({"client": installed("model-registry"), **STORIES[story](client, uri)}))


def author(client: ModelRegistry, uri: str) -> dict[str, Any]:
    """Registers, reads, pages, updates and archives."""
    model = client.register_model(
        "Story 1: whole",
        uri,
        model_format_name="safetensors",
        model_format_version="1",
        version="v1, May",
        version_description="a first one",
        owner="ann",
        metadata=METADATA,
    )
    version = client.get_model_version("Story 1: whole", "v1, May")
    artifact = client.get_model_artifact("Story 1: whole", "v1, May")
    assert version is not None
    assert artifact is not None
    seen: dict[str, Any] = {
        "ids": [int(model.id or 0) > 0, version.registered_model_id == model.id],
        "metadata": [_own(version.custom_properties), _types(version.custom_properties)],
        "artifact": [artifact.name, artifact.model_format_name, (artifact.uri or "").partition("?")[0] == uri],
        "missing": [client.get_registered_model("nothing"), client.get_model_version("Story 1: whole", "nothing")],
    }
    version.description = "another"
    version.custom_properties = {**(version.custom_properties or {}), "text": "new"}
    before = version.last_update_time_since_epoch
    client.update(version)
    again = client.get_model_version("Story 1: whole", "v1, May")
    assert again is not None
    seen["updated"] = [again.description, _own(again.custom_properties), again.last_update_time_since_epoch != before]
    model.description, model.owner = "of a story", "eve"
    client.update(model)
    whole = client.get_registered_model("Story 1: whole")
    assert whole is not None
    seen["model"] = [whole.description, whole.owner, whole.state.value]
    artifact.description = "the files"
    seen["artifact updated"] = client.update(artifact).description
    seen["artifacts"] = _artifacts(client, str(version.id))
    seen |= _pages(client)
    again.state = type(again.state)("ARCHIVED")
    client.update(again)
    archived = client.get_model_version("Story 1: whole", "v1, May")
    seen["archived"] = archived and archived.state.value
    seen["twice"] = _refusal(
        lambda: client.register_model(
            "Story 1: whole", uri, model_format_name="x", model_format_version="1", version="v1, May"
        )
    )
    return seen


def reader(client: ModelRegistry, uri: str) -> dict[str, Any]:
    """Reads what another person registered, and is refused to write."""
    model = client.get_registered_model("Story 1: whole")
    version = client.get_model_version("Story 1: whole", "v1, May")
    assert model is not None
    assert version is not None
    model.description = version.description = "not mine"

    def register() -> object:
        return client.register_model("mine", uri, model_format_name="x", model_format_version="1", version="1")

    return {
        "read": [model.name, version.name, len(list(client.get_registered_models().page_size(10)))],
        "refused": [
            _refusal(register),
            *(_refusal(lambda entry=entry: client.update(entry)) for entry in (model, version)),
        ],
    }


def _artifacts(client: ModelRegistry, version: str) -> list[Any]:
    """Attaches a second model artifact through the client's core interface."""
    api = client._api
    extra = ModelArtifact(name="adapter", uri="https://acme.org/adapter", description="a second one")
    made = asyncio.run(api.upsert_model_version_artifact(extra, version))
    found = asyncio.run(api.get_model_version_artifacts(version))
    return [made.name, sorted(item.name or "" for item in found)]


def _pages(client: ModelRegistry) -> dict[str, Any]:
    """21 models in pages of 10: the client asks for the first page again, and stops."""
    for number in range(MODELS - 1):
        client.register_model(
            f"model:{number}", "s3", model_format_name="x", model_format_version="1", version="latest"
        )
    models = client.get_registered_models().page_size(10)
    tokens, names = [], []
    for model in models:
        names.append(model.name)
        if not tokens or tokens[-1] != models.options.next_page_token:
            tokens.append(models.options.next_page_token)
    newest = next(client.get_registered_models().order_by_creation_time().descending().page_size(2))
    versions = [version.name for version in client.get_model_versions("model:0")]
    return {"pages": [len(names), len(set(names)), len(tokens)], "newest": newest.name, "versions": versions}


def _own(properties: dict[str, Any] | None) -> dict[str, Any]:
    """The properties that the client wrote."""
    return {name: value for name, value in sorted((properties or {}).items()) if name in METADATA}


def _types(properties: dict[str, Any] | None) -> list[str]:
    return [type(value).__name__ for value in _own(properties).values()]


def _refusal(call: Callable[[], object]) -> str:
    try:
        return f"not refused: {call()}"
    except (ApiException, StoreError) as error:
        return str(error)


STORIES: dict[str, Callable[[ModelRegistry, str], dict[str, Any]]] = {"author": author, "reader": reader}

if __name__ == "__main__":
    main(*sys.argv[1:])
