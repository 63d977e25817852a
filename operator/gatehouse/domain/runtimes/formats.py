"""How a runtime loads an artifact of a format that it serves, and the argument that names the file to load.

The formats themselves say which runtime loads them, and whether from a folder or from one file
(:class:`gatehouse.domain.formats.format.RuntimeSupport`). In a folder, vLLM selects the configuration's class by
``model_type`` and the model's by
``architectures``. ``model_type`` can replace ``architectures``, but not the reverse: ``AutoConfig.from_pretrained`` of
transformers raises an error where config.json has no ``model_type`` (``HFConfigParser`` in vLLM's
``transformers_utils/config.py`` calls it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from gatehouse.api.model_version import MODEL_FILE
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.formats.format import VLLM
from gatehouse.domain.formats.names import DEFAULT_FORMAT, ArtifactFormat
from gatehouse.domain.formats.table import CHECKED_FORMATS, FORMATS
from gatehouse.domain.runtimes.refusals import FormatNotServed

__all__ = [
    "SERVED_FORMATS",
    "check_config",
    "check_format",
    "check_model_file",
    "config_problem",
    "model_argument",
    "served_file",
]

SERVED_FORMATS: Final[Mapping[str, frozenset[ArtifactFormat]]] = {
    runtime: frozenset(known.name for known in FORMATS.values() if runtime in known.runtimes)
    for runtime in {runtime for known in FORMATS.values() for runtime in known.runtimes}
}
"""Formats by runtime. The policy that permits a format that nothing checks answers for the content of its files."""

_PLAIN: Final = re.compile(MODEL_FILE)
_LONGEST: Final = 512


def check_format(runtime: str, artifact_format: ArtifactFormat) -> None:
    """Raises FormatNotServed when the runtime does not load the format."""
    served = SERVED_FORMATS.get(runtime, frozenset())
    if artifact_format not in served:
        checked = sorted(name for name in served if name in CHECKED_FORMATS)
        raise FormatNotServed(
            Finding(
                reason="FormatNotServed",
                found=f"an artifact in {artifact_format} and the runtime {runtime}, which does not load it",
                expected=f"an artifact in {' or '.join(checked) or 'a format that a runtime loads'}",
                remedy=f"register the model's {DEFAULT_FORMAT} as a separate version: no runtime loads "
                f"{artifact_format} yet",
            )
        )


def check_model_file(summary: ArtifactSummary) -> None:
    """Raises FormatNotServed when no argument can name the file that vLLM must load."""
    if _loads(summary, "File") and served_file(summary) is None:
        raise FormatNotServed(
            Finding(
                reason="ModelFileName",
                found=f"the model in {summary.model_file!r}" if summary.model_file else "no file with the model",
                expected="a name for an argument: letters, digits and . _ + -, each part with a letter or digit first",
                remedy="rename the file and its splits, and register them as a new version",
            )
        )


def check_config(summary: ArtifactSummary) -> None:
    """Raises FormatNotServed when vLLM cannot identify the model from config.json."""
    problem = config_problem(summary.config) if _loads(summary, "Folder") else None
    if problem is not None:
        raise FormatNotServed(problem)


def config_problem(config: ModelConfig | None) -> Finding | None:
    """Why vLLM cannot load a model with this config.json; None where the file names its model, or does not exist."""
    if config is None or config.model_type is not None:
        return None
    silent = "" if config.architecture else " and no architectures"
    return Finding(
        reason="ModelTypeMissing",
        found=f"a config.json with no model_type{silent}, with which vLLM does not start",
        expected="the model's type and its class in config.json, for example "
        '"model_type": "llama", "architectures": ["LlamaForCausalLM"]',
        remedy="use config.json of the model's release, or write it with save_pretrained of transformers, and register "
        "the folder as a new version",
    )


def served_file(summary: ArtifactSummary) -> str | None:
    """The file that a server loads in place of the folder, when its name can stand in an argument.

    Kubernetes expands ``$(NAME)`` in arguments and KServe ``{{...}}``: the name has neither.
    """
    path = summary.model_file
    if not _loads(summary, "File") or path is None or len(path) > _LONGEST or not _PLAIN.fullmatch(path):
        return None
    return path


def _loads(summary: ArtifactSummary, what: Literal["Folder", "File"]) -> bool:
    """Whether vLLM loads the folder, or one file, of an artifact of this format."""
    known = FORMATS.get(summary.format)
    support = None if known is None else known.runtimes.get(VLLM)
    return support is not None and support.what == what


def model_argument(path: str) -> str:
    """The argument with which vLLM loads a file of the artifact."""
    return f"--model=/mnt/models/{path}"
