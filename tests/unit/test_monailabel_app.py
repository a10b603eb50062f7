# SPDX-License-Identifier: Apache-2.0
"""The app for the stock server, on the interfaces of monailabel 0.8.5 and on a stand-in for its application class.

That class needs some thirty packages more (and old ones), so that the stock server itself is not started here.
"""

import importlib.util
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from clarivox import io
from clarivox.phantoms import mr

if sys.version_info >= (3, 13):
    pytest.skip("monailabel 0.8.5 has no wheel that runs on Python 3.13", allow_module_level=True)
pytest.importorskip("monailabel.interfaces.tasks.infer_v2", reason="monailabel 0.8.5 is not installed")

MAIN = Path(__file__).parents[2] / "apps" / "monailabel" / "main.py"


class Store:
    """What the app uses of a local datastore."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.known = folder, dict[str, dict[str, Any]]()

    def add_image(self, image: str, path: str, info: dict[str, Any]) -> str:
        shutil.copy(path, self.folder)
        self.known[image] = info | {"ts": len(self.known), "name": Path(path).name}
        return image

    def list_images(self) -> list[str]:
        return list(self.known)

    def get_image_info(self, image: str) -> dict[str, Any]:
        return self.known[image]


class Application:
    def __init__(self, app_dir: str, studies: str, conf: dict[str, str], **more: Any) -> None:
        self.store, self.more = Store(Path(studies)), more

    def datastore(self) -> Store:
        return self.store


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    stand_in = types.ModuleType("monailabel.interfaces.app")
    stand_in.MONAILabelApp = Application  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "monailabel.interfaces.app", stand_in)
    spec = importlib.util.spec_from_file_location("stock_app", MAIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Clarivox(str(MAIN.parent), str(tmp_path), {})


def test_each_bundle_is_a_model_that_the_viewers_list(app: Any) -> None:
    infers = app.init_infers()
    assert {"identity", "ct_unet_denoise", "us_svd_enhance"} <= infers.keys()
    info = infers["any_bicubic_superres"].info()
    assert (info["type"], info["labels"], info["config"]) == ("segmentation", [], {"scale": ["2", "3", "4"]})
    assert app.more["labels"] == []


def test_a_result_is_a_new_image_and_the_next_sample(app: Any, tmp_path: Path) -> None:
    before = mr(size=32, slices=3)[0]
    io.write(before, tmp_path / "brain.nii.gz")
    task = app.init_infers()["any_median_denoise"]
    params = {"image": str(tmp_path / "brain.nii.gz"), "radius": ["2", "1"], "result_extension": ".nrrd"}
    label, told = task(params | {"result_dtype": "uint8"})
    after = nibabel.load(tmp_path / "brain__any_median_denoise.nii.gz")
    assert (after.shape, after.get_data_dtype()) == (before.shape[1:], before.array.dtype)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
    assert (told["image"], told["label_names"]) == ("brain__any_median_denoise", {})
    assert Path(label).read_bytes().startswith(b"NRRD0004")
    Path(label).unlink()
    sample = app.init_strategies()["latest_enhanced"]({}, app.datastore())
    assert sample == {"id": "brain__any_median_denoise", "weight": 1}


def test_there_is_no_next_sample_where_nothing_was_enhanced(app: Any, tmp_path: Path) -> None:
    assert app.init_strategies()["latest_enhanced"]({}, Store(tmp_path)) is None
    assert set(app.init_strategies()) == {"latest_enhanced", "random"}
