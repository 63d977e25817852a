"""Names of Kubernetes objects from the names that people give to models and versions.

The rule: lower case; every run of other characters than letters, digits and dots becomes one dash; no dash or dot at an
end or beside a dot. A name that is too long for Kubernetes is cut and gets ten digits of a hash.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from gatehouse.errors import InputInvalid

__all__ = ["model_object_name", "version_object_name"]

LONGEST: Final = 253
_HASH_LENGTH: Final = 10
_OTHER: Final = re.compile(r"[^a-z0-9.]+")
_AROUND_DOTS: Final = re.compile(r"-*\.[-.]*")


def model_object_name(name: str) -> str:
    """The name of the RegisteredModel for a model's name, as in ``Granite-3.1-8b`` to ``granite-3.1-8b``.

    Raises InputInvalid when no character of the name is left.
    """
    return _object_name(name, what="the model's name")


def version_object_name(model: str, version: str) -> str:
    """The name of the ModelVersion for a model's object name and a version, joined by a dash.

    Raises InputInvalid when no character of the version is left.
    """
    _object_name(version, what="the version")
    return _object_name(f"{model}-{version}", what="the version")


def _object_name(text: str, *, what: str) -> str:
    safe = _AROUND_DOTS.sub(".", _OTHER.sub("-", text.lower())).strip("-.")
    if not safe:
        raise InputInvalid(
            f"{what} is {text!r}, which gives no name of a Kubernetes object; "
            "expected: at least one letter from a to z or a digit"
        )
    if len(safe) <= LONGEST:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return f"{safe[: LONGEST - _HASH_LENGTH - 1].rstrip('-.')}-{digest}"
