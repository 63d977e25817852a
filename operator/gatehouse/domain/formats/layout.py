"""The part of each object below an artifact's prefix, from names and sizes alone, and the problems of these names.

Rules for every format: at most 10,000 files; names that are safe in a manifest, a terminal and a file system; no empty
file, because KServe's storage initializer skips empty files silently; no name that is both a file and a folder; no file
that can run code when it is loaded, or that hides its content. Consoles show folders as empty objects whose name ends
with a slash: KServe ignores these as well.

The manifest covers every file but ``OWN_FILES``, which are added beside a model after its verification. Each of those
has one exact form. Each object below the prefix is therefore in the digest, of one exact form, or a problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gatehouse.domain.artifact import manifest
from gatehouse.domain.artifact.foreign import ForeignFiles, WeightNames, left_by, notes_on, remedy_for
from gatehouse.domain.artifact.layout import (
    MAX_FILES,
    OWN_FILES,
    Layout,
    Parts,
    is_configuration,
    resembles_configuration,
)
from gatehouse.domain.artifact.unsafe_files import danger_of, named_as
from gatehouse.domain.artifact.values import Listing, StoredObject
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import FormatError, listed, shown
from gatehouse.domain.formats.format import OTHER_ADVICE, Format
from gatehouse.domain.formats.table import CHECKED_FORMATS, endings

__all__ = ["lay_out", "unsafe_files"]


def lay_out(listing: Listing, *, artifact_format: str) -> Layout:
    """Sort the objects of a listing by their part in an artifact of a format.

    Rules of the problems: TooManyFiles, HostileName, EmptyFile, PathConflict, UnsafeFile, WeightsMissing, and those of
    the format.
    """
    files = tuple(stored for stored in listing.objects if not _is_nothing(stored) and stored.path not in OWN_FILES)
    own = tuple(stored for stored in listing.objects if stored.path in OWN_FILES)
    if len(listing.objects) > MAX_FILES:
        return Layout(files=files, own=own, problems=(_too_many(),))
    problems: list[Finding] = []
    sound = tuple(_soundly_named(files, problems))
    checked = CHECKED_FORMATS.get(artifact_format)
    weighty = tuple(stored for stored in sound if stored.size)
    parts = _hashed_only(artifact_format) if checked is None else checked.parts(weighty)
    suspects = _suspects(sound) if checked is not None and checked.names_its_data and parts.weights else ()
    suspected = frozenset(stored.path for stored in suspects)
    dangerous = [stored.path for stored in files if stored.path not in suspected and danger_of(stored.path)]
    # An unsafe file must be removed whatever its content is: no message advises a new upload of it.
    refused = frozenset(dangerous)
    problems += _empty(stored for stored in (*sound, *own) if stored.path not in refused)
    problems += _conflicts((*sound, *own))
    if parts.foreign is not None:
        problems.append(parts.foreign)
    problems += unsafe_files(dangerous, among=[stored.path for stored in files], artifact_format=artifact_format)
    missing = [] if checked is None else _no_weights(weighty, checked, parts)
    return Layout(
        files=files,
        weights=parts.weights,
        others=parts.others,
        index=parts.index,
        configurations=tuple(stored for stored in sound if stored.size and is_configuration(stored.path)),
        searched=tuple(stored for stored in sound if stored.size and resembles_configuration(stored.path)),
        own=own,
        unsafe=tuple(shown(path)[1:-1] for path in dangerous),
        suspects=tuple(stored for stored in suspects if stored.size),
        problems=(*problems, *missing, *parts.problems),
        notes=(*parts.notes, *notes_on(stored.path for stored in sound)),
    )


def _hashed_only(artifact_format: str) -> Parts:
    return Parts(notes=(f"the structure of format {artifact_format} is not known: files are only hashed",))


def _suspects(files: Sequence[StoredObject]) -> tuple[StoredObject, ...]:
    """Files with the name of a pickle, which may be data of the weights."""
    return tuple(stored for stored in files if danger_of(stored.path) == "Pickle")


def unsafe_files(paths: Sequence[str], *, among: Iterable[str], artifact_format: str) -> list[Finding]:
    """Why the files at ``paths`` are refused by their names alone; ``among`` are all files of the artifact."""
    every = frozenset(among) if paths else frozenset()
    foreign = ForeignFiles.among(every)
    checked = CHECKED_FORMATS.get(artifact_format)
    holds = checked is not None and any(checked.holds_weights(path) for path in every)
    weights = WeightNames(ending=checked.ending, twins=checked.twins) if checked is not None and holds else None
    return [
        Finding(
            reason="UnsafeFile",
            found=f"{shown(path)}, {named_as(path)}",
            expected="files that are only data",
            remedy=remedy_for(path, danger, foreign=foreign, weights=weights),
        )
        for path in paths
        if (danger := danger_of(path))
    ]


def _is_nothing(stored: StoredObject) -> bool:
    """Whether KServe ignores the object and no loader needs it: folders, and empty files that a tool left."""
    if stored.size:
        return False
    left = left_by(stored.path) is not None and _sound(stored.path) is None
    return left or _is_folder(stored)


def _is_folder(stored: StoredObject) -> bool:
    return stored.size == 0 and (stored.path == "" or (stored.path.endswith("/") and _sound(stored.path[:-1]) is None))


def _sound(path: str) -> FormatError | None:
    try:
        manifest.check_path(path)
    except FormatError as error:
        return error
    if "\ufffd" in path:
        # A store writes this for a character that its listing cannot carry: it may stand for several names.
        return FormatError(
            "HostileName",
            f"the object name {shown(path)}",
            "a name that the store can list",
            "Rename or remove the object, then upload it again.",
        )
    return None


def _soundly_named(files: Iterable[StoredObject], problems: list[Finding]) -> Iterable[StoredObject]:
    for stored in files:
        error = _sound(stored.path)
        if error is None:
            yield stored
        else:
            problems.append(error.finding)


def _empty(files: Iterable[StoredObject]) -> list[Finding]:
    return [
        Finding(
            reason="EmptyFile",
            found=f"{shown(stored.path)} of 0 bytes",
            expected="files with content: KServe does not download empty files",
            remedy="Upload the file again, or remove it.",
        )
        for stored in files
        if stored.size == 0
    ]


def _conflicts(files: Sequence[StoredObject]) -> list[Finding]:
    paths = {stored.path for stored in files}
    conflicts = {parent for path in paths for parent in _parents(path) if parent in paths}
    return [
        Finding(
            reason="PathConflict",
            found=f"{shown(path)} is a file and a folder",
            expected="names that a file system can hold",
            remedy="Rename or remove the file.",
        )
        for path in sorted(conflicts)
    ]


def _parents(path: str) -> Iterator[str]:
    """The folders that contain a file. They are not kept: the folders of deep names are far longer than the names."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)


