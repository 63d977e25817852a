"""``gatehouse upload``: a folder becomes an artifact in object storage, checked before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import fail
from gatehouse.cli.options import (
    AddressingOption,
    EndpointOption,
    RegionOption,
    RequesterPaysOption,
    StoreCaOption,
)
from gatehouse.cli.signals import until_told_to_stop
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.errors import ActionError
from gatehouse.printing import Printer, stderr, stdout

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from gatehouse.actions.upload import Progress, UploadRequest
    from gatehouse.actions.upload_report import UploadReport
    from gatehouse.upload.check import CheckedArtifact

__all__ = ["upload"]

_MOST_NAMED: Final = 20
_ASKING_SECONDS: Final = 15.0


def upload(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the files of one model.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="Target folder, such as s3://models/granite-3.1-8b/.")],
    artifact_format: Annotated[
        ArtifactFormat | None,
        typer.Option("--format", help="Format of the weights. Default: from the names of the files."),
    ] = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    ca: StoreCaOption = None,
    addressing: AddressingOption = None,
    requester_pays: RequesterPaysOption = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", metavar="PATTERN", help="Pattern of files to leave out, such as 'original/*'; repeatable."
        ),
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Also send the targets of links that lead outside of DIR.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace objects of the same names.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete objects below the URI that DIR does not have.")
    ] = False,
    parallel: Annotated[
        int, typer.Option("--parallel", min=1, max=64, help="Number of requests at the same time.")
    ] = 8,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, compare and print the digest; send nothing.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="RegisteredModel in the output. Default: from the folder of the URI.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Version in the output. Default: the first digits of the digest.")
    ] = None,
    hardware_profile: Annotated[
        str, typer.Option("--hardware-profile", help="HardwareProfile in the output.")
    ] = "nvidia-l4",
    namespace: Annotated[str | None, typer.Option("-n", "--namespace", help="Namespace in the output.")] = None,
    ask: Annotated[
        bool,
        typer.Option("--ask/--no-ask", help="Request an immediate check of the ModelVersions of the URI."),
    ] = True,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="Output format.")] = "yaml",
) -> None:
    """Check the folder of a model and send it to a store.

    The command prints the digest and a ModelVersion to apply. It first checks the folder by the rules of the operator:
    it sends nothing of a folder that the operator would reject. It sends large files in parts, in parallel. After an
    interruption, the same command sends the missing parts. The manifest gatehouse.manifest comes last; `sha256sum -c`
    reads it. The command finds endpoint and credentials as boto3 does.

    At the end the command requests an immediate check of the ModelVersions of the URI from the operator of your
    cluster, if you may annotate them. Without the request, the operator checks them within half a minute.

    A version always means the same bytes: send a new artifact to a new URI. The command leaves out names that begin
    with a dot. It also sends a signature of the folder (model.sig, as `model_signing sign` writes it), and a note says
    if the signature does not match the files. The signature is not part of the digest, so you may sign and send later.

    Exit codes: 0 success, 1 condition not met: the operator would reject the folder, or other objects exist at the URI,
    2 error.

    Examples:

      gatehouse upload ./granite s3://models/granite-3.1-8b-instruct-FP8-dynamic/ > version.yaml

      gatehouse upload ~/.cache/huggingface/hub/models--ibm-granite--m/snapshots/1f2e s3://models/m/ --exclude '*.bin'

      gatehouse upload ./granite s3://models/granite/ --version 3.1 --dry-run -o json
    """
    from gatehouse.actions.upload import UploadRequest
    from gatehouse.actions.upload_report import VersionNames
    from gatehouse.storage.port import StoreFlags
    from gatehouse.upload.transfer import UploadOptions

    request = UploadRequest(
        folder=folder,
        uri=uri,
        artifact_format=artifact_format,
        exclude=tuple(exclude or ()),
        follow_links=follow_links,
        store=StoreFlags(endpoint=endpoint, region=region, ca=ca, addressing=addressing, requester_pays=requester_pays),
        options=UploadOptions(parallel=parallel, overwrite=overwrite, prune=prune),
        dry_run=dry_run,
        names=VersionNames(model=model, version=version, hardware_profile=hardware_profile, namespace=namespace),
    )
    stopped = ActionError("stopped by SIGTERM before every file was sent; run the same command again to continue")
    try:
        report = run_command(
            lambda: until_told_to_stop(
                _uploaded(request, ask=ask, kubeconfig=kubeconfig, context=context), stopped=stopped
            ),
            OSError,
        )
    except KeyboardInterrupt:
        fail("stopped before every file was sent; run the same command again to continue")
    if output == "json":
        stdout().data(report.wire())
    else:
        stdout().documents([report.yaml()])


async def _uploaded(request: UploadRequest, *, ask: bool, kubeconfig: Path | None, context: str | None) -> UploadReport:
    from dataclasses import replace

    from gatehouse.actions.upload import upload_folder

    report = await upload_folder(request, observer=_Terminal(stderr()))
    if not ask or request.dry_run:
        return report
    asked = await _asked(request, kubeconfig, context)
    if asked:
        stderr().line(f"requested an immediate check of {', '.join(asked)}")
    return replace(report, asked=asked)


async def _asked(request: UploadRequest, kubeconfig: Path | None, context: str | None) -> Sequence[str]:
    """The ModelVersions whose check was requested; none where there is no cluster or the cluster does not answer."""
    import asyncio

    from gatehouse.cluster.client import ClusterError
    from gatehouse.upload.recheck import ask_for_check

    try:
        async with asyncio.timeout(_ASKING_SECONDS), cluster(kubeconfig, context) as client:
            where = request.names.namespace or await default_namespace(kubeconfig, context)
            return await ask_for_check(client, request.uri, namespace=where)
    except (ClusterError, OSError, TimeoutError):
        return ()


class _Terminal:
    """Prints an upload while it runs: an ``UploadObserver``."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer

    def left_out(self, names: tuple[str, ...]) -> None:
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            shown_names = ", ".join(ascii(name)[1:-1] for name in names[:_MOST_NAMED])
            self._printer.line(f"left out: {shown_names}{more}")

    def checked(self, artifact: CheckedArtifact) -> None:
        for note in artifact.notes:
            self._printer.labelled("note", note)

    def working(self, what: str, progress: Callable[[], Progress]) -> AbstractAsyncContextManager[None]:
        from gatehouse.printing.progress import Amounts, shown
        from gatehouse.upload.transfer import UploadProgress

        def amounts() -> Amounts:
            now = progress()
            kept, summing = (now.bytes_kept, now.summing) if isinstance(now, UploadProgress) else (0, 0)
            return Amounts(
                files_done=now.files_done,
                files=now.files,
                bytes_done=now.bytes_done,
                bytes=now.bytes,
                bytes_kept=kept,
                note=f"the store computes {summing} checksums" if summing else "",
            )

        return shown(what, amounts, printer=self._printer)
