"""``gatehouse fit``: on which hardware a model fits, before a person uploads the model."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import NOT_MET, exits, fail
from gatehouse.cli.options import (
    DatabaseCaOption,
    NamespaceOption,
    RowsOption,
    WrittenOutputOption,
    print_data,
    say,
)
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.actions.fit_versions import VersionOnHardware
    from gatehouse.domain.hardware.calibration import StartLog
    from gatehouse.domain.hardware.scenarios import Machine

__all__ = ["fit"]

_RELEASE: Final = re.compile(r"v?0\.[0-9]{1,3}(\.[0-9]{1,3})?")
_LONGEST: Final = 2**31 - 1
_MOST_ACCELERATORS: Final = 16
"""``MOST_ACCELERATORS`` of the fit, whose import takes longer than help and completion may; a test compares both."""
_STDIN: Final = Path("-")


def fit(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|DIR|CONFIG",
            help="A ModelVersion as NAME or NAMESPACE/NAME, the folder of a model, or a config.json.",
        ),
    ],
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="HardwareProfile, shipped or in the cluster; repeatable. Default: every shipped profile.",
        ),
    ] = None,
    length: Annotated[
        list[int] | None,
        typer.Option(
            "--max-model-len",
            min=1,
            max=_LONGEST,
            help="Tokens of the longest sequence; repeatable. Default: the longest sequence that fits.",
        ),
    ] = None,
    sequences: Annotated[
        list[int] | None,
        typer.Option(
            "--max-num-seqs",
            min=1,
            max=100_000,
            help="Sequences that vLLM serves at once; repeatable. Default: the number in the template.",
        ),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            "--tensor-parallel-size",
            min=1,
            max=_MOST_ACCELERATORS,
            help="Accelerators of one replica; repeatable. Default: the number in the profile, and more if the model "
            "does not fit.",
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            "--release",
            help="Release of vLLM, such as 0.11.0. Default: the release of the image that serves the model.",
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="LOG",
            help="Log of the start of vLLM, - for stdin: print the error of each term of the fit.",
        ),
    ] = None,
    picture_file: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE.svg", help="Draw the use of the memory for each row."),
    ] = None,
    artifact_format: Annotated[
        ArtifactFormat | None,
        typer.Option("--format", help="Format of the weights in a folder. Default: from the names of the files."),
    ] = None,
    namespace: NamespaceOption = None,
    database: RowsOption = None,
    database_ca: DatabaseCaOption = None,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Show on which hardware a model fits.

    The command computes the fit before a person uploads the model. For a folder, it reads the headers of the files as
    upload and the operator do. For a config.json alone, it estimates the weights. Neither needs a cluster. For a
    ModelVersion, it reads the row of the registry with --database. Without --database, the status of the version
    describes its own profile; for other profiles it says only whether the weights are too large.

    With --calibrate, the log says how vLLM was started: release, length, sequences, tensor parallel size and memory
    utilization. The command reads at most 64 MiB of the log.

    Exit codes: 0 success: the model fits in at least one row, or the log was compared with the fit, 1 condition not
    met: the model fits in no row, or the operator would reject the folder, 2 error.

    Examples:

      gatehouse fit ./Llama-3.1-8B-Instruct

      gatehouse fit config.json --profile nvidia-l4 --profile nvidia-t4 --max-model-len 8192 --max-model-len 32768

      gatehouse fit ./gpt-oss-120b --profile nvidia-h100-80gb --tensor-parallel-size 2 --picture fit.svg

      kubectl logs deploy/granite-predictor | gatehouse fit ./granite --profile nvidia-l4 --calibrate -
    """
    from gatehouse.actions.fit_answers import FitQuestion, calibrated, fit_answer
    from gatehouse.actions.fit_models import known_model
    from gatehouse.actions.fit_versions import known_version
    from gatehouse.cli.fit_output import print_answer

    if picture_file is not None and picture_file.suffix.lower() != ".svg":
        fail(f"--picture {picture_file}: expected: a file whose name ends with .svg")
    if release is not None and not _RELEASE.fullmatch(release):
        fail(f"--release {release}: expected: a release of vLLM such as 0.11.0")
    names, log = profile or (), None if calibrate is None else _read_log(calibrate)
    with exits():
        known = known_model(target, artifact_format=artifact_format)
        if known is None:
            subject = _version(target, namespace, names, kubeconfig, context)
            asked = bool(length or sequences or size or log)
            known = known_version(subject, database=database, database_ca=database_ca, asked=asked)
        question = FitQuestion(
            known=known,
            machines=known.machines or _machines_named(names, kubeconfig, context),
            lengths=tuple(length or ()),
            sizes=tuple(size or ()),
            sequences=tuple(sequences or ()),
            release=release,
        )
        answer = fit_answer(question) if log is None else calibrated(question, log)
    if picture_file is not None:
        from gatehouse.cli.fit_picture import picture

        title = f"{answer.model}, vLLM {answer.release}"
        try:
            picture_file.write_text(picture(answer.rows, title=title), encoding="utf-8")
        except OSError as error:
            fail(f"{picture_file} cannot be written: {error.strerror}")
    if output == "json":
        print_data(answer.wire())
    else:
        print_answer(stdout(), answer)
        say(answer.notes)
    if log is None and not answer.fits:
        raise typer.Exit(NOT_MET)


def _read_log(path: Path) -> StartLog:
    from gatehouse.domain.hardware.calibration import parse_start_log

    try:
        if path == _STDIN:
            return parse_start_log(sys.stdin.buffer)
        with path.open("rb") as opened:
            return parse_start_log(opened)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")


def _version(
    target: str, namespace: str | None, profiles: Sequence[str], kubeconfig: Path | None, context: str | None
) -> VersionOnHardware:
    from gatehouse.actions.fit_versions import read_version_on_hardware

    shipped = shipped_machines()

    async def work() -> VersionOnHardware:
        first, slash, rest = target.partition("/")
        home = first if slash else namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            return await read_version_on_hardware(
                client, namespace=home, name=rest if slash else first, profiles=profiles, shipped=shipped
            )

    return run_command(work)


def _machines_named(names: Sequence[str], kubeconfig: Path | None, context: str | None) -> tuple[Machine, ...]:
    """The named profiles, shipped or in the cluster; every shipped profile where none is named."""
    machines = shipped_machines()
    if not names:
        return tuple(machines.values())
    others = [name for name in dict.fromkeys(names) if name not in machines]

    async def work() -> Mapping[str, Machine]:
        from gatehouse.actions.fit_versions import read_machines

        async with cluster(kubeconfig, context) as client:
            return await read_machines(client, others)

    if others:
        machines |= run_command(work)
    return tuple(machines[name] for name in dict.fromkeys(names))


def shipped_machines() -> dict[str, Machine]:
    """The shipped profiles by name."""
    from pydantic import ValidationError

    from gatehouse.api.hardware_profile import HardwareProfile
    from gatehouse.domain.hardware.scenarios import Machine
    from gatehouse.install.shipped_files import documents

    with exits(ValidationError):
        profiles = [HardwareProfile.model_validate(body) for body in documents("manifests/hardware")]
    return {profile.metadata.name: Machine(name=profile.metadata.name, spec=profile.spec) for profile in profiles}
