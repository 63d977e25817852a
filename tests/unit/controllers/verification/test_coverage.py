"""Each object that reaches the Pod is in the digest, or held to one exact form, or the artifact is refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakestore import FakeStore
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, CheckResult, Verifier
from gatehouse.domain.artifact import manifest
from gatehouse.domain.version.records import FileRecord
from modelfiles import config_json, safetensors_file

WEIGHTS = safetensors_file({"a": ("BF16", (4, 4)), "b": ("F8_E4M3", (8,))})
ZIP = b"PK\x03\x04" + bytes(600)


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 21, 12, tzinfo=UTC)


def tiny(**changes: bytes) -> FakeStore:
    files = {"config.json": config_json(), "model.safetensors": WEIGHTS, "tokenizer.json": b"{}", **changes}
    return FakeStore({f"m/{path}": data for path, data in files.items()})


def rules(result: CheckResult) -> list[str]:
    return [problem.reason for problem in result.record.problems]


async def check(store: FakeStore, **options: object) -> CheckResult:
    request = CheckRequest(**{"store": store, "prefix": "m/", "artifact_format": "safetensors", **options})  # type: ignore[arg-type]  # fields by name
    return await Verifier(request, clock=FixedClock(), slots=CheckSlots()).run()


BUNDLE = json.dumps(
    {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "k"}},
        "dsseEnvelope": {"payload": "", "payloadType": "application/vnd.in-toto+json", "signatures": []},
    }
).encode()
MANIFEST_OF_TINY = manifest.render(
    manifest.ManifestEntry(path.removeprefix("m/"), len(data), hashlib.sha256(data).hexdigest())
    for path, data in tiny().objects.items()
).encode()


@pytest.mark.parametrize(
    ("store", "rule"),
    [
        (tiny(**{"model.sig": b"{}"}), "SignatureInvalid"),
        (tiny(**{"model.sig": WEIGHTS}), "JsonInvalid"),
        (tiny(**{"gatehouse.manifest": b"evil"}), "ManifestInvalid"),
        (tiny(**{"gatehouse.manifest": b"\xff\n"}), "ManifestMismatch"),
        (tiny(**{"gatehouse.manifest": b"0" * 64 + b"  config.json\n"}), "ManifestMismatch"),
    ],
)
async def test_an_own_file_that_is_not_what_it_must_be(store: FakeStore, rule: str) -> None:
    result = await check(store)
    assert (result.record.outcome, rules(result)) == ("Invalid", [rule])
    problem = result.record.problems[0]
    assert all((problem.found, problem.expected, problem.remedy))


async def test_an_archive_in_the_format_of_nobody_is_invalid_also_when_it_was_seen_before() -> None:
    """KServe unpacks a prefix with one archive: what would lie in the Pod is nothing that was checked."""
    saved: list[FileRecord] = []

    async def save(files: Sequence[FileRecord]) -> None:
        saved.extend(files)

    for files in ({"m/model.zip": ZIP}, {"m/model": ZIP}, {"m/notes.txt": ZIP}):
        first = await check(FakeStore(dict(files)), artifact_format="other", save=save)
        assert (first.record.outcome, rules(first)) == ("Invalid", ["UnsafeFile"])
        known = {file.path: file for file in (*saved, *(first.files or ()))}
        assert known == {}
        assert first.record.summary is not None
        assert first.record.summary.unsafe_files == (next(iter(files)).removeprefix("m/"),)


@pytest.mark.parametrize(
    "shape", [b"[1, 2]", b"[", b'"x"', b"\xff\xfe[]", b"{" * 100_000, b'{"a": 1, "a": 2}', b"x" * 9_000_000]
)
async def test_a_file_that_only_looks_like_a_configuration_may_be_of_any_shape(shape: bytes) -> None:
    store = tiny(**{"data_config.json": shape})
    result = await check(store)
    assert (result.record.outcome, rules(result)) == ("Verified", [])
    assert store.read_keys.count("m/data_config.json") == 1


async def test_the_manifest_beside_the_files_is_theirs() -> None:
    bare = await check(tiny())
    files = {file.path: file.sha256 for file in bare.files or ()}
    text = manifest.render(manifest.ManifestEntry(path, 0, sha256) for path, sha256 in files.items()).encode()
    beside = await check(tiny(**{"gatehouse.manifest": text}))
    assert (beside.record.outcome, beside.record.digest) == ("Verified", bare.record.digest)
    other = await check(tiny(**{"gatehouse.manifest": text, "tokenizer.json": b"{ }"}))
    assert (other.record.outcome, rules(other)) == ("Invalid", ["ManifestMismatch"])
    assert "tokenizer.json" in other.record.problems[0].found
    # Its digest is known: against a recorded one it is a change.
    assert other.record.digest not in {None, bare.record.digest}


EXTRAS = st.dictionaries(
    st.sampled_from(
        [
            "gatehouse.manifest",
            "model.sig",
            "Model.sig",
            "sub/model.sig",
            "sub/",
            "",
            "sub",
            "sub//x",
            ".hidden",
            "x.zip",
        ]
    ),
    st.sampled_from([b"", b"1", b"{}", ZIP, b"0" * 64 + b"  config.json\n", BUNDLE, MANIFEST_OF_TINY]),
    max_size=4,
)


@given(extras=EXTRAS)
def test_each_object_that_reaches_the_pod_is_in_the_digest_or_of_one_exact_form(extras: dict[str, bytes]) -> None:
    store = tiny(**extras)
    result = asyncio.run(check(store))
    if result.record.outcome != "Verified":
        return
    loaded = {key.removeprefix("m/"): data for key, data in store.objects.items() if not key.endswith("/")}
    assert all(loaded.values()), "KServe leaves out what is empty"
    signature, text = loaded.pop("model.sig", BUNDLE), loaded.pop("gatehouse.manifest", None)
    assert signature == BUNDLE
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in loaded.items()}
    wanted = manifest.render(manifest.ManifestEntry(path, 0, sha256) for path, sha256 in hashes.items()).encode()
    assert text in {None, wanted}
    assert result.record.digest == f"sha256:{hashlib.sha256(wanted).hexdigest()}"
