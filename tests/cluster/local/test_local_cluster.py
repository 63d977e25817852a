"""`gatehouse local` end to end, without the operator: what it starts, keeps, repairs and leaves behind."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from gatehouse_local.binaries import Binaries
from gatehouse_local.cli.local import app
from gatehouse_local.cluster import LocalCluster
from gatehouse_local.errors import LocalClusterError, NotUp, ProgramMissing
from gatehouse_local.files import make_traversable
from gatehouse_local.identity import end
from gatehouse_local.kube import KubeClient, trust
from gatehouse_local.mariadb import Mariadb
from gatehouse_local.postgres import Postgres
from gatehouse_local.process import Supervisor
from gatehouse_local.stack import PROGRAM_NAMES
from gatehouse_local.state import DatabaseKind, LocalState
from storeaccess import READS, WRITES, allowed

SERVERS = {"etcd", "kube-apiserver", "kube-controller-manager", "minio"}


def need_programs(database: DatabaseKind = "sqlite") -> None:
    try:
        Binaries().obtain(PROGRAM_NAMES)
        if database != "sqlite":
            {"mariadb": Mariadb, "postgres": Postgres}[database](Path("/"), port=1, password="")
    except ProgramMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def processes_of(directory: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(directory) in command and path.parent.name != str(os.getpid()):
                found.append(f"{path.parent.name} {command}")
    return found


def admin(cluster: LocalCluster, user: str = "admin") -> KubeClient:
    state = LocalState.load(cluster.directory / "state.json")
    assert state is not None
    authority = cluster.directory / "kubernetes" / "tls" / "ca.crt"
    return KubeClient(port=state.ports["apiserver"], token=state.tokens[user], tls=trust(authority))


def s3(cluster: LocalCluster):  # type: ignore[no-untyped-def]  # a generated client
    variables = cluster.env()
    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )


@contextlib.contextmanager
def cluster_in(directory: Path) -> Iterator[LocalCluster]:
    cluster = LocalCluster(make_traversable(directory) / "cluster")
    try:
        yield cluster
    finally:
        cluster.down(purge=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    need_programs()
    with cluster_in(tmp_path_factory.mktemp("local")) as running:
        running.up(operator=False)
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LocalCluster]:
    need_programs()
    with cluster_in(tmp_path) as cluster:
        yield cluster


def test_up_makes_the_default_registry_with_its_store_and_secret(cluster: LocalCluster) -> None:
    with contextlib.closing(admin(cluster)) as client:
        namespace = "namespaces/gatehouse-system"
        registry = client.request("GET", f"/apis/gatehouse.dev/v1alpha1/{namespace}/modelregistries/local")
        secret = client.request("GET", f"/api/v1/{namespace}/secrets/local-object-store")
    variables = cluster.env()
    assert registry["metadata"]["annotations"] == {"gatehouse.dev/default-registry": "true"}
    assert registry["spec"]["allowedNamespaces"] == {"from": "All"}
    assert registry["spec"]["objectStores"] == [
        {
            "uriPrefix": "s3://models/",
            "endpoint": variables["AWS_ENDPOINT_URL"],
            "tls": "Disabled",
            "region": "us-east-1",
            "credentialsSecret": {"name": "local-object-store"},
        }
    ]
    assert secret["metadata"]["labels"]["gatehouse.dev/use"] == "registry"
    assert secret["data"].keys() == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_S3_ENDPOINT",
        "AWS_S3_BUCKET",
        "AWS_DEFAULT_REGION",
    }
    assert [bucket["Name"] for bucket in s3(cluster).list_buckets()["Buckets"]] == ["models"]


def test_the_operator_reads_whoever_uploads_writes_and_nobody_has_the_administrators_key(cluster: LocalCluster) -> None:
    s3(cluster).put_object(Bucket="models", Key="there", Body=b"bytes")
    variables = cluster.env()
    with contextlib.closing(admin(cluster)) as client:
        secret = client.request("GET", "/api/v1/namespaces/gatehouse-system/secrets/local-object-store")["data"]
    operator = {key: base64.b64decode(secret[key]).decode() for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    assert allowed({**variables, **operator}, bucket="models", key="there") == READS
    assert allowed(variables, bucket="models", key="there") == WRITES
    s3(cluster).delete_object(Bucket="models", Key="there")
    state = LocalState.load(cluster.directory / "state.json")
    assert state is not None
    assert state.secret_key not in {*variables.values(), *operator.values()}


def test_up_again_starts_nothing(cluster: LocalCluster) -> None:
    before = {server.name: server.pid for server in cluster.status()}
    assert cluster.up(operator=False) == ()
    assert {server.name: server.pid for server in cluster.status()} == before


def test_up_restarts_what_died(cluster: LocalCluster) -> None:
    pids = {server.name: server.pid for server in cluster.status()}
    records = Supervisor(run=cluster.directory / "run", logs=cluster.directory / "logs").records()
    assert end(records["minio"].identity, polite=signal.SIGKILL, seconds=10)
    assert {server.name for server in cluster.status() if not server.answering} == {"minio"}
    assert cluster.up(operator=False) == ("minio",)
    after = {server.name: server.pid for server in cluster.status()}
    assert after.pop("minio") != pids.pop("minio")
    assert after == pids


def test_secrets_are_readable_by_their_owner_only(cluster: LocalCluster) -> None:
    kubernetes = cluster.directory / "kubernetes"
    files = [cluster.directory / "state.json", *kubernetes.glob("*.csv"), *kubernetes.glob("*kubeconfig")]
    files += [*(kubernetes / "tls").iterdir(), *(cluster.directory / "run").iterdir()]
    assert len(files) > 8
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {path.name: "0o600" for path in files}


def can(client: KubeClient, verb: str, group: str, resource: str, namespace: str = "default") -> bool:
    resource, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
    review = client.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**attributes, "namespace": namespace}},
        },
    )
    return bool(review["status"]["allowed"])


@pytest.mark.parametrize(
    ("user", "allowed", "refused"),
    [
        ("admin", [("delete", "", "nodes")], []),
        (
            "ai-admin",
            [("create", "gatehouse.dev", "modelregistries"), ("get", "gatehouse.dev", "modelversions")],
            [("get", "", "secrets"), ("patch", "gatehouse.dev", "modelversions/status")],
        ),
        (
            "ai-developer",
            [("list", "gatehouse.dev", "modelversions"), ("create", "serving.kserve.io", "inferenceservices")],
            [("create", "gatehouse.dev", "modelversions"), ("get", "", "secrets")],
        ),
    ],
)
def test_each_user_has_the_rights_of_its_groups(
    cluster: LocalCluster,
    user: str,
    allowed: list[tuple[str, str, str]],
    refused: list[tuple[str, str, str]],
) -> None:
    with contextlib.closing(admin(cluster, user)) as client:
        assert [case for case in allowed if not can(client, *case)] == []
        assert [case for case in refused if can(client, *case)] == []


def test_kubectl_finds_a_context_for_each_user(cluster: LocalCluster) -> None:
    kubectl = cluster.kubectl()
    assert kubectl is not None
    whoami = [
        subprocess.run(
            [kubectl, "--kubeconfig", cluster.env()["KUBECONFIG"], "--context", user, "auth", "whoami", "-o", "json"],
            capture_output=True,
            check=True,
        ).stdout
        for user in ("admin", "ai-admin", "ai-developer", "data-scientist", "gatehouse-operator")
    ]
    users = [json.loads(answer)["status"]["userInfo"] for answer in whoami]
    assert {user["username"]: set(user["groups"]) - {"system:authenticated"} for user in users} == {
        "admin": {"system:masters"},
        "ai-admin": {"rhoai-admins"},
        "ai-developer": {"rhoai-users"},
        "data-scientist": {"data-scientists"},
        "gatehouse-operator": set(),
    }


def test_the_operators_user_has_the_shipped_roles_and_nothing_else(cluster: LocalCluster) -> None:
    def rules(client: KubeClient, namespace: str) -> set[tuple[str, str, str]]:
        review = client.request(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectRulesReview",
                "spec": {"namespace": namespace},
            },
        )
        return flatten(review["status"]["resourceRules"])

    def flatten(listed: list[dict[str, list[str]]]) -> set[tuple[str, str, str]]:
        return {
            (verb, group, resource)
            for rule in listed
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }

    with contextlib.closing(admin(cluster)) as client:
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        roles = [
            client.request("GET", f"{rbac}/{path}")
            for path in (
                "clusterroles/gatehouse-operator",
                "clusterroles/gatehouse-registry-secrets",
                "namespaces/gatehouse-system/roles/gatehouse-operator",
            )
        ]
        everyone = client.request("GET", f"{rbac}/clusterroles/system:basic-user")
    with contextlib.closing(admin(cluster, "gatehouse-operator")) as client:
        granted = rules(client, "gatehouse-system")
    assert granted - flatten(everyone["rules"]) == flatten([rule for role in roles for rule in role["rules"]])


def test_data_and_addresses_outlive_down_and_up(fresh: LocalCluster) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}}
    assert set(fresh.up(operator=False)) == SERVERS
    variables = fresh.env()
    with contextlib.closing(admin(fresh)) as client:
        uid = client.request("POST", path, config_map)["metadata"]["uid"]
    s3(fresh).put_object(Bucket="models", Key="kept", Body=b"bytes")

    assert set(fresh.down()) == SERVERS
    assert processes_of(fresh.directory) == []
    assert {server.pid for server in fresh.status()} == {None}

    assert set(fresh.up(operator=False)) == SERVERS
    assert fresh.env() == variables
    with contextlib.closing(admin(fresh)) as client:
        assert client.request("GET", f"{path}/kept")["metadata"]["uid"] == uid
    assert s3(fresh).get_object(Bucket="models", Key="kept")["Body"].read() == b"bytes"


def test_the_operator_starts_with_its_own_rights_and_stops_when_not_wanted(fresh: LocalCluster) -> None:
    assert {"operator", "server"} <= set(fresh.up())
    assert {server.name for server in fresh.status() if server.answering} == {*SERVERS, "operator", "server"}
    assert fresh.up() == ()
    fresh.up(operator=False)
    assert {server.name for server in fresh.status()} == SERVERS
    assert not any("gatehouse run" in line for line in processes_of(fresh.directory))
    assert "forbidden" not in (fresh.directory / "logs" / "operator.log").read_text()


def test_a_bare_cluster_is_kubernetes_and_nothing_else_until_more_is_wanted(fresh: LocalCluster) -> None:
    assert set(fresh.up(bare=True)) == SERVERS - {"minio"}
    assert fresh.env().keys() == {"KUBECONFIG"}
    with contextlib.closing(admin(fresh)) as client:
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        assert client.request("GET", path)["items"] == []
        assert fresh.up() == (), "the choice is remembered"
        with pytest.raises(LocalClusterError, match="add --no-bare"):
            fresh.up(database="mariadb")
        assert fresh.up(bare=False, operator=False) == ("minio",)
        assert len(client.request("GET", path)["items"]) > 0


def test_a_gpu_without_a_node_is_refused(fresh: LocalCluster) -> None:
    with pytest.raises(LocalClusterError, match="Add --node"):
        fresh.up(gpu=True)
    assert fresh.down() == ()


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_rows_outlive_down_and_up(fresh: LocalCluster, kind: DatabaseKind) -> None:
    need_programs(kind)
    assert kind in fresh.up(database=kind, operator=False)
    engine = create_engine(fresh.env()["GATEHOUSE_DATABASE_URL"])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (id INTEGER)"))
        connection.execute(text("INSERT INTO kept VALUES (7)"))
    engine.dispose()
    fresh.down()
    assert kind in fresh.up(operator=False), "the choice of the database is remembered"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM kept")).scalar_one() == 7
    engine.dispose()
    with contextlib.closing(admin(fresh)) as client:
        namespace = "namespaces/gatehouse-system"
        registry = client.request("GET", f"/apis/gatehouse.dev/v1alpha1/{namespace}/modelregistries/local")
    connection_of = registry["spec"]["mysql" if kind == "mariadb" else "postgres"]
    assert connection_of["passwordSecret"] == {"name": "local-database", "key": "password"}

    fresh.up(database="sqlite", operator=False)
    assert kind not in {server.name for server in fresh.status()}
    assert not any(kind in line for line in processes_of(fresh.directory))


def test_purge_removes_the_database_too(tmp_path: Path) -> None:
    need_programs("mariadb")
    with cluster_in(tmp_path) as cluster:
        cluster.up(database="mariadb", operator=False)
        home = Mariadb(cluster.directory / "mariadb", port=1, password="").home
        assert home.exists()
        cluster.down(purge=True)
        assert not home.exists()
        assert not cluster.directory.exists()
        with pytest.raises(NotUp, match="gatehouse local up"):
            cluster.env()


STARTER = """
import contextlib, os, signal, sys
from pathlib import Path
from gatehouse_local.cluster import LocalCluster

