"""``gatehouse evidence``: what is known of a version as one sealed file, and whether such a file is whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

from gatehouse import __version__
from gatehouse.actions.errors import ReviewError
from gatehouse.api.model_version import ModelVersion
from gatehouse.cli.audit import DatabaseOption
from gatehouse.cli.connection import (
    NOT_READY,
    ContextOption,
    KubeconfigOption,
    cluster,
    default_namespace,
    fail,
    fail_for,
    run_command,
)
from gatehouse.cli.options import DatabaseCaOption
from gatehouse.cli.registry_rows import trails_of
from gatehouse.domain.audit.checkpoints import AuditKeyError, PublicKeys, Signer, new_key_pem
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.evidence.archive import LARGEST_BUNDLE
from gatehouse.evidence.cluster_objects import read_declared, read_version, version_in
from gatehouse.evidence.errors import EvidenceError, NoEvidence
from gatehouse.evidence.export import bundle
from gatehouse.evidence.model import DeclaredFacts, KeptRows, Subject
from gatehouse.evidence.rows import read_rows, recall
from gatehouse.evidence.verification import Verified, verify_bundle
from gatehouse.printing import Printer, stderr, stdout
from gatehouse.registry.address import DatabaseUrlError

__all__ = ["app", "export", "keygen", "verify"]

_LARGEST_KEYS: Final = 64 * 1024
_EXPORT: Final = "export"


class _Evidence(TyperGroup):
    """``gatehouse evidence NAME`` is short for ``gatehouse evidence export NAME``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the command in front where none is named."""
        named = not args or args[0] in self.commands or args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if named else [_EXPORT, *args])


app = typer.Typer(
    cls=_Evidence,
    add_completion=False,
    no_args_is_help=True,
    help="Write down what is known of a version as one sealed file, and check such a file offline.\n\n"
    "`gatehouse evidence NAME -o FILE.zip` is short for `gatehouse evidence export NAME -o FILE.zip`.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the ModelVersion.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.zip", help="File to write.")],
    database: DatabaseOption,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Namespace of the ModelVersion; the context's namespace when absent."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            envvar="GATEHOUSE_EVIDENCE_KEY",
            show_envvar=True,
            help="Private ed25519 key in PEM to sign with; `gatehouse evidence keygen` makes one. Unsigned without.",
        ),
    ] = None,
    database_ca: DatabaseCaOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Write the evidence of a version: files, lineage, evaluations, policies, approvals, history, audit and report.

    Reads the cluster as you, and the registry's database. What you may not read is left out, and the file says so.

    Examples:

      eval "$(gatehouse local env)" && gatehouse evidence granite-3.1-8b -n private-ai -o granite.zip

      gatehouse evidence export granite-3.1-8b -o granite.zip --key evidence.key

    Exit codes: 0 written, 1 there is nothing yet that the version could be held to, 2 an error.
    """
    try:
        signer = None if key is None else Signer.from_pem(_small(key), where=str(key))
        where = namespace or asyncio.run(default_namespace(kubeconfig, context))
        body = run_command(lambda: _version(name, where, kubeconfig, context))
        stderr().line("reading the registry's rows and its audit trail")
        with trails_of(database, ca=database_ca) as trails:
            version = recall(trails, where, name) if body is None else version_in(body)
            kept = read_rows(trails, version)
        declared = run_command(lambda: _declared(version, body, kubeconfig, context))
        data = bundle(_subject(declared, kept), signer=signer)
        _write(output, data)
    except NoEvidence as error:
        fail(str(error), code=NOT_READY)
    except ReconcileError as error:
        fail_for(error)
    except (EvidenceError, ReviewError, DatabaseUrlError, AuditKeyError, OSError) as error:
        fail(str(error))
    sealed = f"signed with key {signer.key_id}" if signer else "unsigned: anyone could recreate it; use --key to sign"
    stderr().line(f"{output}: {len(data)} bytes, {sealed}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="File that `gatehouse evidence` wrote.")],
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="PEM of the keys of which one must have signed the file."),
    ] = None,
    audit_public_key: Annotated[
        Path | None,
        typer.Option(
            "--audit-public-key",
            metavar="FILE",
            envvar="GATEHOUSE_AUDIT_PUBLIC_KEY",
            show_envvar=True,
            help="PEM of the operator's public key, and of those it had before.",
        ),
    ] = None,
    output: Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json.")] = "text",
) -> None:
    """Check that a file is as it was written, byte for byte, by whom, and what its audit excerpt proves. Offline.

    Examples:

      gatehouse evidence verify granite.zip --public-key evidence.key.pub --audit-public-key audit.pub

      gatehouse evidence verify granite.zip -o json

    Exit codes: 0 it is whole, 1 it is not, and why, 2 an error.
    """
    try:
        keys, audit_keys = (None if each is None else _public_keys(each) for each in (public_key, audit_public_key))
        found = verify_bundle(_read(file, LARGEST_BUNDLE), keys=keys, audit_keys=audit_keys)
    except (AuditKeyError, OSError) as error:
        fail(str(error))
    if output == "json":
        stdout().data(_wire(found))
    else:
        _print(stdout(), file, found)
    if not found.intact:
        raise typer.Exit(NOT_READY)


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Private key to write; FILE.pub gets the public one.")],
) -> None:
    """Make an ed25519 key to sign evidence with. Give the public half, by another way, to those who have to trust it.

    Example: gatehouse evidence keygen evidence.key && export GATEHOUSE_EVIDENCE_KEY=$PWD/evidence.key

    Exit codes: 0 written, 2 an error.
    """
    private, public = new_key_pem()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(private)
        file.with_name(f"{file.name}.pub").write_bytes(public)
    except FileExistsError:
        fail(f"{file} is there already; wanted: the name of a new file")
    except OSError as error:
        fail(str(error))
    stderr().line(f"{file} and {file.name}.pub, key {Signer.from_pem(private, where=str(file)).key_id}")


