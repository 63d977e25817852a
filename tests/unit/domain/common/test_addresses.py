"""Which addresses the operator may ask: a deployer must never make the operator ask another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gatehouse.domain.common.addresses import WebAddress, read_address

ALLOWED = (read_address("https://hooks.example:8443/gate"), read_address("http://prometheus.monitoring.svc:9090"))


@pytest.mark.parametrize(
    "text",
    [
        "https://hooks.example:8443/gate",
        "https://hooks.example:8443/gate/",
        "https://hooks.example:8443/gate/chat/step.1",
        "http://prometheus.monitoring.svc:9090",
        "http://prometheus.monitoring.svc:9090/any/path",
    ],
)
def test_an_address_is_within_an_allowed_one(text: str) -> None:
    assert read_address(text).within(ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "http://hooks.example:8443/gate",
        "https://hooks.example/gate",
        "https://hooks.example:443/gate",
        "https://hooks.example:8443",
        "https://hooks.example:8443/gatekeeper",
        "https://hooks.example:8443/Gate",
        "https://hooks.example.attacker.example:8443/gate",
        "https://xhooks.example:8443/gate",
        "http://prometheus.monitoring.svc:9091",
        "http://prometheus.monitoring.svc",
        "http://169.254.169.254/latest/meta-data",
        "http://[fd00:ec2::254]/latest",
        "http://2130706433/",
        "http://0x7f.1/",
    ],
)
def test_another_scheme_host_port_or_path_is_not(text: str) -> None:
    assert not read_address(text).within(ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hooks.example:8443/gate",
        "ftp://hooks.example:8443/gate",
        "file:///etc/passwd",
        "HTTPS://hooks.example:8443/gate",
        "https://Hooks.example:8443/gate",
        "https://hooks.example.:8443/gate",
        "https://.hooks.example:8443/gate",
        "https://hooks..example:8443/gate",
        "https://hooks_example:8443/gate",
        "https://hooks.example:8443@169.254.169.254/gate",
        "https://user@hooks.example:8443/gate",
        "https://user:word@hooks.example:8443/gate",
        "https://hooks.example:8443/gate@attacker.example",
        "https://hooks.example:8443\\@attacker.example/gate",
        "https://hooks.example:8443/gate/../admin",
        "https://hooks.example:8443/gate/..",
        "https://hooks.example:8443/gate/./admin",
        "https://hooks.example:8443/gate/%2e%2e/admin",
        "https://hooks.example:8443/gate/%2E%2E%2Fadmin",
        "https://hooks.example:8443/gate%2f..%2fadmin",
        "https://hooks.example:8443//gate",
        "https://hooks.example:8443/gate//",
        "https://hooks.example:8443/gate?x=1",
        "https://hooks.example:8443/gate#x",
        "https://hooks.example:8443/gate;@x y",
        "https://hooks.example:8443/gate\n",
        "https://hooks.example:8443/gate\r\nHost: attacker",
        "https://hooks.example:8443/gate\x00",
        "https://hooks.example:8443/gäte",
        "https://hooks.example\u3002attacker.example:8443/gate",
        "https://ｈooks.example:8443/gate",
        "https://hooks.example:08443/gate",
        "https://hooks.example:٨٤٤٣/gate",
        "https://hooks.example:0/gate",
        "https://hooks.example:65536/gate",
        "https://hooks.example:/gate",
        "https://hooks.example:-1/gate",
        "https://[::1%25eth0]:8443/gate",
        "https://hooks.example:8443/" + "a" * 1024,
    ],
)
def test_a_form_that_two_programs_may_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_address(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("http://a:80/x", "http://a/x"),
        ("https://a:443", "https://a"),
        ("https://[::1]:8443/x/", "https://[::1]:8443/x/"),
        ("http://a:443", "http://a:443"),
    ],
)
def test_the_parts_are_written_again(text: str, written: str) -> None:
    assert str(read_address(text)) == written


@given(st.one_of(st.text(max_size=60), st.from_regex(r"https?://[^\n]{0,40}", fullmatch=True)))
def test_the_client_reads_what_was_compared(text: str) -> None:
    try:
        address = read_address(text)
    except ValueError:
        return
    url = URL(str(address), encoded=True)
    assert (url.scheme, url.raw_host, url.port, url.raw_user, url.raw_password, url.raw_query_string) == (
        address.scheme,
        address.host.strip("[]"),
        address.port,
        None,
        None,
        "",
    )
    assert url.raw_path == (address.path or "/")
    assert read_address(str(address)) == address


LABELS = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)


@given(st.lists(LABELS, max_size=4), st.lists(LABELS, max_size=4))
def test_a_path_is_within_another_only_by_whole_segments(path: list[str], prefix: list[str]) -> None:
    def at(segments: list[str]) -> WebAddress:
        return read_address("https://a" + "".join(f"/{segment}" for segment in segments))

    assert at(path).within([at(prefix)]) == (path[: len(prefix)] == prefix)
