"""OpenShift AI's kind ModelRegistry beside Gatehouse's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.common.opendatahub import (
    ANNOTATION_DATABASE_TLS,
    AVAILABLE,
    PATIENCE,
    NamedDatabase,
    availability,
    derived_registry,
    named_database,
)
from gatehouse.domain.common.readable import Unreadable

DATABASE = {"host": "db.private-ai.svc", "port": 3306, "database": "model_registry", "username": "mlmd"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(["spec", "mysql", "postgres", "host", "port", "database", "username", "metadata"])


def foreign(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "registries", "name": "private-ai-registry"}, "spec": spec}


def registry(*, ready: str | None = "True", generation: int = 1, observed: int = 1, **spec: Any) -> ModelRegistry:
    conditions = [] if ready is None else [condition(ready, observed=observed)]
    return ModelRegistry.model_validate(
        {
            "metadata": {"namespace": "registries", "name": "private-ai-registry", "generation": generation},
            "spec": spec,
            "status": {"conditions": conditions},
        }
    )


def condition(status: str, *, observed: int) -> dict[str, Any]:
    return {
        "type": "Ready",
        "status": status,
        "observedGeneration": observed,
        "lastTransitionTime": "2026-12-01T00:00:00Z",
        "reason": "Connected" if status == "True" else "DatabaseUnreachable",
        "message": "as it is",
    }


@pytest.mark.parametrize("kind", ["mysql", "postgres"])
def test_the_same_database_is_available_as_the_registry_is_ready(kind: str) -> None:
    own = registry(**{kind: DATABASE})
    up = availability(foreign(**{kind: DATABASE}), own)
    assert (up.type, up.status, up.reason, up.message) == (AVAILABLE, "True", "Connected", "as it is")
    down = availability(foreign(**{kind: DATABASE}), registry(ready="False", **{kind: DATABASE}))
    assert (down.status, down.reason, down.message) == ("False", "DatabaseUnreachable", "as it is")


@pytest.mark.parametrize("change", [{"host": "other"}, {"port": 3307}, {"database": "other"}, {"username": "other"}])
def test_another_database_is_not_available_and_both_are_named(change: dict[str, Any]) -> None:
    state = availability(foreign(mysql={**DATABASE, **change}), registry(mysql=DATABASE))
    assert (state.status, state.reason) == ("False", "OtherDatabase")
    assert "mysql mlmd@db.private-ai.svc:3306/model_registry" in state.message
    assert str(next(iter(change.values()))) in state.message


def test_the_other_kind_of_database_and_sqlite_are_other_databases() -> None:
    for own in (registry(postgres={**DATABASE, "port": 3306}), registry()):
        assert availability(foreign(mysql=DATABASE), own).reason == "OtherDatabase"
    assert "SQLite" in availability(foreign(mysql=DATABASE), registry()).message


def test_without_a_registry_nothing_is_available() -> None:
    unreadable = Unreadable(
        kind="ModelRegistry", namespace="registries", name="private-ai-registry", problem="spec: no"
    )
    for own, word in ((None, "is not there"), (unreadable, "cannot be read: spec: no")):
        state = availability(foreign(mysql=DATABASE), own)
        assert (state.status, state.reason) == ("False", "NoRegistry")
        assert word in state.message
        assert "registries/private-ai-registry" in state.message


@pytest.mark.parametrize(("ready", "observed"), [(None, 1), ("Unknown", 1), ("True", 1)])
def test_a_registry_that_was_not_read_since_its_last_change_is_unknown(ready: str | None, observed: int) -> None:
    generation = 2 if ready == "True" else 1
    own = registry(ready=ready, generation=generation, observed=observed, mysql=DATABASE)
    assert availability(foreign(mysql=DATABASE), own).status == "Unknown"


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"mysql": DATABASE, "postgres": DATABASE},
        {"mysql": {**DATABASE, "host": ""}},
        {"mysql": {**DATABASE, "host": "h" * 254}},
        {"mysql": {**DATABASE, "host": "a\nb"}},
        {"mysql": {**DATABASE, "port": 0}},
        {"mysql": {**DATABASE, "port": True}},
        {"mysql": {**DATABASE, "port": "3306"}},
        {"mysql": {name: DATABASE[name] for name in ("host", "port", "database")}},
    ],
)
def test_a_database_that_is_not_named_well_is_none(spec: dict[str, Any]) -> None:
    assert named_database(foreign(**spec)) is None
    state = availability(foreign(**spec), registry(mysql=DATABASE))
    assert (state.status, state.reason) == ("False", "DatabaseNotNamed")


@pytest.mark.parametrize(("kind", "port"), [("mysql", 3306), ("postgres", 5432)])
def test_the_port_has_a_default(kind: Any, port: int) -> None:
    spec = {kind: {name: value for name, value in DATABASE.items() if name != "port"}}
    assert named_database(foreign(**spec)) == NamedDatabase(kind, "db.private-ai.svc", port, "model_registry", "mlmd")


@given(body=st.dictionaries(MEMBERS, JSON | st.dictionaries(MEMBERS, JSON | st.dictionaries(MEMBERS, JSON))))
def test_no_object_of_another_project_raises_or_becomes_available_by_itself(body: dict[str, Any]) -> None:
    state = availability(body, registry(mysql=DATABASE))
    assert state.type == AVAILABLE
    assert (state.status == "True") == (named_database(body) == NamedDatabase("mysql", *DATABASE.values()))  # type: ignore[arg-type]


# An object that stands alone

CREATED = "2026-12-01T00:00:00Z"
LATER = datetime(2026, 12, 1, tzinfo=UTC) + PATIENCE


def alone(*, annotations: dict[str, str] | None = None, created: object = CREATED, **spec: Any) -> dict[str, Any]:
    body = foreign(**spec)
    body["metadata"] |= {"creationTimestamp": created, "annotations": annotations or {}}
    return body


@pytest.mark.parametrize("kind", ["mysql", "postgres"])
def test_an_object_that_stands_alone_becomes_a_registry_that_can_record(kind: str) -> None:
    secret, authority = {"name": "creds", "key": "password"}, {"name": "ca", "key": "ca.crt"}
    named = {**DATABASE, "passwordSecret": secret, "sslRootCertificateSecret": authority, "unknown": 1}
    made = derived_registry(alone(**{kind: named}), now=LATER)
    assert made is not None
    assert made["spec"] == {kind: {**DATABASE, "passwordSecret": secret, "caSecret": authority}}
    read = ModelRegistry.model_validate(made)
    assert (read.metadata.namespace, read.metadata.name) == ("registries", "private-ai-registry")
    assert read.spec.object_stores == []
    assert availability(alone(**{kind: named}), read).reason == "Progressing"


def test_a_new_object_waits_and_one_without_a_database_or_a_time_becomes_nothing() -> None:
    assert derived_registry(alone(mysql=DATABASE), now=LATER - timedelta(seconds=1)) is None
    assert derived_registry(alone(mysql=DATABASE, postgres=DATABASE), now=LATER) is None
    assert derived_registry(alone(created="soon", mysql=DATABASE), now=LATER) is None
    assert derived_registry(foreign(mysql=DATABASE), now=LATER) is None


def test_tls_is_required_unless_the_object_says_otherwise() -> None:
    for said, tls in (
        (None, None),
        ({ANNOTATION_DATABASE_TLS: "off"}, None),
        ({ANNOTATION_DATABASE_TLS: "Disabled"}, "Disabled"),
    ):
        made = derived_registry(alone(annotations=said, mysql=DATABASE), now=LATER)
        assert made is not None
        assert made["spec"]["mysql"].get("tls") == tls


@given(spec=st.dictionaries(MEMBERS, JSON, max_size=4))
def test_hostile_objects_become_a_registry_or_nothing(spec: dict[str, Any]) -> None:
    made = derived_registry(alone(mysql=spec), now=LATER)
    assert made is None or set(made["spec"]) == {"mysql"}
