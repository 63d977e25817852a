"""The parts of the process: the proxy's secrets, and the probes of the health address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatehouse.app.server_settings import ServerSettings
from gatehouse.server.identity.headers import HeaderPolicy, Peer
from gatehouse.server.process import ProxySecretInvalid, header_policy

SECRET = "a-secret-of-the-proxy"


def settings(**values: Any) -> ServerSettings:
    return ServerSettings(**values)


def proxy(file: Path, content: str) -> HeaderPolicy:
    file.write_text(content)
    return header_policy(settings(proxy_headers="kubeflow", proxy_secret=file, proxy_group_prefix="team-"))


def test_by_default_only_tokens_count() -> None:
    assert header_policy(settings()) == HeaderPolicy()


def test_each_line_of_the_file_is_a_secret(tmp_path: Path) -> None:
    policy = proxy(tmp_path / "secret", f"{SECRET}\n\n  another-secret-of-it \n")
    for secret, counts in (
        (SECRET, True),
        ("another-secret-of-it", True),
        ("a-third-secret-of-it", False),
        ("", False),
    ):
        shown = [(b"x-gatehouse-proxy-secret", secret.encode())]
        assert policy.proxy.proven(shown, Peer("10.0.0.9")) is counts
    assert SECRET not in repr(policy)
    assert not policy.proxy.proven([], Peer("10.0.0.9"))
    assert policy.proxy.group_prefix == "team-"


@pytest.mark.parametrize("content", ["", "\n\n", "short", f"{SECRET}\nshort"])
def test_a_file_without_a_secret_or_with_a_short_one_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ProxySecretInvalid, match="at least 16 characters") as caught:
        proxy(tmp_path / "secret", content)
    assert SECRET not in str(caught.value)


def test_a_secret_that_is_not_read_is_no_secret(tmp_path: Path) -> None:
    """The settings of a proxy count only with its family of headers."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    policy = header_policy(settings(proxy_secret=file))
    assert not policy.proxy.proven([(b"x-gatehouse-proxy-secret", SECRET.encode())], Peer("127.0.0.1"))
    with pytest.raises(FileNotFoundError):
        header_policy(settings(proxy_headers="kubeflow", proxy_secret=tmp_path / "no", proxy_group_prefix="team-"))
