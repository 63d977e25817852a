"""Nothing that is not vetted passes at any instant, whatever is cut, joined, added or taken off, wherever it crashes.

The API server is a map of objects here, and admission is what the ValidatingAdmissionPolicies do with them, in Python.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.controllers.dependencies import EVERY
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.vetted_artifacts import VettedArtifactsKeeper, pause_after
from gatehouse.domain.version.outcome import Requeue
from unit.controllers.keeping import LIMIT, STAGES, URIS, Crashed, Vetted, World, admitted


@dataclass(frozen=True)
class Change:
    """What is to be let through from now on, and what goes wrong while that is written."""

    vetted: Vetted
    stages: tuple[str, ...]
    crash_after: int
    refused: int
    heard: bool


VETTED = st.frozensets(st.tuples(st.sampled_from(STAGES), st.sampled_from(URIS)), max_size=16)
CHANGES = st.builds(
    Change,
    vetted=VETTED,
    stages=st.sampled_from([STAGES, STAGES, STAGES[:1], STAGES[1:], ()]),
    crash_after=st.sampled_from([1000, 1000, *range(10)]),
    refused=st.integers(0, 7),
    heard=st.booleans(),
)


@given(st.lists(CHANGES, max_size=8))
def test_nothing_unvetted_passes_at_any_instant_and_what_is_vetted_does_in_the_end(changes: list[Change]) -> None:
    world = World()
    since: set[tuple[str, str]] = set()
    """What was vetted at some time since the last pass that came to its end."""

    def look() -> None:
        assert admitted(world.objects) <= since, world.writes

    world.looks = look
    for change in changes:
        world.vetted = frozenset(each for each in change.vetted if each[0] in change.stages)
        world.stages, world.crash_after = change.stages, change.crash_after
        # One name in eight is refused, in most passes.
        world.refuses = lambda name, refused=change.refused: refused > 0 and sum(name.encode()) % 8 == refused  # type: ignore[misc]
        since |= world.vetted
        try:
            done = world.reconcile() == Requeue()
        except Crashed:
            done = False
            world.hear()
        if done:
            since = set(world.vetted)
            look()
            assert admitted(world.objects) == world.vetted
        if change.heard:
            world.hear()
    world.hear()
    world.crash_after, world.refuses = 1000, lambda _name: False
    assert world.reconcile() == Requeue()
    assert admitted(world.objects) == world.vetted

    world.hear()
    world.writes.clear()
    assert world.reconcile() == Requeue()
    assert not world.writes


def test_a_list_that_grows_is_cut_and_one_that_shrinks_is_joined() -> None:
    world = World(stages=STAGES[:1])
    world.reconcile()
    assert set(world.objects) == {"staging.models"}

    world.vetted = frozenset(("staging", uri) for uri in URIS)
    world.hear()
    world.reconcile()
    assert len(world.objects) > 1
    assert "staging.models" not in world.objects

    world.vetted = frozenset({("staging", URIS[0])})
    world.hear()
    world.reconcile(limit=4 * LIMIT)
    assert set(world.objects) == {"staging.models"}


def test_what_is_revoked_leaves_the_objects_there_when_new_ones_cannot_be_made() -> None:
    world = World(stages=STAGES[:1], vetted=frozenset(("staging", uri) for uri in URIS[:2]))
    world.reconcile()
    world.hear()

    world.vetted = frozenset(("staging", uri) for uri in URIS[1:])
    world.refuses = lambda name: name not in world.objects
    assert world.reconcile() != Requeue()
    assert set(world.objects) == {"staging.models"}
    assert admitted(world.objects) == {("staging", URIS[1])}


def test_a_deletion_that_the_cache_has_not_heard_of_leaves_no_gap() -> None:
    world = World(stages=STAGES[:1], vetted=frozenset(("staging", uri) for uri in URIS))
    world.reconcile()
    world.hear()
    gone = min(world.objects)
    del world.objects[gone], world.at[gone]

    world.vetted = frozenset({("staging", URIS[0])})
    world.reconcile(limit=4 * LIMIT)
    assert admitted(world.objects) == world.vetted


def test_an_object_whose_range_was_altered_is_mended() -> None:
    world = World(vetted=frozenset({("staging", URIS[0])}))
    world.reconcile()
    world.edit("staging.models", {**world.objects["staging.models"], "start": "s3://models/m-5/"}, writer="one")
    world.hear()

    world.reconcile()
    assert admitted(world.objects) == world.vetted


def test_an_object_goes_only_when_those_in_its_place_have_lost_what_it_has_lost() -> None:
    world = World(stages=STAGES[:1], vetted=frozenset({("staging", URIS[0])}))
    world.reconcile()
    world.hear()
    world.vetted = frozenset(("staging", uri) for uri in URIS)
    world.reconcile(limit=10 * LIMIT)
    world.hear()
    world.crash_after = 1
    with pytest.raises(Crashed):
        world.reconcile()
    world.hear()
    assert "staging.models" in world.objects

    world.vetted -= {("staging", URIS[0])}
    holder = next(name for name, spec in world.objects.items() if URIS[0] in spec["artifacts"] and spec["end"])
    world.crash_after, world.refuses = 1000, lambda name: name == holder
    assert world.reconcile() != Requeue()
    assert "staging.models" in world.objects
    assert admitted(world.objects) == world.vetted


def test_whoever_took_the_lease_from_another_marks_every_object_once_before_anything_else() -> None:
    world = World(vetted=frozenset((stage, URIS[0]) for stage in STAGES))
    world.reconcile()
    world.hear()
    world.name, world.took_over = "two", True
    world.vetted = frozenset({(STAGES[0], URIS[0])})
    world.writes.clear()
    assert world.reconcile() == Requeue()
    assert world.writes == ["mark staging.models", "mark production.models", "put production.models"]
    assert {at.writer for at in world.at.values()} == {"two"}

    # A later one that was handed the lease has nothing to say, and deletes only what it has marked.
    world.hear()
    world.name, world.took_over = "three", False
    world.writes.clear()
    assert world.reconcile() == Requeue()
    assert world.writes == []
    world.stages, world.vetted = STAGES[:1], frozenset({(STAGES[0], URIS[0])})
    assert world.reconcile() == Requeue()
    assert world.writes[-1] == "delete production.models"


@pytest.mark.parametrize("lost", ["a change", "a new object", "a deletion"])
def test_a_pass_ends_with_what_another_wrote_meanwhile_and_the_next_one_starts_from_that(lost: str) -> None:
    world = World(stages=STAGES[:1], vetted=frozenset({(STAGES[0], URIS[0])}))
    world.reconcile()
    world.hear()
    if lost == "a change":
        world.edit("staging.models", {**world.objects["staging.models"], "artifacts": {}}, writer="two")
        world.vetted = frozenset()
    elif lost == "a new object":
        world.edit("production.models", {**world.objects["staging.models"], "stage": "production"}, writer="two")
        world.stages = STAGES
    else:
        del world.objects["staging.models"], world.at["staging.models"]
        world.vetted = frozenset()
    world.writes.clear()
    assert world.reconcile().retry
    assert world.writes == []
    assert world.reconcile() == Requeue()
    assert admitted(world.objects) == world.vetted


@dataclass
class Ticks:
    """A clock that stands still until it is moved."""

    at: datetime = worlds.NOW

    def now(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.mark.parametrize(("versions", "seconds"), [(0, 1.0), (2_000, 1.0), (4_000, 2.0), (10_000, 5.0), (10**6, 5.0)])
def test_the_more_versions_the_longer_it_is_until_the_next_pass(versions: int, seconds: float) -> None:
    assert pause_after(versions) == timedelta(seconds=seconds)


def test_the_first_change_after_a_rest_is_written_at_once_and_those_within_it_together() -> None:
    ticks = Ticks()
    world = World(vetted=frozenset({(STAGES[0], URIS[0])}))
    keeper = VettedArtifactsKeeper(objects=Objects(world), writer=world, clock=ticks, limit=LIMIT)  # type: ignore[arg-type]
    asyncio.run(keeper("", EVERY))
    ticks.move(60)
    world.vetted, written = frozenset(), len(world.writes)
    assert asyncio.run(keeper("", EVERY)) == Requeue()
    assert len(world.writes) == written + 1
    world.vetted = frozenset({(STAGES[0], URIS[0])})
    assert asyncio.run(keeper("", EVERY)).after == pytest.approx(1.0)
    assert len(world.writes) == written + 1
    ticks.move(1.0)
    assert asyncio.run(keeper("", EVERY)) == Requeue()
    assert len(world.writes) == written + 2


def test_a_clock_that_is_set_back_holds_no_revocation_up() -> None:
    ticks = Ticks()
    world = World(vetted=frozenset({(STAGES[0], URIS[0])}))
    keeper = VettedArtifactsKeeper(objects=Objects(world), writer=world, clock=ticks, limit=LIMIT)  # type: ignore[arg-type]
    asyncio.run(keeper("", EVERY))
    ticks.move(-3600)
    world.vetted = frozenset()
    assert asyncio.run(keeper("", EVERY)) == Requeue()
    assert not admitted(world.objects)


class Loader:
    """KServe's configuration."""

    images_: tuple[str, ...] = ()

    async def images(self) -> tuple[str, ...]:
        return self.images_


LOADER = "mirror.example.com/storage-initializer:v1"


def test_what_the_clusters_kserve_loads_models_with_is_in_every_list() -> None:
    world, loader, ticks = World(vetted=frozenset({(STAGES[0], URIS[0])})), Loader(), Ticks()
    keeper = VettedArtifactsKeeper(
        objects=Objects(world),  # type: ignore[arg-type]
        writer=world,
        clock=ticks,
        limit=LIMIT,
        initializer=loader,
    )
    asyncio.run(keeper("", EVERY))
    assert world.objects
    assert not [spec for spec in world.objects.values() if LOADER in spec["initializers"]]
    loader.images_ = (LOADER,)
    ticks.move(60)
    asyncio.run(keeper("", EVERY))
    assert all(LOADER in spec["initializers"] for spec in world.objects.values())
