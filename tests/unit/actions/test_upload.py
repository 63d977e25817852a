"""The upload of a folder as an action: its steps, its report, and stores of another scheme than S3."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import memorystore
from gatehouse.actions.upload import Progress, UploadRequest, upload_folder
from gatehouse.actions.upload_report import VersionNames
from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.common.errors import Waiting
from gatehouse.errors import ActionError, InputInvalid
from gatehouse.storage.metrics import NoMetrics
from gatehouse.storage.port import StoreFlags
from gatehouse.storage.stores import Stores, location_of
from gatehouse.upload.check import CheckedArtifact, FolderRefused
from gatehouse.upload.plan import ObjectsInTheWay
from gatehouse.upload.transfer import UploadOptions
from modelfiles import config_json, safetensors_file

URI = "s3://models/granite/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_bytes(config_json())
    (made / "model.safetensors").write_bytes(safetensors_file({"lm_head.weight": ("BF16", [64])}))
    (made / ".git").write_text("left out")
    return made


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, dict[str, bytes]]:
    """The URIs of the tests are of S3, as the types of the kinds require; the bucket is in memory."""
    buckets = memorystore.use_memory(monkeypatch)
    monkeypatch.setattr("gatehouse.actions.upload.open_location", lambda at, flags: memory(at.bucket, flags))
    return buckets


def memory(bucket: str, flags: StoreFlags) -> AbstractAsyncContextManager[Any]:
    return memorystore.open_memory(bucket, flags)


@dataclass
class Recorded:
    """Records every step of an upload: an ``UploadObserver``."""

    steps: list[str] = field(default_factory=list)

    def left_out(self, names: tuple[str, ...]) -> None:
        self.steps.append(f"left out {', '.join(names)}")

    def checked(self, artifact: CheckedArtifact) -> None:
        self.steps.append(artifact.artifact_format)

    @asynccontextmanager
    async def working(self, what: str, progress: Callable[[], Progress]) -> AsyncIterator[None]:
        yield
        now = progress()
        self.steps.append(f"{what}: {now.files_done} of {now.files} files")


def request(folder: Path, **changes: Any) -> UploadRequest:
    values: dict[str, Any] = {
        "folder": folder,
        "uri": URI,
        "store": StoreFlags(),
        "options": UploadOptions(),
        "names": VersionNames(hardware_profile="nvidia-l4"),
    }
    return UploadRequest(**{**values, **changes})


async def test_the_steps_come_in_their_order_and_the_report_names_what_was_sent(
    folder: Path, objects: Mapping[str, dict[str, bytes]]
) -> None:
    observer = Recorded()
    report = await upload_folder(request(folder), observer=observer)

    assert observer.steps == ["left out .git", "checking: 2 of 2 files", "safetensors", "sending: 2 of 2 files"]
    assert report.result is not None
    assert set(report.result.sent) == {"config.json", "model.safetensors"}
    assert set(objects["models"]) == {f"granite/{name}" for name in (*report.result.sent, "gatehouse.manifest")}
    again = await upload_folder(request(folder), observer=Recorded())
    assert again.result is not None
    assert again.result.sent == ()
    assert again.artifact.digest == report.artifact.digest


async def test_a_dry_run_sends_nothing(folder: Path, objects: Mapping[str, dict[str, bytes]]) -> None:
    observer = Recorded()
    report = await upload_folder(request(folder, dry_run=True), observer=observer)

    assert report.result is None
    assert [file.path for file in report.plan.files] == ["model.safetensors", "config.json"]
    assert observer.steps[-1] == "safetensors"
    assert objects["models"] == {}


async def test_a_wrong_name_or_other_objects_end_the_upload_before_it_sends(
    folder: Path, objects: Mapping[str, dict[str, bytes]]
) -> None:
    names = VersionNames(hardware_profile="nvidia-l4", version="3 1")
    with pytest.raises(InputInvalid, match="version of the ModelVersion"):
        await upload_folder(request(folder, names=names), observer=Recorded())
    objects["models"]["granite/config.json"] = b"{}"
    with pytest.raises(ObjectsInTheWay):
        await upload_folder(request(folder), observer=Recorded())
    (folder / "model.safetensors").write_bytes(b"none")
    with pytest.raises(FolderRefused):
        await upload_folder(request(folder), observer=Recorded())
    assert objects["models"] == {"granite/config.json": b"{}"}


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [("AddressingRefused", "Use --addressing virtual."), ("StoreFull", "Ask the owner."), ("Other", "Ask the owner.")],
)
async def test_a_refusal_of_the_store_has_the_remedy_for_a_person(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reason: str, remedy: str
) -> None:
    @asynccontextmanager
    async def refused(*_: object) -> AsyncIterator[None]:
        raise Waiting(reason=reason, message="the store refuses", remedy="Ask the owner.", after=timedelta(minutes=1))
        yield

    monkeypatch.setattr("gatehouse.actions.upload.open_location", refused)
    with pytest.raises(ActionError, match=f"^the store refuses. {remedy}$"):
        await upload_folder(request(folder), observer=Recorded())


async def test_the_operator_reaches_a_bucket_of_another_scheme_by_the_same_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buckets = memorystore.use_memory(monkeypatch)
    buckets["models"]["granite/config.json"] = b"{}"
    store = ObjectStore(uri_prefix="s3://models/").model_copy(update={"uri_prefix": "mem://models/"})
    stores = Stores(NoMetrics())

    opened = stores.open(store, bucket="models", credentials=None, ca_pem=None)
    listing = await opened.list("granite/", limit=10)
    assert listing is not None
    assert [(stored.path, stored.size) for stored in listing.objects] == [("config.json", 2)]
    archive = stores.archive(store, bucket="models", credentials=None, ca_pem=None)
    assert not await archive.put("copies/1.json", b"{}", retain_until=datetime.now(UTC))
    assert set(buckets["models"]) == {"granite/config.json", "copies/1.json"}
    await stores.aclose()


def test_the_scheme_is_judged_before_the_form_of_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    memorystore.use_memory(monkeypatch)
    with pytest.raises(InputInvalid, match=r"expected: a URI that begins with s3://"):
        location_of("ftp://models/a/")
