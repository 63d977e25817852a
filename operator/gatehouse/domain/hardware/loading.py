"""The architectures, formats and quantization methods that a release of vLLM does not load at all.

Source: ``_PREVIOUSLY_SUPPORTED_MODELS`` in ``model_executor/models/registry.py`` of 0.30.0 for architectures that were
removed. An architecture counts here if transformers 5.10 lacks its class, or has the class without an attention that
vLLM can replace with its own. vLLM serves the others by the classes of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatehouse.domain.common.finding import Finding
from gatehouse.domain.formats.format import VLLM, Format
from gatehouse.domain.formats.names import DEFAULT_FORMAT
from gatehouse.domain.formats.table import FORMATS
from gatehouse.domain.hardware.architectures import refused_architectures
from gatehouse.domain.hardware.dimensions import Dimensions
from gatehouse.domain.runtimes.releases import Release, releases

__all__ = ["format_refusal", "refusal_of"]

_OTHER_IMAGE: Final = "set spec.serving.vllmImage of the ModelRegistry to an image of {release}"
_OWN_IMAGE: Final = "to an image with {plugin} whose tag names no release of vLLM"
_PLUGINS: Final[Mapping[str, str]] = {"bitsandbytes": "vllm-bnb-plugin"} | {
    support.method: support.plugin
    for known in FORMATS.values()
    for support in known.runtimes.values()
    if support.method and support.plugin
}
"""The plugin that adds a method to releases without it."""


def refusal_of(model: Dimensions, release: Release, *, method: str | None = None) -> Finding | None:
    """Why the release does not load the model, whatever the accelerator; None if no reason is known.

    ``method`` is the value that the version sets for ``--quantization``.
    """
    return _architecture(model, release) or _method(model, release) or _asked(method, release)


def format_refusal(known: Format, release: Release) -> Finding | None:
    """Why the release loads no artifact of the format; None where it does, or where all releases are alike."""
    support = known.runtimes.get(VLLM)
    if support is None or support.method is None or support.method in release.loads:
        return None
    return Finding(
        reason=f"{known.name.capitalize()}NotLoaded",
        found=f"a model in {known.title}, which {release.name} does not load by itself",
        expected=f"an image of vLLM that loads {known.title}, or {DEFAULT_FORMAT}",
        remedy=f"{_elsewhere(support.method, release)}, or register the model's {DEFAULT_FORMAT} as a separate version",
    )


def _architecture(model: Dimensions, release: Release) -> Finding | None:
    name = model.config.architecture
    for part in (model.whole, model.text):
        if part is None:
            continue
        what = name if part is model.whole else f"{name} around {model.config.text_model_type}"
        if part.after is not None and release.minor <= part.after:
            return _architecture_problem(
                f"{what}, which {release.name} does not load",
                release,
                f"{_OTHER_IMAGE.format(release='a newer release')}: {releases()[-1].name} loads the model",
            )
        if part.until is not None and release.minor > part.until:
            return _architecture_problem(
                f"{what}, which {release.name} no longer loads",
                release,
                f"{_OTHER_IMAGE.format(release=f'vLLM 0.{part.until} or older')}, or choose another model",
            )
    if name is None or name not in refused_architectures():
        return None
    return _architecture_problem(
        f"{name}, which {release.name} does not load",
        release,
        "serve the model with another runtime, or choose another model",
    )


def _architecture_problem(found: str, release: Release, remedy: str) -> Finding:
    return Finding(
        reason="ArchitectureNotLoaded",
        found=found,
        expected=f"an architecture that {release.name} loads",
        remedy=remedy,
    )


def _method(model: Dimensions, release: Release) -> Finding | None:
    quantization = model.config.quantization
    method = (quantization.method or "").lower() if quantization else ""
    if not method or method in release.loads:
        return None
    other = _elsewhere(method, release)
    return _method_problem(
        f"weights quantized by {method}, which {release.name} does not load",
        release,
        other or "use the model in another quantization, or without quantization: the files are correct",
    )


def _asked(method: str | None, release: Release) -> Finding | None:
    if method is None or method.lower() in release.loads:
        return None
    return _method_problem(
        f"--quantization={method} in spec.serving.extraArgs, which {release.name} does not know",
        release,
        f"remove --quantization={method}, or name a method of {release.name}",
    )


def _method_problem(found: str, release: Release, remedy: str) -> Finding:
    return Finding(
        reason="QuantizationNotLoaded",
        found=found,
        expected=f"one of {', '.join(sorted(release.loads))}",
        remedy=remedy,
    )


def _elsewhere(method: str, release: Release) -> str | None:
    """The image that loads a method: a newer release, an older one, or an image with a plugin."""
    known = releases()
    newer = next((each for each in known if each.since > release.minor and method in each.loads), None)
    if newer is not None:
        return _OTHER_IMAGE.format(release=newer.name)
    last = max((at for at, each in enumerate(known) if method in each.loads), default=None)
    if last is None or last + 1 >= len(known):
        return None
    older = _OTHER_IMAGE.format(release=f"vLLM 0.{known[last + 1].since - 1} or older")
    return f"{older}, or {_OWN_IMAGE.format(plugin=_PLUGINS[method])}" if method in _PLUGINS else older
