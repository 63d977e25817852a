"""The serving template of a version: as the operator wrote it, changed only for where the service is to run."""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.actions.explanation import Explanation
from gatehouse.actions.objects import read
from gatehouse.api.model_version import ModelVersion
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.runtimes.refusals import TemplateRefused
from gatehouse.domain.serving.template import ServingTemplate, read_template, retarget
from gatehouse.errors import ConditionNotMet, Refused

__all__ = ["TemplateTarget", "emitted_template", "ready_template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateTarget:
    """Where the service is to run; a None keeps what the template has."""

    service: str | None = None
    namespace: str | None = None
    stage: str | None = None


async def ready_template(api: ApiClient, *, namespace: str, name: str, target: TemplateTarget) -> ServingTemplate:
    """The template of a version that is Ready to Deploy, and cleared for the stage of the target if it names one.

    Raises ConditionNotMet, Refused for a template that the operator did not write, and ClusterError.
    """
    version = await read(api, ModelVersion, namespace, name)
    _check_ready(version, target.stage)
    template = await emitted_template(api, version, target)
    if template is None:
        raise ConditionNotMet(f"the template of {name} does not exist yet; try again in a moment")
    return template


async def emitted_template(api: ApiClient, version: ModelVersion, target: TemplateTarget) -> ServingTemplate | None:
    """The template that the status of a version names; None when the operator has not written it yet.

    Raises Refused for a template that the operator did not write or that the target does not suit, and ClusterError.
    """
    reference = version.status.template
    if reference is None:
        return None
    config_map = await api.get("configmaps", version.metadata.namespace, reference.name)
    try:
        template = read_template(config_map)
        _check_emitted(template, digest=reference.digest)
        return retarget(template, name=target.service, namespace=target.namespace, stage=target.stage)
    except TemplateRefused as refused:
        problem = refused.finding
        raise Refused(f"{problem.found}; expected: {problem.expected}; {problem.remedy}") from refused
    except ValueError as error:
        raise Refused(f"ConfigMap {reference.name}: {error}") from error


def _check_ready(version: ModelVersion, stage: str | None) -> None:
    explanation = Explanation(version=version)
    where = f"{version.metadata.namespace}/{version.metadata.name}"
    if not explanation.ready:
        phase = version.status.phase or "not reconciled yet"
        raise ConditionNotMet(f"{where} is {phase}, not Ready to Deploy: {explanation.summary}")
    if stage is not None and stage not in version.status.cleared_for:
        cleared = ", ".join(version.status.cleared_for) or "no stage"
        raise ConditionNotMet(f"{where} is not cleared for stage {stage}; it is cleared for {cleared}")


def _check_emitted(template: ServingTemplate, *, digest: str) -> None:
    """Raises ValueError for another template than the operator wrote: many may write ConfigMaps, few a status."""
    if template.digest != digest:
        raise ValueError(
            f"the template is {template.digest}, but the version's status says {digest}; "
            "delete the ConfigMap to have it written again"
        )