async def _version(name: str, namespace: str, kubeconfig: Path | None, context: str | None) -> Mapping[str, Any] | None:
    async with cluster(kubeconfig, context) as client:
        return await read_version(client, namespace, name)


async def _declared(
    version: ModelVersion, body: Mapping[str, Any] | None, kubeconfig: Path | None, context: str | None
) -> DeclaredFacts:
    async with cluster(kubeconfig, context) as client:
        return await read_declared(client, version, body)


def _subject(declared: DeclaredFacts, kept: KeptRows) -> Subject:
    return Subject(
        at=datetime.now(UTC),
        tool=f"gatehouse {__version__}",
        registry=kept.excerpt.registry,
        declared=declared,
        kept=kept,
    )


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all."""
    beside = file.with_name(f"{file.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _read(file: Path, most: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(most + 1)


def _small(file: Path) -> bytes:
    data = _read(file, _LARGEST_KEYS)
    if len(data) > _LARGEST_KEYS:
        raise AuditKeyError(f"{file} is larger than {_LARGEST_KEYS} bytes, wanted keys in PEM")
    return data


def _public_keys(file: Path) -> PublicKeys:
    return PublicKeys.from_pem(_small(file), where=str(file))


def _wire(found: Verified) -> dict[str, Any]:
    index = found.index
    about = ("registry", "namespace", "name", "uid", "model", "version", "digest", "found", "phase", "clearedFor")
    return {
        "intact": found.intact,
        "signedBy": found.key_id,
        "trusted": found.trusted,
        "madeAt": index.get("madeAt"),
        "tool": index.get("tool"),
        **{name: index.get(name) for name in about},
        "audit": {
            "records": found.audit.about,
            "proven": found.audit.proven,
            "checkpoints": found.audit.checkpoints,
        },
        "problems": list(found.problems),
        "notes": list(found.notes),
    }


def _print(printer: Printer, file: Path, found: Verified) -> None:
    word, style = ("intact", "green") if found.intact else ("BROKEN", "bold red")
    printer.line((word, style), f"  {file}")
    index = found.index
    said = {
        "version": f"{index.get('namespace')}/{index.get('name')}, {index.get('model')} {index.get('version')}",
        "digest": index.get("digest"),
        "made": f"{index.get('madeAt')} by {index.get('tool')}",
        "signed": f"with key {found.key_id}{', which you trust' if found.trusted else ''}" if found.key_id else "no",
        "audit": f"{found.audit.proven} of {found.audit.about} records proven by {found.audit.checkpoints} checkpoints",
    }
    for label, value in said.items() if index else ():
        printer.line(f"  {label:9}{value}")
    for problem in found.problems:
        printer.line(f"  problem  {problem}", style="red")
    for note in found.notes:
        printer.line(f"  note     {note}")
