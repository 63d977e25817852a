"""``gatehouse register``: a model and a version of it, from flags, from a Hugging Face folder, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gatehouse.actions.manifests import manifests_yaml
from gatehouse.actions.polling import Patience
from gatehouse.actions.readiness import Goal
from gatehouse.actions.register import FIELD_MANAGER, Written
from gatehouse.actions.register import register as write
from gatehouse.actions.registration import await_registration
from gatehouse.actions.registration_request import Request, Wanted, wanted
from gatehouse.api.meta import GROUP
from gatehouse.api.model_version import ArtifactFormat
from gatehouse.api.registered_model import RiskTier
from gatehouse.cli.connection import (
    NOT_READY,
    ContextOption,
    KubeconfigOption,
    cluster,
    default_namespace,
    fail,
    run_command,
)
from gatehouse.cli.options import TimeoutOption
from gatehouse.cli.signals import Stopped, until_told_to_stop
from gatehouse.domain.serving.template import JsonObject
from gatehouse.printing import stderr, stdout
from gatehouse.printing.progress import ConsoleProgress, Progress
from gatehouse.runtime.clock import LoopClock
from gatehouse.upload.errors import NotRegistered, PublishError
from gatehouse.upload.model_folder import FolderFacts, read_model_folder

__all__ = ["register"]

Output = Literal["text", "yaml", "json", "name"]

_MODEL = "Model"
_VERSION = "Version"


def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model, as in Granite-3.1-8b-Instruct-FP8.")],
    version: Annotated[str, typer.Option("--version", help="The version, unique in the model.")],
    uri: Annotated[str, typer.Option("--uri", help="Folder of its files, as in s3://models/granite-3.1-8b/.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Hugging Face folder whose card, configurations and headers of weights are read.",
        ),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", help="Namespace; the context's namespace when absent.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry", metavar="NAMESPACE/NAME", help="ModelRegistry of the model.", rich_help_panel=_MODEL
        ),
    ] = None,
    display_name: Annotated[str | None, typer.Option(help="Name for people.", rich_help_panel=_MODEL)] = None,
    provider: Annotated[str | None, typer.Option(help="Who made the model.", rich_help_panel=_MODEL)] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="Licence, as an SPDX identifier.", rich_help_panel=_MODEL)
    ] = None,
    risk_tier: Annotated[RiskTier | None, typer.Option(help="Low, Medium or High.", rich_help_panel=_MODEL)] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="What it does; may be repeated.", rich_help_panel=_MODEL)
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Language it knows; may be repeated.", rich_help_panel=_MODEL)
    ] = None,
    owner: Annotated[
        list[str] | None, typer.Option(help="Who answers for it; may be repeated.", rich_help_panel=_MODEL)
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.", rich_help_panel=_MODEL)
    ] = None,
    version_name: Annotated[
        str | None, typer.Option(help="Name of the ModelVersion; derived when absent.", rich_help_panel=_VERSION)
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="Digest that the files must have.", rich_help_panel=_VERSION)
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help="HardwareProfile; nvidia-l4 when absent.", rich_help_panel=_VERSION)
    ] = None,
    runtime: Annotated[Literal["vLLM"] | None, typer.Option(help="Runtime.", rich_help_panel=_VERSION)] = None,
    max_model_len: Annotated[
        int | None, typer.Option(min=1, help="Longest sequence in tokens.", rich_help_panel=_VERSION)
    ] = None,
    artifact_format: Annotated[
        ArtifactFormat | None, typer.Option("--format", help="Format of the weights.", rich_help_panel=_VERSION)
    ] = None,
    quantization: Annotated[
        str | None, typer.Option(help="How the weights are quantized, for people.", rich_help_panel=_VERSION)
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="What is new in the version.", rich_help_panel=_VERSION)
    ] = None,
    submitted_by: Annotated[str | None, typer.Option(help="Author.", rich_help_panel=_VERSION)] = None,
    base_model: Annotated[str | None, typer.Option(help="Model it was made from.", rich_help_panel=_VERSION)] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Training data; may be repeated.", rich_help_panel=_VERSION)
    ] = None,
    code_repository: Annotated[str | None, typer.Option(help="Training code.", rich_help_panel=_VERSION)] = None,
    code_commit: Annotated[str | None, typer.Option(help="Its commit.", rich_help_panel=_VERSION)] = None,
    pipeline_run: Annotated[
        str | None, typer.Option(help="Run of the pipeline that made it.", rich_help_panel=_VERSION)
    ] = None,
    property_: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="KEY=VALUE", help="May be repeated.", rich_help_panel=_VERSION),
    ] = None,
    state: Annotated[
        Literal["Draft", "Submitted"] | None, typer.Option(help="Draft or Submitted.", rich_help_panel=_VERSION)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the manifests; ask no cluster.")] = False,
    wait: Annotated[
        Goal | None, typer.Option("--wait", help="Wait until the version is registered, or ready to deploy.")
    ] = None,
    timeout: TimeoutOption = 300.0,
    output: Annotated[Output, typer.Option("-o", "--output", help="text, yaml, json or name.")] = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Register a version of a model; the model is created when it is not there.

    A model or version that is there already is changed only where a flag says otherwise; what a version stands for
    (its model, version, artifact and digest) never changes. With --from, license, tasks, languages, base model and data
    sets are taken from README.md, the quantization from config.json, the format from the names of the files.

    The objects are named after NAME and --version in lower case, with dashes for what is no letter, digit or dot.

    Exit codes: 0 done, 1 with --wait: not registered or ready (in time), with the reason, 2 an error.

    Examples:

      gatehouse register Granite-3.1-8b --version 3.1 --uri s3://models/granite-3.1-8b/ --from ./granite --wait ready

      gatehouse register granite --version 3.2 --uri s3://models/granite-3.2/ --dry-run -o yaml > granite-3.2.yaml

      gatehouse register granite --version "$TAG" --uri "$URI" --digest "$DIGEST" --code-commit "$SHA" -o name
    """
    model_flags = _given(
        registryRef=_registry(registry),
        displayName=display_name,
        provider=provider,
        license=license_,
        riskTier=risk_tier,
        tasks=task,
        languages=language,
        owners=owner,
        tags=_pairs("--tag", tag),
    )
    version_flags = _given(
        version=version,
        description=description,
        submittedBy=submitted_by,
        artifact=_given(uri=uri, digest=digest, format=artifact_format, quantization=quantization),
        hardwareProfileRef=_given(name=hardware),
        runtime=runtime,
        serving=_given(maxModelLen=max_model_len),
        lineage=_given(
            baseModel=base_model,
            trainingData=dataset,
            code=_given(repository=code_repository, commit=code_commit),
            pipelineRun=pipeline_run,
        ),
        customProperties=_pairs("--property", property_),
        state=state,
    )
    request = Request(
        name=name, namespace=namespace, model=model_flags, version=version_flags, version_name=version_name
    )
    call = _Call(
        request=request,
        folder=folder,
        goal=wait,
        timeout=timeout,
        kubeconfig=kubeconfig,
        context=context,
    )
    _run(call, dry_run=dry_run, output=output)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    request: Request
    folder: Path | None
    goal: Goal | None
    timeout: float
    kubeconfig: Path | None
    context: str | None


