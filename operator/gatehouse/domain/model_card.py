"""What a Hugging Face model card says about a model: the YAML at the head of its `README.md`, or nothing.

The format is https://huggingface.co/docs/hub/model-cards#model-card-metadata. Cards are written by hand, so a member
that is not what it should be is left out and named in the notes; only a head that cannot be read at all is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gatehouse.domain import yamlbound
from gatehouse.domain.format_error import FormatError, shown
from gatehouse.domain.yamlbound import YamlText

__all__ = ["MAX_CARD", "ModelCard", "parse_card"]

MAX_CARD: Final = 1_048_576
"""Bytes of a README that are looked at. The longest heads, with benchmark results in them, have some 200 kB."""

_LONGEST_LABEL: Final = 128
_LONGEST_NAME: Final = 512
_MOST: Final = 256
_FENCE: Final = re.compile(rb"^---[ \t]*\r?$", re.MULTILINE)
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*", re.ASCII)
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
"""Licences of the Hub that are SPDX licences too: it writes them in lower case."""

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
"""The Hub's tasks (https://huggingface.co/tasks): of all the tags these say what a model does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """`license` is an SPDX identifier where there is one, `base_models` and `datasets` are names on the Hub.

    `tasks` has the pipeline tag first, then the tasks among the tags. `notes` name what was left out, and why.
    """

    license: str | None = None
    tasks: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    library: str | None = None
    notes: tuple[str, ...] = ()


def parse_card(data: bytes) -> ModelCard:
    """Read a model card, or as much of its begin as there is; one without a head says nothing.

    Raises FormatError with the rules CardUnclosed, CardInvalid and those of `yamlbound.loads_text`.
    """
    head = _head(data)
    if head is None:
        return ModelCard()
    members = yamlbound.loads_text(head, what="the head of README.md", max_bytes=MAX_CARD)
    if members == "":
        return ModelCard()
    if not isinstance(members, dict):
        raise _refusal(
            "CardInvalid", f"{shown(members)} at the head of README.md", "names with values, as license: mit"
        )
    reader = _Reader(members)
    return ModelCard(
        license=_license(reader),
        tasks=_tasks(reader),
        languages=reader.texts("language", longest=_LONGEST_LABEL, pattern=_LANGUAGE),
        base_models=reader.texts("base_model", longest=_LONGEST_NAME),
        datasets=reader.texts("datasets", longest=_LONGEST_NAME),
        library=reader.text("library_name"),
        notes=tuple(reader.notes),
    )


def _head(data: bytes) -> bytes | None:
    data = data[:MAX_CARD].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    opening = _FENCE.match(data)
    if opening is None:
        return None
    closing = _FENCE.search(data, opening.end())
    if closing is None:
        raise _refusal(
            "CardUnclosed",
            f"a head of README.md that does not end within {len(data)} bytes",
            "a line --- after it",
        )
    return data[opening.end() : closing.start()]


class _Reader:
    """The members of a card as text; notes what is none."""

    def __init__(self, members: Mapping[str, YamlText]) -> None:
        self._members = members
        self.notes: list[str] = []

    def text(self, name: str) -> str | None:
        """The first text of a member."""
        return next(iter(self.texts(name, longest=_LONGEST_LABEL)), None)

    def texts(self, name: str, *, longest: int, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """The texts of a member that is one or a list of them, each once, at most 256."""
        found = dict.fromkeys(self._sound(name, longest=longest, pattern=pattern))
        if len(found) > _MOST:
            self.notes.append(f"{name}: {len(found)} values; only the first {_MOST} are taken")
        return tuple(found)[:_MOST]

    def _sound(self, name: str, *, longest: int, pattern: re.Pattern[str] | None) -> Iterator[str]:
        member = self._members.get(name, "")
        for value in member if isinstance(member, list) else [member]:
            if value == "":
                continue
            text = value.strip() if isinstance(value, str) else ""
            if not text or len(text) > longest or not text.isprintable() or (pattern and not pattern.fullmatch(text)):
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


def _refusal(rule: str, found: str, wanted: str) -> FormatError:
    return FormatError(rule, found, wanted, "Correct the model card.")
