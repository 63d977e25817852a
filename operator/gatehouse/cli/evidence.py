"""``gatehouse evidence``: everything known about a version as one sealed file, and whether such a file is whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from gatehouse import __version__
from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import NOT_MET, exits
from gatehouse.cli.options import (
    AuditDatabaseOption,
    DatabaseCaOption,
    NameArgument,
    NamespaceOption,
    WrittenOutputOption,
    print_data,
)
from gatehouse.printing import Printer, stderr, stdout

if TYPE_CHECKING:
    from gatehouse.evidence.verification import Verified

__all__ = ["app", "export", "keygen", "verify"]

_EXPORT: Final = "export"


class _Evidence(TyperGroup):
    """``gatehouse evidence NAME`` is short for ``gatehouse evidence export NAME``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Inserts the command where the arguments name none."""
        named = not args or args[0] in self.commands or args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if named else [_EXPORT, *args])


app = typer.Typer(
    rich_markup_mode=None,
    cls=_Evidence,
    add_completion=False,
    no_args_is_help=True,
    help="Export or verify the evidence about a version.\n\n"
    "`gatehouse evidence NAME -o FILE.zip` is short for `gatehouse evidence export NAME -o FILE.zip`.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def export(
    name: NameArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.zip", help="File to write.")],
    database: AuditDatabaseOption,
    namespace: NamespaceOption = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            envvar="GATEHOUSE_EVIDENCE_KEY",
            show_envvar=True,
            help="Private ed25519 key (PEM) that signs the file; `gatehouse evidence keygen` creates one.",
        ),
    ] = None,
    database_ca: DatabaseCaOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Export the evidence about a version.

    The file holds the list of files, lineage, evaluations, policies, approvals, history, audit records and a report.
    The command reads the cluster with your own rights, and the database of the registry. The file names the objects
    that you may not read.

    Examples:

      eval "$(gatehouse local env)" && gatehouse evidence granite-3.1-8b -n private-ai -o granite.zip

      gatehouse evidence export granite-3.1-8b -o granite.zip --key evidence.key

    Exit codes: 0 success, 1 condition not met: the version has no recorded digest yet, 2 error.
    """
    from gatehouse.domain.audit.checkpoints import AuditKeyError
    from gatehouse.evidence.export import ExportRequest
    from gatehouse.evidence.export import export as export_evidence
    from gatehouse.evidence.files import read_signer, write_bundle
    from gatehouse.registry.address import DatabaseUrlError

    async def work() -> bytes:
        request = ExportRequest(
            namespace=namespace or await default_namespace(kubeconfig, context),
            name=name,
            database=database,
            database_ca=database_ca,
            at=datetime.now(UTC),
            tool=f"gatehouse {__version__}",
        )
        async with cluster(kubeconfig, context) as client:
            return await export_evidence(client, request, signer=signer)

    with exits(AuditKeyError, OSError):
        signer = None if key is None else read_signer(key)
        stderr().line("reading the cluster, and the rows and the audit trail of the registry")
        data = run_command(work, DatabaseUrlError, OSError)
        write_bundle(output, data)
    sealed = f"signed with key {signer.key_id}" if signer else "unsigned: anyone could recreate it; use --key to sign"
    stderr().line(f"{output}: {len(data)} bytes, {sealed}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="File that `gatehouse evidence` wrote.")],
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="Trusted public keys (PEM); one must have signed the file."),
    ] = None,
    audit_public_key: Annotated[
        Path | None,
        typer.Option(
            "--audit-public-key",
            metavar="FILE",
            envvar="GATEHOUSE_AUDIT_PUBLIC_KEY",
            show_envvar=True,
            help="Public keys of the operator (PEM): the current key and the earlier ones.",
        ),
    ] = None,
    output: WrittenOutputOption = "text",
) -> None:
    """Verify an evidence file offline.

    The command checks every byte, the signature, and the audit records that the file contains.

    Examples:

      gatehouse evidence verify granite.zip --public-key evidence.key.pub --audit-public-key audit.pub

      gatehouse evidence verify granite.zip -o json

    Exit codes: 0 success: the file is whole, 1 condition not met: the file is broken, 2 error.
    """
    from gatehouse.actions.audit_trails import read_keys
    from gatehouse.domain.audit.checkpoints import AuditKeyError
    from gatehouse.evidence.files import read_bundle
    from gatehouse.evidence.verification import verify_bundle

    with exits(AuditKeyError, OSError):
        keys, audit_keys = (None if path is None else read_keys(path) for path in (public_key, audit_public_key))
        verified = verify_bundle(read_bundle(file), keys=keys, audit_keys=audit_keys)
    if output == "json":
        print_data(verified.wire())
    else:
        _print(stdout(), file, verified)
    if not verified.intact:
        raise typer.Exit(NOT_MET)


@app.command()
def keygen(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Private key to write; the public key goes into FILE.pub.")
    ],
) -> None:
    """Create an ed25519 key that signs evidence.

    Give the public key to the people who have to trust it, over another channel.

    Example: gatehouse evidence keygen evidence.key && export GATEHOUSE_EVIDENCE_KEY=$PWD/evidence.key

    Exit codes: 0 success, 2 error.
    """
    from gatehouse.evidence.files import create_key

    with exits(OSError):
        key_id = create_key(file)
    stderr().line(f"{file} and {file.name}.pub, key {key_id}")


def _print(printer: Printer, file: Path, verified: Verified) -> None:
    word, style = ("intact", "green") if verified.intact else ("BROKEN", "bold red")
    printer.line((word, style), f"  {file}")
    index, audit = verified.index, verified.audit
    lines = {
        "version": f"{index.get('namespace')}/{index.get('name')}, {index.get('model')} {index.get('version')}",
        "digest": index.get("digest"),
        "made": f"{index.get('madeAt')} by {index.get('tool')}",
        "signed": f"with key {verified.key_id}{', which you trust' if verified.trusted else ''}"
        if verified.key_id
        else "no",
        "audit": f"{audit.proven} of {audit.about} records proven by {audit.checkpoints} checkpoints",
    }
    for label, value in lines.items() if index else ():
        printer.line(f"  {label:9}{value}")
    for problem in verified.problems:
        printer.line(f"  problem  {problem}", style="red")
    for note in verified.notes:
        printer.line(f"  note     {note}")
