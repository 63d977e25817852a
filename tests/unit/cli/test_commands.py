"""The help lists every command by group, and neither help nor completion imports the work of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, get_args

import pytest
from typer.testing import CliRunner

import gatehouse.cli
from gatehouse.actions.deployments import STEPS
from gatehouse.api.deployment_strategy import StrategyType
from gatehouse.api.model_evaluation import EvaluationKind
from gatehouse.api.registered_model import RiskTier
from gatehouse.cli import fit, options, storage_connection
from gatehouse.cli.commands import COMMANDS
from gatehouse.cli.local_package import LOCAL_COMMANDS
from gatehouse.cli.main import app
from gatehouse.domain.formats.names import ArtifactFormat
from gatehouse.domain.hardware.scenarios import MOST_ACCELERATORS
from gatehouse.install.connections import Form
from gatehouse_local.cli import local
from gatehouse_local.state import DatabaseKind

ENTRIES: Final = [entry for entries in COMMANDS.values() for entry in entries]
HEAVY: Final = frozenset(
    {
        *("aiohttp", "asyncio", "boto3", "botocore", "cryptography", "kubernetes", "orjson", "psycopg", "pydantic"),
        *("pymysql", "rich", "sqlalchemy", "structlog", "yaml"),
    }
)
"""Packages that neither help nor completion needs; each takes 20 to 500 ms of CPU time."""
WORK: Final = ("gatehouse.actions", "gatehouse.api", "gatehouse.cluster", "gatehouse.registry", "gatehouse.upload")
MOST_MODULES: Final = 220
"""Modules of help, of which 160 are those of Python and typer."""

_MODULES: Final = """
import json, sys
sys.argv[0] = "gatehouse"
from gatehouse.cli.main import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write("\\n" + json.dumps(sorted(sys.modules)))
"""


def modules_of(*arguments: str, **environ: str) -> tuple[str, Sequence[str]]:
    """What a call prints, and the modules that it imports."""
    said = subprocess.run(
        (sys.executable, "-c", _MODULES, *arguments),
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return said.stdout, json.loads(said.stderr.splitlines()[-1])


def heavy(modules: Sequence[str]) -> set[str]:
    """The packages and modules of Gatehouse that were imported for no use."""
    packages = {name.partition(".")[0] for name in modules} & HEAVY
    return packages | {name for name in modules if name.startswith(WORK)}


def completed(words: str) -> tuple[Sequence[str], Sequence[str]]:
    """What bash offers for the last of these words, and the modules that it imports."""
    cword = str(words.count(" "))
    stdout, modules = modules_of(_GATEHOUSE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=cword)
    return stdout.split(), modules


# The table


def test_the_help_lists_every_command_under_its_group() -> None:
    lines = CliRunner().invoke(app, ["--help"]).stdout.splitlines()
    for group, entries in COMMANDS.items():
        start = lines.index(f"{group}:")
        for number, entry in enumerate(entries, start=1):
            assert lines[start + number].split(maxsplit=1) == [entry.name, entry.summary]


def test_every_name_is_there_once_and_every_line_fits_on_a_terminal() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert [entry.summary for entry in ENTRIES if len(entry.summary) > 58 or not entry.summary.endswith(".")] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])
def test_each_command_has_help_of_its_own(entry: tuple[str, str, str]) -> None:
    shown = CliRunner().invoke(app, [entry[0], "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"gatehouse {entry[0]}" in shown.stdout


def test_a_name_that_is_none_is_an_error_with_a_proposal() -> None:
    refused = CliRunner().invoke(app, ["explan"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "No such command 'explan'. Did you mean 'explain'?" in refused.stderr


# The cost


def test_help_imports_no_command_and_no_package_that_it_does_not_need() -> None:
    _, modules = modules_of("--help")
    assert heavy(modules) == set()
    assert not {f"gatehouse.cli.{entry.module}" for entry in ENTRIES} & set(modules)
    assert len(modules) <= MOST_MODULES


@pytest.mark.parametrize("name", [entry.name for entry in ENTRIES])
def test_help_of_a_command_does_not_import_the_work(name: str) -> None:
    shown, modules = modules_of(name, "--help")
    assert f"gatehouse {name}" in shown
    assert heavy(modules) == set()
    assert len(modules) <= MOST_MODULES


def test_completion_of_a_name_imports_no_command() -> None:
    names, modules = completed("gatehouse de")
    assert names == [entry.name for entry in ENTRIES if entry.name.startswith("de")]
    assert heavy(modules) == set()
    assert not {f"gatehouse.cli.{entry.module}" for entry in ENTRIES} & set(modules)


def test_completion_with_descriptions_imports_no_more() -> None:
    stdout, modules = modules_of(_GATEHOUSE_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="gatehouse fi")
    assert '"fit":"Show on which hardware a model fits."' in stdout
    assert heavy(modules) == set()


@pytest.mark.parametrize("name", [entry.name for entry in ENTRIES])
def test_completion_of_options_does_not_import_the_work(name: str) -> None:
    options_of_it, modules = completed(f"gatehouse {name} --")
    assert "--help" in options_of_it
    assert heavy(modules) == set()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gatehouse explain --n", ["--namespace"]),
        ("gatehouse explain --output ", ["text", "json"]),
        ("gatehouse explain --all --a", []),
        ("gatehouse audit ve", ["verify"]),
        ("gatehouse audit verify --check", ["--checkpoints"]),
        ("gatehouse register --risk-tier M", ["Medium"]),
        ("gatehouse nosuch --", ["--version", "--install-completion", "--show-completion", "--help"]),
    ],
)
def test_completion_knows_options_and_their_values(words: str, expected: Sequence[str]) -> None:
    assert completed(words)[0] == expected


# What the options repeat because an import of the kinds takes long


def test_the_choices_of_options_are_the_values_of_the_kinds() -> None:
    assert completed("gatehouse register --format ")[0] == [*get_args(ArtifactFormat)]
    assert get_args(options.EvaluationKindChoice) == get_args(EvaluationKind)
    assert get_args(options.RiskTierChoice) == get_args(RiskTier)
    assert get_args(options.StrategyChoice) == get_args(StrategyType) == tuple(STEPS)
    assert get_args(storage_connection.FormChoice) == get_args(Form)
    assert get_args(local.DatabaseChoice) == get_args(DatabaseKind)
    assert fit._MOST_ACCELERATORS == MOST_ACCELERATORS


def test_every_module_of_a_command_is_in_the_contract_that_keeps_commands_apart() -> None:
    root = Path(gatehouse.cli.__file__).parents[3]
    text = (root / "pyproject.toml").read_text()
    contract = text[text.index('name = "No command imports another command"') :].partition("[[")[0]
    for entry in ENTRIES:
        if entry.name in LOCAL_COMMANDS:
            continue
        assert import_module(f"gatehouse.cli.{entry.module}")
        assert f'"gatehouse.cli.{entry.module}"' in contract