def _run(call: _Call, *, dry_run: bool, output: Output) -> None:
    try:
        said = call.request.version.get("artifact", {}).get("format")
        facts = read_model_folder(call.folder, artifact_format=said) if call.folder else FolderFacts()
        for note in facts.notes:
            stderr().labelled("note", note)
        if dry_run:
            asked = wanted(call.request, facts)
            _print([asked.model, asked.version], output="yaml" if output == "text" else output)
            return
        with ConsoleProgress() as progress, progress.step("registering"):
            written = run_command(lambda: until_told_to_stop(_register(call, facts, progress)))
    except NotRegistered as error:
        fail(str(error), code=NOT_READY)
    except Stopped as stopped:
        fail(f"{stopped}; what was written stays, run it again", code=NOT_READY)
    except PublishError as error:
        fail(str(error))
    if output == "text":
        for each in written:
            stdout().line(_line(each))
    else:
        _print([each.body for each in written], output=output)


async def _register(call: _Call, facts: FolderFacts, progress: Progress) -> Sequence[Written]:
    asked = await _asked(call, facts)
    async with cluster(call.kubeconfig, call.context) as client:
        written = await write(client, asked)
        if call.goal is None:
            return written
        patience = Patience(seconds=call.timeout, clock=LoopClock(), say=progress.say)
        objects = [each.declared for each in written]
        await await_registration(client, objects, goal=call.goal, manager=FIELD_MANAGER, patience=patience)
        return [
            Written(declared=each.declared, outcome=each.outcome, body=await client.get(*each.declared.key))
            for each in written
        ]


async def _asked(call: _Call, facts: FolderFacts) -> Wanted:
    namespace = call.request.namespace or await default_namespace(call.kubeconfig, call.context)
    request = Request(
        name=call.request.name,
        model=call.request.model,
        version=call.request.version,
        namespace=namespace,
        version_name=call.request.version_name,
    )
    return wanted(request, facts)


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that somebody gave."""
    return {name: value for name, value in fields.items() if value is not None and value not in ({}, [])}


def _registry(text: str | None) -> JsonObject | None:
    if text is None:
        return None
    namespace, slash, name = text.partition("/")
    return {"name": name, "namespace": namespace} if slash else {"name": namespace}


def _pairs(flag: str, texts: Sequence[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or ()]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise typer.BadParameter(f"{flag} is {key!r}; wanted: KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _line(written: Written) -> str:
    phase = written.body.get("status", {}).get("phase")
    return f"{_name(written.body)} {written.outcome}" + (f" ({phase})" if phase else "")


def _name(body: JsonObject) -> str:
    return f"{str(body['kind']).lower()}.{GROUP}/{body['metadata']['name']}"


def _print(bodies: Sequence[JsonObject], *, output: Output) -> None:
    shown = [_without_managers(body) for body in bodies]
    match output:
        case "name":
            for body in shown:
                stdout().line(_name(body))
        case "json":
            listed = {"apiVersion": "v1", "kind": "List", "items": shown}
            stdout().data(listed)
        case _:
            stdout().documents([manifests_yaml([body]) for body in shown])


def _without_managers(body: JsonObject) -> JsonObject:
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}
