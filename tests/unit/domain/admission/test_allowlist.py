"""What admission lets through follows from how every version stands. Deny overrides, and strangers count for little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_version import RefusalReason
from gatehouse.domain.admission.allowlist import Shard, ShardKey, retained_key, shards
from gatehouse.domain.admission.contest import Contest, VersionStanding, endpoints_of, folders_above, standing_of

STAGING, PRODUCTION = ShardKey("staging", "models"), ShardKey("production", "models")
STAGES = ("staging", "production")
M = "s3://models/m/"
BYTES = ("ArtifactChanged", "ArtifactMissing", "ArtifactInvalid")


def standing(number: int = 1, **changes: Any) -> VersionStanding:
    values: dict[str, Any] = {
        "registry": "gatehouse-system/local",
        "version": f"team/v-{number}",
        "uid": f"u-{number}",
        "uri": f"s3://models/m-{number}/",
        "digest": worlds.DIGEST,
        "phase": "Ready to Deploy",
        "cleared_for": ("staging",),
        "policies": ("strict",),
        "shut": "",
        "claimed_at": f"2026-11-01T00:00:0{number % 10}Z",
        "verified": True,
    }
    return VersionStanding(**(values | changes))


def refused(reason: str, number: int = 2, *, stage: str = "", **changes: Any) -> VersionStanding:
    """A version that is refused, of the artifact at ``M`` unless ``changes`` say otherwise."""
    is_place = reason in BYTES
    values: dict[str, Any] = {
        "uri": M,
        "phase": "Artifact Changed" if is_place else "Rejected",
        "cleared_for": (),
        "shut": "Approved",
        "verified": not is_place,
        "held": is_place,
        "refusals": (("" if is_place else stage or "staging", reason),),
    }
    return standing(number, **(values | changes))


def found(*standings: VersionStanding, strict: tuple[str, ...] = (), **registry: Any) -> Mapping[ShardKey, Shard]:
    return shards(standings, registries=[worlds.registry(**registry)], strict=strict)


def test_a_registry_without_versions_lets_nothing_through_and_says_so() -> None:
    assert set(found()) == {STAGING, PRODUCTION}
    assert all(not shard.artifacts for shard in found().values())


def test_a_version_is_let_through_for_the_stages_that_it_is_cleared_for() -> None:
    held = found(standing())

    assert held[STAGING].artifacts == {"s3://models/m-1/": worlds.DIGEST}
    assert held[PRODUCTION].artifacts == {}
    assert held[PRODUCTION].refused == {"s3://models/m-1/": "team/v-1 is Ready to Deploy"}


def test_a_file_is_listed_with_what_is_cleared_or_goes_on_and_with_nothing_else() -> None:
    gguf = standing(model_file="Q8_0/model.gguf")

    assert found(gguf)[STAGING].files == {gguf.uri: "Q8_0/model.gguf"}
    assert found(gguf)[PRODUCTION].files == {}
    assert found(standing())[STAGING].files == {}
    going_on = replace(gguf, **ADMITTED)
    assert found(going_on)[STAGING].files == {gguf.uri: "Q8_0/model.gguf"}
    assert found(going_on, strict=("strict",))[STAGING].files == {}
    assert found(refused("ArtifactChanged", uri=gguf.uri, model_file="evil.gguf"), gguf)[STAGING].files == {}


NO_FILES = ("../x.gguf", "a b.gguf", "$(HOME).gguf", "{{.Name}}.gguf", "/x.gguf", "a//b", "", "x\n", 7)


@pytest.mark.parametrize("file", NO_FILES)
def test_a_file_that_no_argument_can_hold_is_never_listed(file: object) -> None:
    body = worlds.version(metadata={"creationTimestamp": "2026-11-01T00:00:00Z"}).wire()
    body["metadata"] |= {"name": "v", "namespace": "team"}
    body["status"] = {"phase": "Ready to Deploy", "registry": "a/b", "artifact": {"modelFile": file}}
    made = standing_of(body)
    assert made is not None
    assert made.model_file == ("7" if file == 7 else "")


# What runs goes on


ADMITTED = {"admitted_to": (("staging", "chatbots"),), "cleared_for": (), "phase": "Pending Review", "shut": "Approved"}


def test_what_was_admitted_goes_on_in_its_namespace_unless_a_policy_says_otherwise() -> None:
    revoked = standing(**ADMITTED)

    assert found(revoked)[STAGING].retained == {retained_key("chatbots", revoked.uri): worlds.DIGEST}
    assert found(revoked)[PRODUCTION].retained == {}
    assert found(revoked, strict=("strict",))[STAGING].retained == {}
    assert found(revoked)[STAGING].refused == {revoked.uri: "team/v-1 is Pending Review, gate Approved is shut"}


@pytest.mark.parametrize("reason", BYTES)
def test_nothing_goes_on_with_bytes_that_are_other_ones(reason: str) -> None:
    """Two versions of one folder: the one that still looks verified keeps nothing either."""
    changed = refused(reason, 1, **{**ADMITTED, "phase": "Artifact Changed"})
    second = standing(2, uri=M, **ADMITTED)

    assert found(changed)[STAGING].retained == {}
    assert found(second)[STAGING].retained
    assert found(changed, second)[STAGING].retained == {}


def test_nothing_goes_on_of_what_is_not_known_to_be_there() -> None:
    assert found(standing(verified=False, **ADMITTED))[STAGING].retained == {}


def test_of_two_versions_of_one_artifact_one_strict_policy_is_enough_to_let_nothing_go_on() -> None:
    strict, lenient = standing(1, uri=M, **ADMITTED), standing(2, uri=M, policies=(), **ADMITTED)

    assert found(lenient, strict=("strict",))[STAGING].retained
    assert found(strict, lenient, strict=("strict",))[STAGING].retained == {}
    stranger = replace(strict, version="strangers/v", claimed_at="2026-11-02T00:00:00Z")
    assert found(stranger, lenient, strict=("strict",))[STAGING].retained


# Whose word counts


@pytest.mark.parametrize("reason", get_args(RefusalReason))
def test_a_refused_version_shuts_the_others_of_its_namespace_and_is_named(reason: str) -> None:
    held = found(standing(1, uri=M), refused(reason))

    assert held[STAGING].artifacts == {}
    assert held[STAGING].refused[M].startswith("team/v-2 is ")
    assert "has the same URI" in held[STAGING].refused[M]


@pytest.mark.parametrize("reason", get_args(RefusalReason))
def test_a_refusal_is_for_its_stage_unless_it_is_about_the_bytes(reason: str) -> None:
    held = found(standing(1, uri=M, cleared_for=STAGES), refused(reason, stage="production"))

    assert bool(held[STAGING].artifacts) == (reason not in BYTES)
    assert held[PRODUCTION].artifacts == {}


@pytest.mark.parametrize("reason", get_args(RefusalReason))
def test_a_refused_version_in_a_folder_shuts_the_folder_and_not_the_other_way_round(reason: str) -> None:
    inside = {"uri": f"{M}inside/", "digest": worlds.OTHER_DIGEST}

    assert found(standing(1, uri=M), refused(reason, **inside))[STAGING].artifacts == {}
    outer = found(standing(1, **inside), refused(reason))[STAGING]
    assert outer.artifacts == {f"{M}inside/": worlds.OTHER_DIGEST}
    beside = refused(reason, uri="s3://models/m-other/", digest=worlds.OTHER_DIGEST)
    assert found(standing(1, uri=M), beside)[STAGING].artifacts


@pytest.mark.parametrize("reason", get_args(RefusalReason))
def test_what_was_decided_about_bytes_counts_wherever_they_are(reason: str) -> None:
    copied = standing(1, uri="s3://models/copy/")

    assert bool(found(copied, refused(reason))[STAGING].artifacts) == (reason in BYTES)


@pytest.mark.parametrize("phase", ["Draft", "Deprecated", "Archived"])
def test_a_version_that_nobody_submits_any_more_refuses_nothing(phase: str) -> None:
    assert found(standing(1, uri=M), refused("Rejected", phase=phase))[STAGING].artifacts


@pytest.mark.parametrize("reason", get_args(RefusalReason))
@pytest.mark.parametrize("uri", [M, f"{M}inside/", "s3://models/copy/"])
def test_of_strangers_only_a_rejection_of_the_bytes_and_a_change_of_the_recorded_ones_count(
    reason: str, uri: str
) -> None:
    stranger = refused(reason, version="strangers/v", claimed_at="2026-11-02T00:00:00Z", uri=uri)
    shuts = reason == "Rejected" or (reason == "ArtifactChanged" and uri == M)

    assert bool(found(standing(1, uri=M), stranger)[STAGING].artifacts) == (not shuts)


def test_a_digest_that_a_stranger_only_declares_says_nothing_of_the_bytes() -> None:
    bogus = refused("ArtifactChanged", version="strangers/v", claimed_at="2026-11-02T00:00:00Z", held=False)

    assert found(standing(1, uri=M), bogus)[STAGING].artifacts


def test_a_rejection_by_the_reviewers_of_another_registry_is_not_ours() -> None:
    other = refused("Rejected", version="strangers/v", claimed_at="2026-11-02T00:00:00Z", registry="other/registry")

    assert found(standing(1, uri=M), other)[STAGING].artifacts


def test_a_uri_is_cleared_by_the_namespace_that_registered_it_first() -> None:
    owner = standing(1, uri=M, cleared_for=(), phase="Pending Review", shut="Approved")
    low = standing(2, uri=M, version="low/v-2")

    assert found(owner, low)[STAGING].artifacts == {}
    assert found(owner, low)[STAGING].refused == {M: "team/v-1 is Pending Review, gate Approved is shut"}
    assert found(low)[STAGING].artifacts == {M: worlds.DIGEST}
    said = Contest([owner, low], endpoints={}).objection(low, "staging")
    assert said is not None
    assert (said.finding.reason, said.by) == ("UriBelongsToAnother", "low/v-2")
    assert "team, which registered it first (team/v-1)" in said.finding.found


def test_an_owner_is_one_as_long_as_it_has_a_version_of_the_uri_submitted_or_not() -> None:
    archived = standing(1, uri=M, phase="Archived", cleared_for=())
    low = standing(2, uri=M, version="low/v-2")
    later = standing(3, uri=M, claimed_at=archived.claimed_at)

    assert found(archived, low)[STAGING].artifacts == {}
    assert found(archived, low, later)[STAGING].artifacts == {M: worlds.DIGEST}
    assert found(low, later)[STAGING].artifacts == {M: worlds.DIGEST}, "the claim is passed on to later versions"
    assert Contest([low, later], endpoints={}).owner(M) == "team"


def test_what_is_not_registered_claims_nothing_and_clears_nothing() -> None:
    unregistered = standing(1, uri=M, claimed_at="")

    assert found(unregistered)[STAGING].artifacts == {}
    assert found(unregistered, standing(2, uri=M, version="low/v-2"))[STAGING].artifacts == {M: worlds.DIGEST}


def test_two_digests_at_one_uri_clear_neither() -> None:
    held = found(standing(1, uri=M), standing(2, uri=M, digest=worlds.OTHER_DIGEST))[STAGING]

    assert held.artifacts == {}
    assert worlds.OTHER_DIGEST in held.refused[M]
    stranger = standing(2, uri=M, digest=worlds.OTHER_DIGEST, version="low/v-2")
    assert found(standing(1, uri=M), stranger)[STAGING].artifacts == {M: worlds.DIGEST}


def test_two_digests_at_one_uri_clear_neither_while_one_of_them_is_in_an_outage() -> None:
    """The digest that stands for the URI must not depend on the names of versions, nor change under a third one."""
    unknown = standing(1, uri=M, verified=False)
    for other in (standing(2, uri=M, digest=worlds.OTHER_DIGEST), replace(unknown, digest=worlds.OTHER_DIGEST)):
        pair = (unknown, replace(other, version="team/v-2", uid="u-2"))
        assert found(*pair)[STAGING].artifacts == {}
        third = standing(3, uri=M, cleared_for=())
        assert found(*pair, third)[STAGING].artifacts == {}
    assert found(unknown, standing(2, uri=M))[STAGING].artifacts == {M: worlds.DIGEST}


def test_a_version_that_has_not_looked_yet_does_not_stand_against_one_that_has() -> None:
    waiting = standing(2, uri=M, digest=worlds.OTHER_DIGEST, cleared_for=(), phase="Verifying", verified=False)

    assert found(standing(1, uri=M), waiting)[STAGING].artifacts == {M: worlds.DIGEST}


# One bucket, one endpoint


def at(*endpoints: str | None, name: str = "local") -> Any:
    stores = [
        {"uriPrefix": f"s3://models/{number}/" if number else "s3://models/", "endpoint": endpoint}
        for number, endpoint in enumerate(endpoints)
    ]
    registry = worlds.registry(objectStores=stores)
    return registry.model_copy(update={"metadata": registry.metadata.model_copy(update={"name": name})})


def test_a_bucket_at_two_endpoints_clears_nothing_for_anybody_and_each_version_says_where_it_is() -> None:
    registries = [at("http://one:9000"), at("http://two:9000", name="rogue")]
    versions = [standing(1), standing(2, registry="gatehouse-system/rogue", version="rogue/v-2")]
    held = shards(versions, registries=registries, strict=())[STAGING]

    assert held.artifacts == {}
    assert len(held.refused) == 2
    for why in held.refused.values():
        assert "http://one:9000 (gatehouse-system/local) and http://two:9000 (gatehouse-system/rogue)" in why


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("http://minio:9000", "http://minio:9000/", True),
        ("https://S3.example.com", "https://s3.example.com:443", True),
        ("http://minio", "http://minio:80/", True),
        (None, None, True),
        ("http://minio:9000", "https://minio:9000", False),
        ("http://minio:9000", "http://minio:9001", False),
        ("http://minio:9000", None, False),
        ("https://s3.us-east-1.amazonaws.com", None, True),
        ("https://s3.dualstack.us-west-2.amazonaws.com", "https://s3-fips.us-east-1.amazonaws.com:443/", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", "https://s3.dualstack.cn-northwest-1.amazonaws.com.cn", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", None, False),
        ("https://s3.us-gov-west-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com", False),
        ("http://s3.us-east-1.amazonaws.com", None, False),
        ("https://s3.us-east-1.amazonaws.com.example.com", None, False),
    ],
)
def test_two_spellings_of_one_endpoint_are_one(left: str | None, right: str | None, same: bool) -> None:
    assert (len(endpoints_of([at(left), at(right, name="b")])["models"]) == 1) == same
    assert (len(endpoints_of([at(left, right)])["models"]) == 1) == same


FAULTS = (TypeError("hunter2"), KeyError("x"), ZeroDivisionError(), RecursionError())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("method", ["objection", "owner", "altered"])
def test_a_version_that_cannot_be_judged_shuts_its_uri_and_no_other(
    method: str, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where another version of the URI is cleared, or a namespace may go on with it."""
    registries = [at("http://one:9000")]
    shared = {"uri": "s3://models/shared/", "admitted_to": (("staging", "team"),)}
    versions = [
        standing(1, **shared),
        standing(2, **shared, cleared_for=()),
        standing(3, uri="s3://models/fine/"),
        standing(4, uri="s3://models/refused/", cleared_for=()),
    ]
    real = getattr(Contest, method)

    def faulty(self: Contest, about: Any, *rest: Any) -> Any:
        if getattr(about, "uri", about) == "s3://models/shared/":
            raise fault
        return real(self, about, *rest)

    calm = shards(versions, registries=registries, strict=())[STAGING]
    monkeypatch.setattr(Contest, method, faulty)
    held = shards(versions, registries=registries, strict=())[STAGING]
    assert calm.artifacts.keys() == {"s3://models/shared/", "s3://models/fine/"}
    assert held.artifacts.keys() == {"s3://models/fine/"}
    assert not [key for key in held.retained if key.endswith("s3://models/shared/")]
    assert f"cannot be evaluated: {type(fault).__name__}" in held.refused["s3://models/shared/"]
    assert "hunter2" not in held.refused["s3://models/shared/"]
    assert held.refused["s3://models/refused/"] == calm.refused["s3://models/refused/"]


