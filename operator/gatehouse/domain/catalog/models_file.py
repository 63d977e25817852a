"""The file of models that OpenShift AI's catalog reads: JSON, which is YAML, with one model on each line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import orjson

from gatehouse.domain.catalog.documents import write_artifact, write_model
from gatehouse.domain.catalog.listed_models import SOURCE, ListedModel

__all__ = ["ModelsFile", "write_models_file"]

_BEGIN: Final = f'{{"source":"{SOURCE}","models":[\n'
_END: Final = "\n]}\n"
_BETWEEN: Final = ",\n"


class ModelsFile(NamedTuple):
    """The text of the file, and how many of the models have no room in it."""

    text: str
    left_out: int


def write_models_file(models: Sequence[ListedModel], *, outward: Callable[[str], str], room: int) -> ModelsFile:
    """The file of the models, in at most ``room`` bytes. Where they do not fit, the last models are left out.

    Readmes are left out: the room is that of a ConfigMap.
    """
    lines: list[str] = []
    used = len(_BEGIN) + len(_END)
    for model in models:
        line = _line(model, outward)
        needed = len(line.encode()) + (len(_BETWEEN) if lines else 0)
        if used + needed > room:
            break
        used += needed
        lines.append(line)
    return ModelsFile(_BEGIN + _BETWEEN.join(lines) + _END, len(models) - len(lines))


def _line(model: ListedModel, outward: Callable[[str], str]) -> str:
    document = write_model(model)
    document.pop("readme", None)
    document["artifacts"] = [write_artifact(artifact, outward=outward) for artifact in model.artifacts]
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()
