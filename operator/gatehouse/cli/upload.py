"""``gatehouse upload``: a folder becomes an artifact in object storage, checked before and after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from botocore.exceptions import BotoCoreError

from gatehouse.actions.upload_report import UploadReport, VersionNames
from gatehouse.api.model_version import ArtifactFormat
from gatehouse.cli.connection import (
    NOT_READY,
    ContextOption,
    KubeconfigOption,
    cluster,
    default_namespace,
    fail,
    run_command,
)
from gatehouse.cli.options import (
    AddressingOption,
    EndpointOption,
    RegionOption,
    RequesterPaysOption,
    StoreCaOption,
)
from gatehouse.cli.signals import Stopped, until_told_to_stop
from gatehouse.cluster.client import ClusterError
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.printing import Printer, stderr, stdout
from gatehouse.printing.progress import Amounts, shown
from gatehouse.storage.metrics import NoMetrics
from gatehouse.storage.s3.uploads import open_bucket
from gatehouse.upload.access import StoreFlags, bucket_access, location_of
from gatehouse.upload.check import CheckedArtifact, FolderCheck, check_names, guess_format
from gatehouse.upload.errors import FolderRefused, ObjectsInTheWay, PublishError
from gatehouse.upload.folder import scan
from gatehouse.upload.folder_store import FolderStore
from gatehouse.upload.recheck import ask_for_check
from gatehouse.upload.transfer import Upload, UploadOptions

__all__ = ["upload"]

_MOST_NAMED: Final = 20
_ASKING_SECONDS: Final = 15.0
_REMEDIES: Final[Mapping[str, str]] = {
    "AccessDenied": "The access key needs s3:ListBucket, s3:GetObject, s3:PutObject, s3:ListBucketMultipartUploads, "
    "s3:ListMultipartUploadParts, and s3:DeleteObject for --prune.",
    "CredentialsRejected": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to valid credentials.",
    "CredentialsExpired": "Renew AWS_SESSION_TOKEN and the keys that came with it, or log in again.",
    "CertificateRejected": "Name the store's authority with --ca or AWS_CA_BUNDLE, or correct the endpoint.",
    "RegionMismatch": "Set AWS_DEFAULT_REGION or --region, and AWS_ENDPOINT_URL or --endpoint.",
    "RedirectRefused": "Name the address that the store itself answers at with --endpoint, if it is the store's.",
    "TlsRequired": "Write https:// into --endpoint.",
    "AddressingRefused": "Say --addressing virtual.",
    "RequesterPays": "Say --requester-pays, if the account of the keys is to pay.",
    "ProxyRefused": "Mend HTTPS_PROXY, or take the endpoint out of it with NO_PROXY.",
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
    uri: Annotated[str, typer.Argument(metavar="URI", help="Where they go, as in s3://models/granite-3.1-8b/.")],
    artifact_format: Annotated[
        ArtifactFormat | None, typer.Option("--format", help="Format of the weights; from the names when absent.")
    ] = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    ca: StoreCaOption = None,
    addressing: AddressingOption = None,
    requester_pays: RequesterPaysOption = False,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="Leave files out, as in 'original/*'.")
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Also send what links outside of DIR lead to.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other objects of the same names.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete objects below the URI that are not in DIR.")] = False,
    parallel: Annotated[int, typer.Option("--parallel", min=1, max=64, help="Requests at once.")] = 8,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, compare and print the digest, but send nothing.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="RegisteredModel of the YAML; after the URI's folder when absent.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Version of the YAML; the digest's first digits when absent.")
    ] = None,
    hardware_profile: Annotated[
        str, typer.Option("--hardware-profile", help="HardwareProfile of the YAML.")
    ] = "nvidia-l4",
    namespace: Annotated[str | None, typer.Option("-n", "--namespace", help="Namespace of the YAML.")] = None,
    ask: Annotated[
        bool,
        typer.Option("--ask/--no-ask", help="Ask the operator of the cluster to check the ModelVersions of URI now."),
    ] = True,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="yaml or json.")] = "yaml",
) -> None:
    """Check a model's folder, send it to object storage, and print its digest and a ModelVersion to apply.

    The folder is checked first, by the operator's own rules: what it would refuse is refused before a byte is sent.
    Large files go in parts, in parallel. After an interruption the same command sends what is missing. The manifest
    gatehouse.manifest comes last; `sha256sum -c` reads it. Endpoint and credentials are found as boto3 finds them.

    At its end it asks the operator of the kubeconfig's cluster to check the ModelVersions of the URI now, if you may
    annotate them. Otherwise, and where there is no cluster, they wait for their next check, half a minute at most.

    A version means the same bytes for ever: send a new artifact to a new URI. Names that begin with a dot are left out.
    A signature of the folder (model.sig, as `model_signing sign` writes it) goes with it; a note says if it is not of
    these files. It does not count to the digest, so that a folder may be signed later and sent again.

    Exit codes: 0 all of it is there, 1 the folder or other objects stand against it, 2 an error.

    Examples:

      gatehouse upload ./granite s3://models/granite-3.1-8b-instruct-FP8-dynamic/ > version.yaml

      gatehouse upload ~/.cache/huggingface/hub/models--ibm-granite--m/snapshots/1f2e s3://models/m/ --exclude '*.bin'

      gatehouse upload ./granite s3://models/granite/ --version 3.1 --dry-run -o json
    """
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
    try:
        return run_command(lambda: until_told_to_stop(_upload(call, stderr())))
    except (FolderRefused, ObjectsInTheWay) as error:
        fail(str(error), code=NOT_READY)
    except ReconcileError as error:
        remedy = _REMEDIES.get(error.reason, error.remedy)
        fail(f"{error.message}. {remedy}" if remedy else f"{error.message}. The same command goes on from here.")
    except Stopped as stopped:
        fail(f"{stopped} before everything was sent; the same command goes on from here")
    except KeyboardInterrupt:
        fail("stopped before everything was sent; the same command goes on from here")
    except (PublishError, BotoCoreError, OSError) as error:
        fail(str(error))


async def _upload(call: _Call, printer: Printer) -> UploadReport:
    location = location_of(call.uri)
    access = bucket_access(location.bucket, call.store)
    found = scan(call.folder, exclude=call.exclude, follow_links=call.follow_links)
    _say_left_out(found.left_out, printer)
    check_names(found, prefix=location.prefix)
    store = FolderStore(found)
    artifact = await _checked(store, call.artifact_format or guess_format(found), printer)
    async with open_bucket(access, metrics=NoMetrics()) as bucket:
        sending = Upload(bucket, location.prefix, folder=store, artifact=artifact, options=call.options)
        plan = await sending.plan()
        report = UploadReport(
            uri=call.uri, artifact=artifact, plan=plan, result=None, left_out=found.left_out, names=call.names
        )
        # A name that is none is said before hours of sending, not after.
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
        left_out=found.left_out,
        names=call.names,
        asked=await _asked(call, printer) if call.ask else (),
    )


async def _asked(call: _Call, printer: Printer) -> Sequence[str]:
    """The ModelVersions that the operator was asked to check; none where there is no cluster, or it does not answer."""
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
