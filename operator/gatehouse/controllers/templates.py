"""Serving templates: the input for rendering one, and the detection of deleted or changed templates.

ConfigMaps are not watched: 10,000 of them would double the operator's memory and start time. At intervals their
metadata is listed instead, which shows what is missing and who changed the data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from gatehouse.api.model_version import ModelVersion
from gatehouse.api.wire import TEMPLATE_DIGEST, TEMPLATE_NAME
from gatehouse.controllers.ports import ObjectName, ObjectReader, TemplateLister
from gatehouse.domain.common.readable import member
from gatehouse.domain.runtimes.formats import served_file
from gatehouse.domain.serving.template import ServingInput
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.lifecycle import Decision
from gatehouse.domain.version.records import VersionIds

__all__ = ["TemplateSweep", "serving_input"]


def serving_input(facts: Facts, decision: Decision, ids: VersionIds) -> ServingInput:
    """The input for the template of a ready version. Raises TypeError for a decision on any other version."""
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


SLICE: Final = 200
"""Versions compared before other work can run."""

_log = structlog.get_logger(__name__)


class TemplateSweep:
    """Compares templates with versions; ``enqueue`` gets each version whose template was deleted or changed."""

    def __init__(self, *, reader: ObjectReader, lister: TemplateLister, enqueue: Callable[[ObjectName], None]) -> None:
        self._reader = reader
        self._lister = lister
        self._enqueue = enqueue
        self._lost: set[ObjectName] = set()

    async def sweep(self) -> None:
        """Compares once. Raises the errors of listing."""
        digests = await self._lister.templates()
        names = self._reader.names(ModelVersion.info.plural)
        for start in range(0, len(names), SLICE):
            for name in names[start : start + SLICE]:
                if self._is_lost(name, digests):
                    _log.warning("template is gone or changed", namespace=name.namespace, name=name.name)
                    self._lost.add(name)
                    self._enqueue(name)
            await asyncio.sleep(0)

    def is_lost(self, name: ObjectName) -> bool:
        """Whether the template of a version must be written although the status names it as written."""
        return name in self._lost

    def written(self, name: ObjectName) -> None:
        """The template of a version was written again, or is no longer owed."""
        self._lost.discard(name)

    def _is_lost(self, name: ObjectName, digests: Mapping[tuple[str, str], str]) -> bool:
        body = self._reader.get(ModelVersion.info.plural, name.namespace, name.name)
        emitted, digest = (member(body, *path) for path in (TEMPLATE_NAME, TEMPLATE_DIGEST))
        return isinstance(emitted, str) and digests.get((name.namespace, emitted)) != digest