def _too_many() -> Finding:
    return Finding(
        reason="TooManyFiles",
        found=f"more than {MAX_FILES} objects",
        expected=f"at most {MAX_FILES}",
        remedy="Let the URI name the folder of one model, not one above it.",
    )


def _no_weights(files: Sequence[StoredObject], checked: Format, parts: Parts) -> list[Finding]:
    """The finding for an artifact without weights; the files that exist decide the remedy."""
    if parts.missing is None:
        return []
    paths = [stored.path for stored in files if not left_by(stored.path)]
    named = [known for known in CHECKED_FORMATS.values() if any(path.lower().endswith(known.ending) for path in paths)]
    instead = next((known.name for known in named if known is not checked), None)
    absent, needed = f"no *{checked.ending} files", parts.missing
    if parts.folders:
        remedy = f"Let the URI name the folder of the model, which is {listed(parts.folders)} below this one."
    elif instead is not None:
        ending = CHECKED_FORMATS[instead].ending
        remedy = f"There are *{ending} files: set spec.artifact.format to {instead} (--format {instead})."
    elif named:
        remedy = f"Upload the weights to the top, with names that end in {checked.ending}. {OTHER_ADVICE}"
    else:
        absent, needed = f"no {endings()} files", "the weights in one of these formats"
        also = " That format accepts no unsafe files." if any(danger_of(path) for path in paths) else ""
        remedy = f"Upload the weights. {OTHER_ADVICE}{also}"
    if checked in named:
        absent += " at the top"
    return [Finding(reason="WeightsMissing", found=absent, expected=needed, remedy=remedy)]
