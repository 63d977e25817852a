"""Certificates of an installation: what they are good for, when they are made anew, and whom to trust meanwhile."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.common.certificates import Issued, Name, authorities, fault_of, issue, new_authority_name

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES: tuple[Name, ...] = ("db.private-ai.svc", ip_address("127.0.0.1"))


def issued(*, now: datetime | None = None, names: tuple[Name, ...] = NAMES, days: int = 365) -> Issued:
    return issue(
        authority=new_authority_name("db"),
        subject="db",
        usage="server",
        names=names,
        now=now or NOW,
        validity=days * DAY,
    )


def fault(
    made: Issued,
    *,
    authority: bytes | None = None,
    key: bytes | None = None,
    names: tuple[Name, ...] = NAMES,
    now: datetime = NOW,
) -> str | None:
    return fault_of(
        certificate=made.certificate,
        key=key or made.key,
        authority=authority or made.authority,
        names=names,
        now=now,
        margin=120 * DAY,
    )


def handshake(server: Issued, trusted: bytes, *, name: str) -> None:
    """A whole TLS handshake in memory, as the drivers of databases do it. Raises what the client finds wrong."""
    client_in, client_out, server_in, server_out = (ssl.MemoryBIO() for _ in range(4))
    client = ssl.create_default_context(cadata=trusted.decode()).wrap_bio(client_in, client_out, server_hostname=name)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory(prefix="gatehouse-test-") as folder:
        certificate, key = Path(folder) / "crt", Path(folder) / "key"
        certificate.write_bytes(server.certificate)
        key.write_bytes(server.key)
        serving.load_cert_chain(certificate, key)
    peer = serving.wrap_bio(server_in, server_out, server_side=True)
    for _ in range(10):
        done = []
        for side in (client, peer):
            try:
                side.do_handshake()
                done.append(side)
            except ssl.SSLWantReadError:
                pass
            server_in.write(client_out.read())
            client_in.write(server_out.read())
        if len(done) == 2:
            return
    raise AssertionError("no end to the handshake")


def test_a_client_that_trusts_the_authority_connects_to_the_name_and_to_no_other() -> None:
    made = issued(now=datetime.now(UTC))
    handshake(made, made.authority, name="db.private-ai.svc")
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        handshake(made, made.authority, name="db.elsewhere.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, issued(now=datetime.now(UTC)).authority, name="db.private-ai.svc")


def test_a_client_that_has_both_authorities_takes_the_earlier_and_the_newer_certificate() -> None:
    now = datetime.now(UTC)
    earlier, newer = issued(now=now - 250 * DAY), issued(now=now)
    both = authorities(newer.authority, earlier.authority, now=now)
    for each in (earlier, newer):
        handshake(each, both, name="db.private-ai.svc")


def test_an_authority_signs_nothing_else_and_no_two_are_named_alike() -> None:
    made = [x509.load_pem_x509_certificate(issued().authority) for _ in range(8)]
    assert len({each.subject for each in made}) == 8
    for each in made:
        constraints = each.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert "PRIVATE" not in str([issued().authority, issued().certificate])
    assert "PRIVATE KEY" not in repr(issued())


def test_what_serves_for_long_enough_is_kept() -> None:
    made = issued()
    assert fault(made) is None
    assert fault(made, now=NOW + 244 * DAY) is None
    assert fault(made, names=("db.private-ai.svc",)) is None, "one that is for more will do"
    assert fault(made, authority=issued().authority + made.authority) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lambda: fault(issued(), now=NOW + 245 * DAY), "it expires on 2027-03-01"),
        (lambda: fault(issued(), now=NOW + 900 * DAY), "it expires on 2027-03-01"),
        (lambda: fault(issued(), now=NOW - DAY), "it becomes valid on 2026-03-01"),
        (lambda: fault(issued(), names=(*NAMES, "other.svc")), "it is not for other.svc"),
        (lambda: fault(issued(), names=(ip_address("10.0.0.1"),)), "it is not for 10.0.0.1"),
        (lambda: fault(issued(), key=issued().key), "the key belongs to another certificate"),
        (lambda: fault(issued(), authority=issued().authority), "its authority is missing"),
        (lambda: fault(issued(), key=b"x"), "it cannot be read"),
        (lambda: fault(issued(), authority=b"x"), "it cannot be read"),
        (lambda: fault(issued(names=())), "it cannot be read"),
    ],
)
def test_what_does_not_serve_is_told_with_its_reason(found: object, said: str) -> None:
    assert found() == said  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore")
@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_rubbish_does_not_serve_and_raises_nothing(certificate: bytes, key: bytes, authority: bytes) -> None:
    told = fault_of(certificate=certificate, key=key, authority=authority, names=NAMES, now=NOW, margin=DAY)
    assert told == "it cannot be read"


@pytest.mark.filterwarnings("ignore")
@given(st.integers(0, 2), st.integers(0, 5000), st.text("ABCDEFabcdef0123456789+/", min_size=1, max_size=4))
def test_a_damaged_certificate_does_not_serve_or_is_the_same(which: int, at: int, with_what: str) -> None:
    made = ISSUED
    parts = [made.certificate, made.key, made.authority]
    whole = bytearray(parts[which])
    at %= len(whole)
    whole[at : at + len(with_what)] = with_what.encode()
    parts[which] = bytes(whole)
    told = fault_of(certificate=parts[0], key=parts[1], authority=parts[2], names=NAMES, now=NOW, margin=DAY)
    if told is None:
        assert signed(parts[0], parts[2]) == signed(made.certificate, made.authority)


def signed(*certificates: bytes) -> list[bytes]:
    """What each certificate says, without its signature."""
    return [x509.load_pem_x509_certificate(each).tbs_certificate_bytes for each in certificates]


ISSUED = issued()


def test_at_most_three_authorities_are_trusted_and_none_that_has_ended() -> None:
    trusted, last = b"", b""
    for month in range(0, 30, 8):
        now = NOW + month * 30 * DAY
        last = issued(now=now).authority
        trusted = authorities(last, trusted, now=now)
        found = x509.load_pem_x509_certificates(trusted)
        assert len(found) <= 3
        assert all(each.not_valid_after_utc > now for each in found)
        assert trusted.startswith(last)
    assert len(x509.load_pem_x509_certificates(trusted)) == 2
    assert authorities(last, trusted, now=NOW + 10_000 * DAY) == last


@given(st.binary(max_size=200))
def test_what_is_no_authority_is_left_out(rubbish: bytes) -> None:
    assert authorities(ISSUED.authority, rubbish, now=NOW) == ISSUED.authority
