# SPDX-License-Identifier: Apache-2.0
"""What every shipped bundle must hold to."""

import copy
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import run, verify_metadata, verify_net_in_out

from clarivox import io, manifest
from clarivox.bundle import Bundle, BundleInfo, catalogue, load
from clarivox.devices import planned
from clarivox.enhance import enhance
from clarivox.prepare import Items
from clarivox.receptive import derived, of_bundle, probed
from clarivox.restore import refined_affine
from clarivox.volume import Axis, Volume, blank_like
from clarivox.windows import Windows

BUNDLES = catalogue()
every_bundle = pytest.mark.parametrize("info", BUNDLES, ids=lambda info: info.name)
every_exactly_tiled_bundle = pytest.mark.parametrize(
    "info", [info for info in BUNDLES if info.tiling == "exact"], ids=lambda info: info.name
)

REQUIRED = {
    "schema": str,
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
    "changelog": dict,
    "clarivox": dict,
}
"""The required fields of MONAI's metadata schema of 2024-07-25, and ours."""


def phantom(info: BundleInfo, side: int = 40) -> Volume:
    """A disc with noise, of a kind that the bundle takes; odd sizes, with padding and a rescale."""
    x, y, _ = np.mgrid[:side, : side - 7, :3].astype(np.float64)
    disc = 120 * (((x - side / 2) ** 2 + (y - side / 2) ** 2) < (side / 3) ** 2) + 20
    noisy = disc + np.random.default_rng(0).normal(scale=8, size=disc.shape)
    array = blank_like((1, side, side - 7, 3), np.dtype(np.int16))
    array[0] = noisy.round().clip(1, 255)
    array[0, :2, :2] = 0
    return Volume(
        array,
        np.diag([0.8, 0.8, 2.0, 1.0]),
        modality=info.modalities[0] if info.modalities else "OT",
        stored_range=(0, 255),
        padding=np.zeros((3, 2), np.int64),
        third_axis=Axis.TIME if info.clip else Axis.SPACE,
    )


@cache
def kept(folder: Path, options: tuple[tuple[str, Any], ...]) -> Bundle:
    return load(folder, **dict(options))


def loaded(info: BundleInfo, **options: Any) -> Bundle:
    """Each bundle once: thirty of them are asked for many times."""
    return kept(info.folder, tuple(sorted(options.items())))


@every_bundle
def test_it_runs_on_the_grid_that_it_declares(info: BundleInfo) -> None:
    source, bundle = phantom(info), loaded(info)
    before = source.array.copy()
    result = enhance(source, bundle, device="cpu")
    scale = bundle.scale
    assert result.shape == (1, *(n * s for n, s in zip(source.shape[1:], scale, strict=True)))
    assert np.allclose(result.affine, refined_affine(source.affine, scale), atol=1e-9)
    assert result.array.dtype == source.array.dtype and (source.array == before).all()
    assert (info.grid == "scaled") == (scale != (1, 1, 1))
    padded = source.array.repeat(scale[0], 1).repeat(scale[1], 2).repeat(scale[2], 3) == 0
    assert (result.array[padded] == 0).all() and (result.array[~padded] != 0).all()
    assert result.provenance is not None and result.provenance.task == info.task


@every_bundle
def test_it_gives_the_same_twice_whatever_was_drawn_before(info: BundleInfo) -> None:
    results = []
    for bundle, seed in ((loaded(info), 1), (load(info.folder), 2)):
        torch.manual_seed(seed)
        results.append(enhance(phantom(info), bundle, device="cpu").array)
    assert (results[0] == results[1]).all()


@every_bundle
def test_the_processor_and_the_gpu_agree(info: BundleInfo) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    bundle, source = load(info.folder), phantom(info)
    results = [enhance(source, bundle, device=device).values() for device in ("cpu", "cuda")]
    change = np.abs(results[0] - source.values()).max() if info.grid == "same" else 255
    # One stored level may fall to either side of a half.
    assert np.abs(results[0] - results[1]).max() <= max(1.0, 0.01 * change)


@every_bundle
def test_strength_zero_gives_back_every_bit(info: BundleInfo) -> None:
    if info.grid == "same":
        assert (enhance(phantom(info), loaded(info), strength=0, device="cpu").array == phantom(info).array).all()


@every_exactly_tiled_bundle
def test_windows_equal_the_whole_pass(info: BundleInfo) -> None:
    bundle = loaded(info)
    halo = max(info.halo)
    items = Items(bundle.prepare(phantom(info, side=2 * halo + 40)), info.spatial_dims, bundle.windows.neighbours)
    x = torch.stack([items.read(0, tuple(slice(0, side) for side in items.shape))])
    run = planned(bundle.network, bundle.windows, x.device, 1)
    tiled = bundle.windows(x, bundle.network, run=run)
    about = {name: getattr(bundle.windows, name) for name in ("scale", "neighbours")}
    about |= {"halo": list(info.halo), "stride": info.stride}
    whole = Windows(info.spatial_dims, "whole", **about)(x, bundle.network)
    assert run.windows > 1 or halo == 0
    assert float((tiled - whole).abs().max()) <= 1e-6 * float(whole.abs().max())


