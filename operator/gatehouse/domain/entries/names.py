"""Keys of entries from the free text that clients write: names that Kubernetes objects can have.

The rule of a slug: lower case; every run of other characters than letters, digits and dots becomes one dash; no dash or
dot at an end or beside a dot. Text that is too long is cut and gets ten digits of a hash. A text that is a name already
is its own key, so that a model or a version that was applied with kubectl has the key that its name gives.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

__all__ = ["LONGEST_OBJECT_NAME", "KeyChoice", "model_key_choice", "slug", "version_key_choice"]

LONGEST_OBJECT_NAME: Final = 253
LONGEST_VERSION: Final = 128
_HASH_LENGTH: Final = 10
_OTHER: Final = re.compile(r"[^a-z0-9.]+")
_AROUND_DOTS: Final = re.compile(r"-*\.[-.]*")
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_VERSION_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._+-]*[A-Za-z0-9])?")


class KeyChoice(NamedTuple):
    """The key of an entry if no other entry has it, and the key otherwise.

    The same text always gives the same two keys, so that one of two clients that write the same name at once finds the
    row of the other.
    """

    plain: str
    other: str


def slug(text: str, *, longest: int = LONGEST_OBJECT_NAME) -> str:
    """The slug of a text; empty when no character is left."""
    safe = _AROUND_DOTS.sub(".", _OTHER.sub("-", text.lower())).strip("-.")
    return safe if len(safe) <= longest else _hashed(safe, text, longest=longest)


def model_key_choice(title: str) -> KeyChoice:
    """The keys of a model: the name of its RegisteredModel."""
    is_name = len(title) <= LONGEST_OBJECT_NAME and _OBJECT_NAME.fullmatch(title) is not None
    return _choice(title, is_name=is_name, longest=LONGEST_OBJECT_NAME)


def version_key_choice(title: str) -> KeyChoice:
    """The keys of a version in its model: ``spec.version`` of its ModelVersion."""
    is_name = len(title) <= LONGEST_VERSION and _VERSION_NAME.fullmatch(title) is not None
    return _choice(title, is_name=is_name, longest=LONGEST_VERSION)


def _choice(title: str, *, is_name: bool, longest: int) -> KeyChoice:
    plain = title if is_name else slug(title, longest=longest)
    other = _hashed(slug(title, longest=longest) or "recorded", title, longest=longest)
    return KeyChoice(plain or other, other)


def _hashed(safe: str, text: str, *, longest: int) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return f"{safe[: longest - _HASH_LENGTH - 1].rstrip('-.')}-{digest}"
