"""What admission lets through follows from how every version stands."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.domain.vetting import ShardKey, VersionStanding, shards

STAGING, PRODUCTION = ShardKey("staging", "models"), ShardKey("production", "models")


def standing(number: int = 1, **changes: Any) -> VersionStanding:
    values: dict[str, Any] = {
        "registry": "gatehouse-system/local",
        "version": f"team/v-{number}",
        "uri": f"s3://models/m-{number}/",
        "digest": worlds.DIGEST,
        "phase": "Ready to Deploy",
        "cleared_for": ("staging",),
        "deployed_to": (),
        "policies": ("strict",),
        "shut": "",
    }
    return VersionStanding(**(values | changes))


def found(*standings: VersionStanding, strict: tuple[str, ...] = ()) -> Any:
    return shards(standings, registries=[worlds.registry()], strict=strict)


def test_a_registry_without_versions_lets_nothing_through_and_says_so() -> None:
    assert set(found()) == {STAGING, PRODUCTION}
    assert all(not shard.artifacts for shard in found().values())


def test_a_version_is_let_through_for_the_stages_that_it_is_cleared_for() -> None:
    held = found(standing())

    assert held[STAGING].artifacts == {"s3://models/m-1/": worlds.DIGEST}
    assert held[PRODUCTION].artifacts == {}
    assert held[PRODUCTION].refused == {"s3://models/m-1/": "team/v-1 is Ready to Deploy"}


def test_what_runs_goes_on_unless_a_policy_says_otherwise() -> None:
    revoked = standing(phase="Rejected", cleared_for=(), deployed_to=("staging",), shut="Approved")

    assert found(revoked)[STAGING].retained == {"s3://models/m-1/": worlds.DIGEST}
    assert found(revoked, strict=("strict",))[STAGING].retained == {}
    assert found(revoked)[STAGING].refused == {"s3://models/m-1/": "team/v-1 is Rejected, gate Approved is shut"}


def test_of_two_versions_of_one_artifact_a_cleared_one_is_enough() -> None:
    held = found(standing(1, uri="s3://models/m/"), standing(2, uri="s3://models/m/", phase="Rejected", cleared_for=()))

    assert held[STAGING].artifacts == {"s3://models/m/": worlds.DIGEST}
    assert held[STAGING].refused == {}


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=8), st.randoms())
def test_the_order_says_nothing_and_nothing_uncleared_is_let_through(
    versions: list[tuple[int, bool, bool]], chance: Any
) -> None:
    standings = [
        standing(
            number,
            version=f"team/{at}",
            cleared_for=("staging",) if cleared else (),
            deployed_to=("staging",) if runs else (),
        )
        for at, (number, cleared, runs) in enumerate(versions)
    ]
    held = found(*standings)[STAGING]

    assert set(held.artifacts) == {each.uri for each in standings if each.cleared_for}
    assert not set(held.artifacts) & (set(held.retained) | set(held.refused))
    chance.shuffle(standings)
    assert found(*standings)[STAGING] == held


@given(st.text(max_size=20), st.lists(st.text(max_size=5), max_size=3))
def test_a_standing_survives_the_index(text: str, many: list[str]) -> None:
    made = standing(version=text, shut=text, policies=tuple(many))

    assert VersionStanding.unpacked(made.packed()) == made
