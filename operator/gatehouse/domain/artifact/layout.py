"""The files of an artifact by their part in it, and the names that Gatehouse knows in every format.

:mod:`gatehouse.domain.formats.layout` sorts a listing into these parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatehouse.domain.artifact.side_files import SENTENCE_FILES
from gatehouse.domain.artifact.signature import SIGNATURE
from gatehouse.domain.artifact.values import StoredObject
from gatehouse.domain.common.finding import Finding

__all__ = [
    "CONFIG",
    "CONFIGURATIONS",
    "MANIFEST",
    "MAX_FILES",
    "OWN_FILES",
    "Layout",
    "Parts",
    "is_configuration",
    "resembles_configuration",
]

MAX_FILES = 10_000
MANIFEST = "gatehouse.manifest"
OWN_FILES = (MANIFEST, SIGNATURE)
"""The manifest as a file and the signature over it. Neither can be part of its own content;
:mod:`gatehouse.domain.artifact.own_files` checks their form."""

CONFIG = "config.json"
CONFIGURATIONS = frozenset(
    {
        CONFIG,
        "adapter_config.json",
        "feature_extractor_config.json",
        "generation_config.json",
        "hf_quant_config.json",
        "image_processor_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "quant_config.json",
        "quantize_config.json",
        *SENTENCE_FILES,
        "tokenizer_config.json",
        "video_preprocessor_config.json",
    }
)
"""Files that transformers, PEFT and vLLM read as a configuration, in any folder: JSON objects whose ``auto_map`` may
name code."""
_VERSIONED_CONFIG = re.compile(r"config\.[0-9.]+\.json")
"""Files that ``configuration_files`` of a config.json makes transformers read instead, as in config.4.0.0.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The files that a format selects. ``weights``, ``others`` and ``index`` are those of the :class:`Layout`.

    ``foreign`` is the finding that the files are not of the format at all. ``missing`` says which weights the format
    expects, where no file holds any. ``folders`` are folders below that hold a model of the format.
    """

    weights: tuple[StoredObject, ...] = ()
    others: tuple[StoredObject, ...] = ()
    index: StoredObject | None = None
    foreign: Finding | None = None
    missing: str | None = None
    folders: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of an artifact by their part in it.

    ``files`` are all files that the manifest covers. ``weights`` are the files that hold the parameters, or may hold
    them: an ``index`` says which of them do. ``others`` have the format of weights and are checked like weights, but do
    not count. ``configurations`` are the JSON files that loaders read as configurations. ``searched`` are JSON files
    that only resemble configurations. ``own`` are the ``OWN_FILES`` that exist. ``unsafe`` names files that can run
    code, or hide code, escaped where a name is hostile. ``suspects`` are unsafe by their name unless the weights
    declare them as their plain data.
    """

    files: tuple[StoredObject, ...]
    weights: tuple[StoredObject, ...] = ()
    others: tuple[StoredObject, ...] = ()
    index: StoredObject | None = None
    configurations: tuple[StoredObject, ...] = ()
    searched: tuple[StoredObject, ...] = ()
    own: tuple[StoredObject, ...] = ()
    suspects: tuple[StoredObject, ...] = ()
    unsafe: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Sum of the files' sizes in bytes."""
        return sum(stored.size for stored in self.files)


def is_configuration(path: str) -> bool:
    """Whether loaders read the file at ``path`` as a configuration."""
    name = path.rpartition("/")[2]
    return name in CONFIGURATIONS or _VERSIONED_CONFIG.fullmatch(name) is not None


def resembles_configuration(path: str) -> bool:
    """Whether a file is named like a configuration, although no known loader reads the file."""
    name = path.rpartition("/")[2].lower()
    return name.endswith(".json") and "config" in name and not is_configuration(path)
