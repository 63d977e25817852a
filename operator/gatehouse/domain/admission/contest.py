"""Rules for several versions of one artifact. A refusal overrides a clearance.

A refused version shuts other versions with the same URI or digest. This table shows which versions a refusal shuts:

==========================  ==============================  =======================================================
refusal                     in the same namespace           in any other namespace
==========================  ==============================  =======================================================
a person rejected it        its URI and its digest          its digest, in the same registry
changes were requested      its URI and its digest          nothing
a policy denies it          its URI and its digest          nothing
its bytes changed           its URI                         its URI, for versions that were recorded with its digest
its bytes are missing, or   its URI                         nothing
are invalid
==========================  ==============================  =======================================================

A URI counts with every folder above it: a server that loads a folder loads everything below it.

A person who can create a version in some namespace can also have that version denied, or found invalid. A refusal from
another namespace therefore counts only if such a person cannot cause it: a reviewer's decision on the same bytes, or a
store that no longer holds the bytes that Gatehouse recorded.

Only a submitted version refuses. Waiting for a review or for files is no refusal. A version that does not fit its
hardware, whose arguments are refused, or that its author deprecated or archived refuses nothing.

A URI belongs to the namespace that registered it first and still has a version there. Versions of other namespaces do
not clear it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

import msgspec
import orjson

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import MODEL_FILE, RefusalReason
from gatehouse.api.wire import WireVersion
from gatehouse.domain.common.conditions import READY, find
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import folder_of, locate, provider_of
from gatehouse.domain.common.readable import read_conditions
from gatehouse.storage.providers.table import FOLDER_TEXT

__all__ = [
    "ARTIFACT_VERIFIED",
    "BUCKET_HAS_TWO_ENDPOINTS",
    "Contest",
    "Endpoints",
    "Objection",
    "VersionStanding",
    "endpoints_of",
    "folders_above",
    "places_of",
    "standing_of",
]

ARTIFACT_VERIFIED: Final = "ArtifactVerified"
UNSUBMITTED: Final = frozenset({"Draft", "Deprecated", "Archived"})
_OF_DIGEST: Final = frozenset({"Rejected", "ChangesRequested", "PolicyDenied"})
"""Refusals that concern the bytes wherever they are; the others concern a place."""
_OF_PLACE: Final = frozenset(get_args(RefusalReason)) - _OF_DIGEST
_GRAVITY: Final[Mapping[str, int]] = {reason: at for at, reason in enumerate(get_args(RefusalReason))}
_WORDS: Final[Mapping[str, str]] = {
    "Rejected": "is Rejected",
    "ChangesRequested": "is Changes Requested",
    "PolicyDenied": "is Policy Denied",
    "ArtifactChanged": "is Artifact Changed",
    "ArtifactMissing": "is Artifact Missing: its recorded files are gone",
    "ArtifactInvalid": "is Artifact Invalid",
}
BUCKET_HAS_TWO_ENDPOINTS: Final = "BucketHasTwoEndpoints"
_URI: Final = re.compile(FOLDER_TEXT)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_FILE: Final = re.compile(rf"(?=.{{1,512}}$){MODEL_FILE}")
"""An object of an older schema may hold any text. A list with malformed text could not be written at all."""

Endpoints = Mapping[str, Mapping[str, Sequence[str]]]
"""Bucket to endpoint to the registries that declare it, as namespace/name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStanding:
    """How one version stands.

    ``digest`` is the recorded one, and ``held`` says that the bytes are not known to have it now; ``shut`` is the first
    shut gate. ``claimed_at`` is when its namespace registered the URI, empty while the URI is not registered.
    ``refusals`` are pairs of a stage (every stage when empty) and a reason; ``admitted_to`` are pairs of a stage and a
    namespace. ``verified`` is whether the bytes are known to be the recorded ones, and ``judged_at`` is since when
    ``verified`` has its value. ``cleared_for`` is empty while the version is not Ready. ``model_file`` is the file that
    servers get in place of the folder, empty where they get the folder.
    """

    registry: str
    version: str
    uid: str
    uri: str
    digest: str
    phase: str
    cleared_for: tuple[str, ...]
    policies: tuple[str, ...]
    shut: str
    claimed_at: str
    verified: bool
    judged_at: str = ""
    held: bool = False
    refusals: tuple[tuple[str, str], ...] = ()
    admitted_to: tuple[tuple[str, str], ...] = ()
    model_file: str = ""

    @property
    def namespace(self) -> str:
        """Namespace of the version."""
        return self.version.partition("/")[0]

    def refuses(self, stage: str) -> bool:
        """Whether the version is refused for the stage in a way that counts."""
        return self.phase not in UNSUBMITTED and any(at in {"", stage} for at, _ in self.refusals)

    def packed(self) -> str:
        """The standing as one string, for an index."""
        return orjson.dumps(self).decode()

    @classmethod
    def unpacked(cls, packed: str) -> VersionStanding:
        """The standing in a string of ``packed``."""
        return msgspec.json.decode(packed, type=cls)


