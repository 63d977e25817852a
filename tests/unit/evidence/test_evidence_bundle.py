"""A bundle: what is in it, that it is always the same, and that no byte of it can change unseen."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from dataclasses import replace
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from evidences import DIGEST, FILES, excerpt_of, make_signer, subject, trail
from gatehouse.domain.audit.keys import PublicKeys, Signer
from gatehouse.evidence.archive import MOST_ENTRIES, pack, unpack
from gatehouse.evidence.envelope import seal
from gatehouse.evidence.errors import BundleBroken, EvidenceError
from gatehouse.evidence.export import bundle
from gatehouse.evidence.model import Subject
from gatehouse.evidence.verification import Verified, verify_bundle
from policies import approval

SIGNER, AUDITOR = make_signer(), make_signer()
ABOUT = [1, 3]
WHOLE = subject(audit=excerpt_of(trail(5, about=ABOUT), about=ABOUT, checkpoints=[2, 4], signer=AUDITOR))
SIGNED = bundle(WHOLE, signer=SIGNER)
UNSIGNED = bundle(WHOLE, signer=None)


def keys(*signers: Signer) -> PublicKeys:
    return PublicKeys(each.public_key for each in signers)


def verified(data: bytes, *, by: Signer | None = SIGNER, auditor: Signer | None = AUDITOR) -> Verified:
    return verify_bundle(data, keys=keys(by) if by else None, audit_keys=keys(auditor) if auditor else None)


def document(name: str, of: Subject = WHOLE) -> Any:
    return json.loads(unpack(bundle(of, signer=None))[name])


def test_a_bundle_is_whole_and_says_what_it_is_of() -> None:
    found = verified(SIGNED)
    assert (found.intact, found.trusted, found.key_id, list(found.notes)) == (True, True, SIGNER.key_id, [])
    assert (found.index["digest"], found.index["name"], found.index["version"]) == (DIGEST, "granite-1", "1")
    assert (found.audit.about, found.audit.proven, found.audit.checkpoints) == (2, 2, 2)


def test_what_was_not_looked_at_is_said() -> None:
    found = verified(SIGNED, by=None, auditor=None)
    assert (found.intact, found.trusted) == (True, False)
    assert ["the owner of the key was not checked" in note for note in found.notes] == [True, False]
    assert "audit checkpoints were not checked" in found.notes[1]
    bare = verified(UNSIGNED, by=None)
    assert (bare.intact, bare.key_id) == (True, None)
    assert "the bundle is not signed" in bare.notes[0]


@pytest.mark.parametrize("data", [UNSIGNED, bundle(WHOLE, signer=make_signer())], ids=["unsigned", "another key"])
def test_a_bundle_that_the_key_given_did_not_sign_is_refused(data: bytes) -> None:
    assert not verified(data).intact
    assert verified(data, by=None).intact


def test_the_same_facts_are_the_same_bytes() -> None:
    assert bundle(WHOLE, signer=SIGNER) == SIGNED
    entries = {"b.txt": b"two", "a/c.json": b"{}", "a.txt": b""}
    assert pack(entries) == pack(dict(reversed(entries.items())))
    # What one Python's zipfile writes another must write too: this fails where it does not.
    known = "ae97bdeaa79c7ae96aed0138b9026617"
    assert hashlib.sha256(pack(entries)).hexdigest()[:32] == known


@pytest.mark.parametrize("data", [SIGNED, UNSIGNED], ids=["signed", "unsigned"])
def test_no_byte_changes_unseen(data: bytes) -> None:
    """Every third byte, shifted by the value that is added, so that all parts of the file are met."""
    whole = bytearray(data)
    for position in range(len(whole) % 3, len(whole), 3):
        was = whole[position]
        whole[position] = was ^ (1 << position % 8)
        assert not verify_bundle(bytes(whole), keys=None, audit_keys=None).intact, position
        whole[position] = was
    assert verify_bundle(bytes(whole), keys=None, audit_keys=None).intact


@given(position=st.integers(0, len(SIGNED) - 1), value=st.integers(1, 255))
def test_no_byte_changes_to_any_value_unseen(position: int, value: int) -> None:
    changed = bytearray(SIGNED)
    changed[position] = (changed[position] + value) % 256
    assert not verify_bundle(bytes(changed), keys=None, audit_keys=None).intact


@given(st.data())
def test_nothing_is_cut_off_added_or_put_in(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SIGNED) - 1))
    end = data.draw(st.integers(start, len(SIGNED)))
    more = data.draw(st.binary(max_size=20))
    changed = SIGNED[:start] + more + SIGNED[end:]
    assert verify_bundle(changed, keys=None, audit_keys=None).intact == (changed == SIGNED)


def rebuilt(change: Any) -> bytes:
    """The bundle with an entry replaced, and index, envelope and zip made anew by somebody without the key."""
    entries = dict(unpack(SIGNED))
    index = json.loads(entries["index.json"])
    about = {name: value for name, value in index.items() if name != "entries"}
    plain = {name: data for name, data in entries.items() if name in index["entries"] and name != "evidence.pub"}
    change(plain, about)
    return pack(seal(plain, about, signer=make_signer()))


def other_manifest(entries: dict[str, bytes], _about: dict[str, Any]) -> None:
    entries["manifest.txt"] = entries["manifest.txt"].replace(b"0", b"f", 1)


def other_digest(_entries: dict[str, bytes], about: dict[str, Any]) -> None:
    about["digest"] = worlds.DIGEST


def other_record(entries: dict[str, bytes], _about: dict[str, Any]) -> None:
    entries["audit/records.jsonl"] = entries["audit/records.jsonl"].replace(b"gatehouse", b"gatehousE", 1)


def missing_record(entries: dict[str, bytes], _about: dict[str, Any]) -> None:
    entries["audit/records.jsonl"] = b"".join(entries["audit/records.jsonl"].splitlines(keepends=True)[1:])


def other_format(_entries: dict[str, bytes], about: dict[str, Any]) -> None:
    about["format"] = 2


@pytest.mark.parametrize("change", [other_manifest, other_digest, other_record, missing_record, other_format])
def test_a_bundle_that_was_made_anew_with_other_facts_does_not_hold_together(change: Any) -> None:
    found = verify_bundle(rebuilt(change), keys=None, audit_keys=keys(AUDITOR))
    assert len(found.problems) >= 1
    assert verify_bundle(rebuilt(lambda *_: None), keys=None, audit_keys=keys(AUDITOR)).intact
    assert not verified(rebuilt(lambda *_: None)).intact


def test_an_audit_excerpt_counts_only_with_the_checkpoints_of_the_operator() -> None:
    found = verified(SIGNED, auditor=make_signer())
    assert [problem for problem in found.problems if "checkpoint" in problem]
    assert found.audit.proven == 0


@pytest.mark.parametrize("about", [[1, 5], [2, 3]], ids=["apart", "side by side"])
def test_records_after_the_last_checkpoint_are_said_to_have_none(about: list[int]) -> None:
    late = subject(audit=excerpt_of(trail(5, about=about), about=about, checkpoints=[2], signer=AUDITOR))
    found = verified(bundle(late, signer=SIGNER))
    assert (found.intact, found.audit.about, found.audit.proven) == (True, 2, 1)
    assert any("1 audit records" in note for note in found.notes)


# Hostile files


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../b", "a/b/c.txt", "C:\\x", ".hidden", "a" * 200, "a\n", "ä"]
)
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(BundleBroken):
        unpack(zipped({name: b"x"}))


def test_a_zip_that_swells_is_refused_before_it_does() -> None:
    with pytest.raises(BundleBroken, match="larger than the file"):
        unpack(zipped({"a.txt": bytes(10_000_000)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(BundleBroken, match=f"expected: at most {MOST_ENTRIES}"):
        unpack(zipped({f"a{number}": b"" for number in range(MOST_ENTRIES + 1)}))


def test_the_table_of_a_zip_is_not_read_when_it_is_too_long() -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 200_000_000, 0, 0)
    with pytest.raises(BundleBroken, match="1 entries in 200000000 bytes"):
        unpack(b"PK\x01\x02" * 100 + end)
    with pytest.raises(BundleBroken, match="the end of a zip is missing"):
        unpack(b"PK\x06\x07" + bytes(16) + end)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_rubbish_is_a_problem_and_no_error(data: bytes) -> None:
    assert not verify_bundle(data, keys=None, audit_keys=None).intact


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, JSON, JSON)
def test_hostile_documents_are_problems_and_no_errors(index: Any, excerpt: Any, record: Any) -> None:
    about = {"format": 1, "digest": "sha256:" + hashlib.sha256(b"").hexdigest(), "notes": index}
    plain = {
        "manifest.txt": b"",
        "audit/excerpt.json": json.dumps(excerpt).encode(),
        "audit/records.jsonl": json.dumps(record).encode() + b"\n",
    }
    assert not verify_bundle(pack(seal(plain, about, signer=None)), keys=None, audit_keys=None).intact


# What is in it


def test_the_manifest_is_what_sha256sum_reads_and_has_the_digest() -> None:
    text = unpack(SIGNED)["manifest.txt"]
    assert f"sha256:{hashlib.sha256(text).hexdigest()}" == DIGEST
    assert text.decode().splitlines()[1] == f"{FILES[1].sha256}  config.json"


def test_rows_that_are_not_of_the_recorded_digest_make_no_evidence() -> None:
    with pytest.raises(EvidenceError, match="expected: the recorded"):
        bundle(replace(WHOLE, kept=replace(WHOLE.kept, files=FILES[1:])), signer=None)


def test_the_bill_of_materials_validates_as_cyclonedx_1_6() -> None:
    text = unpack(SIGNED)["bom.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    component = bom["metadata"]["component"]
    assert (component["type"], component["name"], component["version"]) == ("machine-learning-model", "granite", "1")
    assert component["modelCard"]["modelParameters"]["architectureFamily"] == "granite"
    assert component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] == "0.8"
    assert {"alg": "SHA-256", "content": FILES[0].sha256} in bom["components"][0]["hashes"]


def test_a_bill_of_materials_of_a_version_that_little_is_known_of_validates_too() -> None:
    bare = subject(
        models=[],
        profile=None,
        registries=[],
        policies=[],
        evaluations=[],
        approvals=[],
        template=None,
        bodies={},
        version=worlds.version(),
    )
    entries = unpack(bundle(bare, signer=None))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(entries["bom.cdx.json"].decode()) is None
    assert b"Gatehouse does not know this" in entries["report.html"]


def test_evaluations_stand_against_their_thresholds_and_approvals_say_why_they_do_not_count() -> None:
    (requirement,) = document("evaluations.json")["requirements"]
    assert (requirement["met"], requirement["found"]) == (True, f"acc is 0.8 in {requirement['evaluation']}")
    decided = {each["name"]: (each["counts"], each["why"]) for each in document("approvals.json")}
    assert decided.pop("old") == (False, "the decision is about other bytes")
    assert list(decided.values()) == [(True, None)]


def test_policies_can_be_applied_again_as_they_stood() -> None:
    kept = yaml.safe_load(unpack(SIGNED)["policies/strict.yaml"])
    assert (kept["kind"], kept["metadata"]["name"]) == ("GovernancePolicy", "strict")
    assert kept["spec"] == WHOLE.declared.snapshot.policies[0].spec.wire()
    assert document("policies.json") == [{"name": "strict", "outcome": "Complies", "mode": "Enforce"}]


def test_tokenizer_configuration_and_chat_template_are_named_by_their_hashes() -> None:
    roles = {each["path"]: (each["role"], each["sha256"]) for each in document("files.json")}
    assert roles["chat_template.jinja"] == ("chat template", FILES[0].sha256)
    assert roles["tokenizer.json"][0] == "tokenizer"
    assert "model.safetensors" not in roles


def test_where_the_hash_of_each_file_is_from_is_told() -> None:
    assert document("hashes.json") == {
        "Bytes": ["chat_template.jinja", "config.json"],
        "StoreChecksum": ["model.safetensors"],
        "NotRecorded": ["tokenizer.json"],
    }
    report = unpack(SIGNED)["report.html"].decode()
    assert "2 read and hashed, 1 by the store&#x27;s own checksum, 1 not recorded how" in report


def test_the_report_has_the_nine_sections_and_escapes_what_people_wrote() -> None:
    report = unpack(SIGNED)["report.html"].decode()
    assert [f"<h2>{number}. " in report for number in range(1, 10)] == [True] * 9
    assert "certifies nothing" in report
    assert "<script" not in report
    assert "&lt;script&gt;" in report
    assert "&lt;b&gt;of&lt;/b&gt;" in report
    assert "record 2" not in report, "a record about another version"


def test_an_approval_that_nobody_can_judge_is_still_there() -> None:
    found = document("approvals.json", subject(models=[], approvals=[approval(digest=DIGEST)]))
    assert [each["spec"]["decision"] for each in found] == ["Approved"]
