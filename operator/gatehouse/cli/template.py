"""``gatehouse template``: the serving template of a version, ready to apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.options import HomeOption, NameArgument
from gatehouse.cli.template_output import print_template

if TYPE_CHECKING:
    from gatehouse.domain.serving.template import ServingTemplate

__all__ = ["template"]


def template(
    name: NameArgument,
    namespace: HomeOption = None,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="Output format.")] = "yaml",
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="Stage that the version must be cleared for; the objects get its label."),
    ] = None,
    service_name: Annotated[
        str | None, typer.Option("--name", help="Name of the InferenceService. Default: a name from the version.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--namespace", help="Namespace to deploy to. Default: the namespace of the version.")
    ] = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Print the serving template of a version.

    The template is a ServingRuntime and an InferenceService. Only a version that is Ready to Deploy has a template.

    Exit codes: 0 success, 1 condition not met: the version is not ready or not cleared for the stage, 2 error.

    Example: gatehouse template granite-3.1-8b -n private-ai --stage staging | kubectl apply -f -
    """
    from gatehouse.actions.templates import TemplateTarget, ready_template

    async def work() -> ServingTemplate:
        home = namespace or await default_namespace(kubeconfig, context)
        place = TemplateTarget(service=service_name, namespace=target, stage=stage)
        async with cluster(kubeconfig, context) as client:
            return await ready_template(client, namespace=home, name=name, target=place)

    print_template(run_command(work), output)