# Properties

URIS = ("s3://models/a/", "s3://models/a/b/", "s3://models/c/")
DIGESTS = (worlds.DIGEST, worlds.OTHER_DIGEST)
REFUSAL = st.tuples(st.sampled_from(["", *STAGES]), st.sampled_from(get_args(RefusalReason)))


@st.composite
def any_standing(
    draw: st.DrawFn, namespaces: tuple[str, ...] = ("one", "two"), claims: str = "0123"
) -> VersionStanding:
    namespace = draw(st.sampled_from(namespaces))
    refusals = tuple(draw(st.lists(REFUSAL, max_size=2)))
    changed = any(reason in BYTES for _, reason in refusals)
    return standing(
        version=f"{namespace}/v-{draw(st.integers(0, 99))}",
        uid=f"u-{draw(st.integers(0, 99))}",
        uri=draw(st.sampled_from(URIS)),
        digest=draw(st.sampled_from(DIGESTS)),
        phase=draw(st.sampled_from(["Ready to Deploy", "Rejected", "Waiting", "Draft", "Archived"])),
        cleared_for=draw(st.sampled_from([(), ("staging",), STAGES])),
        policies=draw(st.sampled_from([(), ("strict",)])),
        claimed_at=f"2026-11-01T00:00:0{draw(st.sampled_from(claims))}Z",
        verified=not changed and draw(st.booleans()),
        held=changed and draw(st.booleans()),
        refusals=refusals,
        admitted_to=draw(st.sampled_from([(), (("staging", "chatbots"),)])),
    )