def standing_of(body: Mapping[str, Any]) -> VersionStanding | None:
    """The standing of a ModelVersion by its status, which only the operator writes; None before it has an outcome.

    Never raises: a malformed body that an older schema admitted clears nothing.
    """
    try:
        return _standing_of(cast("WireVersion", body))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _standing_of(body: WireVersion) -> VersionStanding | None:
    status, metadata = body.get("status") or {}, body["metadata"]
    phase, registry = status.get("phase"), status.get("registry")
    if phase is None or registry is None or metadata.get("deletionTimestamp"):
        return None
    uri = folder_of(body["spec"]["artifact"]["uri"])
    if _URI.fullmatch(uri) is None:
        return None
    conditions = read_conditions(status)
    ready, verified = find(conditions, READY), find(conditions, ARTIFACT_VERIFIED)
    recorded, observed = status.get("recordedDigest"), (status.get("artifact") or {}).get("digest")
    digest = str(recorded or observed or "")
    file = str((status.get("artifact") or {}).get("modelFile") or "")
    registered_at = metadata.get("creationTimestamp") if status.get("registryId") else None
    return VersionStanding(
        registry=registry,
        version=f"{metadata['namespace']}/{metadata['name']}",
        uid=metadata.get("uid", ""),
        uri=uri,
        digest=digest if _DIGEST.fullmatch(digest) else "",
        phase=phase,
        # Only Ready shows whether an outage lasted too long, or whether nothing can be decided.
        cleared_for=tuple(status.get("clearedFor") or ()) if ready is not None and ready.status == "True" else (),
        policies=tuple(policy["name"] for policy in status.get("policies") or ()),
        shut=next(
            (gate["name"] for gate in status.get("gates") or () if not gate["open"] and not gate.get("unknown")), ""
        ),
        claimed_at=status.get("claimedAt") or registered_at or "",
        # The phase is also Verifying when the last check is older than the grace.
        verified=verified is not None and verified.status == "True" and recorded is None and phase != "Verifying",
        judged_at=verified.last_transition_time if verified is not None else "",
        held=recorded is not None,
        refusals=tuple((refusal.get("stage", ""), refusal["reason"]) for refusal in status.get("refusals") or ()),
        admitted_to=tuple((admission["stage"], admission["namespace"]) for admission in status.get("admittedTo") or ()),
        model_file=file if _FILE.fullmatch(file) else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Why a version is not cleared for a stage, whatever its own gates report.

    ``by`` is the version that causes the objection, or the one that it concerns. ``finding.found`` begins with the name
    of that version.
    """

    by: str
    finding: Finding


def endpoints_of(registries: Iterable[ModelRegistry]) -> Endpoints:
    """The endpoints of each bucket, as the registries declare them."""
    declared: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for registry in registries:
        name = f"{registry.metadata.namespace}/{registry.metadata.name}"
        for store in registry.spec.object_stores:
            at = provider_of(store.uri_prefix).identity(store.endpoint, store.region)
            declared[locate(store.uri_prefix).bucket][at].add(name)
    return {bucket: {at: sorted(names) for at, names in places.items()} for bucket, places in declared.items()}


def places_of(endpoints: Mapping[str, Sequence[str]]) -> str:
    """Each endpoint of a bucket, and the registries that declare it."""
    return " and ".join(f"{at} ({', '.join(names)})" for at, names in sorted(endpoints.items()))


def folders_above(uri: str) -> Iterator[str]:
    """The folders of the bucket above a folder, without the bucket itself."""
    folder = uri.rstrip("/")
    end = folder.find("/", folder.find("://") + len("://"))
    while end != -1 and (end := folder.find("/", end + 1)) != -1:
        yield folder[: end + 1]


class Contest:
    """Compares versions with each other: all versions, or those that affect one version."""

    def __init__(self, standings: Iterable[VersionStanding], *, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._torn = frozenset(bucket for bucket, places in endpoints.items() if len(places) > 1)
        """Buckets that are declared at several endpoints."""
        self._owners: dict[str, VersionStanding] = {}
        self._refusing_at: defaultdict[str, list[VersionStanding]] = defaultdict(list)
        self._refusing_digest: defaultdict[str, list[VersionStanding]] = defaultdict(list)
        self._speaking_at: defaultdict[str, list[VersionStanding]] = defaultdict(list)
        for standing in sorted(standings, key=lambda standing: (standing.version, standing.uid)):
            self._enter(standing)

    def _enter(self, standing: VersionStanding) -> None:
        owner = self._owners.get(standing.uri)
        if standing.claimed_at and (owner is None or _claim(standing) < _claim(owner)):
            self._owners[standing.uri] = standing
        if _speaks(standing):
            self._speaking_at[standing.uri].append(standing)
        if standing.phase in UNSUBMITTED:
            return
        if standing.refusals:
            for place in (standing.uri, *folders_above(standing.uri)):
                self._refusing_at[place].append(standing)
            if standing.digest:
                self._refusing_digest[standing.digest].append(standing)

    def owner(self, uri: str) -> str | None:
        """The namespace that owns a URI."""
        owner = self._owners.get(uri)
        return None if owner is None else owner.namespace

    def objection(self, standing: VersionStanding, stage: str) -> Objection | None:
        """The gravest reason in other objects why the version is not cleared for the stage."""
        if self._is_alone(standing):
            return None
        return (
            self._place(standing)
            or self._belongs(standing)
            or min(self._refusals(standing, stage), key=_gravity, default=None)
            or self._disagrees(standing)
        )

    def _is_alone(self, standing: VersionStanding) -> bool:
        """Whether no other object affects the version, as for most versions."""
        return (
            self._owners.get(standing.uri) is standing
            and len(self._speaking_at.get(standing.uri, ())) <= 1
            and standing.uri not in self._refusing_at
            and standing.digest not in self._refusing_digest
            and (not self._torn or locate(standing.uri).bucket not in self._torn)
        )

    def altered(self, standing: VersionStanding) -> bool:
        """Whether any version has observed that the bytes of this version are not the recorded ones."""
        seen = any(objection.finding.reason in _OF_PLACE for objection in self._refusals(standing, stage=None))
        return seen or self._disagrees(standing) is not None

    def _place(self, standing: VersionStanding) -> Objection | None:
        bucket = locate(standing.uri).bucket
        if bucket not in self._torn:
            return None
        places = self._endpoints[bucket]
        return Objection(
            by=standing.version,
            finding=Finding(
                reason=BUCKET_HAS_TWO_ENDPOINTS,
                found=f"{standing.version} is in bucket {bucket}, which is at {places_of(places)}",
                expected="one endpoint for each bucket in the cluster",
                remedy="name the same endpoint in objectStores of these ModelRegistries, or use another bucket",
            ),
        )

    def _belongs(self, standing: VersionStanding) -> Objection | None:
        owner = self._owners.get(standing.uri)
        if owner is not None and owner.namespace == standing.namespace:
            return None
        if owner is None:
            return Objection(
                by=standing.version,
                finding=Finding(
                    reason="UriNotRegistered",
                    found=f"{standing.version} is not registered with its URI",
                    expected="a version that its registry has recorded",
                    remedy="see the gate Registered",
                ),
            )
        return Objection(
            by=standing.version,
            finding=Finding(
                reason="UriBelongsToAnother",
                found=f"{standing.version} has a URI that belongs to namespace {owner.namespace}, "
                f"which registered it first ({owner.version})",
                expected=f"a version in namespace {owner.namespace}, or a URI of its own",
                remedy=f"deploy {owner.version}, or copy the files to a folder of namespace {standing.namespace}",
            ),
        )

    def _refusals(self, standing: VersionStanding, stage: str | None) -> Iterator[Objection]:
        of_digest = self._refusing_digest.get(standing.digest, ()) if standing.digest else ()
        for other in (*self._refusing_at.get(standing.uri, ()), *of_digest):
            for at, reason in other.refusals:
                if (stage is None or at in {"", stage}) and _counts(reason, by=other, against=standing):
                    yield _refusal(reason, by=other, against=standing)

    def _disagrees(self, standing: VersionStanding) -> Objection | None:
        if not _speaks(standing):
            return None
        for other in self._speaking_at.get(standing.uri, ()):
            if other.namespace == standing.namespace and other.digest != standing.digest:
                return Objection(
                    by=other.version,
                    finding=Finding(
                        reason="DigestsDiffer",
                        found=f"{other.version} has digest {other.digest} at the same URI",
                        expected="one digest at one URI",
                        remedy="none: Gatehouse verifies both now, and reports which files changed",
                    ),
                )
        return None


def _speaks(standing: VersionStanding) -> bool:
    """Whether a version states now what the bytes at its URI are.

    A cleared version states that even through an outage, when its bytes are not known: of two cleared versions with
    different digests, neither takes precedence.
    """
    return bool(standing.cleared_for) or (standing.verified and standing.phase not in UNSUBMITTED)


def _claim(standing: VersionStanding) -> tuple[str, str]:
    """RFC 3339 in UTC and whole seconds sorts like text. In one second the uid decides, which no person chooses."""
    return standing.claimed_at, standing.uid


def _gravity(objection: Objection) -> tuple[int, str]:
    return _GRAVITY[objection.finding.reason], objection.by


def _counts(reason: str, *, by: VersionStanding, against: VersionStanding) -> bool:
    """Whether a refusal of one version counts against another, by the table of this module."""
    if by.version == against.version:
        return False
    same_bytes = bool(against.digest) and by.digest == against.digest
    if by.namespace == against.namespace:
        return by.uri.startswith(against.uri) or (same_bytes and reason in _OF_DIGEST)
    if reason == "Rejected":
        return same_bytes and by.registry == against.registry
    return reason == "ArtifactChanged" and by.held and same_bytes and by.uri == against.uri


def _refusal(reason: str, *, by: VersionStanding, against: VersionStanding) -> Objection:
    if by.uri == against.uri:
        what = "has the same URI"
    elif by.uri.startswith(against.uri):
        what = f"is a part of it, at {by.uri}"
    else:
        what = f"has the same digest, at {by.uri}"
    return Objection(
        by=by.version,
        finding=Finding(
            reason=reason,
            found=f"{by.version} {_WORDS[reason]}, and {what}",
            expected="no refused version of the artifact",
            remedy=f"gatehouse explain {by.version.partition('/')[2]} -n {by.namespace} says why; fix or archive it",
        ),
    )
