"""Folders of models as their publishers ship them: packages of PyPI and npm, fetched by the registries' own clients.

What is fetched is a stranger's: its hash is compared before it is opened, nothing of it is installed or run, and what
is unpacked is bounded. Only regular files below the folder of the model are taken.
"""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, Literal

__all__ = ["Archive", "ArchiveRefused", "Case", "Registered", "WayOut", "cases", "fetch", "lay_down", "unpack"]

MAX_ARCHIVE: Final = 150 * 1024 * 1024
MAX_ENTRIES: Final = 5_000
MAX_UNPACKED: Final = 512 * 1024 * 1024
"""Bytes of an archive, entries in it, and bytes of all that it holds."""
FETCH_SECONDS: Final = 900

_ROOT: Final = Path(__file__).parents[2]
_PIP: Final = _ROOT / ".tools" / "bin" / "python"
_DATA: Final = Path(__file__).with_name("packages.json")
_CHUNK: Final = 1024 * 1024


class ArchiveRefused(Exception):
    """An archive is not the one that was recorded, or is not unpacked for what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One file of a release in a registry, and where in it the model is. ``sha256`` is in hex."""

    registry: Literal["pypi", "npm"]
    package: str
    version: str
    file: str
    sha256: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """What the publisher of a refused folder does so that it is accepted: what he says for --exclude and --format."""

    exclude: tuple[str, ...] = ()
    format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What ``gatehouse register --from`` says of the folder: parts of the specs, and how many notes there are."""

    model: Mapping[str, Any] = field(default_factory=dict)
    artifact: Mapping[str, Any] = field(default_factory=dict)
    notes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One folder. ``join`` is the file that the parts in all archives make together.

    ``told`` is the format that the names tell, None where they tell none. ``upload`` are the problems, as rule and
    finding, for which ``gatehouse upload`` refuses the folder, and ``operator`` those for which the operator refuses
    all of it, with the files whose names begin with a dot. ``because`` is why the publisher accepts that; ``way`` is
    None where there is none but to leave the model out of the registry, or to bring what is missing. ``parameters`` is
    what the headers of an accepted folder add up to, or of one that is by the way out; None where that is not known.
    """

    name: str
    archives: tuple[Archive, ...]
    holds: str
    told: str | None
    join: str | None = None
    upload: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()
    because: str | None = None
    way: WayOut | None = None
    registered: Registered = Registered()
    parameters: int | None = None


def cases(path: Path = _DATA) -> Sequence[Case]:
    """The recorded folders. Raises ValueError where one is refused and nothing says why."""
    found = tuple(_case(each) for each in json.loads(path.read_text()))
    for case in found:
        if bool(case.upload or case.operator) != bool(case.because):
            raise ValueError(f"{case.name}: a refusal has a reason, and what is accepted has none")
    return found


