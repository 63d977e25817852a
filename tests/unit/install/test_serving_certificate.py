"""Certificates in Secrets: made once, renewed in time, and never apart from their key, however many runs there are."""

from __future__ import annotations

import asyncio
import copy
import random
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.cluster.client import ApiError, Patch
from gatehouse.domain.common.certificates import fault_of
from gatehouse.install.credentials import ensure
from gatehouse.install.credentials_file import CERTIFICATE_KEYS, SecretCopy, WantedSecret
from gatehouse.install.errors import SecretIncomplete
from gatehouse.install.secret_objects import MANAGED_BY, MANAGER, SecretOutcome
from gatehouse.install.serving_certificate import RENEWED_BEFORE, VALIDITY

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ["db.ai.svc", "db.ai.svc.cluster.local"]
WANTED = WantedSecret(
    namespace="ai",
    name="db-tls",
    certificate=NAMES,
    copies=[
        SecretCopy(
            namespace="reg", name="db-creds", keys={"ca.crt": "ca.crt"}, labels={"gatehouse.dev/use": "registry"}
        )
    ],
)
Key = tuple[str, str]


class Api:
    """Secrets with resourceVersions. Before each request others may have theirs answered, in a random order."""

    def __init__(self, seed: int | None = None) -> None:
        self.secrets: dict[Key, dict[str, Any]] = {}
        self.writes: list[Key] = []
        self._version = 0
        self._random = None if seed is None else random.Random(seed)

    async def _turn(self) -> None:
        for _ in range(0 if self._random is None else self._random.randrange(4)):
            await asyncio.sleep(0)

    async def get(self, plural: str, namespace: str = "", name: str = "") -> dict[str, Any]:
        assert plural == "secrets"
        await self._turn()
        if (namespace, name) not in self.secrets:
            raise ApiError(status=404, reason="NotFound", message="no such Secret")
        return copy.deepcopy(self.secrets[namespace, name])

    async def create(self, plural: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await self._turn()
        name = body["metadata"]["name"]
        if (namespace, name) in self.secrets:
            raise ApiError(status=409, reason="AlreadyExists", message="there")
        return self._written(namespace, name, body)

    async def update(self, plural: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await self._turn()
        there = self.secrets[namespace, name]["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != there:
            raise ApiError(status=409, reason="Conflict", message="changed")
        return self._written(namespace, name, body)

    async def patch(self, plural: str, namespace: str, name: str, body: object, *, kind: Patch) -> dict[str, Any]:
        raise AssertionError((plural, namespace, name, body, kind))

    def _written(self, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._version += 1
        made = copy.deepcopy(dict(body))
        made["metadata"]["resourceVersion"] = str(self._version)
        self.secrets[namespace, name] = made
        self.writes.append((namespace, name))
        if (namespace, name) == (WANTED.namespace, WANTED.name):
            assert self.fault(NOW) != "the key belongs to another certificate", "between two writes"
        return copy.deepcopy(made)

    def value(self, namespace: str, name: str, key: str) -> bytes:
        return b64decode(self.secrets[namespace, name]["data"][key])

    def fault(self, now: datetime, *, authority: bytes | None = None) -> str | None:
        """What is wrong with the certificate, for whoever trusts ``authority``, or the Secret's own."""
        certificate, key, own = (self.value("ai", "db-tls", each) for each in CERTIFICATE_KEYS)
        return fault_of(
            certificate=certificate,
            key=key,
            authority=authority or own,
            names=NAMES,
            now=now,
            margin=timedelta(0),
        )


def ensured(api: Api, *, now: datetime = NOW, wanted: WantedSecret = WANTED) -> tuple[SecretOutcome, ...]:
    return asyncio.run(ensure(api, wanted, now=now))


def told(outcomes: tuple[SecretOutcome, ...]) -> list[str]:
    return [str(each) for each in outcomes]


def test_it_is_made_once_and_only_its_authority_is_copied() -> None:
    api = Api()
    assert told(ensured(api)) == ["created Secret ai/db-tls", "created Secret reg/db-creds"]
    assert api.secrets["ai", "db-tls"]["type"] == "kubernetes.io/tls"
    assert api.secrets["reg", "db-creds"]["data"].keys() == {"ca.crt"}
    assert api.fault(NOW, authority=api.value("reg", "db-creds", "ca.crt")) is None
    assert told(ensured(api)) == ["kept Secret ai/db-tls", "kept Secret reg/db-creds"]
    assert len(api.writes) == 2


def test_it_is_renewed_in_time_and_both_certificates_are_trusted_meanwhile() -> None:
    api = Api()
    ensured(api)
    served = {key: api.value("ai", "db-tls", key) for key in CERTIFICATE_KEYS}
    in_time = NOW + VALIDITY - RENEWED_BEFORE
    assert ensured(api, now=in_time - timedelta(hours=1))[0].done == "kept"
    assert told(ensured(api, now=in_time)) == [
        "updated Secret ai/db-tls: it expires on 2027-03-01; the certificate was renewed",
        "updated Secret reg/db-creds",
    ]
    trusted = api.value("reg", "db-creds", "ca.crt")
    assert api.fault(in_time + RENEWED_BEFORE, authority=trusted) is None
    earlier = fault_of(
        certificate=served["tls.crt"],
        key=served["tls.key"],
        authority=trusted,
        names=NAMES,
        now=in_time,
        margin=timedelta(days=1),
    )
    assert earlier is None
    assert ensured(api, now=in_time)[0].done == "kept"


def test_years_of_weekly_runs_never_leave_a_server_without_one() -> None:
    api, now = Api(), NOW
    renewals = 0
    while now < NOW + timedelta(days=365 * 5):
        renewals += ensured(api, now=now)[0].done == "updated"
        assert api.fault(now + timedelta(days=7), authority=api.value("reg", "db-creds", "ca.crt")) is None
        assert len(x509.load_pem_x509_certificates(api.value("ai", "db-tls", "ca.crt"))) <= 3
        now += timedelta(days=7)
    assert renewals == 7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tls.key": b"nonsense"}, "it cannot be read"),
        ({"tls.crt": b""}, "it cannot be read"),
        ({"ca.crt": None}, "it cannot be read"),
    ],
)
def test_one_of_ours_that_was_damaged_is_made_anew(change: dict[str, bytes | None], said: str) -> None:
    api = Api()
    ensured(api)
    data = api.secrets["ai", "db-tls"]["data"]
    for key, value in change.items():
        if value is None:
            del data[key]
        else:
            data[key] = b64encode(value).decode()
    assert ensured(api)[0].why.startswith(said)
    assert api.fault(NOW, authority=api.value("reg", "db-creds", "ca.crt")) is None


def test_one_that_is_for_other_names_is_made_anew() -> None:
    api = Api()
    ensured(api, wanted=WANTED.model_copy(update={"certificate": ["db.elsewhere.svc"]}))
    assert "it is not for db.ai.svc, db.ai.svc.cluster.local" in told(ensured(api))[0]


def test_one_that_somebody_else_made_is_kept_whatever_it_is_and_its_authority_is_copied() -> None:
    api = Api()
    ensured(api)
    del api.secrets["ai", "db-tls"]["metadata"]["labels"][MANAGED_BY]
    api.secrets["ai", "db-tls"]["data"]["ca.crt"] = b64encode(b"of somebody").decode()
    late = NOW + 2 * VALIDITY
    assert told(ensured(api, now=late)) == ["kept Secret ai/db-tls", "updated Secret reg/db-creds"]
    assert api.value("reg", "db-creds", "ca.crt") == b"of somebody"
    del api.secrets["ai", "db-tls"]["data"]["ca.crt"]
    with pytest.raises(SecretIncomplete, match=r"has no key ca\.crt \(it has tls\.crt, tls\.key\)"):
        ensured(api, now=late)


def test_no_key_is_in_what_is_told() -> None:
    api = Api()
    everything = str([ensured(api), ensured(api, now=NOW + VALIDITY), api.secrets["reg", "db-creds"]])
    assert "PRIVATE" not in everything
    assert b64encode(b"-----BEGIN PRIVATE")[:20].decode() not in everything


@given(st.integers(0, 2**32), st.integers(2, 5), st.sampled_from(["nothing", "old", "damaged"]))
def test_runs_at_once_leave_a_certificate_that_matches_its_key_and_that_the_copy_trusts(
    seed: int, runs: int, before: str
) -> None:
    """Each looks, renews and copies in steps that mix with those of the others."""
    api, now = Api(seed), NOW + VALIDITY - RENEWED_BEFORE
    if before != "nothing":
        ensured(api)
    if before == "damaged":
        api.secrets["ai", "db-tls"]["data"]["tls.key"] = "AAAA"
    api.writes.clear()

    async def all_at_once() -> list[tuple[SecretOutcome, ...]]:
        return await asyncio.gather(*(ensure(api, WANTED, now=now) for _ in range(runs)))

    outcomes = asyncio.run(all_at_once())
    assert api.writes.count(("ai", "db-tls")) == 1, "one run renews"
    assert sum(each[0].done != "kept" for each in outcomes) == 1
    assert api.fault(now, authority=api.value("reg", "db-creds", "ca.crt")) is None
    assert api.value("reg", "db-creds", "ca.crt") == api.value("ai", "db-tls", "ca.crt")
    assert api.secrets["reg", "db-creds"]["metadata"]["labels"]["gatehouse.dev/use"] == "registry"


@given(st.integers(0, 2**32))
def test_a_run_that_read_before_a_renewal_does_not_put_the_older_authority_back(seed: int) -> None:
    """One run is just too early to renew, and copies what it read; the other renews meanwhile."""
    api = Api(seed)
    ensured(api)
    del api.secrets["reg", "db-creds"]
    late = NOW + VALIDITY - RENEWED_BEFORE

    async def both() -> None:
        early = late - timedelta(minutes=1)
        await asyncio.gather(ensure(api, WANTED, now=early), ensure(api, WANTED, now=late))

    asyncio.run(both())
    assert api.value("reg", "db-creds", "ca.crt") == api.value("ai", "db-tls", "ca.crt")
    assert api.fault(late, authority=api.value("reg", "db-creds", "ca.crt")) is None


def test_somebody_who_writes_all_the_time_is_told_of() -> None:
    class Restless(Api):
        async def get(self, plural: str, namespace: str = "", name: str = "") -> dict[str, Any]:
            body = await super().get(plural, namespace, name)
            self.secrets[namespace, name]["metadata"]["resourceVersion"] += "1"
            return body

    api = Restless()
    ensured(api)
    with pytest.raises(SecretIncomplete, match="changes all the time"):
        ensured(api, now=NOW + VALIDITY)


def test_ours_says_who_made_it() -> None:
    api = Api()
    ensured(api)
    assert api.secrets["ai", "db-tls"]["metadata"]["labels"][MANAGED_BY] == MANAGER
