"""Model signatures, against what the reference tool writes and takes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from model_signing import hashing, verifying

import worlds
from gatehouse.api.governance_policy import SignatureRequirements
from gatehouse.domain.artifact.signature import read_signature
from gatehouse.domain.governance.signature_trust import SignatureCheck, judge_signature
from gatehouse.domain.version.lifecycle import decide
from gatehouse.registry.mappers import dump_artifact, load_artifact
from policies import policy
from signing import Authority, hashes_of, make_key, public_pem, restated, sign_folder

KEY = make_key()
ISSUER, SUBJECT = "https://accounts.example.com", "ml-team@example.com"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "granite"
    (made / "original").mkdir(parents=True)
    for path in ("config.json", "model.safetensors", "original/params.json", "tokenizer with blanks.json"):
        (made / path).write_bytes(path.encode())
    return made


def keys(*pems: str) -> SignatureRequirements:
    return SignatureRequirements.model_validate(
        {"keys": [{"name": f"key-{number}", "publicKey": pem} for number, pem in enumerate(pems)]}
    )


def identities(authorities: str, *, issuer: str = ISSUER, subject: str = SUBJECT) -> SignatureRequirements:
    identity = {"name": "ml-team", "issuer": issuer, "subject": subject}
    return SignatureRequirements.model_validate({"identities": [identity], "certificateAuthorities": authorities})


def judged(bundle: bytes, folder: Path, wanted: SignatureRequirements | None = None) -> SignatureCheck:
    return judge_signature(read_signature(bundle, hashes_of(folder)), wanted or keys(public_pem(KEY)))


def refusal(check: SignatureCheck) -> str:
    assert check.signed_by is None
    assert check.problem is not None
    return check.problem.reason


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_what_the_reference_tool_signs_is_taken_with_the_key_of_the_policy(
    folder: Path, curve: ec.EllipticCurve
) -> None:
    key = make_key(curve)
    bundle = sign_folder(folder, key)
    assert judged(bundle, folder, keys(public_pem(key))).signed_by == "key-0"
    assert judged(bundle, folder, keys(public_pem(make_key(curve)), public_pem(key))).signed_by == "key-1"
    assert refusal(judged(bundle, folder, keys(public_pem(make_key(curve))))) == "SignerNotTrusted"


def change(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"config.jsoN")


def rename(folder: Path) -> None:
    (folder / "config.json").rename(folder / "config.bak")


def add(folder: Path) -> None:
    (folder / "original" / "more.json").write_bytes(b"")


def remove(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def swap(folder: Path) -> None:
    one, other = folder / "config.json", folder / "model.safetensors"
    was = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(was)


@pytest.mark.parametrize("alter", [change, rename, add, remove, swap])
def test_a_folder_that_was_altered_is_refused_as_the_tool_refuses_it(
    folder: Path, alter: Callable[[Path], None]
) -> None:
    bundle = sign_folder(folder, KEY)
    alter(folder)
    check = judged(bundle, folder)
    assert refusal(check) == "SignatureInvalid"
    (folder.parent / "key.pub").write_text(public_pem(KEY))
    tool = verifying.Config().use_elliptic_key_verifier(public_key=folder.parent / "key.pub")
    with pytest.raises(ValueError, match="Signature mismatch"):
        tool.verify(folder, folder.parent / "granite.sig")


def test_what_the_tool_leaves_out_may_be_there_and_may_be_missing(folder: Path) -> None:
    bundle = sign_folder(folder, KEY)
    (folder / ".git").mkdir()
    for path in (".git/HEAD", ".gitattributes"):
        (folder / path).write_bytes(b"later")
    assert judged(bundle, folder).signed_by == "key-0"
    beside = sign_folder(folder, KEY, into=folder / "model.sig")
    files = {path: sha256 for path, sha256 in hashes_of(folder).items() if path != "model.sig"}
    assert judge_signature(read_signature(beside, files), keys(public_pem(KEY))).signed_by == "key-0"


def test_files_that_a_signer_left_out_of_his_own_accord_are_not_signed(folder: Path) -> None:
    config = hashing.Config().set_ignored_paths(paths=[folder / "config.json"])
    check = judged(sign_folder(folder, KEY, config=config), folder)
    assert refusal(check) == "SignatureInvalid"
    assert check.problem is not None
    assert "not signed: 'config.json'" in check.problem.found


def test_a_manifest_that_lay_in_the_folder_when_it_was_signed_is_passed_over(folder: Path) -> None:
    (folder / "gatehouse.manifest").write_bytes(b"signed")
    bundle = sign_folder(folder, KEY)
    (folder / "gatehouse.manifest").unlink()
    assert judged(bundle, folder).signed_by == "key-0"


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (hashing.Config().use_shard_serialization(), "hashes of 'shards'"),
        (hashing.Config().use_file_serialization(hashing_algorithm="blake2"), "hashes made with 'blake2b'"),
    ],
)
def test_hashes_that_cannot_be_compared_are_refused_with_words(
    folder: Path, config: hashing.Config, found: str
) -> None:
    check = judged(sign_folder(folder, KEY, config=config), folder)
    assert refusal(check) == "SignatureInvalid"
    assert check.problem is not None
    assert found in check.problem.found


def test_every_changed_byte_of_what_was_signed_is_refused(folder: Path) -> None:
    document = json.loads(sign_folder(folder, KEY))
    files = hashes_of(folder)
    for member in ("payload", "sig"):
        holder = document["dsseEnvelope"] if member == "payload" else document["dsseEnvelope"]["signatures"][0]
        kept = holder[member]
        raw = bytearray(base64.b64decode(kept))
        for position in range(len(raw)):
            raw[position] ^= 1
            holder[member] = base64.b64encode(raw).decode()
            raw[position] ^= 1
            record = read_signature(json.dumps(document).encode(), files)
            assert refusal(judge_signature(record, keys(public_pem(KEY)))) in {"SignatureInvalid", "SignerNotTrusted"}
        holder[member] = kept


@pytest.mark.parametrize(
    "statement",
    [
        {"predicateType": "https://model_signing/Digests/v0.1"},
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": [{"name": "granite", "digest": {"sha256": "0" * 64}}]},
        {"subject": []},
        {"predicate": {"serialization": {"method": "files"}, "resources": []}},
        {"predicate": {"serialization": {"method": "files"}, "resources": [{"name": "a", "algorithm": "sha256"}]}},
        {"predicate": []},
    ],
)
def test_another_statement_by_the_right_key_is_refused(folder: Path, statement: dict[str, Any]) -> None:
    bundle = restated(sign_folder(folder, KEY), KEY, statement)
    assert refusal(judged(bundle, folder)) == "SignatureInvalid"


@given(
    st.one_of(
        st.binary(max_size=300), st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
    )
)
def test_rubbish_is_a_problem_and_no_error(data: bytes) -> None:
    assert read_signature(data, {}).problem


def test_a_certificate_of_the_authority_for_the_identity_is_taken_and_no_other(folder: Path) -> None:
    authority, other = Authority(), Authority()
    bundle = authority.sign(sign_folder(folder, KEY), subject=SUBJECT, issuer=ISSUER)
    assert judged(bundle, folder, identities(authority.pem)).signed_by == "ml-team"
    assert judged(bundle, folder, identities(other.pem + authority.pem)).signed_by == "ml-team"
    for wanted in (
        identities(other.pem),
        identities(authority.pem, subject="someone@example.com"),
        identities(authority.pem, issuer="https://accounts.example.org"),
        keys(public_pem(KEY)),
    ):
        check = judged(bundle, folder, wanted)
        assert refusal(check) == "SignerNotTrusted"
        assert check.problem is not None
        assert f"{SUBJECT} (issuer: {ISSUER})" in check.problem.found
    server = authority.sign(bundle, subject=SUBJECT, issuer=ISSUER, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    assert refusal(judged(server, folder, identities(authority.pem))) == "SignerNotTrusted"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_no_byte_of_a_certificate_can_change_and_none_is_an_error(folder: Path) -> None:
    authority = Authority()
    record = read_signature(authority.sign(sign_folder(folder, KEY), subject=SUBJECT, issuer=ISSUER), hashes_of(folder))
    wanted = identities(authority.pem)
    assert judge_signature(record, wanted).signed_by == "ml-team"
    der = bytearray(base64.b64decode(record.certificates[0]))
    # How many bits of the authority's signature do not count: it is about the signature, and nothing signs it.
    unused_bits = len(der) - len(load_der_x509_certificate(bytes(der)).signature) - 1
    for position in set(range(len(der))) - {unused_bits}:
        for bit in (0, 7):
            der[position] ^= 1 << bit
            changed = replace(record, certificates=(base64.b64encode(der).decode(),))
            assert refusal(judge_signature(changed, wanted)) == "SignerNotTrusted", (position, bit)
            der[position] ^= 1 << bit


def test_a_workflow_is_an_identity_too(folder: Path) -> None:
    authority, workflow = Authority(), "https://github.com/team/granite/.github/workflows/release.yaml@refs/tags/v1"
    bundle = authority.sign(sign_folder(folder, KEY), subject=workflow, issuer=ISSUER)
    assert judged(bundle, folder, identities(authority.pem, subject=workflow)).signed_by == "ml-team"
    assert refusal(judged(bundle, folder, identities(authority.pem, subject=workflow[:-1]))) == "SignerNotTrusted"


def test_a_certificate_beside_the_signature_of_another_key_is_refused(folder: Path) -> None:
    authority = Authority()
    document = json.loads(sign_folder(folder, KEY))
    signed = json.loads(authority.sign(json.dumps(document).encode(), subject=SUBJECT, issuer=ISSUER))
    document["verificationMaterial"] = signed["verificationMaterial"]
    check = judged(json.dumps(document).encode(), folder, identities(authority.pem))
    assert refusal(check) == "SignerNotTrusted"


def test_a_signer_of_the_policy_that_is_no_key_denies_and_is_named(folder: Path) -> None:
    bundle = sign_folder(folder, KEY)
    ed25519 = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for pem in ("x" * 64, ed25519.decode()):
        check = judged(bundle, folder, keys(pem))
        assert refusal(check) == "SignersUnusable"
        assert check.problem is not None
        assert "key-0" in check.problem.found


def test_the_row_keeps_what_it_takes_to_judge_it_again(folder: Path) -> None:
    bundle = Authority().sign(sign_folder(folder, KEY), subject=SUBJECT, issuer=ISSUER)
    record = worlds.record(signature=read_signature(bundle, hashes_of(folder)))
    text = dump_artifact(record)
    assert load_artifact(text) == record
    assert len(text) < 3000


def test_a_policy_that_wants_a_signature_denies_without_one_and_with_anothers(folder: Path) -> None:
    strict = policy(artifact={"signature": keys(public_pem(KEY)).wire()})
    signed = read_signature(sign_folder(folder, KEY), hashes_of(folder))
    forged = read_signature(sign_folder(folder, make_key()), hashes_of(folder))
    wrong = read_signature(sign_folder(folder, KEY), {})
    for record, reason in ((None, "SignatureMissing"), (forged, "SignerNotTrusted"), (wrong, "SignatureInvalid")):
        facts = worlds.facts(
            policies=(strict,), policy_names=frozenset({"strict"}), artifact=worlds.record(signature=record)
        )
        found = decide(facts)
        assert (found.phase, found.reason) == ("Policy Denied", reason)
    facts = worlds.facts(
        policies=(strict,), policy_names=frozenset({"strict"}), artifact=worlds.record(signature=signed)
    )
    assert decide(facts).outcomes == {"strict": "Complies"}