def _case(members: Mapping[str, Any]) -> Case:
    way, upload = members.get("way"), tuple(members.get("upload", ()))
    operator = tuple(members["operator"]) if "operator" in members else upload
    return Case(
        **{
            **members,
            "archives": tuple(Archive(**each) for each in members["archives"]),
            "upload": upload,
            "operator": operator,
            "way": None if way is None else WayOut(**{**way, "exclude": tuple(way.get("exclude", ()))}),
            "registered": Registered(**members.get("registered", {})),
        }
    )


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive in ``folder``, fetched unless it is there. Raises ArchiveRefused when it is another one."""
    path = folder / archive.file
    if not path.exists():
        command = _pip(archive, folder) if archive.registry == "pypi" else _npm(archive)
        subprocess.run(command, cwd=folder, check=True, timeout=FETCH_SECONDS)
    size = path.stat().st_size
    if size > MAX_ARCHIVE:
        raise ArchiveRefused(f"{archive.file} has {size} bytes; expected: at most {MAX_ARCHIVE}")
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    if sha256 != archive.sha256:
        raise ArchiveRefused(f"{archive.file} is {sha256}; expected: {archive.sha256}")
    return path


def _pip(archive: Archive, folder: Path) -> Sequence[str]:
    """pip compares the hash too, and runs nothing of a wheel. Whatever Python and machine this is: the same wheel."""
    *_, python, abi, platforms = archive.file.removesuffix(".whl").split("-")
    wanted = folder / f"{archive.file}.txt"
    wanted.write_text(f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n")
    return [
        *(str(_PIP), "-m", "pip", "download", "--quiet"),
        *("--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--implementation", "py" if python.startswith("py") else "cp", "--python-version", "3.11", "--abi", abi),
        *(part for platform in platforms.split(".") for part in ("--platform", platform)),
        *("--dest", str(folder), "--requirement", str(wanted)),
    ]


def _npm(archive: Archive) -> Sequence[str]:
    return ["npm", "pack", "--silent", "--ignore-scripts", f"{archive.package}@{archive.version}"]


def lay_down(case: Case, *, fetched: Path, into: Path) -> Path:
    """The folder of a case below ``into``, from archives that are kept in ``fetched``."""
    for number, archive in enumerate(case.archives):
        unpack(fetch(archive, fetched), folder=archive.folder, into=into / str(number) if case.join else into)
    if case.join is None:
        return into
    parts = [part for number in range(len(case.archives)) for part in sorted((into / str(number)).iterdir())]
    joined = into / "joined"
    joined.mkdir()
    with (joined / case.join).open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                _copy(source, target, most=MAX_UNPACKED)
            part.unlink()
    return joined


def unpack(path: Path, *, folder: str, into: Path) -> None:
    """The regular files of a wheel or a tarball that are below ``folder``. Raises ArchiveRefused; nothing is run."""
    left = MAX_UNPACKED
    for number, entry in enumerate(_entries(path)):
        if number >= MAX_ENTRIES:
            raise ArchiveRefused(f"{path.name} has more than {MAX_ENTRIES} entries")
        left -= entry.size
        if left < 0:
            raise ArchiveRefused(f"{path.name} unpacks to more than {MAX_UNPACKED} bytes")
        name = PurePosixPath(entry.name)
        if not name.is_relative_to(folder) or entry.is_folder:
            continue
        inside = name.relative_to(folder)
        if name.is_absolute() or ".." in name.parts or not inside.parts or not entry.is_file:
            raise ArchiveRefused(f"{path.name} has {entry.name!r}, which is no file below {folder}")
        target = into / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        with entry.opened() as source, target.open("xb") as opened:
            _copy(source, opened, most=entry.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    name: str
    size: int
    is_file: bool
    is_folder: bool
    opened: Callable[[], IO[bytes]]


def _entries(path: Path) -> Iterator[_Entry]:
    with _wheel(path) if path.suffix == ".whl" else _tarball(path) as entries:
        yield from entries


@contextmanager
def _wheel(path: Path) -> Iterator[Iterator[_Entry]]:
    with zipfile.ZipFile(path) as archive:
        yield (
            _Entry(
                name=info.filename,
                size=info.file_size,
                is_file=not info.is_dir() and stat.S_IFMT(info.external_attr >> 16) in {0, stat.S_IFREG},
                is_folder=info.is_dir(),
                opened=lambda info=info: archive.open(info),
            )
            for info in archive.infolist()
        )


@contextmanager
def _tarball(path: Path) -> Iterator[Iterator[_Entry]]:
    with tarfile.open(path, "r|gz") as archive:
        yield (
            _Entry(
                name=member.name,
                size=member.size,
                is_file=member.isreg(),
                is_folder=member.isdir(),
                opened=lambda member=member: archive.extractfile(member),
            )
            for member in archive
        )


def _copy(source: IO[bytes], target: IO[bytes], *, most: int) -> None:
    """Whatever a header says of the size, no more than that is written."""
    left = most
    while chunk := source.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise ArchiveRefused(f"more than {most} bytes")
        target.write(chunk)
