"""The hardware profiles that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.values import bytes_of
from unit.domain.hardware.fits import PROFILES

FILES = sorted(path for path in PROFILES.glob("*.yaml") if path.stem != "kustomization")

EXPECTED = {
    "amd-mi300x",
    "nvidia-a100-40gb",
    "nvidia-a100-80gb",
    "nvidia-a10g",
    "nvidia-b200",
    "nvidia-h100-80gb",
    "nvidia-h200",
    "nvidia-l4",
    "nvidia-l40s",
    "nvidia-t4",
}


def read(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def unknown_fields(given: Any, read_back: Any, path: str = "") -> list[str]:
    """Fields of a document that the type does not have, or reads as something else."""
    if isinstance(given, dict) and isinstance(read_back, dict):
        return [
            field
            for key, value in given.items()
            for field in (
                [f"{path}.{key}"] if key not in read_back else unknown_fields(value, read_back[key], f"{path}.{key}")
            )
        ]
    if isinstance(given, list) and isinstance(read_back, list) and len(given) == len(read_back):
        return [field for pair in zip(given, read_back, strict=True) for field in unknown_fields(*pair, f"{path}[]")]
    return [] if given == read_back else [path]


def test_all_of_them_ship() -> None:
    assert {path.stem for path in FILES} == EXPECTED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_is_one_of_the_kind(path: Path) -> None:
    document = read(path)
    profile = HardwareProfile.model_validate(document)
    assert unknown_fields(document["spec"], profile.spec.wire()) == []
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    assert (document["apiVersion"], document["kind"]) == ("gatehouse.dev/v1alpha1", "HardwareProfile")
    assert profile.metadata.name == path.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_figures_hang_together(path: Path) -> None:
    spec = HardwareProfile.model_validate(read(path)).spec
    accelerator = spec.accelerator
    assert bytes_of(accelerator.memory) > 14 * 2**30
    assert (accelerator.compute_capability is None) == (accelerator.vendor != "NVIDIA")
    assert accelerator.fp8 or accelerator.compute_capability
    assert spec.node.selector
    assert [toleration.key for toleration in spec.node.tolerations] == [accelerator.resource_name]
    for name in ("cpu", "memory"):
        assert bytes_of(spec.resources.requests[name]) <= bytes_of(spec.resources.limits[name])
    assert path.read_text(encoding="utf-8").count("# ") >= 4, "each figure names its source"


def test_the_l4_is_the_one_of_the_design() -> None:
    spec = read(PROFILES / "nvidia-l4.yaml")["spec"]
    assert spec["accelerator"] == {
        "vendor": "NVIDIA",
        "model": "L4",
        "memory": "23034Mi",
        "computeCapability": "8.9",
        "count": 1,
        "resourceName": "nvidia.com/gpu",
    }
    assert spec["node"]["selector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert spec["serving"] == {"gpuMemoryUtilization": "0.90", "kvCacheDtype": "auto"}
