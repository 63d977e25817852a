"""Why no serving template is written.

::

    TemplateRefused
      ReservedArgument      an argument of vLLM that would bypass the checks
      ArgumentNotKnown      an argument that the release of the image refuses to start with
      ReservedEnvironment   an environment variable that would bypass the checks
      NameRefused           no name that KServe accepts
      FormatNotServed       a format or file name that the runtime cannot load
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
        super().__init__(f"{finding.reason}: {finding.found}; expected {finding.expected}")
        self.finding: Final = finding


class ReservedArgument(TemplateRefused):
    """``serving.extraArgs`` has an argument that a version must not set."""


class ArgumentNotKnown(TemplateRefused):
    """``serving.extraArgs`` holds an argument that the release of vLLM no longer has."""


class ReservedEnvironment(TemplateRefused):
    """``serving.env`` has a variable that a version must not set."""


class NameRefused(TemplateRefused):
    """KServe accepts no name for the service, or not the requested one."""


class FormatNotServed(TemplateRefused):
    """The runtime does not load the artifact's format, or not under the name of its file."""


class NothingToServe(TemplateRefused):
    """The version does not fit its hardware profile."""
