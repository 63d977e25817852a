"""``gatehouse template``: the serving template of a version, ready to apply."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gatehouse.api.model_version import ModelVersion
from gatehouse.cli.connection import (
    NOT_READY,
    ContextOption,
    KubeconfigOption,
    cluster,
    default_namespace,
    fail,
    run_command,
)
from gatehouse.cli.explain import explanation
from gatehouse.domain.runtimes.refusals import TemplateRefused
from gatehouse.domain.serving.template import ServingTemplate, read_template, retarget, to_yaml
from gatehouse.printing import stdout

__all__ = ["check_emitted", "print_template", "template"]


def template(
    name: Annotated[str, typer.Argument(help="Name of the ModelVersion.", metavar="NAME")],
    namespace: Annotated[
        str | None, typer.Option("-n", help="Namespace of the ModelVersion; the context's namespace when absent.")
    ] = None,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="yaml or json.")] = "yaml",
    stage: Annotated[
        str | None, typer.Option("--stage", help="Refuse unless the version is cleared for this stage; label it so.")
    ] = None,
    service_name: Annotated[
        str | None, typer.Option("--name", help="Name of the InferenceService; one of the version's when absent.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--namespace", help="Namespace to deploy to; the version's namespace when absent.")
    ] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Print the ServingRuntime and the InferenceService of a version that is Ready to Deploy.

    Exit codes: 0 printed, 1 the version is not ready (and why), 2 an error.

    Example: gatehouse template granite-3.1-8b -n private-ai --stage staging | kubectl apply -f -
    """
    version, config_map = run_command(lambda: _read(name, namespace, kubeconfig, context))
    refusal = _refusal(version, stage)
    if refusal is not None or config_map is None:
        fail(refusal or f"the template of {name} is not there; try again in a moment", code=NOT_READY)
    try:
        emitted = read_template(config_map)
        check_emitted(version, emitted)
        found = retarget(emitted, name=service_name, namespace=target, stage=stage)
    except TemplateRefused as refused:
        problem = refused.finding
        fail(f"{problem.found}; wanted: {problem.expected}; {problem.remedy}")
    except ValueError as error:
        fail(f"ConfigMap {config_map['metadata']['name']}: {error}")
    print_template(found, output)


async def _read(
    name: str, namespace: str | None, kubeconfig: Path | None, context: str | None
) -> tuple[ModelVersion, dict[str, Any] | None]:
    where = namespace or await default_namespace(kubeconfig, context)
    async with cluster(kubeconfig, context) as client:
        version = ModelVersion.model_validate(await client.get(ModelVersion.info.plural, where, name))
        emitted = version.status.template
        if emitted is None:
            return version, None
        return version, await client.get("configmaps", where, emitted.name)


def check_emitted(version: ModelVersion, found: ServingTemplate) -> None:
    """Raises ValueError for another template than the operator wrote: many may write ConfigMaps, few a status."""
    wanted = version.status.template
    if wanted is None or wanted.digest != found.digest:
        raise ValueError(
            f"the template is {found.digest}, but the version's status says {wanted.digest if wanted else 'none'}; "
            "delete the ConfigMap to have it written again"
        )


def _refusal(version: ModelVersion, stage: str | None) -> str | None:
    facts = explanation(version)
    where = f"{version.metadata.namespace}/{version.metadata.name}"
    if not facts["ready"]:
        phase = version.status.phase or "not reconciled yet"
        return f"{where} is {phase}, not Ready to Deploy: {facts['summary']}"
    if stage is not None and stage not in version.status.cleared_for:
        cleared = ", ".join(version.status.cleared_for) or "no stage"
        return f"{where} is not cleared for stage {stage}; it is cleared for {cleared}"
    return None


def print_template(found: ServingTemplate, output: str) -> None:
    """Prints the runtime and the service as YAML documents, or as a List in JSON."""
    objects = (found.serving_runtime, found.inference_service)
    if output == "json":
        stdout().data({"apiVersion": "v1", "kind": "List", "items": [dict(each) for each in objects]})
    else:
        stdout().documents(to_yaml(each) for each in objects)
