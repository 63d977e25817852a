"""Names, labels and the served digest of a version: stable, valid, different for each version.

An approval covers the artifact and these settings. The same weights with other arguments, variables or hardware need
another approval.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import orjson

from gatehouse.api.model_version import ModelVersionSpec
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.runtimes.refusals import NameRefused

__all__ = [
    "config_map_name",
    "inference_service_name",
    "label_value",
    "longest_service_name",
    "require_namespace",
    "require_service_name",
    "served_digest",
]

_HASH_LENGTH: Final = 10
_LONGEST_LABEL: Final = 63
_LONGEST_OBJECT_NAME: Final = 253
_CONFIG_MAP_SUFFIX: Final = "-serving"

_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_LOOKS_DERIVED = re.compile(rf"(.*-)?[0-9a-f]{{{_HASH_LENGTH}}}", re.ASCII)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", re.ASCII)


def longest_service_name(namespace: str) -> int:
    """The longest name of an InferenceService in a namespace.

    KServe makes the label ``isvc.<name>-predictor`` and the host ``<name>-predictor-<namespace>``, each of at most 63
    characters; its admission checks neither.
    """
    return min(48, 52 - len(namespace))


def inference_service_name(version: str, *, namespace: str, home: str) -> str:
    """The name of the InferenceService for the ModelVersion ``version`` of namespace ``home``, served in ``namespace``.

    The name is the version's own name where KServe accepts it, otherwise a readable part and ten digits of a hash. A
    name that ends like such a hash gets a hash as well, so that no two versions share a name. Raises NameRefused.
    """
    most = longest_service_name(namespace)
    taken_over = namespace == home and len(version) <= most
    if taken_over and _SERVICE_NAME.fullmatch(version) and not _LOOKS_DERIVED.fullmatch(version):
        return version
    digest = _hash(version if namespace == home else f"{home}/{version}")
    room = most - _HASH_LENGTH - 1
    if room < 1:
        raise NameRefused(
            Finding(
                reason="NamespaceTooLong",
                found=f"namespace {namespace} has {len(namespace)} characters",
                expected=f"at most {52 - _HASH_LENGTH - 2}: KServe joins the names of InferenceService and namespace",
                remedy="serve the version from a namespace with a shorter name",
            )
        )
    readable = re.sub(r"[^a-z0-9]+", "-", version).strip("-")
    if not readable[:1].isalpha():
        readable = f"m-{readable}" if readable else "m"
    return f"{readable[:room].rstrip('-')}-{digest}"


def require_service_name(name: str, *, namespace: str) -> str:
    """A name that a user chose, if KServe accepts the name. Raises NameRefused."""
    most = longest_service_name(namespace)
    if _SERVICE_NAME.fullmatch(name) and len(name) <= most:
        return name
    raise NameRefused(
        Finding(
            reason="NameInvalid",
            found=f"the name {name[:300]!r} for an InferenceService in namespace {namespace}",
            expected=f"lower case letters, digits and dashes, a letter first, at most {max(most, 0)} characters",
            remedy="choose another name, or omit the name and Gatehouse derives one",
        )
    )


def require_namespace(name: str) -> str:
    """The name of a namespace, if it is valid. Raises NameRefused."""
    if _NAMESPACE.fullmatch(name):
        return name
    raise NameRefused(
        Finding(
            reason="NamespaceInvalid",
            found=f"the namespace {name[:300]!r}",
            expected="lower case letters, digits and dashes, at most 63 characters",
            remedy="name an existing namespace",
        )
    )


def config_map_name(version: str) -> str:
    """The name of the ConfigMap that holds a version's template."""
    whole = f"{version}{_CONFIG_MAP_SUFFIX}"
    if len(whole) <= _LONGEST_OBJECT_NAME:
        return whole
    room = _LONGEST_OBJECT_NAME - len(_CONFIG_MAP_SUFFIX) - _HASH_LENGTH - 1
    return f"{version[:room].rstrip('-.')}-{_hash(version)}{_CONFIG_MAP_SUFFIX}"


def label_value(text: str) -> str:
    """The text where it is a label value; otherwise a readable part of the text and ten digits of a hash."""
    if len(text) <= _LONGEST_LABEL and _LABEL_VALUE.fullmatch(text):
        return text
    room = _LONGEST_LABEL - _HASH_LENGTH - 1
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:room].strip("-_.")
    return f"{readable}-{_hash(text)}" if readable else _hash(text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]


def served_digest(spec: ModelVersionSpec, digest: str | None) -> str | None:
    """SHA-256 over canonical JSON of the artifact's digest and all fields of the spec that a template is made from.

    Defaults are left out, so that a field that a later Gatehouse adds changes nothing; variables are sorted by name, as
    Kubernetes keeps them by name. None while the artifact has no digest.
    """
    if digest is None:
        return None
    serving: dict[str, Any] = spec.serving.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    if "env" in serving:
        serving["env"] = sorted(serving["env"], key=lambda each: str(each["name"]))
    served = {
        "artifact": digest,
        "hardwareProfile": spec.hardware_profile_ref.name,
        "runtime": spec.runtime,
        "serving": serving,
    }
    return f"sha256:{hashlib.sha256(orjson.dumps(served, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
