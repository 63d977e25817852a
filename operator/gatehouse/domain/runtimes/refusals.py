"""Why a serving template is not written.

::

    TemplateRefused
      ReservedArgument      an argument of vLLM that would undo what was vetted
      ArgumentNotKnown      an argument that the release of the image refuses to start with
      ReservedEnvironment   the same by an environment variable
      NameRefused           no name that KServe takes
      FormatNotServed       nothing that the runtime can load
      NothingToServe        the version does not fit its hardware
"""

from __future__ import annotations

from typing import Final

from gatehouse.domain.common.finding import Finding

__all__ = [
    "ArgumentNotKnown",
    "FormatNotServed",
    "NameRefused",
    "NothingToServe",
    "ReservedArgument",
    "ReservedEnvironment",
    "TemplateRefused",
]


class TemplateRefused(Exception):
    """No template is written; ``finding`` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.reason}: {finding.found}; wanted {finding.expected}")
        self.finding: Final = finding


class ReservedArgument(TemplateRefused):
    """``serving.extraArgs`` holds an argument that is not the version's to set."""


class ArgumentNotKnown(TemplateRefused):
    """``serving.extraArgs`` holds an argument that the release of vLLM no longer has."""


class ReservedEnvironment(TemplateRefused):
    """``serving.env`` holds a variable that is not the version's to set."""


class NameRefused(TemplateRefused):
    """There is no name, or not this one, that KServe takes."""


class FormatNotServed(TemplateRefused):
    """The runtime loads nothing of the artifact's format, or not by the name that its file has."""


class NothingToServe(TemplateRefused):
    """The version does not fit its hardware profile."""