class KillAt:
    def step(self, what):
        if what == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)
        return contextlib.nullcontext()
    def say(self, line):
        pass

LocalCluster(Path(sys.argv[1]), progress=KillAt()).up(database=sys.argv[2], operator=False)
"""


@pytest.mark.parametrize(
    "moment", ["starting etcd", "starting kube-controller-manager", "applying CRDs and manifests", "starting mariadb"]
)
def test_down_after_up_was_killed_leaves_nothing(fresh: LocalCluster, moment: str) -> None:
    database: DatabaseKind = "mariadb" if "mariadb" in moment else "sqlite"
    need_programs(database)
    starter = subprocess.run(
        [sys.executable, "-c", STARTER, str(fresh.directory), database, moment], capture_output=True, check=False
    )
    assert starter.returncode == -signal.SIGKILL, starter.stderr
    fresh.down()
    assert processes_of(fresh.directory) == []
    assert fresh.down() == ()


def test_up_continues_where_a_killed_one_stopped(fresh: LocalCluster) -> None:
    subprocess.run(
        [sys.executable, "-c", STARTER, str(fresh.directory), "sqlite", "starting kube-controller-manager"],
        capture_output=True,
        check=False,
    )
    running = {server.name: server.pid for server in fresh.status() if server.pid}
    assert {"etcd", "kube-apiserver"} <= running.keys()
    assert "kube-controller-manager" in fresh.up(operator=False)
    after = {server.name: server.pid for server in fresh.status()}
    assert {name: after[name] for name in running} == running


def test_a_second_up_waits_for_the_first(fresh: LocalCluster, tmp_path: Path) -> None:
    said: list[str] = []

    class Listening:
        def step(self, what: str) -> contextlib.AbstractContextManager[None]:
            return contextlib.nullcontext()

        def say(self, line: str) -> None:
            said.append(line)

    errors = tmp_path / "errors"
    # A process that was left behind would be the failure of whichever test comes next.
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(fresh.directory), "sqlite", "never"], stderr=stderr
        ) as first,
    ):
        while not (fresh.directory / "state.json").exists():
            assert first.poll() is None, errors.read_text()
            os.sched_yield()
        second = LocalCluster(fresh.directory, progress=Listening())
        started = second.up(operator=False)
    assert first.returncode == 0, errors.read_text()
    assert started == (), "the first one had started everything"
    assert said == [f"Another gatehouse command uses {fresh.directory}; waiting for it."]


def test_up_refuses_a_folder_with_somebody_elses_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    cluster = LocalCluster(tmp_path)
    with pytest.raises(LocalClusterError, match="empty or a new directory"):
        cluster.up(operator=False)
    with pytest.raises(NotUp, match="nothing was changed"):
        cluster.down(purge=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_commands_print_data_on_stdout_and_tell_by_their_exit_code(cluster: LocalCluster, tmp_path: Path) -> None:
    directory = ["--dir", str(cluster.directory)]
    run = CliRunner().invoke

    up = run(app, ["up", "--no-operator", *directory])
    assert (up.exit_code, up.stdout) == (0, "")
    assert "Everything was running already." in up.stderr

    env = run(app, ["env", *directory])
    script = f'{env.stdout}\nprintf %s "$AWS_SECRET_ACCESS_KEY"'
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == cluster.env()["AWS_SECRET_ACCESS_KEY"]

    status = run(app, ["status", "-o", "json", *directory])
    assert status.exit_code == 0
    assert {server["name"]: server["state"] for server in json.loads(status.stdout)} == dict.fromkeys(SERVERS, "up")

    nowhere = ["--dir", str(tmp_path / "none")]
    assert run(app, ["status", *nowhere]).exit_code == 1
    assert "There is no local cluster" in run(app, ["env", *nowhere]).stderr
    assert run(app, ["down", *nowhere]).exit_code == 0
