"""model.sig beside the files: read with the check that hashed them, and again when it is another."""

from __future__ import annotations

from pathlib import Path

from fakestore import FakeStore
from gatehouse.api.governance_policy import SignatureRequirements
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, CheckResult, Verifier
from gatehouse.domain.artifact.signature import LARGEST_SIGNATURE
from gatehouse.domain.governance.signature_trust import judge_signature
from modelfiles import config_json, safetensors_file
from signing import make_key, public_pem, sign_folder
from worlds import NOW

FILES = {
    "config.json": config_json(),
    "model.safetensors": safetensors_file({"a": ("BF16", (4, 4))}),
    "tokenizer.json": b"{}",
}


class _Clock:
    def now(self) -> object:
        return NOW


def bucket(**beside: bytes) -> FakeStore:
    return FakeStore({f"m/{path}": data for path, data in {**FILES, **beside}.items()})


async def check(store: FakeStore, before: CheckResult | None = None) -> CheckResult:
    request = CheckRequest(
        store=store,
        prefix="m/",
        artifact_format="safetensors",
        previous=before.record if before else None,
        known={file.path: file for file in before.files or ()} if before else {},
    )
    return await Verifier(request, clock=_Clock(), slots=CheckSlots()).run()  # type: ignore[arg-type]  # a clock


async def test_a_signature_that_is_put_beside_the_files_costs_one_read_and_changes_no_digest(tmp_path: Path) -> None:
    folder, key = tmp_path / "m", make_key()
    folder.mkdir()
    for path, data in FILES.items():
        (folder / path).write_bytes(data)
    wanted = SignatureRequirements.model_validate({"keys": [{"name": "team", "publicKey": public_pem(key)}]})
    bare = await check(bucket())
    assert bare.record.signature is None
    store = bucket(**{"model.sig": sign_folder(folder, key)})
    signed = await check(store, bare)
    assert signed.record.digest == bare.record.digest
    assert judge_signature(signed.record.signature, wanted).signed_by == "team"
    assert store.read_keys.count("m/model.sig") == 1
    again = await check(store, signed)
    assert again.record.signature == signed.record.signature
    assert store.read_keys.count("m/model.sig") == 1


async def test_a_signature_larger_than_any_can_be_is_not_read() -> None:
    store = bucket(**{"model.sig": b" " * (LARGEST_SIGNATURE + 1)})
    found = (await check(store)).record
    assert (found.outcome, [problem.reason for problem in found.problems]) == ("Invalid", ["SignatureInvalid"])
    assert "at most" in found.problems[0].expected
    assert "m/model.sig" not in store.read_keys
