"""The settings of the server: its own declaration, read by the machinery of all processes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gatehouse.app.server_settings import ServerSettings
from gatehouse.app.settings import Settings
from gatehouse.app.settings_declared import declared_settings
from gatehouse.app.settings_doc import settings_markdown
from gatehouse.app.settings_sources import Loaded, SettingsError, load_settings

DECLARED = {setting.field: setting for setting in declared_settings(ServerSettings)}
TLS = {"tls_certificate": "/c", "tls_key": "/k"}
PROXY = {"proxy_headers": "kubeflow", "proxy_secret": "/s", "proxy_group_prefix": "team-"}


def load(flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Loaded[ServerSettings]:
    return load_settings(ServerSettings, flags=flags or {}, environ=environ or {}, config=None)


def problem(flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, environ)
    [said] = caught.value.problems
    return said


def test_the_defaults_serve_only_callers_with_a_token() -> None:
    settings = load().settings
    assert settings == ServerSettings()
    assert (settings.anonymous_reads, settings.loopback_identity) == (False, False)
    assert settings.proxy_headers == "none"
    assert settings.listen_address == "127.0.0.1:8080"
    assert settings.registry_key is None


def test_values_of_each_kind() -> None:
    environ = {
        "GATEHOUSE_LISTEN_ADDRESS": "[::]:80",
        "GATEHOUSE_REGISTRY": "models/main",
        "GATEHOUSE_AUDIENCES": "a, b",
        "GATEHOUSE_ANONYMOUS_READS": "true",
        "GATEHOUSE_BODY_TIMEOUT": "1m",
        "GATEHOUSE_MAX_BODY": "2048",
        "GATEHOUSE_ALPHA_SUNSET": "2027-06-30",
    }
    settings = load({**PROXY, **TLS, "tls_client_ca": "/ca", "proxy_names": ["p", "q"]}, environ).settings
    assert settings.registry_key == ("models", "main")
    assert (settings.audiences, settings.proxy_names) == (("a", "b"), ("p", "q"))
    assert (settings.body_timeout, settings.max_body, settings.anonymous_reads) == (60.0, 2048, True)
    assert settings.alpha_sunset == date(2027, 6, 30)
    assert (settings.proxy_secret, settings.tls_client_ca) == (Path("/s"), Path("/ca"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("listen_address", "0"),
        ("listen_address", "8080"),
        ("listen_address", "host:0"),
        ("registry", "main"),
        ("registry", "a/b/c"),
        ("proxy_headers", "all"),
        ("proxy_group_prefix", "system:"),
        ("proxy_group_prefix", "system:masters"),
        ("proxy_group_prefix", "sys"),
        ("proxy_group_prefix", "s"),
        ("proxy_group_prefix", "a,b"),
        ("proxy_group_prefix", "a b"),
        ("max_connections", "0"),
        ("max_body", "10"),
        ("head_timeout", "0"),
        ("anonymous_reads", "perhaps"),
        ("alpha_sunset", "30.06.2027"),
        ("alpha_sunset", "2027-06-31"),
        ("alpha_sunset", "2027-W26-3"),
    ],
)
def test_a_value_that_is_wrong_is_named(field: str, value: str) -> None:
    setting = DECLARED[field]
    said = problem(environ={setting.variable: value})
    assert said == f"{setting.variable} is {value!r}; expected: {setting.wanted}"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"tls_certificate": "/c"}, "one of tlsCertificate and tlsKey is set"),
        ({"tls_key": "/k"}, "one of tlsCertificate and tlsKey is set"),
        ({"tls_client_ca": "/ca"}, "tlsClientCa is set without tlsCertificate"),
        ({**TLS, "proxy_names": ["p"]}, "proxyNames is set without tlsClientCa"),
        ({"proxy_headers": "kubeflow", "proxy_group_prefix": "team-"}, "no peer can prove itself"),
        ({"proxy_headers": "x-remote", "proxy_secret": "/s"}, "without proxyGroupPrefix"),
    ],
)
def test_settings_that_contradict_each_other_name_themselves(flags: dict[str, Any], said: str) -> None:
    message = problem(flags)
    assert said in message
    assert "(from --" in message


def test_one_environment_may_have_the_variables_of_both_processes_and_a_flag_may_not() -> None:
    environ = {"GATEHOUSE_WORKERS": "3", "GATEHOUSE_LISTEN_ADDRESS": "h:1", "GATEHOUSE_LOG_LEVEL": "debug"}
    assert load(environ=environ).settings.log_level == "debug"
    operator = load_settings(Settings, flags={}, environ=environ, config=None).settings
    assert (operator.workers, operator.log_level) == (3, "debug")
    assert "GATEHOUSE_LISTEN_ADRESS is no setting" in problem(environ={"GATEHOUSE_LISTEN_ADRESS": "h:1"})


def test_a_file_has_the_settings_of_one_process(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("alphaSunset: 2027-06-30\n")
    assert load_settings(ServerSettings, flags={}, environ={}, config=file).settings.alpha_sunset == date(2027, 6, 30)
    file.write_text("workers: 3\nregistry: a/b\n")
    with pytest.raises(SettingsError, match=r"workers in .* is no setting"):
        load_settings(ServerSettings, flags={}, environ={}, config=file)


def test_clients_variables_are_no_settings() -> None:
    assert load(environ={"GATEHOUSE_URL": "http://x", "GATEHOUSE_TOKEN": "t"}).settings == ServerSettings()


def test_every_setting_has_its_own_description_and_is_in_the_document() -> None:
    for one, other in itertools.permutations((setting.description for setting in DECLARED.values()), 2):
        assert one != other
    for setting in DECLARED.values():
        assert setting.description
        assert f"| `{setting.flag}`" in settings_markdown()
        assert f"- `{setting.key}`: " in settings_markdown()
