"""Compares two versions: the differences, by section and field. All pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.version.records import FileRecord

__all__ = ["Difference", "Scalar", "Side", "compare_versions", "is_tokenizer"]

Scalar: TypeAlias = "str | int | float | bool | None"

_TOKENIZER: Final = re.compile(
    r"(.*/)?(tokenizer[^/]*|chat_template[^/]*|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt"
    r"|spiece\.model|sentencepiece[^/]*|tekken\.json)"
)
"""Files for tokens and for the text of a conversation. Older models have the template in tokenizer_config.json."""

_OWN: Final = ("version", "description", "submittedBy", "submittedVia", "runtime", "state", "customProperties")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One version with its known facts. ``summary`` and ``files`` are None where the registry was not read."""

    version: ModelVersion
    evaluations: Sequence[ModelEvaluation] = ()
    summary: ArtifactSummary | None = None
    files: Mapping[str, FileRecord] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs between the versions; None where a version lacks the field."""

    field: str
    a: Scalar
    b: Scalar

    def wire(self) -> dict[str, Scalar]:
        """The output of ``-o json``."""
        return {"field": self.field, "a": self.a, "b": self.b}


def compare_versions(a: Side, b: Side) -> Mapping[str, Sequence[Difference]]:
    """The differences by section; a compared section without a difference is empty.

    Sections of the registry's rows (config, tokenizer, files) are present only when both sides have them.
    """
    sections: dict[str, Sequence[Difference]] = {}
    for name, fields in _SECTIONS.items():
        of_a, of_b = fields(a), fields(b)
        if of_a is not None and of_b is not None:
            sections[name] = tuple(_differences(of_a, of_b))
    return sections


def is_tokenizer(path: str) -> bool:
    """Whether a file of an artifact belongs to the tokenizer or is a chat template."""
    return _TOKENIZER.fullmatch(path) is not None


def _differences(a: Mapping[str, Scalar], b: Mapping[str, Scalar]) -> Iterator[Difference]:
    for field in dict.fromkeys((*a, *b)):
        if a.get(field) != b.get(field):
            yield Difference(field, a.get(field), b.get(field))


def _version(side: Side) -> Mapping[str, Scalar]:
    wire, status = side.version.spec.wire(), side.version.status
    return {
        "model": side.version.spec.model_ref.name,
        **_flat({name: wire[name] for name in _OWN if name in wire}),
        "hardwareProfile": side.version.spec.hardware_profile_ref.name,
        "phase": status.phase,
        "clearedFor": _listed(status.cleared_for),
        "deployedTo": _listed(status.deployed_to),
    }


def _artifact(side: Side) -> Mapping[str, Scalar]:
    artifact = side.version.status.artifact
    verified = {} if artifact is None else artifact.wire()
    return _flat({**side.version.spec.artifact.wire(), **verified})


def _fit(side: Side) -> Mapping[str, Scalar]:
    hardware = side.version.status.hardware
    return {} if hardware is None else _flat(hardware.wire())


def _evaluations(side: Side) -> Mapping[str, Scalar]:
    """The newest value of each metric that was measured for the version's own bytes."""
    status = side.version.status
    digest = status.recorded_digest or (status.artifact.digest if status.artifact else None)
    uid = side.version.metadata.uid
    specs = [evaluation.spec for evaluation in side.evaluations]
    own = [spec for spec in specs if (spec.version_ref.uid, spec.digest) == (uid, digest)]
    return {
        f"{spec.kind} {spec.task or spec.suite} {metric.name} on {_dataset(spec.dataset.name, spec.dataset.version)}": (
            metric.value
        )
        for spec in sorted(own, key=lambda spec: spec.evaluated_at)
        for metric in spec.metrics
    }


def _dataset(name: str, version: str | None) -> str:
    return f"{name}@{version}" if version else name


def _config(side: Side) -> Mapping[str, Scalar] | None:
    if side.summary is None or side.summary.config is None:
        return None
    return _flat(side.summary.config.to_dict())


def _files(side: Side, selects: Callable[[str], bool]) -> Mapping[str, Scalar] | None:
    if side.files is None:
        return None
    return {path: f"sha256:{file.sha256}" for path, file in sorted(side.files.items()) if selects(path)}


_SECTIONS: Final[Mapping[str, Callable[[Side], Mapping[str, Scalar] | None]]] = {
    "version": _version,
    "lineage": lambda side: _flat(side.version.spec.lineage.wire()),
    "metrics": lambda side: dict(side.version.spec.metrics),
    "evaluations": _evaluations,
    "serving": lambda side: _flat(side.version.spec.serving.wire()),
    "artifact": _artifact,
    "fit": _fit,
    "config": _config,
    "tokenizer": lambda side: _files(side, is_tokenizer),
    "files": lambda side: _files(side, lambda path: not is_tokenizer(path)),
}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested members under dotted names; lists of plain values as text, of objects by their name."""
    fields: dict[str, Scalar] = {}
    for name, member in value.items():
        field = f"{prefix}{name}"
        if isinstance(member, Mapping):
            fields |= _flat(member, f"{field}.")
        elif isinstance(member, list) and any(isinstance(item, Mapping) for item in member):
            fields |= _flat({str(item.get("name", index)): item for index, item in enumerate(member)}, f"{field}.")
        elif isinstance(member, list):
            fields[field] = _listed(member)
        else:
            fields[field] = member
    return fields


def _listed(values: Iterable[object]) -> str | None:
    return ", ".join(str(value) for value in values) or None
