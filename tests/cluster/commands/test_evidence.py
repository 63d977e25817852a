"""Evidence of a real version: signed by its makers, approved, drifted; exported by a person, verified by anybody."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster.rig import Operator, until
from cluster.status import Manifest, condition
from cluster.world import MINIATURE, World, make_world
from gatehouse.cli.main import app
from gatehouse_local.controlplane import ADMIN
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.pki import KeyPair, ensure_audit_key
from gatehouse_local.s3 import S3Endpoint
from signing import make_key, public_pem, sign_folder

APPROVER = "ai-admin"
POLICIES = "/apis/gatehouse.dev/v1alpha1/governancepolicies"


@dataclass
class Office:
    """A world whose policy wants a signature, an evaluation and an approval, and its operator."""

    world: World
    plane: RunningControlPlane
    operator: Operator
    audit_key: KeyPair
    folder: Path

    def policy(self, **spec: Any) -> None:
        """Applies the policy of this namespace."""
        match = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.world.namespace}}}
        self.world.apply(
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "GovernancePolicy",
                "metadata": {"name": self.world.namespace},
                "spec": {"match": match, **spec},
            }
        )

    def review(self) -> None:
        """An evaluation and an approval of what was verified."""
        version = self.world.get("ModelVersion", "granite-1")
        assert version is not None
        about = {
            "versionRef": {"name": "granite-1", "uid": version["metadata"]["uid"]},
            "digest": version["status"]["artifact"]["digest"],
        }
        at = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        evaluation = {
            "kind": "Task",
            "suite": "lm-evaluation-harness",
            "dataset": {"name": "arc"},
            "evaluator": APPROVER,
            "evaluatedAt": at,
            "metrics": [{"name": "acc", "value": "0.75"}],
        }
        served = {"servedDigest": version["status"]["servedDigest"]}
        decision = {"stage": "staging", "riskTier": "Low", "decision": "Approved", "reason": "answers well"}
        self._create(APPROVER, "ModelEvaluation", "modelevaluations", {**about, **evaluation})
        self._create(APPROVER, "ModelApproval", "modelapprovals", {**about, **served, **decision, "approver": APPROVER})

    def export(self, name: str, *more: str, expect: int = 0) -> Path:
        """``gatehouse evidence`` as somebody with the database's URL runs it."""
        file = self.folder / name
        arguments = [
            "granite-1",
            *("-n", self.world.namespace, "-o", str(file)),
            *(f"--kubeconfig={self.plane.kubeconfig}", f"--context={ADMIN}"),
            *more,
        ]
        ended = run(*arguments, GATEHOUSE_DATABASE_URL=self.world.database_url(self.operator))
        assert ended.exit_code == expect, ended.output
        return file

    def verify(self, file: Path, *more: str) -> tuple[int, Any]:
        """``gatehouse evidence verify`` as somebody who has the file and two public keys runs it."""
        given = (
            "--public-key",
            str(self.folder / "evidence.key.pub"),
            "--audit-public-key",
            str(self.audit_key.public),
        )
        ended = run("verify", str(file), *(more or given), "-o", "json")
        assert ended.stdout, ended.output
        return ended.exit_code, json.loads(ended.stdout)

    def proven(self, name: str) -> tuple[Path, Any]:
        """The evidence as soon as a checkpoint vouches for every record in it."""

        def probe() -> tuple[Path, Any] | None:
            file = self.export(name, "--key", str(self.folder / "evidence.key"))
            code, found = self.verify(file)
            assert code == 0, found
            return (file, found) if found["audit"]["records"] == found["audit"]["proven"] > 0 else None

        return until(probe, what="no checkpoint vouches for the records about the version", seconds=60)

    def _create(self, user: str, kind: str, plural: str, spec: Manifest) -> None:
        metadata = {"name": f"granite-1-{plural}", "namespace": self.world.namespace}
        body = {"apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
        path = f"/apis/gatehouse.dev/v1alpha1/namespaces/{self.world.namespace}/{plural}"
        with contextlib.closing(self.plane.client(user)) as client:
            client.request("POST", path, body)


def run(*arguments: str, **environ: str) -> Result:
    """``gatehouse evidence``."""
    return CliRunner().invoke(app, ["evidence", *arguments], env=environ)


def verify_elsewhere(file: Path) -> int:
    """``gatehouse evidence verify`` as a process that knows no cluster, no database and no key."""
    command = [sys.executable, "-m", "gatehouse", "evidence", "verify", str(file)]
    return subprocess.run(command, capture_output=True, env={}, cwd="/", check=False).returncode


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def office(
    installed: RunningControlPlane, minio: S3Endpoint, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Office]:
    """An office whose registry is on each kind of database; others share the servers."""
    database = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    key = ensure_audit_key(tmp_path / "keys")
    arguments = (f"--audit-key={key.private}", "--audit-checkpoint-interval=1s")
    with (
        make_world(installed, minio, database=database, interval="1s") as world,
        contextlib.closing(Operator(installed, tmp_path, arguments=arguments)) as operator,
    ):
        office = Office(world, installed, operator.start(), key, tmp_path)
        made = run("keygen", str(tmp_path / "evidence.key"))
        assert made.exit_code == 0, made.output
        yield office
        world.kube.request("DELETE", f"{POLICIES}/{world.namespace}")


def signed_miniature(folder: Path) -> tuple[dict[str, bytes], str]:
    """The miniature with a ``model.sig`` of the reference tool, and the public key."""
    key, model = make_key(), folder / "granite"
    model.mkdir()
    for name, data in MINIATURE.items():
        (model / name).write_bytes(data)
    return {"model.sig": sign_folder(model, key)}, public_pem(key)


def entries(file: Path) -> dict[str, bytes]:
    """What is in a bundle, by any zip program."""
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_evidence_before_and_after_an_artifact_was_altered_verifies_offline(office: Office) -> None:
    world = office.world
    signature, public_key = signed_miniature(office.folder)
    task = {"name": "task", "kind": "Task", "metric": "acc", "operator": ">=", "threshold": "0.7"}
    office.policy(
        artifact={"signature": {"keys": [{"name": "makers", "publicKey": public_key}]}},
        evaluations=[task],
        approvals=[{"stage": "staging"}],
    )
    world.upload()
    world.apply(world.registry(stages=["staging"]), world.model(license="Apache-2.0"), world.version(submittedBy=ADMIN))

    unsigned = world.phase("granite-1", "Policy Denied")
    ready = condition(unsigned, "Ready")
    assert ready is not None
    assert ready["reason"] == "SignatureMissing"
    world.upload(files=signature)
    world.phase("granite-1", "Pending Review")
    office.review()
    digest = world.ready()["status"]["artifact"]["digest"]

    before, found = office.proven("before.zip")
    assert (found["intact"], found["trusted"], found["digest"]) == (True, True, digest)
    assert (found["phase"], found["clearedFor"], found["problems"]) == ("Ready to Deploy", ["staging"], [])
    kept = entries(before)
    assert json.loads(kept["signature.json"])["policies"][0]["signedBy"] == "makers"
    assert [each["counts"] for each in json.loads(kept["approvals.json"])] == [True]
    assert [each["met"] for each in json.loads(kept["evaluations.json"])["requirements"]] == [True]
    facts = [json.loads(line) for line in kept["audit/records.jsonl"].splitlines()]
    assert {each["kind"] for each in facts} >= {"ModelVersion", "ModelEvaluation", "ModelApproval"}
    told = [each["after"]["spec"]["approvals"] for each in facts if each["reason"] == "PolicyAdded"]
    assert [each["stage"] for each in told[0]] == ["staging"]
    assert {each["role"] for each in json.loads(kept["files.json"])} >= {"configuration", "tokenizer"}
    assert b"kind: InferenceService" in kept["template.yaml"]
    assert world.endpoint.credentials.secret_key.encode() not in before.read_bytes()

    world.upload(files={"config.json": MINIATURE["config.json"].replace(b"{", b"{ ", 1)})
    world.phase("granite-1", "Artifact Changed")
    after, changed = office.proven("after.zip")
    assert (changed["intact"], changed["digest"], changed["phase"]) == (True, digest, "Artifact Changed")
    assert changed["found"]["changed"] == ["config.json"]
    assert changed["found"]["digest"] != digest
    assert changed["audit"]["records"] > found["audit"]["records"]
    assert entries(after)["manifest.txt"] == kept["manifest.txt"]
    assert b"ANOTHER" in entries(after)["report.html"]
    assert verify_elsewhere(before) == 0, "what was true then still verifies"


def test_evidence_outlives_the_object(office: Office) -> None:
    world = office.world
    office.policy()
    world.upload()
    world.apply(world.registry(), world.model(), world.version())
    digest = world.ready()["status"]["artifact"]["digest"]
    world.delete("ModelVersion", "granite-1")
    until(lambda: world.rows(office.operator)[0]["state"] == "ARCHIVED", what="the row is not archived")
    code, found = office.verify(office.export("gone.zip", "--key", str(office.folder / "evidence.key")))
    assert (code, found["digest"]) == (0, digest)
    assert any("does not exist in the cluster" in note for note in found["notes"])
    kept = entries(office.folder / "gone.zip")
    assert json.loads(kept["judgement.json"])["policies"] == {world.namespace: "Complies"}
    assert json.loads(kept["version.json"])["spec"]["version"] == "granite-1"


def test_evidence_that_was_touched_or_is_of_another_key_is_refused(office: Office) -> None:
    world = office.world
    office.policy()
    world.upload()
    world.apply(world.registry(), world.model(), world.version())
    world.ready()
    file = office.export("bare.zip")
    code, found = office.verify(file)
    assert (code, found["signedBy"]) == (1, None)
    assert "the bundle is not signed" in found["problems"][0]
    code, found = office.verify(file, "--audit-public-key", str(office.audit_key.public))
    assert (code, found["intact"]) == (0, True)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert office.verify(file)[0] == 1
    assert verify_elsewhere(file) == 1
    assert run("verify", str(office.folder / "none.zip")).exit_code == 2
    assert (office.folder / "evidence.key").stat().st_mode & 0o777 == 0o600
    assert run("keygen", str(office.folder / "evidence.key")).exit_code == 2


def test_there_is_no_evidence_of_what_was_never_verified(office: Office) -> None:
    world = office.world
    office.policy()
    world.apply(world.registry(), world.model(), world.version())
    world.phase("granite-1", "Artifact Missing")
    office.export("nothing.zip", expect=1)
    assert not (office.folder / "nothing.zip").exists()


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ({}, "name at least one key or identity"),
        (
            {"identities": [{"name": "team", "issuer": "https://issuer.example.com", "subject": "team@example.com"}]},
            "identities need certificateAuthorities",
        ),
    ],
)
def test_a_policy_whose_signers_nobody_could_tell_is_not_taken(
    control_plane: RunningControlPlane, signature: Manifest, said: str
) -> None:
    body = {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "GovernancePolicy",
        "metadata": {"name": "signers"},
        "spec": {"artifact": {"signature": signature}},
    }
    with contextlib.closing(control_plane.client()) as client, pytest.raises(ApiRefused, match=said):
        client.request("POST", f"{POLICIES}?dryRun=All", body)