def distinct(*found: VersionStanding) -> list[VersionStanding]:
    by_version = {each.version: each for each in found}
    return list({each.uid: each for each in by_version.values()}.values())


STANDINGS = st.lists(any_standing(), max_size=6).map(lambda found: distinct(*found))


@given(STANDINGS)
def test_no_uri_is_cleared_that_a_version_of_its_owner_refuses(standings: list[VersionStanding]) -> None:
    """Said once more, in other words than those of the module."""
    for key, shard in found(*standings).items():
        for uri, digest in shard.artifacts.items():
            claims = [each for each in standings if each.uri == uri]
            owner = min(claims, key=lambda each: (each.claimed_at, each.uid)).namespace
            clearing = [each for each in claims if each.namespace == owner and key.stage in each.cleared_for]
            unopposed = [each for each in clearing if each.digest == digest]
            assert unopposed
            submitted = [each for each in claims if each.phase not in {"Draft", "Archived"}]
            speaking = [*clearing, *(each for each in submitted if each.verified and each.namespace == owner)]
            assert {each.digest for each in speaking if not each.refuses(key.stage)} == {digest}
            for other in standings:
                live = other.phase not in {"Draft", "Archived"}
                reasons = {reason for stage, reason in other.refusals if stage in {"", key.stage}}
                inside = other.uri.startswith(uri) and other.namespace == owner
                assert not (live and reasons and inside)
                assert not (live and "Rejected" in reasons and other.digest == digest)


