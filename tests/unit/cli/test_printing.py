"""What authors wrote reaches no reviewer's terminal as a command: in no command, on no stream, in no form of output."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.live import Live
from rich.text import Text
from typer.testing import CliRunner

import gatehouse
from gatehouse.cli.main import app
from gatehouse.domain.common.text import escaped_json, is_plain, one_line, plain_lines
from gatehouse.printing import Printer, print_trace, stderr, stdout
from gatehouse.printing.console import NeutralConsole
from gatehouse_local.errors import LocalClusterError
from hostiletext import FORGED, HOSTILE, HostileServer, hostile_server, is_harmless

SOURCE: Final = Path(gatehouse.__file__).parents[1]
_OWN: Final = re.compile(r"\x1b\[(?:\?25[lh]|[0-9;]*[mAK])|\r")
"""What a live view writes by itself: colours, the cursor, a line up, the rest of a line. Hostile text has others."""


# The text


@given(st.text())
def test_no_text_holds_more_than_what_is_seen(text: str) -> None:
    for made in (one_line(text), plain_lines(text), escaped_json(json.dumps(text, ensure_ascii=False))):
        assert all(
            char in "\n\u00a0\u3000"
            or (char.isprintable() and unicodedata.category(char) not in {"Cc", "Cf", "Zl", "Zp"})
            for char in made
        )
    assert "\n" not in one_line(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_keeps_its_data(text: str) -> None:
    assert json.loads(escaped_json(json.dumps(text, ensure_ascii=False))) == text


@given(st.text("abc äß漢字 []:\u00a0"))
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert one_line(text) == plain_lines(text) == text


def test_each_hidden_character_is_named() -> None:
    assert one_line("a\x1b[2J\n\u202e\U000e0041\u3164b") == r"a\x1b[2J\n\u202e\U000e0041\u3164b"


# The printer


@given(text=st.text(), style=st.sampled_from(["", "bold", "red"]))
def test_the_printer_prints_nothing_of_the_text_but_text(text: str, style: str) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        printer = stdout()
        printer.line(text, (text, style), style=style)
        printer.text(text)
        printer.labelled("note", text)
        printer.columns([("A", "B"), (text, text)])
        printer.table(("A", "B"), [(text, text)])
        if text.isascii():
            printer.data({text: text})
            printer.documents([yaml.safe_dump({"a": text}, allow_unicode=True)])
    assert is_plain(said.getvalue())


def test_a_live_view_is_neutral_too_and_moves_the_cursor_itself() -> None:
    stream = io.StringIO()
    console = NeutralConsole(stderr=False, file=stream, force_terminal=True)
    with Live(console=console, get_renderable=lambda: Text("\x1b]0;title\x07[red]"), auto_refresh=False) as live:
        live.refresh()
    assert "\x1b]0" not in stream.getvalue()
    assert r"\x1b]0;title\x07[red]" in stream.getvalue() or r"]0;title[red]" in stream.getvalue()


def test_a_trace_is_neutral(capsys: pytest.CaptureFixture[str]) -> None:
    print_trace(ValueError(HOSTILE))
    said = capsys.readouterr().err
    assert is_plain(said)
    assert said.startswith("ValueError")


def test_a_second_line_of_an_error_is_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    stderr().labelled("error", f"it failed\n{FORGED}")
    assert capsys.readouterr().err == f"error: it failed\n  {FORGED}\n"


def test_yaml_with_hidden_characters_is_escaped_and_the_same_data(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"# {HOSTILE.splitlines()[0]}\n" + yaml.safe_dump({"a": HOSTILE, "b": "Zoë"}, allow_unicode=True)
    stdout().documents([text, text])
    said = capsys.readouterr().out
    assert is_harmless(said)
    assert list(yaml.safe_load_all(said)) == [{"a": HOSTILE, "b": "Zoë"}] * 2


# Nothing else prints

_ALLOWED: Final[Mapping[str, str]] = {
    "gatehouse_local/standin/server.py": "writes the log of a Pod, with no package of the project beside it",
    "gatehouse/app/logs.py": "the operator's records, one JSON object a line, escaped",
    "gatehouse/parsing/worker.py": "a process whose streams are not a terminal: its answers go through a pipe",
}


def _prints(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "Console" | "pprint")):
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="print" | "print_json" | "echo" | "secho" | "echo_via_pager")):
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="typer"), attr="confirm" | "prompt" | "style")):
                yield ast.unparse(node)
            case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr" | "__stdout__" | "__stderr__"):
                yield ast.unparse(node)
            case ast.ImportFrom(module="rich" | "rich.markup" | "rich.prompt" | "rich.console", names=names):
                yield from (each.name for each in names if each.name in {"print", "Console", "escape", "render"})
            case ast.keyword(arg="markup", value=ast.Constant(value=True)):
                yield ast.unparse(node)


@pytest.mark.parametrize(
    "module", sorted(str(each.relative_to(SOURCE)) for each in SOURCE.rglob("*.py") if "printing" not in each.parts)
)
def test_no_module_prints_but_by_the_printer(module: str) -> None:
    found = list(_prints(ast.parse((SOURCE / module).read_text())))
    assert bool(found) == (module in _ALLOWED), f"{module}: {found}"


# Every command


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    context = typer.Context(command)
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            yield from _leaves(command.resolve_command(context, [name])[1], (*path, name))
    else:
        yield path, command


LEAVES: Final = dict(_leaves(typer.main.get_command(app)))


def _choices(parameter: Any) -> tuple[str, ...]:
    """What the option may be, where that is not any text."""
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(each.value) for each in kind)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _outputs() -> Iterator[Any]:
    for path, command in LEAVES.items():
        option = next((each for each in command.params if each.name == "output"), None)
        for value in (_choices(option) if option else ()) or (None,):
            yield pytest.param(path, value, id=" ".join((*path, *([value] if value else []))))


def _arguments(command: Any, *, kubeconfig: Path, folder: Path, output: str | None, every: bool) -> list[str]:
    """Hostile text for whatever takes text, and files of hostile text for what takes a file."""
    own = {"kubeconfig": str(kubeconfig), "output": output, "timeout": "1s", "context": None}
    options: list[str] = []
    arguments: list[str] = []
    for each in command.params:
        is_argument = each.param_type_name == "argument"
        if getattr(each, "is_flag", False) or not (every or each.required or is_argument or each.name in own):
            continue
        value = own[each.name] if own.get(each.name) or each.name == "context" else _value_of(each, folder)
        if value is not None:
            (arguments if is_argument else options).extend([value] if is_argument else [each.opts[-1], value])
    return [*options, "--", *arguments]


def _value_of(parameter: Any, folder: Path) -> str:
    if choices := _choices(parameter):
        return choices[0]
    kind = parameter.type_descriptor.annotation
    if kind in {int, float}:
        return "1"
    if kind is Path:
        info = parameter.type_descriptor.parameter_info
        takes_folder = not info.file_okay or "DIR" in (parameter.metavar or "")
        return str(folder if takes_folder else _file(folder))
    return HOSTILE


def _file(folder: Path) -> Path:
    file = folder / "hostile \x1b[2J\u202e.yaml"
    file.write_text(yaml.safe_dump({"kind": HOSTILE, "secrets": HOSTILE, HOSTILE: HOSTILE}))
    return file


class _Broken:
    """Whatever would start servers, build images or run programs."""

    def __init__(self, *_: object, **__: object) -> None:
        raise LocalClusterError(HOSTILE)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for place in ("cluster.LocalCluster", "demo.LocalCluster", "images.images.Images", "binaries.Binaries.obtain"):
        monkeypatch.setattr(f"gatehouse_local.{place}", _Broken)
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "said").write_text(HOSTILE)
    for name in ("kubectl", "oc", "kind", "docker", "podman", "buildah"):
        program = programs / name
        program.write_text(f"#!/bin/sh\n/bin/cat '{tmp_path / 'said'}' >&2\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("KUBECONFIG", "GATEHOUSE_DATABASE_URL", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@dataclass(frozen=True, slots=True)
class _Said:
    """What a command wrote, and the exception that it ended with."""

    stdout: str
    stderr: str
    exception: BaseException | None = None


def _run(path: tuple[str, ...], arguments: list[str], *, server: HostileServer, **environ: str) -> _Said:
    if path in {("run",), ("server",)}:
        return _run_process(path[0], arguments, server=server, environ=environ)
    said = CliRunner().invoke(app, [*path, *arguments], env=environ)
    return _Said(said.stdout, said.stderr, said.exception)


def _run_process(command: str, arguments: list[str], *, server: HostileServer, environ: Mapping[str, str]) -> _Said:
    """A process ends only when it is told to: here once it has asked the API server for something, or has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gatehouse", command, *arguments],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ended = threading.Thread(target=lambda: (process.wait(), server.asked.set()), daemon=True)
    ended.start()
    assert server.asked.wait(timeout=60), f"gatehouse {command} neither asked for anything nor ended"
    process.terminate()
    said = _Said(*process.communicate(timeout=60))
    ended.join()
    return said


