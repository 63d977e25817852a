"""What a serving template is rendered from, put together for a version that is ready."""

from __future__ import annotations

from gatehouse.domain.facts import Facts, Unmet
from gatehouse.domain.lifecycle import Decision
from gatehouse.domain.records import VersionIds
from gatehouse.domain.serving import ServingInput
from gatehouse.domain.serving_formats import served_file

__all__ = ["serving_input"]


def serving_input(facts: Facts, decision: Decision, ids: VersionIds) -> ServingInput:
    """Raises TypeError when the decision is none of a version that is ready."""
    version, model, registry, profile = facts.version, facts.model, facts.registry, facts.profile
    if (
        isinstance(model, Unmet)
        or isinstance(registry, Unmet)
        or isinstance(profile, Unmet)
        or decision.fit is None
        or decision.record is None
        or decision.record.digest is None
        or decision.record.artifact is None
        or decision.record.artifact.summary is None
    ):
        raise TypeError("a version is ready only when all that it names is there")
    return ServingInput(
        name=version.metadata.name,
        namespace=version.metadata.namespace,
        model=model.metadata.name,
        version=version.spec.version,
        display_name=model.spec.display_name,
        description=version.spec.description or model.spec.description,
        artifact_uri=version.spec.artifact.uri,
        digest=decision.record.digest,
        model_id=ids.model_id,
        version_id=ids.version_id,
        profile_name=profile.metadata.name,
        profile=profile.spec,
        fit=decision.fit,
        serving=version.spec.serving,
        defaults=registry.spec.serving,
        model_file=served_file(decision.record.artifact.summary),
    )