@pytest.mark.parametrize("info", [info for info in BUNDLES if info.tiling == "blended"], ids=lambda info: info.name)
def test_blended_windows_differ_little_from_the_whole_pass(info: BundleInfo, capsys: pytest.CaptureFixture) -> None:
    bundle = loaded(info)
    items = Items(bundle.prepare(phantom(info, side=bundle.windows.window + 16)), info.spatial_dims)
    x = items.read(0, tuple(slice(0, side) for side in items.shape))[None]
    run = planned(bundle.network, bundle.windows, x.device, 1)
    tiled = bundle.windows(x, bundle.network, run=run)
    one = copy.copy(bundle.windows)
    one.window = max(items.shape)
    whole = one(x, bundle.network)
    seam, change = float((tiled - whole).abs().max()), float((whole - x).abs().max())
    with capsys.disabled():
        print(
            f"{info.name}: windows and a whole pass differ by {seam:.4f} of the range at most, a change of {change:.4f}"
        )
    assert run.windows > 1 and seam <= change


@every_exactly_tiled_bundle
def test_the_stored_reach_is_derived_and_probed(info: BundleInfo) -> None:
    bundle = loaded(info)
    reach = of_bundle(bundle)
    assert (set(info.halo), info.stride) == ({reach.halo}, reach.stride)
    own = derived(bundle.network, info.spatial_dims)
    assert probed(bundle.network, info.spatial_dims, own, 2 * bundle.windows.neighbours + 1, bundle.windows.scale) <= (
        own.halo
    )


@every_bundle
def test_the_digests_are_right(info: BundleInfo) -> None:
    assert manifest.digests(info.folder) == json.loads((info.folder / manifest.MANIFEST).read_text())
    assert manifest.verify(info.folder) == loaded(info).digest


@every_bundle
def test_it_has_a_card_and_a_licence(info: BundleInfo) -> None:
    card = (info.folder / "docs" / "README.md").read_text()
    assert info.name in card and len(card) > 300
    assert "Apache License" in (info.folder / "LICENSE").read_text()


@every_bundle
def test_it_can_be_run_and_evaluated_and_trained_where_it_has_weights(info: BundleInfo) -> None:
    configs = {path.name for path in (info.folder / "configs").iterdir()}
    assert {"metadata.json", "inference.yaml", "evaluate.yaml"} <= configs
    assert ("train.yaml" in configs) == info.weights


@every_bundle
def test_the_metadata_has_the_required_fields(info: BundleInfo) -> None:
    for name, kind in REQUIRED.items():
        assert isinstance(info.metadata[name], kind), name
    assert info.version in info.metadata["changelog"]
    assert info.metadata["schema"].endswith("meta_schema_20240725.json")
    for side in ("inputs", "outputs"):
        for tensor in info.metadata["network_data_format"][side].values():
            assert {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"} <= set(tensor)


@every_bundle
def test_the_metadata_passes_the_official_schema(info: BundleInfo, data_dir: Path) -> None:
    schema = data_dir / "monai" / "meta_schema_20240725.json"
    verify_metadata(
        meta_file=str(info.folder / "configs" / "metadata.json"),
        filepath=str(schema),
        hash_val=manifest.sha256(schema),
        hash_type="sha256",
    )


@every_bundle
def test_the_network_takes_and_gives_what_the_metadata_says(info: BundleInfo) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(info.folder / "configs" / "metadata.json"),
        config_file=str(info.folder / "configs" / "inference.yaml"),
        device="cpu",
        p=1,
        n=2,
        any=24,
    )


@every_bundle
def test_every_option_is_in_the_configuration_and_told(info: BundleInfo) -> None:
    assert set(loaded(info).options) == set(info.options.get("properties", {}))
    for name, rule in info.options.get("properties", {}).items():
        for value in rule.get("enum", ()):
            assert loaded(info, **{name: value}).options[name] == value


@every_bundle
@pytest.mark.filterwarnings("ignore:parsing config_file")
def test_monai_bundle_run_gives_the_same_bytes(info: BundleInfo, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    io.write(phantom(info).replace(padding=None), tmp_path / "in" / "scan.nii.gz", as_="nifti")
    volume = io.read(tmp_path / "in" / "scan.nii.gz")
    io.write(enhance(volume, loaded(info), device="cpu"), tmp_path / "ours.nii.gz")
    folder = tmp_path / "elsewhere" / info.name
    shutil.copytree(info.folder, folder)
    # What `python -m monai.bundle run` calls; tests/e2e/test_wheel.py types the command itself.
    run(
        config_file=str(folder / "configs" / "inference.yaml"),
        bundle_root=str(folder),
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"),
        device="cpu",
    )
    found = list((tmp_path / "out").iterdir())
    assert [path.name for path in found] == ["scan.nii.gz"]
    assert found[0].read_bytes() == (tmp_path / "ours.nii.gz").read_bytes()
