"""Where settings come from, which goes before which, and what is said of those that are wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.app.setting_kinds import SECONDS
from gatehouse.app.settings import Settings
from gatehouse.app.settings_declared import DeclaredSetting, declared_settings, shown
from gatehouse.app.settings_doc import settings_markdown
from gatehouse.app.settings_sources import LARGEST_FILE, Loaded, SettingsError, load_settings

REPOSITORY = Path(__file__).parents[3]
DECLARED = {setting.field: setting for setting in declared_settings(Settings)}
VALUES: dict[str, tuple[Any, Any, Any]] = {
    "data_dir": (Path("/a"), Path("/b"), Path("/c")),
    "kubeconfig": (Path("/a"), Path("/b"), Path("/c")),
    "context": ("a", "b", "c"),
    "namespaces": (("a", "b"), ("c",), ("d", "e")),
    "workload_identity_for": (("a/b", "c/d"), ("e/f.g",), ("h/i",)),
    "health_address": ("127.0.0.1:1", "[::1]:65535", "0"),
    "log_level": ("debug", "warning", "error"),
    "leader_elect": (False, True, False),
    "lease_namespace": ("a", "b", "c"),
    "lease_name": ("a", "b.c", "d"),
    "lease_duration": (15, 16, 17),
    "lease_renew_deadline": (5.0, 5.5, 6.0),
    "lease_retry_period": (0.5, 1.0, 2.0),
    "workers": (1, 2, 256),
    "patience": (0.0, 0.1, 60.0),
    "sweep_interval": (10.0, 90.0, 86400.0),
    "probe_interval": (1.0, 90.0, 3600.0),
    "pod_interval": (1.0, 90.0, 3600.0),
    "service_interval": (1.0, 90.0, 3600.0),
    "secret_interval": (1.0, 90.0, 3600.0),
    "catalog_source": ("a/b", "c/d.e", "f/g"),
    "deployment_gateway": ("a/b", "c/d/e", "f-1/g"),
    "audit_key": (Path("/a"), Path("b"), Path("/c/d")),
    "audit_checkpoint_interval": (1.0, 90.0, 86400.0),
    "prometheus_address": ("http://a:9090", "https://a/b", "https://c"),
    "prometheus_token_file": (Path("/a"), Path("b"), Path("/c/d")),
    "prometheus_ca_file": (Path("/a"), Path("b"), Path("/c/d")),
    "prometheus_timeout": (1.0, 10.5, 30.0),
    "further_prometheus_addresses": (("http://a", "http://b:1/c"), ("https://d",), ("https://e/f",)),
    "webhook_addresses": (("http://a", "http://b:1/c"), ("https://d",), ("https://e/f/",)),
    "webhook_key_file": (Path("/a"), Path("b"), Path("/c/d")),
    "shutdown_grace": (0.0, 1.5, 300.0),
    "stall_limit": (10.0, 90.0, 3600.0),
}
WRONG: dict[str, tuple[str, ...]] = {
    "namespaces": ("Team-A", "a/b", "a,-b"),
    "health_address": ("8081", "host:", ":0", "host:65536", "host:http", "host:-1", "host:٣"),
    "log_level": ("loud", "3"),
    "leader_elect": ("perhaps", "2"),
    "lease_namespace": ("a.b", "A", "a" * 64),
    "lease_name": ("-", "A", "a" * 254),
    "lease_duration": ("2s", "121", "10.5s", "ten"),
    "lease_renew_deadline": ("0", "2m", "-5s"),
    "lease_retry_period": ("0.1s", "31s", "5 s"),
    "workers": ("0", "257", "many", "1.5", "1e2", ""),
    "patience": ("-1s", "61s", "inf", "nan"),
    "sweep_interval": ("9s", "25h", "1d"),
    "probe_interval": ("0", "61m", "1m1"),
    "pod_interval": ("999ms", "61m"),
    "service_interval": ("999ms", "61m"),
    "secret_interval": ("999ms", "3601"),
    "workload_identity_for": ("registry", "a/b/c", "A/b", "a/", "/b"),
    "catalog_source": ("registry", "a/b/c", "A/b", "a/", "/b"),
    "deployment_gateway": ("gateway", "a/b/c/d", "A/b", "a/", "/b", "a/b/", "a//c", "a/b.c"),
    "audit_checkpoint_interval": ("0.5s", "25h"),
    "prometheus_address": ("prometheus:9090", "http://A", "http://a?b", "http://u@a", "http://a:65536", "ftp://a"),
    "prometheus_timeout": ("0", "31s"),
    "further_prometheus_addresses": ("a", "http://a,b", "http://a/../b"),
    "webhook_addresses": ("a", "https://a/%2e", "https://a."),
    "shutdown_grace": ("5m1s", "s"),
    "stall_limit": ("9", "2h", "1h-"),
}


def load(
    flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None, config: Path | None = None
) -> Loaded[Settings]:
    return load_settings(Settings, flags=flags or {}, environ=environ or {}, config=config)


def problems(**sources: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(**sources)
    return caught.value.problems


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


def as_flag(setting: DeclaredSetting, value: Any) -> object:
    return list(value) if setting.repeatable else value if setting.switch else shown(setting, value)


def test_every_setting_has_values_here() -> None:
    assert VALUES.keys() == DECLARED.keys() == {field.name for field in dataclasses.fields(Settings)}


def test_without_any_source_there_are_the_defaults() -> None:
    loaded = load()
    assert loaded.settings == Settings()
    assert loaded.sources == {}


@pytest.mark.parametrize("field", VALUES)
def test_a_flag_goes_before_the_environment_before_the_file_before_the_default(tmp_path: Path, field: str) -> None:
    setting = DECLARED[field]
    in_file, in_environment, in_flag = VALUES[field]
    plain = str(in_file) if isinstance(in_file, Path) else list(in_file) if setting.repeatable else in_file
    file = written(tmp_path, yaml.safe_dump({setting.key: plain}))
    environ = {setting.variable: shown(setting, in_environment)}
    flags = {field: as_flag(setting, in_flag)}
    expected = [
        (load(config=file), in_file, f"{setting.key} in {file}"),
        (load(environ={"GATEHOUSE_CONFIG": str(file)}), in_file, f"{setting.key} in {file}"),
        (load(environ=environ, config=file), in_environment, setting.variable),
        (load(flags, environ, file), in_flag, setting.flag),
        (load(flags), in_flag, setting.flag),
    ]
    for loaded, value, source in expected:
        assert getattr(loaded.settings, field) == value
        assert loaded.sources == {field: source}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_value_that_is_wrong_is_named_with_its_source_and_what_is_wanted(
    tmp_path: Path, field: str, value: str
) -> None:
    setting = DECLARED[field]
    file = written(tmp_path, yaml.safe_dump({setting.key: value}))
    expected = [(f"{setting.key} in {file}", {"config": file})]
    if value:
        expected.append((setting.variable, {"environ": {setting.variable: value}}))
    if value and not setting.switch:
        expected.append((setting.flag, {"flags": {field: [value] if setting.repeatable else value}}))
    for source, sources in expected:
        [problem] = problems(**sources)
        assert problem.startswith(f"{source} is {value!r}"[:60])
        assert problem.endswith(f"; expected: {setting.wanted}")


def test_every_problem_of_every_source_is_told_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, "wrokers: 3\nlogLevel: loud\n")
    environ = {"GATEHOUSE_WORKRES": "3", "GATEHOUSE_PATIENCE": "never"}
    said = problems(flags={"workers": "0"}, environ=environ, config=file)
    assert said == (
        f"wrokers in {file} is no setting; did you mean workers?",
        "environment variable GATEHOUSE_WORKRES is no setting; did you mean GATEHOUSE_WORKERS?",
        f"logLevel in {file} is 'loud'; expected: debug, info, warning or error",
        "GATEHOUSE_PATIENCE is 'never'; expected: a duration from 0s to 1m, as in 90s or 1h30m",
        "--workers is '0'; expected: a whole number from 1 to 256",
    )


def test_a_name_that_is_near_to_none_is_refused_as_well(tmp_path: Path) -> None:
    file = written(tmp_path, "xyzzy: 1\n")
    assert problems(config=file) == (f"xyzzy in {file} is no setting; docs/settings.md lists them all",)


def test_a_token_is_not_sent_in_clear_text() -> None:
    [problem] = problems(flags={"prometheus_address": "http://a", "prometheus_token_file": "/token"})
    assert problem.startswith("a token is sent by https only")
    assert problem.endswith("(from --prometheus-address, --prometheus-token-file)")
    assert load(flags={"prometheus_token_file": "/token"}).settings.prometheus_address is None


def test_times_of_the_lease_that_contradict_each_other_are_named_with_their_sources() -> None:
    [problem] = problems(flags={"lease_duration": "5s"}, environ={"GATEHOUSE_LEASE_RETRY_PERIOD": "1s"})
    assert "duration=5, renew_deadline=7.0, retry_period=1.0" in problem
    assert "retry_period < renew_deadline < duration" in problem
    assert problem.endswith("(from --lease-duration, GATEHOUSE_LEASE_RETRY_PERIOD)")


SERVICE = {
    "GATEHOUSE_OPERATOR_SERVICE_HOST": "10.0.0.7",
    "GATEHOUSE_OPERATOR_SERVICE_PORT": "8081",
    "GATEHOUSE_OPERATOR_SERVICE_PORT_HEALTH": "8081",
    "GATEHOUSE_OPERATOR_PORT": "tcp://10.0.0.7:8081",
    "GATEHOUSE_OPERATOR_PORT_8081_TCP": "tcp://10.0.0.7:8081",
    "GATEHOUSE_OPERATOR_PORT_8081_TCP_PROTO": "tcp",
    "GATEHOUSE_OPERATOR_PORT_8081_TCP_PORT": "8081",
    "GATEHOUSE_OPERATOR_PORT_8081_TCP_ADDR": "10.0.0.7",
}


def test_what_kubernetes_and_the_local_cluster_put_into_the_environment_is_left_alone() -> None:
    plain = {name.replace("_OPERATOR", ""): value for name, value in SERVICE.items()}
    own = {
        "GATEHOUSE_DATABASE_URL": "sqlite://",
        "GATEHOUSE_AUDIT_PUBLIC_KEY": "/k",
        "PATH": "/bin",
        "KUBECONFIG": "/kubeconfig",
    }
    assert load(environ={**SERVICE, **plain, **own}).settings == Settings()


def test_what_only_looks_like_a_service_is_refused() -> None:
    for name in set(SERVICE) - {"GATEHOUSE_OPERATOR_SERVICE_HOST"}:
        assert name in problems(environ={name: SERVICE[name]})[0]
    assert "GATEHOUSE_OPERATOR_WORKERS" in problems(environ={**SERVICE, "GATEHOUSE_OPERATOR_WORKERS": "3"})[0]


def test_a_value_in_an_unknown_variable_is_not_repeated() -> None:
    assert "hunter2" not in problems(environ={"GATEHOUSE_PASSWORD": "hunter2"})[0]


def test_the_namespace_of_the_pod_goes_before_the_default_only(tmp_path: Path) -> None:
    pod = {"POD_NAMESPACE": "pod"}
    assert load(environ=pod).settings.lease_namespace == "pod"
    assert load(environ=pod, config=written(tmp_path, "leaseNamespace: file")).settings.lease_namespace == "file"
    assert load(environ={**pod, "GATEHOUSE_LEASE_NAMESPACE": "given"}).settings.lease_namespace == "given"


def test_an_empty_variable_and_a_null_are_not_set(tmp_path: Path) -> None:
    loaded = load(environ={"GATEHOUSE_WORKERS": ""}, config=written(tmp_path, "workers: null\ncontext:\n"))
    assert loaded == Loaded(Settings(), {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- workers", "holds the type list; expected: a mapping"),
        ("42", "holds the type int; expected: a mapping"),
        ("workers: [", "is not YAML"),
        ("workers: 1\nworkers: 2", "the key 'workers' stands twice"),
        ("!!python/object/apply:os.system [id]", "is not YAML"),
        ("workers: true", "is True; expected: a whole number from 1 to 256"),
        ("patience: true", "is True; expected: a duration"),
        ("workers: {a: b}", "is {'a': 'b'}; expected: a whole number"),
        ("namespaces: [1]", "expected: names of namespaces"),
        ("logLevel: 1", "is 1; expected: debug, info, warning or error"),
        ("1: 2", "1 in "),
        ("? {a: 1}\n: 2", "is not YAML"),
        ("a" * 500 + ": 1", "is no setting"),
        ("logLevel: " + "x" * 500, "…; expected: debug"),
        ("#" * LARGEST_FILE + "#", "is larger than 256 KiB"),
        ("[" * 5000, "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_a_file_that_is_none_of_settings_is_refused(tmp_path: Path, text: str, said: str) -> None:
    [problem] = problems(config=written(tmp_path, text))
    assert said in problem
    assert len(problem) < 1000


def test_a_file_that_is_empty_sets_nothing_and_one_that_is_missing_is_refused(tmp_path: Path) -> None:
    assert load(config=written(tmp_path, "# nothing yet\n")).settings == Settings()
    missing = tmp_path / "missing.yaml"
    assert problems(config=missing) == (f"{missing} cannot be read: No such file or directory",)
    assert problems(config=tmp_path) == (f"{tmp_path} cannot be read: Is a directory",)


@given(st.binary(max_size=200))
def test_no_bytes_of_a_file_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "rubbish.yaml"
    file.write_bytes(content)
    with contextlib.suppress(SettingsError):
        load(config=file)


@given(st.dictionaries(st.sampled_from([setting.variable for setting in DECLARED.values()]), st.text(max_size=40)))
def test_no_environment_raises_anything_else(environ: dict[str, str]) -> None:
    with contextlib.suppress(SettingsError):
        load(environ=environ)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1m30s", 90), ("1h0m1s", 3601), ("1500ms", 1.5), ("0.5m", 30), (" 12 ", 12)]
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert SECONDS.read(text) == pytest.approx(seconds)


# The declaration, and what follows from it


def test_names_follow_from_one_another() -> None:
    workers = DECLARED["workers"]
    assert dataclasses.astuple(workers)[:6] == (
        "workers",
        "--workers",
        "GATEHOUSE_WORKERS",
        "workers",
        "a whole number from 1 to 256",
        "NUMBER",
    )
    names = [(setting.flag, setting.variable, setting.key) for setting in DECLARED.values()]
    assert all(len(set(column)) == len(names) for column in zip(*names, strict=True))
    for one, other in itertools.permutations((setting.description for setting in DECLARED.values()), 2):
        assert one
        assert one != other


def test_the_document_is_that_of_the_declaration() -> None:
    assert (REPOSITORY / "docs/settings.md").read_text() == settings_markdown(), (
        "run `gatehouse settings --write docs/settings.md`"
    )
    for setting in DECLARED.values():
        assert f"`{setting.flag}`" in settings_markdown()


def gatehouse(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "PYTHON", "COVERAGE_"))}
    return subprocess.run(
        [sys.executable, "-m", "gatehouse", *arguments],
        env={**kept, "COLUMNS": "200", **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_example_of_the_document_says_what_the_command_says() -> None:
    [[command, said]] = re.findall(r"\$ (.* gatehouse run .*)\n((?:error: .*\n)+)", settings_markdown())
    *variables, program, _run, flag, value = shlex.split(command)
    assert program == "gatehouse"
    environ = dict(variable.split("=") for variable in variables)
    for subcommand in ("run", "settings"):
        ended = gatehouse(subcommand, flag, value, environ=environ)
        assert (ended.returncode, ended.stderr, ended.stdout) == (2, said, "")


def test_the_command_takes_every_flag_and_tells_where_each_value_is_from(tmp_path: Path) -> None:
    file = written(tmp_path, "workers: 7\nprobeInterval: 90s\n")
    given = ["--config", str(file), "--namespace", "a", "--namespace", "b", "--no-leader-elect"]
    ended = gatehouse("settings", *given, environ={"GATEHOUSE_WORKERS": "8"})
    assert ended.returncode == 0, ended.stderr
    lines = [line.rstrip().split(maxsplit=2) for line in ended.stdout.splitlines()]
    assert ["workers", "8", "GATEHOUSE_WORKERS"] in lines
    assert ["namespaces", "a,b", "--namespace"] in lines
    assert ["leaderElect", "false", "--leader-elect"] in lines
    assert ["probeInterval", "90s", f"probeInterval in {file}"] in lines
    help_text = gatehouse("run", "--help").stdout
    for setting in DECLARED.values():
        assert setting.flag in help_text
        assert setting.variable in help_text
