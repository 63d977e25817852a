from __future__ import annotations

import pytest

from gatehouse.install.errors import FileNotShipped
from gatehouse.install.shipped_files import documents, shipped


def test_the_projects_files_are_found() -> None:
    kinds = {document["spec"]["names"]["kind"] for document in documents("crds")}
    assert {"ModelRegistry", "ModelVersion", "RegisteredModel", "HardwareProfile"} <= kinds
    assert (shipped("kustomize") / "overlays" / "rhoai" / "kustomization.yaml").is_file()
    with pytest.raises(FileNotShipped, match="no-such-folder is not part of this installation"):
        shipped("no-such-folder")
