"""What a release of vLLM does not load at all: architectures and ways to store weights."""

from __future__ import annotations

from gatehouse.domain.artifact import Problem
from gatehouse.domain.hardware.architectures import refused_architectures
from gatehouse.domain.hardware.dimensions import Dimensions
from gatehouse.domain.hardware.releases import Release, releases

__all__ = ["refusal_of"]

_OTHER_IMAGE = "have spec.serving.vllmImage of the ModelRegistry name an image of {release}"


def refusal_of(model: Dimensions, release: Release) -> Problem | None:
    """Why the release does not load the model, whatever the accelerator; None if nothing is known against it."""
    return _architecture(model, release) or _method(model, release)


def _architecture(model: Dimensions, release: Release) -> Problem | None:
    name = model.config.architecture
    newer = None
    for part in (model.whole, model.text):
        if part is not None and part.after is not None and release.minor <= part.after:
            newer = part
    if newer is not None:
        newest = releases()[-1].name
        what = name if newer is model.whole else f"{name} around {model.config.text_model_type}"
        return Problem(
            rule="ArchitectureNotLoaded",
            found=f"{what}, which {release.name} does not load",
            wanted=f"an architecture that {release.name} has",
            remedy=f"{_OTHER_IMAGE.format(release='a newer release')}: {newest} has it",
        )
    if name is None or name not in refused_architectures():
        return None
    return Problem(
        rule="ArchitectureNotLoaded",
        found=f"{name}, which {release.name} does not load",
        wanted=f"an architecture that {release.name} has",
        remedy="serve the model with another runtime, or choose another model",
    )


def _method(model: Dimensions, release: Release) -> Problem | None:
    quantization = model.config.quantization
    method = (quantization.method or "").lower() if quantization else ""
    if not method or method in release.loads:
        return None
    newer = next((each for each in releases() if each.minor > release.minor and method in each.loads), None)
    return Problem(
        rule="QuantizationNotLoaded",
        found=f"weights quantized by {method}, which {release.name} does not load",
        wanted=f"one of {', '.join(sorted(release.loads))}",
        remedy=_OTHER_IMAGE.format(release=newer.name)
        if newer
        else "take the model in another quantization, or unquantized: the files are not at fault",
    )
