"""Models as PyPI and npm ship them, published: none is refused without a reason that its publisher would accept.

``packages.json`` lists the folders, and what is to come of each. They are checked as `gatehouse upload` checks a folder
before a byte is sent; as the operator checks what any other client brought into a bucket, with the files whose names
begin with a dot; and as `gatehouse register --from` reads them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from gatehouse.cli.main import app
from gatehouse.controllers.verification.verifier import CheckRequest, CheckSlots, Verifier
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.common.finding import Finding
from gatehouse.upload.check import CheckedArtifact, FolderCheck, FolderRefused, check_names, guess_format, told_format
from gatehouse.upload.folder import FileIdentity, FolderFiles, LocalFile, scan
from gatehouse.upload.folder_store import FolderStore
from soak.packaged import Case, WayOut, cases, lay_down

PREFIX: Final = "models/granite/"
FEWEST: Final = 20


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A case and where its folder is."""

    case: Case
    root: Path


@pytest.fixture(scope="session")
def fetched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where archives are: for the session, or for as long as somebody wants them."""
    kept: Path | None = request.config.getoption("--packages")
    folder = tmp_path_factory.mktemp("archives") if kept is None else kept.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    if kept is None:
        shutil.rmtree(folder)


@pytest.fixture(scope="module", params=cases(), ids=lambda case: case.name)
def laid(request: pytest.FixtureRequest, fetched: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laid]:
    """One folder at a time: together they have a gigabyte."""
    into = tmp_path_factory.mktemp(request.param.name)
    yield Laid(case=request.param, root=lay_down(request.param, fetched=fetched, into=into / "model"))
    shutil.rmtree(into)


def everything(root: Path) -> FolderFiles:
    """Every file, as a client brings them that leaves nothing out."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    files = (LocalFile(path=str(p.relative_to(root)), real=p, identity=FileIdentity.of(p.stat())) for p in paths)
    return FolderFiles(root=root, files=tuple(files))


def told(problems: Sequence[Finding]) -> list[str]:
    return [f"{problem.reason}: {problem.found}" for problem in problems]


async def uploaded(found: FolderFiles, artifact_format: str) -> CheckedArtifact:
    """The check of `gatehouse upload --dry-run`, which goes on to ask the store what is there already."""
    check_names(found, prefix=PREFIX)
    return await FolderCheck(FolderStore(found), artifact_format=artifact_format).run()


def test_there_are_as_many_as_were_promised() -> None:
    archives = {archive.package for case in cases() for archive in case.archives[:1]}
    assert len(archives) >= FEWEST
    assert {case.told for case in cases()} == {"safetensors", "gguf", "onnx", None}


async def test_the_check_before_an_upload(laid: Laid) -> None:
    found = scan(laid.root)
    assert found.files
    assert told_format(found) == laid.case.told
    if not laid.case.upload:
        sent = await uploaded(found, guess_format(found))
        assert len(sent.files) == len(found.files)
        return
    with pytest.raises(FolderRefused) as refused:
        await uploaded(found, guess_format(found))
    assert told(refused.value.problems) == list(laid.case.upload)
    assert all(problem.expected and problem.remedy for problem in refused.value.problems)


async def checked(found: FolderFiles, artifact_format: str) -> ArtifactRecord:
    """The check of the operator, which has no other names to go by."""
    request = CheckRequest(
        store=FolderStore(found), prefix="", artifact_format=artifact_format, trust_store_checksums=False
    )
    return (await Verifier(request, clock=_Clock(), slots=CheckSlots()).run()).record


async def test_the_check_of_what_another_client_brought(laid: Laid) -> None:
    record = await checked(everything(laid.root), guess_format(scan(laid.root)))
    assert told(record.problems) == list(laid.case.operator)
    assert record.outcome == ("Invalid" if laid.case.operator else "Verified")


async def test_the_way_out_is_one(laid: Laid) -> None:
    way = laid.case.way
    if way is None:
        return
    found = scan(laid.root, exclude=way.exclude)
    sent = await uploaded(found, way.format or guess_format(found))
    assert sent.files


async def test_the_parameters_of_what_is_accepted(laid: Laid) -> None:
    """Those of the ONNX files were counted with the onnx package: initializers, and the tensors of Constant nodes."""
    if laid.case.upload and laid.case.way is None:
        return
    way = laid.case.way or WayOut()
    found = scan(laid.root, exclude=way.exclude)
    record = await checked(found, way.format or guess_format(found))
    assert record.summary is not None
    assert record.summary.parameters == laid.case.parameters


def test_what_is_registered(laid: Laid) -> None:
    command = ["register", laid.case.name, "--version", "1", "--uri", f"s3://{PREFIX}", "--from", str(laid.root)]
    result = CliRunner().invoke(app, [*command, "--dry-run", "-o", "json"])
    assert result.exit_code == 0, result.output
    model, version = json.loads(result.stdout)["items"]
    registered = laid.case.registered
    assert _without(model["spec"], "displayName") == dict(registered.model)
    assert version["spec"]["artifact"] == {"uri": f"s3://{PREFIX}", **registered.artifact}
    notes = result.stderr.splitlines()
    refusals = [
        note for note in notes if "the folder will be refused: " in note or "for which it will be refused" in note
    ]
    assert len(notes) - len(refusals) == registered.notes
    assert bool(refusals) <= bool(laid.case.upload)
    for note in refusals:
        assert "more problems" in note or any(finding in note for finding in laid.case.upload)


def _without(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != name}
