"""The images as containerd takes them, and their processes as a restricted Pod runs them.

Each runs with runc on a read-only root, without capabilities, as a user whom no passwd file knows, in group 0.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import psycopg
import pymysql
import pytest
from botocore.config import Config

from gatehouse import __version__
from gatehouse_local.images.images import Images, load
from gatehouse_local.images.recipes import RECIPES
from gatehouse_local.net import LOOPBACK, free_port, http_ready

USER = 1_000_650_000
PATIENCE = 60.0
# Each of these ends a string or a name somewhere if it is not escaped.
PASSWORD = "p'a\\ss\"w`or$d%;--/*"


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A containerd of the test's own, and a folder for bundles."""

    address: Path
    folder: Path
    archives: dict[str, Path] = field(default_factory=dict)

    def ctr(self, *arguments: str) -> str:
        argv = ["ctr", f"--address={self.address}", "--namespace=k8s.io", *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def rootfs(self, name: str) -> Path:
        """The root of an image, mounted once."""
        target = self.folder / name
        if name not in self.archives:
            self.archives[name] = Images().obtain([name])[name]
            load(self.archives[name], address=self.address)
            target.mkdir()
            self.ctr("images", "mount", "--rw", RECIPES[name].reference, str(target))
        return target

    def config(self, name: str) -> dict[str, object]:
        """The configuration of an image, as its archive has it."""
        self.rootfs(name)
        with tarfile.open(self.archives[name]) as archive:
            manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
            return json.load(archive.extractfile(manifest[0]["Config"]))["config"]  # type: ignore[arg-type,no-any-return]


@dataclass(kw_only=True)
class Container:
    """One run of an image."""

    name: str
    process: subprocess.Popen[str]
    output: Path

    def signal(self, number: signal.Signals) -> None:
        subprocess.run(["runc", "kill", self.name, number.name.removeprefix("SIG")], check=True, capture_output=True)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def until(self, happened: Callable[[], bool]) -> None:
        """Waits for a condition while the container runs."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
            assert self.process.returncode is None, f"ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() < deadline, self.said()

    def runs(self) -> bool:
        state = subprocess.run(["runc", "state", self.name], check=False, capture_output=True, text=True).stdout
        return bool(state) and json.loads(state)["status"] == "running"

    def host_pid(self) -> int:
        state = subprocess.run(["runc", "state", self.name], check=True, capture_output=True, text=True).stdout
        return int(json.loads(state)["pid"])


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-test-", dir="/run") as folder, _containerd(Path(folder)) as made:
        yield made


@contextlib.contextmanager
def _containerd(folder: Path) -> Iterator[Runtime]:
    # Not below /run, which is memory.
    root = Path(tempfile.mkdtemp(prefix="gatehouse-test-"))
    address = folder / "containerd.sock"
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{root}"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{address}"\n'
    )
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen(["containerd", "-c", str(folder / "config.toml")], stdout=log, stderr=log)
    made = Runtime(address=address, folder=folder)
    try:
        deadline = time.monotonic() + PATIENCE
        while not address.exists():
            assert daemon.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
        yield made
    finally:
        for name in made.archives:
            subprocess.run(["umount", str(folder / name)], check=False)
        daemon.terminate()
        daemon.wait(PATIENCE)
        shutil.rmtree(root)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume as a Pod with an fsGroup gets it: of root, writable to group 0, which every container here is in."""
    folder = tmp_path / "volume"
    folder.mkdir()
    folder.chmod(0o2770)
    return folder


class Containers:
    """Starts containers, and ends those that still run."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self._runtime = runtime
        self._folder = folder
        self._running: list[Container] = []

    def start(
        self,
        image: str,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        volumes: Mapping[str, Path] | None = None,
        entrypoint: tuple[str, ...] | None = None,
        user: int = USER,
    ) -> Container:
        config = self._runtime.config(image)
        name = f"gatehouse-test-{secrets.token_hex(4)}"
        bundle = self._folder / name
        bundle.mkdir()
        argv = [*(entrypoint or config.get("Entrypoint") or ()), *(arguments or config.get("Cmd") or ())]  # type: ignore[misc]
        env = [*config["Env"], *(f"{key}={value}" for key, value in (environ or {}).items())]  # type: ignore[misc]
        spec = _spec(self._runtime.rootfs(image), argv=argv, env=env, volumes=volumes or {}, user=user)
        (bundle / "config.json").write_text(json.dumps(spec))
        output = bundle / "output"
        with output.open("w") as log:
            process = subprocess.Popen(
                ["runc", "run", f"--bundle={bundle}", name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )
        self._running.append(Container(name=name, process=process, output=output))
        return self._running[-1]

    def stop(self) -> None:
        for container in self._running:
            if container.process.poll() is None:
                subprocess.run(["runc", "kill", container.name, "KILL"], check=False, capture_output=True)
                container.wait()
            subprocess.run(["runc", "delete", "--force", container.name], check=False, capture_output=True)


def _spec(
    rootfs: Path, *, argv: list[str], env: list[str], volumes: Mapping[str, Path], user: int
) -> dict[str, object]:
    mounts: list[dict[str, object]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        *(
            {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}
            for path in ("/tmp", "/run", "/dev/shm")  # noqa: S108
        ),
        *(
            {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", "rw"]}
            for target, source in volumes.items()
        ),
    ]
    # What the volumes of a Pod put there.
    mounts += [
        {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}
        for path in ("/run/mysqld", "/run/postgresql")
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": 0},
            "args": argv,
            "env": env,
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": str(rootfs), "readonly": True},
        "mounts": mounts,
        # The machine's own network: the ports are on its loopback.
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
    }


@pytest.fixture
def containers(runtime: Runtime, tmp_path: Path) -> Iterator[Containers]:
    made = Containers(runtime, tmp_path)
    yield made
    made.stop()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one database image is used."""

    image: str
    mount: str
    environ: dict[str, str]
    missing: str
    """The variable without which it does not initialise."""
    complete: str
    """The folder on the volume that is there once all of it is."""
    refused: type[Exception]
    port: int = field(default_factory=free_port)

    def arguments(self) -> tuple[str, ...]:
        if self.image == "mariadb":
            return (f"--port={self.port}", f"--bind-address={LOOPBACK}")
        return ("postgres", "-c", f"port={self.port}", "-c", f"listen_addresses={LOOPBACK}")

    def execute(self, statement: str, *, password: str = PASSWORD) -> list[tuple[object, ...]]:
        if self.image == "mariadb":
            with (
                pymysql.connect(
                    host=LOOPBACK, port=self.port, user="mlmd", password=password, database="model_registry"
                ) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)
                connection.commit()
                return list(cursor.fetchall())
        with psycopg.connect(
            host=LOOPBACK, port=self.port, user="mlmd", password=password, dbname="model_registry"
        ) as session:
            answer = session.execute(statement)  # type: ignore[call-overload]
            return answer.fetchall() if answer.description else []

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except self.refused:
            return False
        return True


def _mariadb() -> Kind:
    return Kind(
        image="mariadb",
        mount="/var/lib/mysql",
        environ={
            "MARIADB_DATABASE": "model_registry",
            "MARIADB_USER": "mlmd",
            "MARIADB_PASSWORD": PASSWORD,
            "MARIADB_ROOT_PASSWORD": f"root{PASSWORD}",
        },
        missing="MARIADB_ROOT_PASSWORD",
        complete="data",
        refused=pymysql.err.OperationalError,
    )


def _postgres() -> Kind:
    return Kind(
        image="postgres",
        mount="/var/lib/postgresql/data",
        environ={"POSTGRES_DB": "model_registry", "POSTGRES_USER": "mlmd", "POSTGRES_PASSWORD": PASSWORD},
        missing="POSTGRES_PASSWORD",
        complete="pgdata",
        refused=psycopg.OperationalError,
    )


@pytest.fixture(params=[_mariadb, _postgres], ids=["mariadb", "postgres"])
def kind(request: pytest.FixtureRequest) -> Kind:
    made: Kind = request.param()
    return made


def _serve(containers: Containers, kind: Kind, volume: Path) -> Container:
    """The server on a volume, answering."""
    container = containers.start(kind.image, *kind.arguments(), environ=kind.environ, volumes={kind.mount: volume})
    container.until(kind.answers)
    return container


def test_rows_outlive_the_server_and_it_initialises_only_once(containers: Containers, kind: Kind, volume: Path) -> None:
    first = _serve(containers, kind, volume)
    kind.execute("CREATE TABLE kept (id INTEGER)")
    kind.execute("INSERT INTO kept VALUES (7)")
    # As the kubelet does: the signal that the image names, or SIGTERM.
    first.signal(signal.SIGINT if kind.image == "postgres" else signal.SIGTERM)

    assert first.wait() == 0
    second = _serve(containers, kind, volume)
    assert kind.execute("SELECT id FROM kept") == [(7,)]
    assert "initialising" in first.said()
    assert "initialising" not in second.said()


def test_a_wrong_password_is_refused_and_none_is_shown(containers: Containers, kind: Kind, volume: Path) -> None:
    container = _serve(containers, kind, volume)

    with pytest.raises(kind.refused):
        kind.execute("SELECT 1", password="wrong")
    process = Path(f"/proc/{container.host_pid()}")
    for place in (container.said(), (process / "environ").read_text(), (process / "cmdline").read_text()):
        assert PASSWORD not in place
    written = [path for path in volume.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert written == []


def test_nobody_enters_mariadb_without_a_password(containers: Containers, volume: Path) -> None:
    kind = _mariadb()
    _serve(containers, kind, volume)

    for user in ("root", "mlmd", "", "mysql"):
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            pymysql.connect(host=LOOPBACK, port=kind.port, user=user, password="")
    root = pymysql.connect(host=LOOPBACK, port=kind.port, user="root", password=f"root{PASSWORD}")
    with root, root.cursor() as cursor:
        cursor.execute("SELECT User, Host FROM mysql.user ORDER BY User, Host")
        assert set(cursor.fetchall()) == {
            ("mariadb.sys", "localhost"),
            ("mlmd", "%"),
            ("root", "%"),
            ("root", "localhost"),
        }


def test_what_was_killed_half_way_is_thrown_away(containers: Containers, kind: Kind, volume: Path) -> None:
    unfinished = volume / f"{kind.complete}.unfinished"
    killed = containers.start(kind.image, *kind.arguments(), environ=kind.environ, volumes={kind.mount: volume})
    killed.until(unfinished.exists)
    killed.signal(signal.SIGKILL)
    killed.wait()

    assert unfinished.exists()
    assert not (volume / kind.complete).exists()
    (unfinished / "of the killed one").touch()
    _serve(containers, kind, volume)
    assert not unfinished.exists()
    assert not (volume / kind.complete / "of the killed one").exists()


def test_a_signal_ends_the_initialisation(containers: Containers, kind: Kind, volume: Path) -> None:
    container = containers.start(kind.image, *kind.arguments(), environ=kind.environ, volumes={kind.mount: volume})
    container.until((volume / f"{kind.complete}.unfinished").exists)
    container.signal(signal.SIGTERM)

    assert container.wait() == 128 + signal.SIGTERM
    assert not (volume / kind.complete).exists()


def test_without_a_password_it_says_which_variable_to_set(containers: Containers, kind: Kind, volume: Path) -> None:
    environ = {name: value for name, value in kind.environ.items() if name != kind.missing}
    container = containers.start(kind.image, *kind.arguments(), environ=environ, volumes={kind.mount: volume})

    assert container.wait() == 1
    assert f"{kind.missing} is not set; set it" in container.said()
    assert list(volume.iterdir()) == []


def test_a_volume_of_somebody_else_is_named(containers: Containers, kind: Kind, volume: Path) -> None:
    volume.chmod(0o755)
    container = containers.start(kind.image, *kind.arguments(), environ=kind.environ, volumes={kind.mount: volume})

    assert container.wait() == 1
    assert f"user {USER} in groups 0 may not write to {kind.mount}; set the Pod's fsGroup" in container.said()


@pytest.mark.parametrize("command", [("server", "/data"), ("minio", "server", "/data")])
def test_minio_takes_the_commands_of_the_upstream_image(
    containers: Containers, volume: Path, command: tuple[str, ...]
) -> None:
    port = free_port()
    (volume / "models").mkdir()
    shutil.chown(volume / "models", USER, 0)
    container = containers.start(
        "minio",
        *command,
        f"--address={LOOPBACK}:{port}",
        environ={"MINIO_ROOT_USER": "someone", "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_BROWSER": "off"},
        volumes={"/data": volume},
    )
    container.until(http_ready(port, "/minio/health/cluster"))
    store = boto3.client(
        "s3",
        endpoint_url=f"http://{LOOPBACK}:{port}",
        region_name="us-east-1",
        aws_access_key_id="someone",
        aws_secret_access_key=PASSWORD,
        config=Config(s3={"addressing_style": "path"}),
    )

    store.put_object(Bucket="models", Key="a", Body=b"content")
    assert store.get_object(Bucket="models", Key="a")["Body"].read() == b"content"
    assert PASSWORD not in container.said()
    store.close()
    container.signal(signal.SIGTERM)
    assert container.wait() == 0


def test_pause_stays_and_leaves_on_a_signal(containers: Containers) -> None:
    container = containers.start("pause")
    container.until(container.runs)
    container.signal(signal.SIGTERM)

    assert container.wait() == 0


def _gatehouse(containers: Containers, *arguments: str, entrypoint: tuple[str, ...] | None = None) -> str:
    container = containers.start("gatehouse", *arguments, entrypoint=entrypoint)
    code = container.wait()
    assert code == 0, container.said()
    return container.said()


def test_the_command_runs_as_any_user_on_a_read_only_root(containers: Containers) -> None:
    assert _gatehouse(containers, "--version") == f"gatehouse {__version__}\n"
    assert "Run the operator until it is told to stop" in _gatehouse(containers, "run", "--help")


def test_the_image_has_what_the_jobs_apply(containers: Containers) -> None:
    code = (
        "from gatehouse.install.shipped_files import shipped; "
        "print([shipped(n).is_dir() for n in ('crds', 'manifests/seed')])"
    )

    assert _gatehouse(containers, "-c", code, entrypoint=("python",)) == "[True, True]\n"


def test_the_image_has_what_people_call_the_server_with_from_inside_its_pod(containers: Containers) -> None:
    assert _gatehouse(containers, "--version", entrypoint=("curl",)).startswith("curl ")


def test_the_image_can_send_traces(containers: Containers) -> None:
    code = "import opentelemetry.sdk.trace, opentelemetry.exporter.otlp.proto.http.trace_exporter"
    assert _gatehouse(containers, "-c", code, entrypoint=("python",)) == ""


def test_the_image_has_nothing_of_the_local_cluster(runtime: Runtime) -> None:
    packages = next((runtime.rootfs("gatehouse") / "opt/gatehouse/lib").glob("python3*/site-packages"))

    assert (packages / "gatehouse").is_dir()
    assert not (packages / "gatehouse_local").exists()


def test_the_image_has_no_compiler_no_installer_and_no_cache(runtime: Runtime) -> None:
    root = runtime.rootfs("gatehouse")
    unwanted = {"gcc", "cc", "ld", "as", "make", "uv", "uvx", "pip", "pip3"}
    programs = {name for folder in ("usr/bin", "usr/local/bin", "opt/gatehouse/bin") for name in _names(root / folder)}

    assert unwanted & programs == set()
    assert not (root / "src").exists()
    assert not (root / "root" / ".cache").exists()
    # buildah leaves the empty folder in which it showed them.
    assert _names(root / "run" / "secrets") == set()


def test_bytecode_is_there_and_never_compared_with_its_source(runtime: Runtime) -> None:
    packages = next((runtime.rootfs("gatehouse") / "opt/gatehouse/lib").glob("python3*/site-packages"))
    modules = {path for path in packages.rglob("*.py") if "/gatehouse/" in str(path)}
    compiled = list(packages.rglob("*.pyc"))

    assert len([path for path in compiled if "/gatehouse/" in str(path)]) == len(modules)
    # Of the sixteen bytes at the start, the second four say how the file is validated: 1 is by hash, unchecked.
    assert {path.read_bytes()[4:8] for path in compiled} == {b"\x01\x00\x00\x00"}


def test_the_image_says_what_it_is_and_runs_as_no_root(runtime: Runtime) -> None:
    config = runtime.config("gatehouse")

    assert config["User"] == "1001:0"
    assert config["Entrypoint"] == ["gatehouse"]
    assert config["Cmd"] == ["run"]
    assert config["Labels"]["org.opencontainers.image.version"] == __version__  # type: ignore[index]
    data = (runtime.rootfs("gatehouse") / "var/lib/gatehouse").stat()
    assert (data.st_uid, data.st_gid, data.st_mode & 0o7777) == (1001, 0, 0o770)


@pytest.mark.parametrize("name", RECIPES)
def test_containerd_knows_each_image_by_the_name_that_pods_use(runtime: Runtime, name: str) -> None:
    runtime.rootfs(name)

    assert RECIPES[name].reference in runtime.ctr("images", "list", "--quiet").splitlines()


def test_what_was_built_is_not_built_again(runtime: Runtime) -> None:
    runtime.rootfs("pause")
    archive = runtime.archives["pause"]
    made = archive.stat().st_mtime_ns

    assert Images(environ={**os.environ, "PATH": ""}).obtain(["pause"]) == {"pause": archive}
    assert archive.stat().st_mtime_ns == made


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
