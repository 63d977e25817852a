"""One check of an artifact, over a store in memory that counts requests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest

from fakestore import FakeStore, failing
from gatehouse.controllers.verification.parsing import InProcess, Read
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import (
    CHECKSUM_WORTH_BYTES,
    CheckResult,
    Verifier,
)
from gatehouse.domain.artifact.unsafe_files import OPENING_BYTES
from gatehouse.domain.artifact.values import ContentSource
from gatehouse.domain.common.errors import Transient, Waiting
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.formats import shards
from gatehouse.domain.formats.parsers import Parser, Task
from gatehouse.domain.formats.safetensors import HEADER
from gatehouse.domain.version.records import FileRecord
from modelfiles import config_json, gguf_file, safetensors_file, safetensors_frame, shard_index
from unit.controllers.verification.checks import (
    NOW,
    WEIGHTS,
    FixedClock,
    check,
    request_for,
    rules,
    sharded,
    tiny,
    verification,
)

R = TypeVar("R")


async def test_a_tiny_artifact_costs_one_list_and_one_get_an_object() -> None:
    store = tiny()
    result = await check(store)
    assert dict(store.requests) == {"list": 1, "read": 3}
    assert sorted(store.read_keys) == sorted(store.objects)
    assert result.record.outcome == "Verified"
    summary = result.record.summary
    assert summary is not None
    assert (summary.parameters, summary.weights_bytes, dict(summary.dtypes)) == (24, 40, {"BF16": 16, "F8_E4M3": 8})
    assert summary.config is not None
    assert summary.config.architecture == "GraniteForCausalLM"
    assert (summary.files, summary.total_bytes) == (3, sum(map(len, store.objects.values())))


async def test_the_digest_is_that_of_sha256sum() -> None:
    store = tiny()
    lines = [
        f"{hashlib.sha256(store.objects[key]).hexdigest()}  {key.removeprefix('m/')}\n" for key in sorted(store.objects)
    ]
    result = await check(store)
    assert result.record.digest == f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


async def test_an_unchanged_listing_costs_the_list_alone() -> None:
    store = tiny()
    first = await check(store)
    later = NOW + timedelta(hours=1)
    again = await verification(request_for(store, previous=first.record), at=later).run()
    assert again == CheckResult(replace(first.record, verified_at=later), None)
    assert dict(store.requests) == {"list": 2, "read": 3}


@pytest.mark.parametrize("outcome", ["Invalid", "Missing"])
async def test_a_bad_artifact_that_did_not_change_costs_the_list_alone(outcome: str) -> None:
    store = tiny(**{"config.json": b"{"}) if outcome == "Invalid" else FakeStore({})
    first = await check(store)
    assert first.record.outcome == outcome
    store.requests.clear()
    again = await check(store, previous=first.record)
    assert (again.record, dict(store.requests)) == (first.record, {"list": 1})


async def test_another_format_is_another_check() -> None:
    store = tiny()
    first = await check(store)
    again = await check(store, previous=first.record, artifact_format="gguf")
    assert rules(again) == ["WeightsMissing"]


async def test_only_the_changed_file_is_read_again() -> None:
    store = tiny(**{"extra.txt": b"1"})
    first = await check(store)
    assert first.files is not None
    store.objects["m/extra.txt"] = b"2"
    store.read_keys.clear()
    second = await check(store, previous=first.record, known={file.path: file for file in first.files})
    # The structure is read anew, since what makes a whole of the files may have changed.
    assert sorted(store.read_keys) == ["m/config.json", "m/extra.txt", "m/model.safetensors"]
    assert second.record.digest not in {None, first.record.digest}


async def test_a_known_hash_counts_only_with_its_size_and_etag() -> None:
    store = tiny()
    first = await check(store)
    assert first.files is not None
    lies = {
        file.path: replace(file, sha256="0" * 64, etag='"other"' if file.path == "config.json" else file.etag)
        for file in first.files
    }
    result = await check(store, known=lies)
    assert result.files is not None
    hashes = {file.path: file.sha256 for file in result.files}
    assert hashes["config.json"] == hashlib.sha256(config_json()).hexdigest()
    assert hashes["tokenizer.json"] == "0" * 64


@pytest.mark.parametrize(
    "store", [FakeStore({}), FakeStore({"other/x": b"1"}), FakeStore({"m/": b""}), FakeStore({"m/model.sig": b"1"})]
)
async def test_nothing_there_is_missing(store: FakeStore) -> None:
    result = await check(store)
    assert (result.record.outcome, result.record.summary, store.requests["read"]) == ("Missing", None, 0)


async def test_a_bucket_that_is_not_there_is_missing() -> None:
    assert (await check(FakeStore({}, bucket_exists=False))).record.outcome == "Missing"


async def test_a_sibling_with_the_same_beginning_is_not_part_of_it() -> None:
    store = tiny()
    store.objects["m-other/evil.pkl"] = b"1"
    assert (await check(store)).record.outcome == "Verified"


async def test_a_sharded_model() -> None:
    store = sharded()
    result = await check(store)
    assert (result.record.outcome, rules(result)) == ("Verified", [])
    assert dict(store.requests) == {"list": 1, "read": 5}
    assert result.record.summary is not None
    assert result.record.summary.parameters == 8


ZIP = b"PK\x03\x04" + bytes(600)
SHARD = safetensors_file({"a": ("BF16", (4,))})


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (tiny(**{"config.json": None}), ["ConfigMissing"]),
        (tiny(**{"config.json": b"{"}), ["JsonInvalid"]),
        (tiny(**{"config.json": b"[]"}), ["ConfigInvalid"]),
        (tiny(**{"config.json": b"\xff\xfe{}"}), ["JsonInvalid"]),
        (tiny(**{"config.json": config_json(num_attention_heads=0)}), ["ConfigInvalid"]),
        (tiny(**{"config.json": config_json(num_attention_heads=-32)}), ["ConfigInvalid"]),
        (tiny(**{"config.json": config_json(num_hidden_layers=10**18)}), ["ConfigInvalid"]),
        (tiny(**{"config.json": config_json(hidden_size="4096")}), ["ConfigInvalid"]),
        (tiny(**{"config.json": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"}), ["JsonTooDeep"]),
        (tiny(**{"config.json": b'{"a":"' + b"x" * 9_000_000 + b'"}'}), ["JsonTooLarge"]),
        (tiny(**{"config.json": config_json(auto_map={"AutoModel": "m.X"})}), ["RemoteCode"]),
        (tiny(**{"tokenizer_config.json": b'{"auto_map": {}}'}), ["RemoteCode"]),
        (tiny(**{"tokenizer_config.json": b"not json"}), ["JsonInvalid"]),
        (tiny(**{"config.4.0.0.json": b'{"auto_map": {}}'}), ["RemoteCode"]),
        (tiny(**{"data_config.json": b'[{"a": {"\\u0061uto_map": {}}}]'}), ["RemoteCode"]),
        (tiny(**{"pytorch_model.bin": b"1"}), ["UnsafeFile"]),
        (tiny(**{"model.zip": b"1"}), ["UnsafeFile"]),
        (tiny(**{"data_config.json": ZIP}), ["UnsafeFile"]),
        (tiny(**{"model.safetensors": ZIP}), ["UnsafeFile"]),
        (tiny(**{"model.sig": b""}), ["EmptyFile"]),
        (tiny(**{"gatehouse.manifest": b""}), ["EmptyFile"]),
        (tiny(**{"model.safetensors": WEIGHTS[:-1]}), ["ObjectSizeMismatch"]),
        (tiny(**{"model.safetensors": WEIGHTS[:20]}), ["HeaderTruncated"]),
        (tiny(**{"model.safetensors": b"1234"}), ["ObjectTooSmall"]),
        (tiny(**{"model.safetensors": b""}), ["EmptyFile", "WeightsMissing"]),
        (tiny(**{"model.safetensors": (2**40).to_bytes(8, "little") + b"{}"}), ["HeaderTooLarge"]),
        (
            tiny(
                **{
                    "model.safetensors": safetensors_frame(
                        b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,1]}}', b"1"
                    )
                }
            ),
            ["UnknownDtype"],
        ),
        (
            tiny(
                **{
                    "model.safetensors": safetensors_frame(
                        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"12"
                    )
                }
            ),
            ["OffsetGap"],
        ),
        (
            tiny(
                **{
                    "model.safetensors": safetensors_frame(
                        b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', b"1"
                    )
                }
            ),
            ["SizeMismatch"],
        ),
        (tiny(**{"sub/adapter.safetensors": b"12345678"}), ["HeaderTooLarge"]),
        (sharded(**{"two.safetensors": None}), ["ShardMissing"]),
        (sharded(**{"two.safetensors": SHARD}), ["TensorMissing"]),
        (sharded(**{"two.safetensors": b""}), ["EmptyFile"]),
        (sharded(**{"two.safetensors": SHARD[:-1]}), ["ObjectSizeMismatch"]),
        (sharded(**{"model.safetensors.index.json": b"{}"}), ["IndexInvalid"]),
        (sharded(**{"model.safetensors.index.json": shard_index({"a": "../one.safetensors"})}), ["HostileName"]),
        (
            sharded(
                **{
                    "one.safetensors": safetensors_file({"a": ("BF16", (4,)), "b": ("BF16", (4,))}),
                }
            ),
            ["DuplicateTensor"],
        ),
    ],
)
async def test_bad_artifacts_are_invalid_and_not_hashed(store: FakeStore, expected: list[str]) -> None:
    result = await check(store)
    assert (result.record.outcome, rules(result)) == ("Invalid", expected)
    assert result.record.digest is None
    assert "m/tokenizer.json" not in store.read_keys
    assert result.record.summary is not None


async def test_every_problem_is_named_up_to_ten() -> None:
    store = tiny(**{"config.json": b"{", "model.safetensors": WEIGHTS[:-1], "x.py": b"1", "y.pkl": b"1"})
    assert rules(await check(store)) == ["UnsafeFile", "UnsafeFile", "JsonInvalid", "ObjectSizeMismatch"]
    many = tiny(**{f"{number}.pkl": b"1" for number in range(200)})
    result = await check(many)
    assert len(result.record.problems) == 10
    assert result.record.summary is not None
    assert len(result.record.summary.unsafe_files) == 100


async def test_remote_code_is_named_among_the_unsafe() -> None:
    result = await check(tiny(**{"config.json": config_json(auto_map={"AutoModel": "m.X"}), "m.py": b"1"}))
    assert result.record.summary is not None
    assert result.record.summary.unsafe_files == ("m.py", "config.json")


async def test_a_long_header_costs_one_more_get() -> None:
    tensors = {f"tensor.{number}": ("U8", (1,)) for number in range(2_000)}
    store = tiny(**{"model.safetensors": safetensors_file(tensors)})
    result = await check(store)
    assert result.record.outcome == "Verified"
    assert store.read_keys.count("m/model.safetensors") == 3  # the first bytes, the header, the content


async def test_a_hundred_thousand_objects_are_not_read() -> None:
    store = FakeStore({f"m/{number}": b"1" for number in range(100_000)})
    result = await check(store)
    assert (rules(result), dict(store.requests)) == (["TooManyFiles"], {"list": 1})


async def test_checksums_of_the_store_stand_for_large_files_only() -> None:
    large = safetensors_file({"a": ("U8", (CHECKSUM_WORTH_BYTES,))})
    store = tiny(**{"model.safetensors": large})
    store.checksums = set(store.objects)
    result = await check(store)
    assert result.record.outcome == "Verified"
    assert store.requests["head"] == 1
    assert store.read_keys.count("m/model.safetensors") == 1  # the header alone
    assert (result.record.content_source, sources(result)["model.safetensors"]) == ("Mixed", "StoreChecksum")
    read = await check(store, trust_store_checksums=False)
    assert read.record == replace(result.record, content_source="Bytes")
    assert store.requests["head"] == 1


async def test_without_content_every_hash_may_be_the_stores() -> None:
    store = FakeStore({"m/model.gguf": gguf_file(metadata=[("pad", "x" * 100_000)])})
    store.checksums = set(store.objects)

    result = await check(store, content=False, artifact_format="gguf")

    assert (result.record.outcome, result.record.content_source) == ("Verified", "StoreChecksum")


BY_STORE: frozenset[ContentSource | None] = frozenset({"StoreChecksum", "Mixed"})


def sources(result: CheckResult) -> dict[str, str | None]:
    assert result.files is not None
    return {file.path: file.source for file in result.files}


async def checked_by_the_store() -> tuple[FakeStore, CheckResult, dict[str, FileRecord]]:
    store = tiny(**{"model.safetensors": safetensors_file({"a": ("U8", (CHECKSUM_WORTH_BYTES,))})})
    store.checksums = set(store.objects)
    result = await check(store)
    assert result.files is not None
    store.requests.clear()
    store.read_keys.clear()
    return store, result, {file.path: file for file in result.files}


async def test_what_the_store_hashed_is_read_once_that_does_not_count() -> None:
    store, before, known = await checked_by_the_store()

    running = verification(
        request_for(store, trust_store_checksums=False, distrusted=BY_STORE, previous=before.record, known=known)
    )
    after = await running.run()

    assert after.record == replace(before.record, content_source="Bytes")
    assert set(sources(after).values()) == {"Bytes"}
    assert running.progress.rereading
    assert store.requests["head"] == 0
    content = [key for key in store.read_keys if key == "m/model.safetensors"]
    assert len(content) == 2  # the header, and the content; of the small files nothing is hashed again
    again = await check(store, trust_store_checksums=False, distrusted=BY_STORE, previous=after.record)
    assert (again.files, store.requests["list"]) == (None, 2)


async def test_hashes_of_which_nothing_is_known_count_until_somebody_wants_more() -> None:
    store, before, known = await checked_by_the_store()
    old = {path: replace(file, source=None) for path, file in known.items()}
    record = replace(before.record, content_source=None)

    stands = await check(store, trust_store_checksums=False, distrusted=BY_STORE, previous=record, known=old)
    assert (stands.files, store.requests.total()) == (None, 1)

    read = await check(store, trust_store_checksums=False, distrusted=BY_STORE | {None}, previous=record, known=old)
    assert (read.record.content_source, set(sources(read).values())) == ("Bytes", {"Bytes"})


async def test_a_store_whose_checksum_is_not_that_of_the_bytes_is_found_out() -> None:
    store, before, known = await checked_by_the_store()
    lying = known | {"model.safetensors": replace(known["model.safetensors"], sha256="0" * 64)}

    read = await check(store, trust_store_checksums=False, distrusted=BY_STORE, previous=before.record, known=lying)

    assert read.files is not None
    assert {file.path: file.sha256 for file in read.files}["model.safetensors"] == known["model.safetensors"].sha256


async def test_while_files_are_read_again_the_listing_is_looked_at_too() -> None:
    store, before, known = await checked_by_the_store()

    def replaced_meanwhile(operation: str, key: str) -> None:
        if operation == "read" and store.read_keys.count("m/model.safetensors") == 2:
            store.objects["m/tokenizer.json"] = b'{"other": 1}'

    store.before = replaced_meanwhile
    running = verification(
        request_for(
            store,
            trust_store_checksums=False,
            distrusted=BY_STORE,
            previous=before.record,
            known=known,
            relist=timedelta(0),
        )
    )
    after = await running.run()

    assert after.record.digest != before.record.digest
    assert not running.progress.rereading
    assert store.requests["list"] == 3  # before, after the first file, and all over


async def test_a_store_without_checksums_is_read() -> None:
    store = tiny(**{"model.safetensors": safetensors_file({"a": ("U8", (CHECKSUM_WORTH_BYTES,))})})
    assert (await check(store)).record.outcome == "Verified"
    assert (store.requests["head"], store.read_keys.count("m/model.safetensors")) == (1, 2)


async def test_without_content_the_digest_needs_a_checksum_of_every_file() -> None:
    store = tiny()
    result = await check(store, content=False)
    assert (result.record.outcome, result.record.digest) == ("Unverified", None)
    assert result.record.summary is not None
    assert "1 of 3 files" in result.record.summary.notes[0]
    store.checksums = set(store.objects)
    with_checksums = await check(store, content=False)
    assert with_checksums.record.outcome == "Verified"


async def test_without_content_no_more_than_the_first_bytes_are_read() -> None:
    store = tiny(**{"notes.txt": b"x" * 5000})
    store.checksums = set(store.objects)
    before = sum(map(len, store.objects.values())) - 5000
    assert (await check(store, content=False)).record.outcome == "Verified"
    assert store.bytes_read <= before + OPENING_BYTES


async def test_content_is_read_once_the_registry_wants_it() -> None:
    store = tiny()
    unverified = await check(store, content=False)
    assert (await check(store, previous=unverified.record)).record.outcome == "Verified"


async def test_an_object_replaced_meanwhile_is_noticed_and_read_anew() -> None:
    store = tiny()

    def replace_once(operation: str, key: str) -> None:
        if (operation, key) == ("read", "m/tokenizer.json") and store.requests["list"] == 1:
            store.objects[key] = b'{"new": true}'

    store.before = replace_once
    result = await check(store)
    assert result.record.outcome == "Verified"
    assert result.files is not None
    assert hashlib.sha256(b'{"new": true}').hexdigest() in {file.sha256 for file in result.files}
    assert store.requests["list"] == 2


async def test_an_object_that_keeps_changing_is_left_for_later() -> None:
    store = tiny()
    versions = iter(range(100))

    def replace_always(operation: str, key: str) -> None:
        if operation == "read":
            store.objects[key] = json.dumps({"version": next(versions)}).encode()

    store.before = replace_always
    with pytest.raises(Transient) as raised:
        await check(store)
    assert (raised.value.reason, store.requests["list"]) == ("ObjectChanged", 3)


REFUSES = Waiting(reason="AccessDenied", message="no", after=timedelta(minutes=1))
DOWN = Transient(reason="StoreUnavailable", message="no")


@pytest.mark.parametrize("error", [REFUSES, DOWN, Transient(reason="ObjectChanged", message="another one")])
@pytest.mark.parametrize("changed", [True, False])
async def test_whatever_ends_a_check_it_is_known_whether_the_store_showed_something_else(
    changed: bool, error: Waiting | Transient
) -> None:
    store = tiny()
    before = await check(store)
    assert before.files is not None
    if changed:
        store.objects["m/tokenizer.json"] = b'{"other": 1}'
    store.before = failing("read", error)
    running = verification(
        # Nothing of what is known counts, so that the files are read also when the listing is the same.
        request_for(store, previous=before.record, distrusted=frozenset({"Bytes"}))
    )
    assert not running.progress.differs
    with pytest.raises(type(error)):
        await running.run()

    assert running.progress.differs == (changed or error.reason == "ObjectChanged")


async def test_a_list_that_fails_says_nothing_of_what_is_there() -> None:
    store = tiny()
    before = await check(store)
    store.objects["m/tokenizer.json"] = b'{"other": 1}'
    store.before = failing("list", DOWN)
    running = verification(request_for(store, previous=before.record))
    with pytest.raises(Transient):
        await running.run()

    assert not running.progress.differs


async def test_a_doubt_ends_when_the_store_shows_what_was_verified() -> None:
    store = tiny()
    before = await check(store)
    again = await check(store, previous=replace(before.record, doubted=True))

    assert again.record == before.record


@pytest.mark.parametrize("operation", ["list", "read"])
@pytest.mark.parametrize(
    "error",
    [
        Waiting(reason="AccessDenied", message="no", after=timedelta(minutes=1)),
        Transient(reason="StoreUnavailable", message="no"),
    ],
)
async def test_errors_of_the_store_are_the_check_s(operation: str, error: Waiting | Transient) -> None:
    store = tiny()
    store.before = failing(operation, error)
    with pytest.raises(type(error)) as raised:
        await check(store)
    assert raised.value is error


async def test_progress_and_files_for_a_check_that_goes_on() -> None:
    store = sharded(**{"big-a.txt": b"1" * 100, "big-b.txt": b"2" * 90})

    def stop(operation: str, key: str) -> None:
        if key == "m/big-b.txt":
            raise Transient(reason="StoreUnavailable", message="gone")

    store.before = stop
    interrupted = verification(request_for(store))
    with pytest.raises(Transient):
        await interrupted.run()
    fresh = {file.path: file for file in interrupted.take_fresh()}
    assert "big-a.txt" in fresh
    assert interrupted.take_fresh() == []
    assert interrupted.progress.files == 7
    assert interrupted.progress.files_done >= len(fresh) - 1

    store.before = lambda _operation, _key: None
    store.read_keys.clear()
    resumed = verification(request_for(store, known=fresh))
    result = await resumed.run()
    assert "m/big-a.txt" not in store.read_keys
    assert result.record.outcome == "Verified"
    assert (resumed.progress.files_done, resumed.progress.bytes_done) == (7, resumed.progress.bytes)


async def test_the_manifest_leaves_out_gatehouse_s_own_files() -> None:
    store = tiny()
    plain = await check(store)
    store.objects["m/model.sig"] = b"signature"
    signed = await check(store, previous=plain.record, known={})
    assert signed.record.digest == plain.record.digest
    assert signed.record.fingerprint != plain.record.fingerprint


async def test_gguf() -> None:
    data = gguf_file()
    store = FakeStore({"m/model.gguf": data})
    result = await check(store, artifact_format="gguf")
    assert (result.record.outcome, dict(store.requests)) == ("Verified", {"list": 1, "read": 1})
    assert result.record.summary is not None
    assert result.record.summary.parameters == 4 * 3 + 64 * 2
    assert result.record.summary.config is not None
    assert result.record.summary.config.model_type == "llama"
    cut = await check(FakeStore({"m/model.gguf": data[:-1]}), artifact_format="gguf")
    assert rules(cut) == ["DataTruncated"]


async def test_a_gguf_header_longer_than_the_first_read() -> None:
    data = gguf_file(metadata=[(f"filler.{number}", "x" * 1000) for number in range(300)])
    store = FakeStore({"m/model.gguf": data})
    assert (await check(store, artifact_format="gguf")).record.outcome == "Verified"
    assert store.bytes_read < 3 * len(data)


async def test_other_formats_are_hashed_and_say_so() -> None:
    store = FakeStore({"m/rank0.engine": b"engine"})
    result = await check(store, artifact_format="other")
    assert result.record.outcome == "Verified"
    assert result.record.summary is not None
    assert result.record.summary.parameters is None
    assert "format other is not known" in result.record.summary.notes[0]


async def test_records_of_files_carry_what_makes_them_stand() -> None:
    result = await check(tiny())
    assert result.files is not None
    assert {type(file) for file in result.files} == {FileRecord}
    assert all(file.etag.startswith('"') and file.size > 0 for file in result.files)


async def test_an_artifact_has_a_bounded_number_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules(await check(sharded())) == []
    monkeypatch.setattr(shards, "MAX_MARKS", 1)
    assert "TooManyTensors" in rules(await check(sharded()))


async def test_a_file_that_is_too_expensive_to_read_makes_the_artifact_invalid() -> None:
    class Refusing(InProcess):
        async def parse(self, parser: Parser[R], task: Task, read: Read) -> R:
            if parser is HEADER:
                raise FormatError("TooExpensive", "a file that is too expensive to read", "less", "Write it again.")
            return await super().parse(parser, task, read)

    request, slots = request_for(tiny()), CheckSlots(parsing=Refusing())
    result = await Verifier(request, clock=FixedClock(), slots=slots).run()
    assert result.record.outcome == "Invalid"
    assert rules(result) == ["TooExpensive"]
    assert "too expensive to read" in result.record.problems[0].found
