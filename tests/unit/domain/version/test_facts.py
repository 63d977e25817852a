"""Conclusions from the objects and the row: resolved once for the facts, and anew for facts with another row."""

from __future__ import annotations

from dataclasses import replace

import worlds
from gatehouse.domain.version.facts import Registration, Unmet


def test_conclusions_are_resolved_once() -> None:
    facts = worlds.facts(row=worlds.row())
    assert isinstance(facts.registration, Registration)
    assert facts.registration is facts.registration
    assert facts.known_ids is facts.known_ids


def test_facts_with_another_row_have_their_own_conclusions() -> None:
    facts = worlds.facts(row=worlds.row())
    assert (facts.is_registered, facts.kept_digest) == (True, worlds.DIGEST)
    other = replace(facts, row=worlds.row(uri="s3://models/old/", digest=worlds.OTHER_DIGEST))
    assert isinstance(other.registration, Unmet)
    assert (other.registration.finding.reason, other.kept_digest) == ("VersionReused", worlds.OTHER_DIGEST)
    assert (facts.is_registered, facts.kept_digest) == (True, worlds.DIGEST)


def test_conclusions_are_no_part_of_a_comparison() -> None:
    read, unread = (worlds.facts(now=worlds.NOW) for _ in range(2))
    assert read.is_registered
    assert read == unread


def test_the_declared_digest_is_the_recorded_one_until_a_row_has_another() -> None:
    declared = worlds.version(artifact={"uri": worlds.URI, "digest": worlds.OTHER_DIGEST})
    facts = worlds.facts(version=declared)
    assert (facts.kept_digest, facts.recorded_digest) == (None, worlds.OTHER_DIGEST)
    assert replace(facts, row=worlds.row()).recorded_digest == worlds.DIGEST
