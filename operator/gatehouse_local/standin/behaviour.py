"""How a stand-in misbehaves on purpose: as a file of the model says, or as told on loopback in its Pod.

The file is generation_config.json, with a key of the stand-in's. So a bad version of a model is another artifact, with
another digest, and passes the gates and admission as any version does.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

__all__ = ["KEY", "Behaviour", "FailingShare", "WrongSetting", "behaviour_of", "changed"]

KEY: Final = "gatehouse_standin"


class WrongSetting(Exception):
    """A setting that the stand-in does not know, or of another type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What is wrong with a model.

    Attributes:
        first_token_seconds: the time to the first token.
        token_seconds: the time between two tokens.
        fail_share: the share of requests that fail, 0 to 1.
        ready: whether the server is ever healthy.
    """

    first_token_seconds: float = 0.0
    token_seconds: float = 0.0
    fail_share: float = 0.0
    ready: bool = True


class FailingShare:
    """Says which requests fail: an exact share of them, evenly spread, so that tests can count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due = 0.0

    def next(self, share: float) -> bool:
        """Whether the next request fails."""
        with self._lock:
            self._due += share
            if self._due < 1 - 1e-9:
                return False
            self._due -= 1
            return True


def behaviour_of(folder: Path) -> Behaviour:
    """The behaviour that a model's folder asks for; the good one where it says nothing.

    Raises:
        WrongSetting: the file is no JSON object, or a setting is wrong.
    """
    path = folder / "generation_config.json"
    if not path.exists():
        return Behaviour()
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise WrongSetting(f"{path.name} is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise WrongSetting(f"{path.name} is no JSON object")
    return changed(Behaviour(), config.get(KEY, {}))


def changed(before: Behaviour, settings: Any) -> Behaviour:
    """The behaviour with some settings changed.

    Raises:
        WrongSetting: a setting is unknown, or of another type or range.
    """
    if not isinstance(settings, Mapping):
        raise WrongSetting(f"{KEY} is no object: {settings!r}")
    types = {field.name: type(field.default) for field in fields(Behaviour)}
    for name, value in settings.items():
        wanted = types.get(name)
        if wanted is None:
            raise WrongSetting(f"{KEY} has no setting {name}; expected: {', '.join(types)}")
        if isinstance(value, bool) != (wanted is bool) or not isinstance(value, (bool, int, float)):
            raise WrongSetting(f"{name} is {value!r}, not a {wanted.__name__}")
    made = replace(before, **settings)
    if not (0 <= made.fail_share <= 1 and 0 <= made.first_token_seconds <= 600 and 0 <= made.token_seconds <= 600):
        raise WrongSetting(f"a setting is out of its range: {made}")
    return made
