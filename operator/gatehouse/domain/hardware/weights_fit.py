"""The fit of formats whose cache is not computed: their weights are compared with the memory, or nothing loads them."""

from __future__ import annotations

from dataclasses import replace

from gatehouse.api.hardware_profile import HardwareProfileSpec
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.formats.format import Format
from gatehouse.domain.formats.names import DEFAULT_FORMAT
from gatehouse.domain.hardware.dimensions import Unmodelled
from gatehouse.domain.hardware.loading import format_refusal
from gatehouse.domain.hardware.verdict import COMPUTED, Fit, too_long, unknown_fit, usual_sizes
from gatehouse.domain.runtimes.releases import release_of

__all__ = ["fit_by_weights", "unserved_fit"]


def fit_by_weights(
    summary: ArtifactSummary,
    profile: HardwareProfileSpec,
    why: Unmodelled,
    limit: int | None,
    requested: int | None,
    *,
    known: Format,
    name: str,
    image: str,
) -> Fit:
    """The fit of a model whose weights alone are compared with the memory of one accelerator, on which vLLM starts.

    A requested length may not exceed the model's limit.
    """
    accelerator = profile.accelerator
    machine = f"one {accelerator.vendor} {accelerator.model}"
    weights = known.loaded_bytes(summary)
    release, told = release_of(image)
    refusal = format_refusal(known, release)
    if refusal is not None:
        return Fit(verdict="DoesNotFit", weights_bytes=weights, finding=refusal)
    utilization = profile.serving.gpu_memory_utilization
    usable, _, _ = usual_sizes(accelerator.memory, utilization, accelerator.model, release.since)
    if weights > usable:
        return Fit(
            verdict="DoesNotFit",
            weights_bytes=weights,
            finding=Finding(
                reason="WeightsTooLarge",
                found=f"{human_bytes(weights)} of weights on {machine}; {human_bytes(usable)} can be used",
                expected=f"the weights of a {known.title} model within {human_bytes(usable)} on {machine}",
                remedy="choose a profile with more memory, or a smaller quantization",
            ),
        )
    if limit is not None and requested is not None and requested > limit:
        problem = too_long(limit, requested, name=name)
        return Fit(verdict="DoesNotFit", weights_bytes=weights, max_model_len=limit, finding=problem)
    unknown = unknown_fit(why, limit, requested, name=name)
    sure = f"{human_bytes(weights)} of weights on {machine}, of which {human_bytes(usable)} can be used"
    warnings = ((told,) if told else ()) + unknown.warnings
    finding = replace(unknown.finding, found=f"{unknown.finding.found}; {sure}")
    return replace(unknown, finding=finding, weights_bytes=weights, warnings=warnings)


def unserved_fit(artifact_format: str, why: Unmodelled, limit: int | None, *, name: str) -> Fit:
    """The fit of a format that no runtime loads: no length is requested, as the format has no template."""
    longest = f"; the model's limit is {limit:,} tokens ({name})" if limit else ""
    return Fit(
        verdict="Unknown",
        warnings=(f"{why.detail}, as no runtime loads it",),
        finding=Finding(
            reason=why.reason,
            found=f"{why.detail}, as no runtime loads it{longest}",
            expected=COMPUTED,
            remedy=f"no runtime loads {artifact_format} yet: "
            f"register the model's {DEFAULT_FORMAT} as a separate version",
        ),
    )
