"""What Gatehouse knows of one format of weights: the protocol of the formats, and the values that pass through it.

A format is the only place that knows its files, its parsers, what its headers say, and how model servers load it. The
code around it does the work that all formats need, and asks the format by this protocol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from re import Pattern
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias

from gatehouse.domain.artifact.foreign import left_by
from gatehouse.domain.artifact.layout import Layout, Parts
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactSummary, StoredObject
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.formats.parsers import DtypeTotal, Parser

__all__ = ["OTHER_ADVICE", "VLLM", "Format", "Inspection", "InspectionStep", "RuntimeSupport", "WeightFacts"]

VLLM: Final = "vLLM"
"""The name of the runtime in ``spec.runtime``."""

OTHER_ADVICE: Final = (
    "For weights of another kind set spec.artifact.format to other (--format other), which a policy has to allow."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSupport:
    """How a runtime loads a format: the folder of the artifact, or one ``File`` of it.

    Releases of the runtime that list the ``method`` among those that they load, load the format. None stands for every
    release. The ``plugin`` adds the method to other releases.
    """

    what: Literal["Folder", "File"]
    method: str | None = None
    plugin: str | None = None


def _no_tensors(_result: Any) -> int:
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionStep:
    """Files that one parser reads, with the same ``arguments``. The answer is the parser's result by path.

    A file that the parser refuses is a finding, and has no result. ``weight`` is the number of bytes of the arguments
    that come from untrusted sources. ``tensors`` counts the tensors of a result: an artifact may have only so many.
    ``unread``: the parser reads only the arguments, and its refusal belongs to the file.
    """

    parser: Parser[Any]
    files: Sequence[StoredObject]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weight: int = 0
    tensors: Callable[[Any], int] = _no_tensors
    unread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFacts:
    """What the weights say of themselves. None means unknown, not zero; ``dtypes`` is elements by data type.

    ``config`` replaces config.json. ``model_file`` is the path of the file that a server loads where it does not load
    the folder. Of ``weights_bytes``, ``head_bytes`` are those of the output head. ``unloaded_bytes`` are those of
    layers that no server loads. ``suspects`` are paths of the layout's suspects that the weights do not declare as
    their data.
    """

    parameters: int | None = None
    weights_bytes: int | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    config: ModelConfig | None = None
    model_file: str | None = None
    head_bytes: int = 0
    unloaded_bytes: int = 0
    problems: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    suspects: tuple[str, ...] = ()

    @classmethod
    def summed(cls, files: Iterable[Mapping[str, DtypeTotal]]) -> WeightFacts:
        """The facts of all files together, from the totals by data type of each file."""
        elements: Counter[str] = Counter()
        size = 0
        for dtypes in files:
            elements.update({dtype: total.elements for dtype, total in dtypes.items()})
            size += sum(total.bytes for total in dtypes.values())
        return cls(parameters=elements.total(), weights_bytes=size, dtypes=dict(sorted(elements.items())))


Inspection: TypeAlias = Generator[InspectionStep, Mapping[str, Any], WeightFacts]
"""An inspection of an artifact: asks for steps, receives the results of each by path, and returns the facts."""


class Format(Protocol):
    """One format. Its module has the format as ``FORMAT``, and :mod:`gatehouse.domain.formats.names` its name."""

    name: ClassVar[ArtifactFormat]
    title: ClassVar[str]
    """The name in messages."""
    ending: ClassVar[str] = ""
    """The end of the names of its files, in lower case. Empty: any file may be one, and nothing checks the files."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Names of files beside the weights without which no loader accepts the weights."""
    twins: ClassVar[Pattern[str] | None] = None
    """The names of files that hold the same weights in another format. None: every unsafe file may be one."""
    names_its_data: ClassVar[bool] = False
    """Whether weights name files of any name as their data, even the name of a pickle."""
    keeps_marks: ClassVar[bool] = False
    """Whether marks of the tensors of many large files stay in memory until the end of the inspection."""
    fit: ClassVar[Literal["Computed", "Weights"] | None] = None
    """Whether the fit is computed, compares only the weights with the memory of one accelerator, or is unknown."""
    runtimes: ClassVar[Mapping[str, RuntimeSupport]] = {}
    """How each runtime that serves the format loads it."""
    parsers: ClassVar[tuple[Parser[Any], ...]] = ()
    """The parsers of its steps, under names of their own."""

    roles: ClassVar[Mapping[str, str]] = {}
    """What files beside the weights are, by name: those whose change makes another model."""
    expects: ClassVar[str] = ""
    """The weights that are expected where no file holds any, for messages."""

    def holds_weights(self, path: str) -> bool:
        """Whether the file of this name holds weights of the model."""
        return bool(self.ending) and path.lower().endswith(self.ending) and not left_by(path)

    def parts(self, files: Sequence[StoredObject]) -> Parts:
        """Select the files of the model from the names and sizes of sound files."""
        weights = tuple(stored for stored in files if self.holds_weights(stored.path))
        return Parts(weights=weights, missing=None if weights else self.expects)

    def inspect(self, layout: Layout, config: ModelConfig | None, *, key: str) -> Inspection:
        """Read the headers of the weights. ``config`` is from config.json and the files beside it; ``key`` is random
        bytes in hex, for marks."""
        ...

    def loaded_bytes(self, summary: ArtifactSummary) -> int:
        """The bytes that the weights take in the memory of an accelerator."""
        return summary.weights_bytes or 0
