"""The statements of a Hugging Face model card about a model, from the YAML at the head of its `README.md`.

The format is https://huggingface.co/docs/hub/model-cards#model-card-metadata. People write cards by hand, so a
malformed member is left out and named in the notes. A head that is not YAML as a whole is read member by member. No
card raises an error: an unreadable card yields no statements.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.common import bounded_yaml
from gatehouse.domain.common.bounded_yaml import YamlText
from gatehouse.domain.common.format_error import FormatError, listed, shown

__all__ = ["MAX_CARD", "ModelCard", "parse_card"]

MAX_CARD: Final = 1_048_576
"""Bytes of a README that are read. The longest heads, with benchmark results in them, have some 200 kB."""

_LONGEST_LABEL: Final = 128
_LONGEST_NAME: Final = 512
_MOST: Final = 256
_FENCE: Final = re.compile(rb"^---[ \t]*\r?$", re.MULTILINE)
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*", re.ASCII)
_MEMBER: Final = re.compile(r"^(?:([A-Za-z_][A-Za-z0-9_.-]{0,63})[ \t]*:(?=[ \t\r\n]|\Z)|[^\s#-].{0,40})", re.MULTILINE)
"""A name with its colon at the beginning of a line, or any other text there that is no list, blank or comment."""
_ENCLOSING: Final = frozenset("\"'[{")
_TAKEN: Final = frozenset(
    {"base_model", "datasets", "language", "library_name", "license", "license_name", "pipeline_tag", "tags"}
)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_REPLACED: Final = "\ufffd"
_UNNAMED_LICENSES: Final = frozenset({"other", "unknown"})

_SPDX: Final[Mapping[str, str]] = {
    spdx.lower(): spdx
    for spdx in (
        *("AFL-3.0", "AGPL-3.0", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear"),
        *("BSL-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0"),
        *("CC-BY-NC-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0"),
        *("CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0"),
        *("CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "ECL-2.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1", "EUPL-1.2"),
        *("GPL-2.0", "GPL-3.0", "ISC", "LGPL-2.1", "LGPL-3.0", "LPPL-1.3c", "MIT", "MPL-2.0", "MS-PL", "NCSA"),
        *("OFL-1.1", "OSL-3.0", "PostgreSQL", "Unlicense", "WTFPL", "Zlib"),
    )
}
"""Licences of the Hub that are also SPDX licences: the Hub writes them in lower case."""

_TASK_NAMES: Final = (
    "any-to-any audio-classification audio-text-to-text audio-to-audio automatic-speech-recognition depth-estimation "
    "document-question-answering feature-extraction fill-mask graph-ml image-classification image-feature-extraction "
    "image-segmentation image-text-to-image image-text-to-text image-text-to-video image-to-3d image-to-image "
    "image-to-text image-to-video keypoint-detection mask-generation object-detection question-answering "
    "reinforcement-learning robotics sentence-similarity summarization table-question-answering "
    "tabular-classification tabular-regression text-classification text-generation text-ranking text-to-3d "
    "text-to-audio text-to-image text-to-speech text-to-video time-series-forecasting token-classification "
    "translation unconditional-image-generation video-classification video-text-to-text video-to-video "
    "visual-document-retrieval visual-question-answering voice-activity-detection zero-shot-classification "
    "zero-shot-image-classification zero-shot-object-detection"
)
_TASKS: Final = frozenset(_TASK_NAMES.split())
"""The Hub's tasks (https://huggingface.co/tasks): the tags that say what a model does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """`license` is an SPDX identifier where there is one, `base_models` and `datasets` are names on the Hub.

    `tasks` has the pipeline tag first, then the tasks among the tags. `notes` name the members that were left out, and
    why.
    """

    license: str | None = None
    tasks: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    library: str | None = None
    notes: tuple[str, ...] = ()


def parse_card(data: bytes) -> ModelCard:
    """Read a model card, or the beginning of one; a card without a head yields no statements. Never raises."""
    notes: list[str] = []
    members = _members(data, notes)
    reader = _Reader(members, notes)
    return ModelCard(
        license=_license(reader),
        tasks=_tasks(reader),
        languages=reader.texts("language", longest=_LONGEST_LABEL, pattern=_LANGUAGE),
        base_models=reader.texts("base_model", longest=_LONGEST_NAME),
        datasets=reader.texts("datasets", longest=_LONGEST_NAME),
        library=reader.text("library_name"),
        notes=tuple(reader.notes),
    )


def _members(data: bytes, notes: list[str]) -> Mapping[str, YamlText]:
    """The readable members of the head."""
    data = data[:MAX_CARD].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    opening = _FENCE.match(data)
    if opening is None:
        return {}
    closing = _FENCE.search(data, opening.end())
    if closing is None:
        notes.append(f"the head does not end within {len(data)} bytes with a line ---: nothing is taken from it")
        return {}
    text = data[opening.end() : closing.start()].decode("utf-8", "replace")
    if _REPLACED in text:
        notes.append("the head has bytes that are not UTF-8")
    try:
        whole = _loaded(text)
    except FormatError as error:
        notes.append(f"the head is not read as a whole but member by member: {error.finding.found}")
        return _one_by_one(text, notes)
    if isinstance(whole, dict):
        return whole
    if whole != "":
        notes.append(f"the head is {shown(whole)}, and no names with values: nothing is taken from it")
    return {}


def _loaded(text: str) -> YamlText:
    return bounded_yaml.loads_text(text.encode(), what="the head of README.md", max_bytes=2 * MAX_CARD)


def _one_by_one(text: str, notes: list[str]) -> Mapping[str, YamlText]:
    """Each member of the head, read by itself. Reading stops where text or a bracketed list may continue: a later line
    that resembles a member may be part of that text."""
    starts = [*_MEMBER.finditer(text)]
    ends = [*(start.start() for start in starts), len(text)][1:]
    times = Counter(start[1] for start in starts)
    members: dict[str, YamlText] = {}
    tries = _MOST
    for start, end in zip(starts, ends, strict=True):
        name, block = start[1] or shown(start[0]), text[start.start() : end]
        may_go_on = not _ENCLOSING.isdisjoint(block)
        if name not in _TAKEN and not may_go_on:
            continue
        if not tries or len(notes) >= _MOST:
            notes.append(f"nothing is taken from {name} on: there are too many members to read one by one")
            break
        tries -= 1
        try:
            found = _loaded(block)
        except FormatError as error:
            notes.append(f"{name}: left out, as it cannot be read: {error.finding.found}")
            if may_go_on:
                notes.append(f"nothing is taken of what comes after {name}")
                break
            continue
        if isinstance(found, dict):
            # Quotes around the name do not make it another member.
            times.update(key for key in found if key != name)
            members |= found
    twice = [name for name in times if name in _TAKEN and times[name] > 1]
    notes += [f"{name}: there {times[name]} times, and left out" for name in twice]
    return {name: value for name, value in members.items() if name not in twice}


class _Reader:
    """The members of a card as text; a member that is no text becomes a note."""

    def __init__(self, members: Mapping[str, YamlText], notes: list[str]) -> None:
        self._members = members
        self.notes = notes

    def text(self, name: str) -> str | None:
        """The text of a member; None where the member has several texts."""
        found = self.texts(name, longest=_LONGEST_LABEL)
        if len(found) > 1:
            self._note(f"{name}: {len(found)} values, {listed(found)}; expected one value, so the card sets none")
        return found[0] if len(found) == 1 else None

    def texts(self, name: str, *, longest: int, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """The texts of a member that is one or a list of them, each once, at most 256."""
        found = dict.fromkeys(self._sound(name, longest=longest, pattern=pattern))
        if len(found) > _MOST:
            self.notes.append(f"{name}: {len(found)} values; only the first {_MOST} are taken")
        return tuple(found)[:_MOST]

    def _sound(self, name: str, *, longest: int, pattern: re.Pattern[str] | None) -> Iterator[str]:
        member = self._members.get(name, "")
        for value in member if isinstance(member, list) else [member]:
            if isinstance(value, str) and value in _NULLS:
                continue
            text = value.strip() if isinstance(value, str) else ""
            readable = text.isprintable() and _REPLACED not in text
            if not text or len(text) > longest or not readable or (pattern and not pattern.fullmatch(text)):
                self._note(f"{name}: {shown(value)} is left out")
            else:
                yield text

    def _note(self, note: str) -> None:
        if len(self.notes) < _MOST:
            self.notes.append(note)


def _license(reader: _Reader) -> str | None:
    found = reader.text("license")
    if found is None or found.lower() in _UNNAMED_LICENSES:
        return reader.text("license_name") or found
    return _SPDX.get(found.lower(), found)


def _tasks(reader: _Reader) -> tuple[str, ...]:
    declared = reader.texts("pipeline_tag", longest=_LONGEST_LABEL)
    tags = reader.texts("tags", longest=_LONGEST_LABEL)
    return tuple(dict.fromkeys((*declared, *(tag for tag in tags if tag in _TASKS))))