@given(STANDINGS, st.randoms())
def test_the_order_says_nothing(standings: list[VersionStanding], chance: Any) -> None:
    held = found(*standings, strict=("strict",))
    chance.shuffle(standings)

    assert found(*standings, strict=("strict",)) == held


IN_AN_OUTAGE = replace(standing(1, uri=URIS[0], policies=()), version="two/v-1", verified=False)
OTHERWISE = replace(standing(2, uri=URIS[0], digest=worlds.OTHER_DIGEST, policies=()), version="two/v-0")


@given(STANDINGS, any_standing(), st.booleans())
@example([OTHERWISE, IN_AN_OUTAGE], replace(IN_AN_OUTAGE, verified=True), False)
def test_a_version_that_clears_nothing_itself_never_clears_anything(
    standings: list[VersionStanding], more: VersionStanding, strict: bool
) -> None:
    """Neither does it let anything more go on."""
    names = ("strict",) if strict else ()
    newcomer = replace(more, version=f"{more.namespace}/newcomer", cleared_for=(), claimed_at="2026-11-01T00:00:09Z")
    newcomer = replace(newcomer, admitted_to=())
    before, after = found(*standings, strict=names), found(*standings, newcomer, strict=names)

    for key, shard in after.items():
        assert shard.artifacts.items() <= before[key].artifacts.items()
        gone_on = before[key].artifacts.keys() | {each.partition(" ")[2] for each in before[key].retained}
        assert {each.partition(" ")[2] for each in shard.retained} <= gone_on