@pytest.mark.parametrize(("path", "output"), list(_outputs()))
@pytest.mark.parametrize("refuses", [False, True], ids=["answers", "refuses"])
@pytest.mark.parametrize("every", [False, True], ids=["bare", "every option"])
def test_no_command_prints_what_a_terminal_would_obey(
    path: tuple[str, ...], output: str | None, refuses: bool, every: bool, quiet: Path
) -> None:
    (quiet / "folder").mkdir()
    with hostile_server(quiet, refuses=refuses) as server:
        kubeconfig = server.kubeconfig
        arguments = _arguments(LEAVES[path], kubeconfig=kubeconfig, folder=quiet / "folder", output=output, every=every)
        plain = _run(path, arguments, server=server, KUBECONFIG=str(kubeconfig))
        runs = [plain]
        if not refuses and not every:
            runs.append(_run(path, arguments, server=server, KUBECONFIG=str(kubeconfig), FORCE_COLOR="1"))

    for said in runs:
        assert said.exception is None or isinstance(said.exception, SystemExit), repr(said.exception)
        for stream in (said.stdout, said.stderr):
            assert is_harmless(_OWN.sub("", stream)), repr(stream)
    assert "\x1b" not in plain.stdout + plain.stderr
    if output == "json" and plain.stdout:
        json.loads(plain.stdout)
    if output == "yaml" and plain.stdout:
        list(yaml.safe_load_all(plain.stdout))


def test_what_the_server_says_reaches_the_reader(quiet: Path) -> None:
    with hostile_server(quiet, refuses=False) as server:
        said = _run(("explain",), ["granite-1", "--all", "--kubeconfig", str(server.kubeconfig)], server=server)
    assert one_line(HOSTILE) in said.stdout
    assert isinstance(stdout(), Printer)
