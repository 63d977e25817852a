"""What the docs show as an example is not refused by the policies that every installation brings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import worlds
from gatehouse.api import GovernancePolicy, ModelRegistry, ModelVersion, RegisteredModel
from gatehouse.domain.governance.held import Held, held_under
from gatehouse.domain.governance.policy import CompiledPolicy, applying
from gatehouse.domain.version.lifecycle import decide

ROOT = Path(__file__).parents[3]
PLACES = ("README.md", "docs/**/*.md", "manifests/seed/*.yaml", "gitops/example/models/**/*.yaml")
KINDS = ("RegisteredModel", "ModelVersion")
EXAMPLE = re.compile(r"^apiVersion: gatehouse\.dev/v1alpha1\n(?:.*\n)*?(?=---$|```|YAML$|EOF$|\Z)", re.MULTILINE)
POLICIES = tuple(
    CompiledPolicy(GovernancePolicy.model_validate(yaml.safe_load(path.read_text())))
    for path in sorted((ROOT / "manifests/policies").glob("*-risk.yaml"))
)
REGISTRY = ModelRegistry.model_validate(
    {
        "metadata": {"name": "local", "namespace": "gatehouse-system", "generation": 1},
        "spec": {
            "allowedNamespaces": {"from": "All"},
            "objectStores": [{"uriPrefix": "s3://models/", "endpoint": "https://s3.example.com"}],
        },
    }
)
"""With every default."""


def _examples() -> Iterator[tuple[Path, dict[str, Any]]]:
    for place in PLACES:
        for path in sorted(ROOT.glob(place)):
            for text in EXAMPLE.findall(path.read_text()):
                body = yaml.safe_load(text)
                if body["kind"] in KINDS:
                    yield path, body


FOUND = list(_examples())
VERSIONS = [
    pytest.param(path, body, id=f"{path.relative_to(ROOT)}-{body['metadata']['name']}")
    for path, body in FOUND
    if body["kind"] == "ModelVersion"
]


def model_of(path: Path, version: Mapping[str, Any]) -> RegisteredModel:
    """The model that stands nearest to the version: in the same file, or in the same folder."""
    named = [
        (place, body)
        for place, body in FOUND
        if body["kind"] == "RegisteredModel" and body["metadata"]["name"] == version["spec"]["modelRef"]["name"]
    ]
    [nearest, *_] = [body for place, body in named if place == path] or [
        body for place, body in named if place.parent == path.parent
    ]
    return RegisteredModel.model_validate(with_identity(nearest))


def with_identity(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"namespace": "team", "uid": body["metadata"]["name"], "generation": 1, **body["metadata"]}
    return {**body, "metadata": metadata}


@pytest.mark.parametrize(("path", "body"), VERSIONS)
def test_an_example_is_not_refused_by_the_default_policies(path: Path, body: Mapping[str, Any]) -> None:
    model, version = model_of(path, body), ModelVersion.model_validate(with_identity(body))
    assert version.spec.state in {"Submitted", "Draft"}
    submitted = version.model_copy(update={"spec": version.spec.model_copy(update={"state": "Submitted"})})
    policies = applying(POLICIES, model, {}, tier=held_under(Held(), model, REGISTRY).risk_tier, held=frozenset())
    assert policies, "no default policy speaks to it"
    digest = version.spec.artifact.digest or worlds.DIGEST

    decision = decide(
        worlds.facts(
            registry=REGISTRY,
            model=model,
            version=submitted,
            policies=policies,
            policy_names=frozenset(each.name for each in POLICIES),
            artifact=worlds.record(digest=digest),
        )
    )

    assert decision.phase == "Ready to Deploy", decision.message
    assert "staging" in decision.cleared_for


def test_every_place_shows_one() -> None:
    shown = {str(path.relative_to(ROOT)).split("/")[0] for path, body in FOUND if body["kind"] == "ModelVersion"}
    assert shown == {"README.md", "docs", "manifests", "gitops"}