@given(STANDINGS, any_standing(namespaces=("stranger",), claims="9"))
def test_a_stranger_neither_clears_nor_shuts_what_belongs_to_others(
    standings: list[VersionStanding], stranger: VersionStanding
) -> None:
    """But by what a reviewer said of the same bytes, or what the store was seen to hold."""
    counted = [reason for _, reason in stranger.refusals if reason in {"Rejected", "ArtifactChanged"}]
    before, after = found(*standings), found(*standings, stranger)

    for key, shard in after.items():
        owned = {each.uri for each in standings}
        mine = {uri: digest for uri, digest in shard.artifacts.items() if uri in owned}
        assert mine.items() <= before[key].artifacts.items()
        if not counted or stranger.phase in {"Draft", "Archived"}:
            assert mine == before[key].artifacts


@given(STANDINGS)
def test_a_version_says_itself_what_admission_says_of_it(standings: list[VersionStanding]) -> None:
    """Judged with those that its own reconcile looks at, as against all there are."""
    everything = Contest(standings, endpoints={})
    for each in standings:
        looked_at = [
            other
            for other in standings
            if other.uri == each.uri
            or (other.refusals and (each.uri in folders_above(other.uri) or other.digest == each.digest))
        ]
        for stage in STAGES:
            assert Contest(looked_at, endpoints={}).objection(each, stage) == everything.objection(each, stage)


@given(st.text(max_size=20), st.lists(st.text(max_size=5), max_size=3))
def test_a_standing_survives_the_index(text: str, many: list[str]) -> None:
    made = standing(version=text, shut=text, policies=tuple(many), refusals=(("", text),), admitted_to=((text, text),))

    assert VersionStanding.unpacked(made.packed()) == made
