"""``gatehouse register``: a model and a version of the model, from flags, from a Hugging Face folder, or from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import exits
from gatehouse.cli.options import RiskTierChoice, TimeoutOption, say, without_managers
from gatehouse.cli.signals import until_told_to_stop
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.errors import ConditionNotMet
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.actions.register import RegistrationResult
    from gatehouse.printing.progress import ProgressReporter

__all__ = ["register"]

Output = Literal["text", "yaml", "json", "name"]

_MODEL = "Model"
_VERSION = "Version"


def register(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the model, such as Granite-3.1-8b-Instruct-FP8.")
    ],
    version: Annotated[str, typer.Option("--version", help="Version, unique within the model.")],
    uri: Annotated[str, typer.Option("--uri", help="Folder of the files, such as s3://models/granite-3.1-8b/.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Hugging Face folder; the command reads its model card, configurations and headers of weights.",
        ),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", help="Namespace. Default: the namespace of the current context.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry", metavar="NAMESPACE/NAME", help="ModelRegistry of the model.", rich_help_panel=_MODEL
        ),
    ] = None,
    display_name: Annotated[str | None, typer.Option(help="Name to show to people.", rich_help_panel=_MODEL)] = None,
    provider: Annotated[str | None, typer.Option(help="Maker of the model.", rich_help_panel=_MODEL)] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="Licence as an SPDX identifier.", rich_help_panel=_MODEL)
    ] = None,
    risk_tier: Annotated[RiskTierChoice | None, typer.Option(help="Risk tier.", rich_help_panel=_MODEL)] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Task of the model; repeatable.", rich_help_panel=_MODEL)
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Language of the model; repeatable.", rich_help_panel=_MODEL)
    ] = None,
    owner: Annotated[
        list[str] | None,
        typer.Option(help="Person or group who is responsible for the model; repeatable.", rich_help_panel=_MODEL),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Tag; repeatable.", rich_help_panel=_MODEL)
    ] = None,
    version_name: Annotated[
        str | None,
        typer.Option(help="Name of the ModelVersion. Default: from NAME and --version.", rich_help_panel=_VERSION),
    ] = None,
    digest: Annotated[str | None, typer.Option(help="Expected digest of the files.", rich_help_panel=_VERSION)] = None,
    hardware: Annotated[
        str | None, typer.Option(help="HardwareProfile. Default: nvidia-l4.", rich_help_panel=_VERSION)
    ] = None,
    runtime: Annotated[Literal["vLLM"] | None, typer.Option(help="Runtime.", rich_help_panel=_VERSION)] = None,
    max_model_len: Annotated[
        int | None, typer.Option(min=1, help="Longest sequence in tokens.", rich_help_panel=_VERSION)
    ] = None,
    artifact_format: Annotated[
        ArtifactFormat | None, typer.Option("--format", help="Format of the weights.", rich_help_panel=_VERSION)
    ] = None,
    quantization: Annotated[
        str | None, typer.Option(help="Quantization of the weights, for people.", rich_help_panel=_VERSION)
    ] = None,
    description: Annotated[str | None, typer.Option(help="Changes in this version.", rich_help_panel=_VERSION)] = None,
    submitted_by: Annotated[str | None, typer.Option(help="Author of the version.", rich_help_panel=_VERSION)] = None,
    base_model: Annotated[str | None, typer.Option(help="Base model.", rich_help_panel=_VERSION)] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Training data; repeatable.", rich_help_panel=_VERSION)
    ] = None,
    code_repository: Annotated[
        str | None, typer.Option(help="Repository of the training code.", rich_help_panel=_VERSION)
    ] = None,
    code_commit: Annotated[
        str | None, typer.Option(help="Commit of the training code.", rich_help_panel=_VERSION)
    ] = None,
    pipeline_run: Annotated[
        str | None, typer.Option(help="Pipeline run that made the version.", rich_help_panel=_VERSION)
    ] = None,
    property_: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="KEY=VALUE", help="Custom property; repeatable.", rich_help_panel=_VERSION),
    ] = None,
    state: Annotated[
        Literal["Draft", "Submitted"] | None, typer.Option(help="State of the version.", rich_help_panel=_VERSION)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the manifests without a request to the cluster.")
    ] = False,
    wait: Annotated[Literal["registered", "ready"] | None, typer.Option("--wait", help="State to wait for.")] = None,
    timeout: TimeoutOption = 300.0,
    output: Annotated[Output, typer.Option("-o", "--output", help="Output format.")] = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Register a version of a model.

    If the model does not exist, the command creates it. An existing model or version changes only where a flag says so;
    the model, version, artifact and digest of a version never change. With --from, the license, tasks, languages, base
    model and data sets come from README.md, the quantization from config.json, and the format from the names of the
    files.

    The names of the objects are NAME and --version in lower case. Dashes replace every character that is no letter,
    digit or dot.

    Exit codes: 0 success, 1 condition not met: with --wait, the version was not registered or not ready in time,
    2 error.

    Examples:

      gatehouse register Granite-3.1-8b --version 3.1 --uri s3://models/granite-3.1-8b/ --from ./granite --wait ready

      gatehouse register granite --version 3.2 --uri s3://models/granite-3.2/ --dry-run -o yaml > granite-3.2.yaml

      gatehouse register granite --version "$TAG" --uri "$URI" --digest "$DIGEST" --code-commit "$SHA" -o name
    """
    from gatehouse.actions.polling import Patience
    from gatehouse.actions.register import register_and_wait
    from gatehouse.actions.registration_request import RegistrationRequest, desired_manifests
    from gatehouse.printing.progress import ConsoleProgress
    from gatehouse.runtime.clock import LoopClock
    from gatehouse.upload.model_folder import FolderFacts, read_model_folder

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
    stopped = ConditionNotMet("stopped by SIGTERM; objects that were written stay, run the command again")

    def request(home: str | None) -> RegistrationRequest:
        return RegistrationRequest(
            name=name, namespace=home, model=model_flags, version=version_flags, version_name=version_name
        )

    async def work(facts: FolderFacts, progress: ProgressReporter) -> Sequence[RegistrationResult]:
        home = namespace or await default_namespace(kubeconfig, context)
        asked = desired_manifests(request(home), facts)
        async with cluster(kubeconfig, context) as client:
            patience = Patience(seconds=timeout, clock=LoopClock(), say=progress.say)
            return await register_and_wait(client, asked, goal=wait, patience=patience)

    with exits():
        facts = read_model_folder(folder, artifact_format=artifact_format) if folder else FolderFacts()
        say(facts.notes)
        if dry_run:
            asked = desired_manifests(request(namespace), facts)
            _print([asked.model, asked.version], output="yaml" if output == "text" else output)
            return
    with ConsoleProgress() as progress, progress.step("registering"):
        written = run_command(lambda: until_told_to_stop(work(facts, progress), stopped=stopped))
    if output == "text":
        for object_ in written:
            stdout().line(_line(object_))
    else:
        _print([object_.body for object_ in written], output=output)


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that flags gave."""
    return {name: value for name, value in fields.items() if value is not None and value not in ({}, [])}


def _registry(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    namespace, slash, name = text.partition("/")
    return {"name": name, "namespace": namespace} if slash else {"name": namespace}


def _pairs(flag: str, texts: Sequence[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or ()]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise typer.BadParameter(f"{flag} is {key!r}; expected: KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _line(written: RegistrationResult) -> str:
    phase = written.body.get("status", {}).get("phase")
    return f"{_name(written.body)} {written.outcome}" + (f" ({phase})" if phase else "")


def _name(body: Mapping[str, Any]) -> str:
    return f"{str(body['kind']).lower()}.gatehouse.dev/{body['metadata']['name']}"


def _print(bodies: Sequence[Mapping[str, Any]], *, output: Output) -> None:
    from gatehouse.actions.manifests import manifests_yaml

    shown = [without_managers(body) for body in bodies]
    match output:
        case "name":
            for body in shown:
                stdout().line(_name(body))
        case "json":
            stdout().data({"apiVersion": "v1", "kind": "List", "items": shown})
        case _:
            stdout().documents([manifests_yaml([body]) for body in shown])
