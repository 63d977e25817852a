"""Folders with safetensors that are laid out for another loader, from the names of their files alone.

Each such layout has a remedy of its own. A folder that vLLM loads unchanged has no such layout, for example one of
sentence-transformers with ``config.json`` and its weights at the top.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from gatehouse.domain.artifact.layout import CONFIG
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.format_error import listed, shown

__all__ = ["foreign_layout", "model_folders"]

_EXPECTED: Final = f"{CONFIG} and *.safetensors at the top, as save_pretrained of transformers writes them"
_ADAPTER: Final = "adapter_config.json"
_ADAPTER_WEIGHTS: Final = re.compile(r"adapter_model[^/]*\.safetensors")
_ENGINE: Final = re.compile(r"([^/]+/)?[^/]+\.(engine|plan)", re.IGNORECASE)
_RANK: Final = re.compile(r"rank[0-9]+\.safetensors")
_MODULE: Final = re.compile(r"[0-9]+_[A-Za-z]+/")


def foreign_layout(paths: Collection[str]) -> Finding | None:
    """A finding if the files at ``paths`` are laid out for another loader; ``paths`` are all files of an artifact.

    Rules: AdapterOnly, DiffusersLayout, MlflowLayout, MistralLayout, SentenceTransformersLayout, TensorRtLayout.
    """
    top = frozenset(path for path in paths if "/" not in path)
    weights = [path for path in top if path.endswith(".safetensors")]
    if _is_adapter(top, weights):
        return _adapter()
    if weights and all(_RANK.fullmatch(path) for path in weights):
        return _tensorrt("a checkpoint of TensorRT-LLM (rank0.safetensors and so on)")
    if not weights and any(_ENGINE.fullmatch(path) for path in paths):
        return _tensorrt("a compiled engine of TensorRT")
    if CONFIG in top:
        return None
    if "model_index.json" in top:
        return _diffusers(paths)
    if "MLmodel" in top:
        return _mlflow(paths)
    if "modules.json" in top:
        return _sentence_transformers(paths)
    return _mistral() if "params.json" in top else None


def model_folders(paths: Collection[str]) -> tuple[str, ...]:
    """Folders below the top that have ``config.json`` and ``*.safetensors``, each with a slash at its end, sorted."""
    configured = {path.removesuffix(CONFIG) for path in paths if path.endswith(f"/{CONFIG}")}
    weighted = {path[: path.rfind("/") + 1] for path in paths if path.endswith(".safetensors")}
    return tuple(sorted(configured & weighted))


def _is_adapter(top: Collection[str], weights: Sequence[str]) -> bool:
    """Adapters are saved without a config.json. Where config.json exists, only weights of an adapter lie beside it."""
    adapters = [path for path in weights if _ADAPTER_WEIGHTS.fullmatch(path)]
    if len(adapters) < len(weights):
        return False
    return bool(adapters) or (_ADAPTER in top and CONFIG not in top)


def _adapter() -> Finding:
    return Finding(
        reason="AdapterOnly",
        found="a LoRA or other PEFT adapter (adapter_config.json, adapter_model.safetensors), and no model",
        expected="a whole model: the weights of an adapter are added to those of a base model",
        remedy="Merge it into its base model (merge_and_unload of PEFT, then save_pretrained) and register the result.",
    )


def _diffusers(paths: Collection[str]) -> Finding:
    parts = sorted({path.partition("/")[0] for path in paths if "/" in path})
    return Finding(
        reason="DiffusersLayout",
        found=f"a pipeline of diffusers (model_index.json): {listed(parts)}",
        expected=_EXPECTED,
        remedy="No runtime of Gatehouse serves image pipelines. Register a language model, or one part of the pipeline "
        "by the URI of its folder.",
    )


def _mlflow(paths: Collection[str]) -> Finding:
    inside = model_folders(paths)
    way = (
        f"Let the URI end with {shown(inside[0])[1:-1]}, the model inside it, with its tokenizer's files there too."
        if inside
        else "Load it with mlflow and save the model itself with save_pretrained."
    )
    return Finding(reason="MlflowLayout", found="a model of MLflow (MLmodel)", expected=_EXPECTED, remedy=way)


def _sentence_transformers(paths: Collection[str]) -> Finding:
    inside = [folder for folder in model_folders(paths) if _MODULE.fullmatch(folder)]
    way = "Load it with a current sentence-transformers and save it again, which puts the transformer at the top"
    return Finding(
        reason="SentenceTransformersLayout",
        found="a model of sentence-transformers (modules.json) whose transformer is not at the top"
        + (f" but in {listed(inside)}" if inside else ", or that has none"),
        expected=_EXPECTED,
        remedy=f"{way}, or let the URI end with {inside[0]}." if inside else f"{way}.",
    )


def _mistral() -> Finding:
    return Finding(
        reason="MistralLayout",
        found="a model in Mistral's own layout (params.json), and no config.json",
        expected=_EXPECTED,
        remedy="Take the release of the model for transformers, or convert it with convert_mistral_weights_to_hf.py "
        "of transformers.",
    )


def _tensorrt(what: str) -> Finding:
    return Finding(
        reason="TensorRtLayout",
        found=f"{what}, and no model that vLLM loads",
        expected=_EXPECTED,
        remedy="Register the model that it was built from: an engine runs on one kind of GPU with one release only.",
    )
