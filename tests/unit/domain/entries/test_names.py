"""Keys of entries from free text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.entries.names import model_key_choice, slug, version_key_choice

OBJECT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
VERSION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._+-]*[A-Za-z0-9])?")


@pytest.mark.parametrize(
    ("title", "key"),
    [
        ("granite", "granite"),
        ("a--b", "a--b"),
        ("Granite-3.1-8b", "granite-3.1-8b"),
        ("openai-community/gpt2", "openai-community-gpt2"),
        ("model:latest", "model-latest"),
        (" test rm ", "test-rm"),
    ],
)
def test_a_model_has_the_key_that_its_name_gives(title: str, key: str) -> None:
    assert model_key_choice(title).plain == key


@pytest.mark.parametrize(
    ("title", "key"), [("v1", "v1"), ("V1.0_RC+2", "V1.0_RC+2"), ("1.0 beta", "1.0-beta"), ("v1.", "v1")]
)
def test_a_version_that_is_a_name_is_its_own_key(title: str, key: str) -> None:
    assert version_key_choice(title).plain == key


@given(st.text(max_size=300))
def test_every_key_is_a_name_that_kubernetes_accepts(title: str) -> None:
    for key in model_key_choice(title):
        assert OBJECT_NAME.fullmatch(key)
        assert len(key) <= 253
    for key in version_key_choice(title):
        assert VERSION.fullmatch(key)
        assert len(key) <= 128


@given(st.text(max_size=300))
def test_a_key_is_its_own_key(title: str) -> None:
    """An object under the key of an entry finds the row of that entry."""
    for key in model_key_choice(title):
        assert model_key_choice(key).plain == key
    for key in version_key_choice(title):
        assert version_key_choice(key).plain == key


def test_texts_without_a_letter_have_keys_by_their_hash() -> None:
    keys = {model_key_choice(title).plain for title in ("模型", "模", "!!", "")}
    assert len(keys) == 4
    assert all(key.startswith("recorded-") for key in keys)
    assert slug("模型") == ""
