"""``gatehouse upload``: a folder becomes an artifact in object storage, checked before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import fail
from gatehouse.cli.options import (
    AddressingOption,
    ArtifactFormatChoice,
    EndpointOption,
    RegionOption,
    RequesterPaysOption,
    StoreCaOption,
)
from gatehouse.cli.signals import until_told_to_stop
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.errors import ActionError
from gatehouse.printing import Printer, stderr, stdout

if TYPE_CHECKING:
    from gatehouse.actions.upload_report import UploadReport, VersionNames
    from gatehouse.api.model_version import ArtifactFormat
    from gatehouse.printing.progress import Amounts
    from gatehouse.upload.access import StoreFlags
    from gatehouse.upload.check import CheckedArtifact
    from gatehouse.upload.folder_store import FolderStore
    from gatehouse.upload.transfer import Upload, UploadOptions

__all__ = ["upload"]

_MOST_NAMED: Final = 20
_ASKING_SECONDS: Final = 15.0
_REMEDIES: Final[Mapping[str, str]] = {
    "AccessDenied": "The access key needs s3:ListBucket, s3:GetObject, s3:PutObject, s3:ListBucketMultipartUploads, "
    "s3:ListMultipartUploadParts, and s3:DeleteObject for --prune.",
    "CredentialsRejected": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to valid credentials.",
    "CredentialsExpired": "Renew AWS_SESSION_TOKEN and the keys that came with it, or log in again.",
    "CertificateRejected": "Name the CA certificates of the store with --ca or AWS_CA_BUNDLE, or correct the endpoint.",
    "RegionMismatch": "Set AWS_DEFAULT_REGION or --region, and AWS_ENDPOINT_URL or --endpoint.",
    "RedirectRefused": "Set --endpoint to the address at which the store itself answers, if it belongs to the store.",
    "TlsRequired": "Use https:// in --endpoint.",
    "AddressingRefused": "Use --addressing virtual.",
    "RequesterPays": "Use --requester-pays if the account of the access key may pay.",
    "ProxyRefused": "Correct HTTPS_PROXY, or exclude the endpoint with NO_PROXY.",
    "StoreRefused": "Check --endpoint, the bucket and --region.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    folder: Path
    uri: str
    artifact_format: ArtifactFormat | None
    exclude: tuple[str, ...]
    follow_links: bool
    store: StoreFlags
    options: UploadOptions
    dry_run: bool
    names: VersionNames
    ask: bool
    kubeconfig: Path | None
    context: str | None


def upload(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the files of one model.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="Target folder, such as s3://models/granite-3.1-8b/.")],
    artifact_format: Annotated[
        ArtifactFormatChoice | None,
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
    from gatehouse.actions.upload_report import VersionNames
    from gatehouse.upload.access import StoreFlags
    from gatehouse.upload.transfer import UploadOptions

    call = _Call(
        folder=folder,
        uri=uri,
        artifact_format=artifact_format,
        exclude=tuple(exclude or ()),
        follow_links=follow_links,
        store=StoreFlags(endpoint=endpoint, region=region, ca=ca, addressing=addressing, requester_pays=requester_pays),
        options=UploadOptions(parallel=parallel, overwrite=overwrite, prune=prune),
        dry_run=dry_run,
        names=VersionNames(model=model, version=version, hardware_profile=hardware_profile, namespace=namespace),
        ask=ask,
        kubeconfig=kubeconfig,
        context=context,
    )
    report = _guarded(call)
    if output == "json":
        stdout().data(report.wire())
    else:
        stdout().documents([report.yaml()])


def _guarded(call: _Call) -> UploadReport:
    from botocore.exceptions import BotoCoreError

    stopped = ActionError("stopped by SIGTERM before every file was sent; run the same command again to continue")

    async def work() -> UploadReport:
        try:
            return await until_told_to_stop(_upload(call, stderr()), stopped=stopped)
        except ReconcileError as error:
            remedy = _REMEDIES.get(error.reason, error.remedy) or "Run the same command again to continue."
            raise ActionError(f"{error.message}. {remedy}") from error

    try:
        return run_command(work, BotoCoreError, OSError)
    except KeyboardInterrupt:
        fail("stopped before every file was sent; run the same command again to continue")


async def _upload(call: _Call, printer: Printer) -> UploadReport:
    from gatehouse.actions.upload_report import UploadReport
    from gatehouse.printing.progress import shown
    from gatehouse.storage.metrics import NoMetrics
    from gatehouse.storage.s3.uploads import open_bucket
    from gatehouse.upload.access import bucket_access, location_of
    from gatehouse.upload.check import check_names, guess_format
    from gatehouse.upload.folder import scan
    from gatehouse.upload.folder_store import FolderStore
    from gatehouse.upload.transfer import Upload

    location = location_of(call.uri)
    access = bucket_access(location.bucket, call.store)
    folder = scan(call.folder, exclude=call.exclude, follow_links=call.follow_links)
    _say_left_out(folder.left_out, printer)
    check_names(folder, prefix=location.prefix)
    store = FolderStore(folder)
    artifact = await _checked(store, call.artifact_format or guess_format(folder), printer)
    async with open_bucket(access, metrics=NoMetrics()) as bucket:
        sending = Upload(bucket, location.prefix, folder=store, artifact=artifact, options=call.options)
        plan = await sending.plan()
        report = UploadReport(
            uri=call.uri, artifact=artifact, plan=plan, result=None, left_out=folder.left_out, names=call.names
        )
        # A wrong name ends the command before hours of sending, not after.
        report.model_version()
        if call.dry_run:
            return report
        async with shown("sending", lambda: _amounts(sending), printer=printer):
            result = await sending.run(plan)
    return UploadReport(
        uri=call.uri,
        artifact=artifact,
        plan=plan,
        result=result,
        left_out=folder.left_out,
        names=call.names,
        asked=await _asked(call, printer) if call.ask else (),
    )


async def _asked(call: _Call, printer: Printer) -> Sequence[str]:
    """The ModelVersions whose check was requested; none where there is no cluster or the cluster does not answer."""
    import asyncio

    from gatehouse.cluster.client import ClusterError
    from gatehouse.upload.recheck import ask_for_check

    try:
        async with asyncio.timeout(_ASKING_SECONDS), cluster(call.kubeconfig, call.context) as client:
            where = call.names.namespace or await default_namespace(call.kubeconfig, call.context)
            asked = await ask_for_check(client, call.uri, namespace=where)
    except (ClusterError, OSError, TimeoutError):
        return ()
    if asked:
        printer.line(f"asked Gatehouse to check now: {', '.join(asked)}")
    return asked


async def _checked(store: FolderStore, artifact_format: ArtifactFormat, printer: Printer) -> CheckedArtifact:
    from gatehouse.printing.progress import Amounts, shown
    from gatehouse.upload.check import FolderCheck

    check = FolderCheck(store, artifact_format=artifact_format)

    def amounts() -> Amounts:
        now = check.progress
        return Amounts(files_done=now.files_done, files=now.files, bytes_done=now.bytes_done, bytes=now.bytes)

    async with shown("checking", amounts, printer=printer):
        artifact = await check.run()
    for note in artifact.notes:
        printer.labelled("note", note)
    return artifact


def _amounts(sending: Upload) -> Amounts:
    from gatehouse.printing.progress import Amounts

    now = sending.progress
    return Amounts(
        files_done=now.files_done,
        files=now.files,
        bytes_done=now.bytes_done,
        bytes=now.bytes,
        bytes_kept=now.bytes_kept,
        note=f"the store computes {now.summing} checksums" if now.summing else "",
    )


def _say_left_out(names: tuple[str, ...], printer: Printer) -> None:
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        said = ", ".join(ascii(name)[1:-1] for name in names[:_MOST_NAMED])
        printer.line(f"left out: {said}{more}")
