"""Names of Kubernetes objects from the names that people give to models and versions.

:mod:`gatehouse.domain.entries.names` has the rule.
"""

from __future__ import annotations

from gatehouse.domain.entries.names import slug
from gatehouse.errors import InputInvalid

__all__ = ["model_object_name", "version_object_name"]


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
    name = slug(text)
    if not name:
        raise InputInvalid(
            f"{what} is {text!r}, from which no name of a Kubernetes object can be made; "
            "expected: at least one letter from a to z or a digit"
        )
    return name
