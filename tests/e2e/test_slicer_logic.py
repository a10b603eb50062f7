# SPDX-License-Identifier: Apache-2.0
"""The logic of the 3D Slicer module on real MRML nodes, against a live server. The panel itself needs Slicer."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clarivox import phantoms
from tests import held
from tests.served import PATIENCE_S, Served, serving, until

LIBRARY = Path(__file__).parents[2] / "apps" / "slicer" / "Clarivox"


@pytest.fixture(scope="module")
def slicer() -> Iterator[Any]:
    sys.path.insert(0, str(LIBRARY))
    try:
        import slicer
    except ImportError:
        if os.environ.get("CLARIVOX_NO_SKIPS") and sys.version_info[:2] == (3, 11):
            raise
        pytest.skip("no slicer-core here; it is for Python 3.11 alone: pip install slicer-core==5.13.31053.0")
    yield slicer
    sys.path.remove(str(LIBRARY))


@pytest.fixture
def scene(slicer: Any) -> Any:
    slicer.mrmlScene = slicer.vtkMRMLScene()
    return slicer.mrmlScene


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("slicer"), held.COMMAND) as running:
        yield running


@pytest.fixture
def volume(slicer: Any, scene: Any) -> Any:
    """A noisy phantom, tilted in space, with a window and a name that must not leave Slicer."""
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "SENTINEL^NAME")
    slicer.util.updateVolumeFromArray(node, phantoms.mr(size=64, slices=3).degraded.array[0].transpose(2, 1, 0))
    turn = vtk.vtkTransform()
    turn.Translate(10.25, -30.5, 7.125)
    turn.RotateX(12.5)
    turn.RotateZ(-7.25)
    turn.Scale(-1.15, -1.15, 3.0)
    node.SetIJKToRASMatrix(turn.GetMatrix())
    node.SetAttribute("DICOM.Modality", "MR")
    node.CreateDefaultDisplayNodes()
    node.GetScalarVolumeDisplayNode().SetAutoWindowLevel(0)
    node.GetScalarVolumeDisplayNode().SetWindowLevel(777.0, 333.0)
    return node


def run_of(server: Served, path: Any, bundle: str, **params: Any) -> Any:
    from ClarivoxLib.runs import Run

    from clarivox.client import Client

    return Run(Client(f"http://127.0.0.1:{server.port}", patience_s=PATIENCE_S), path, bundle, {}, **params).start()


@pytest.mark.parametrize("bundle", ["identity", "mr_unet_denoise"])
def test_an_enhanced_volume_lies_where_its_source_lies(
    slicer: Any, server: Served, volume: Any, tmp_path: Path, bundle: str
) -> None:
    from ClarivoxLib import logic

    run = run_of(server, logic.saved(volume, str(tmp_path)), bundle)
    assert run.wait(PATIENCE_S) and run.state == "done", (run.code, run.words)
    assert run.done == 1.0
    result = logic.loaded(run.result, volume, "enhanced")
    run.close()
    before, after = slicer.util.arrayFromVolume(volume), slicer.util.arrayFromVolume(result)
    assert np.abs(logic.matrix_of(result) - logic.matrix_of(volume)).max() <= 1e-5
    assert after.dtype == before.dtype and after.shape == before.shape
    assert np.array_equal(before, after) == (bundle == "identity")
    display = result.GetScalarVolumeDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (777.0, 333.0)
    change = logic.difference(volume, result)
    assert np.allclose(slicer.util.arrayFromVolume(change), after.astype(np.float32) - before)
    assert not any("SENTINEL" in path.name for path in tmp_path.rglob("*"))


def test_strength_0_gives_every_voxel_back(slicer: Any, server: Served, volume: Any, tmp_path: Path) -> None:
    from ClarivoxLib import logic

    run = run_of(server, logic.saved(volume, str(tmp_path)), "mr_unet_denoise", strength=0.0)
    assert run.wait(PATIENCE_S) and run.state == "done", run.words
    result = logic.loaded(run.result, volume, "same")
    assert np.array_equal(slicer.util.arrayFromVolume(volume), slicer.util.arrayFromVolume(result))
    run.close()


def test_a_running_volume_is_cancelled(slicer: Any, server: Served, volume: Any, tmp_path: Path) -> None:
    from ClarivoxLib import logic

    with held.held(server.data):
        run = run_of(server, logic.saved(volume, str(tmp_path)), "identity")
        until(lambda: run.state == "running" or run.over)
        assert not run.over, run.words
        run.cancel()
        assert run.wait(PATIENCE_S) and run.state == "cancelled"
        assert server.ended(vars(run.job)["content"])["state"] == "cancelled"
    run.close()


def test_a_refusal_comes_in_words_with_its_code(server: Served, tmp_path: Path, slicer: Any) -> None:
    text = tmp_path / "text.nrrd"
    text.write_text("no image")
    run = run_of(server, str(text), "identity")
    assert run.wait(PATIENCE_S) and run.state == "failed"
    assert run.code and run.words
    run.close()


def test_bundles_are_offered_by_modality_and_their_options_as_a_form(server: Served, volume: Any) -> None:
    from ClarivoxLib import logic

    from clarivox.client import Client

    bundles = Client(f"http://127.0.0.1:{server.port}").bundles()
    offered = {one["name"] for one in logic.fitting(bundles, volume)}
    assert {"mr_unet_denoise", "any_nlm_denoise"} <= offered and "ct_unet_denoise" not in offered
    scale = next(one for one in bundles if one["name"] == "cxr_srcnn_superres")
    assert ("scale", "choice", [2, 3, 4]) in [row[:3] for row in logic.options_of(scale)]
    assert logic.volumes(volume.GetScene()) == [volume]


def test_a_volume_whose_dicom_files_are_gone_gives_none(volume: Any, tmp_path: Path) -> None:
    from ClarivoxLib import logic

    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    (tmp_path / "1.2.3").write_bytes(b"")
    assert logic.dicom_files(volume, lambda uid: str(tmp_path / uid)) == []
    (tmp_path / "1.2.4").write_bytes(b"")
    assert len(logic.dicom_files(volume, lambda uid: str(tmp_path / uid))) == 2
