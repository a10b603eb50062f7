# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from torch import nn

from clarivox.dose_pairs import (
    DoseCases,
    DoseGain,
    DosePatches,
    Pairs,
    Simulation,
    pairs,
    slices,
    soft_tissue_noise,
    source_photons,
)
from clarivox.errors import OptionError, RegionError
from clarivox.losses import RelativeSquaredError
from clarivox.transforms.low_dose_ct import LowDoseCT
from clarivox.transforms.projection import Beam

REDCNN = Path(__file__).parents[2] / "bundles/ct_redcnn_denoise"
QUICK = {"doses": [0.1, 0.4], "kernels": ["hann"], "views": 24}


def scan(sigma_hu: float = 8.0, side: int = 64, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(side, side, generator=torch.Generator().manual_seed(seed))
    return 40 + sigma_hu * noise


def made(doses: tuple[float, ...] = (0.1, 0.4)) -> Pairs:
    draw = np.random.default_rng(0)
    changes = np.stack([draw.normal(0, 10 * np.sqrt(1 / dose - 1), (3, 40, 40)) for dose in doses], axis=1)
    clean = np.full((3, 40, 40), 40, np.int16)
    about = tuple({"subject": subject, "shape": [40, 40]} for subject in "aab")
    return Pairs(clean, changes.astype(np.float16), doses, about)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder with two patients of one slice, as NIfTI, and their split."""
    import nibabel

    for number in range(2):
        values = scan(seed=number).numpy()[..., None].astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / f"p{number}.nii.gz")
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": {"p0": ["p0.nii.gz"]}, "test": {"p1": ["p1.nii.gz"]}}))
    return tmp_path, split


def test_the_noise_of_a_slice_is_found_beside_edges_and_air() -> None:
    hu = scan(12.0, 128)
    hu[:, 64:] = -900
    hu[40:60, 10:20] = 700
    assert soft_tissue_noise(hu) == pytest.approx(12, rel=0.1)


def test_a_slice_without_soft_tissue_has_no_noise_level() -> None:
    with pytest.raises(RegionError):
        soft_tissue_noise(torch.full((64, 64), -800.0))


def test_photons_found_on_a_coarse_grid_give_the_noise_that_was_asked() -> None:
    beam, water = Beam(1.5, 90), torch.full((256, 256), -1000.0)
    water[28:228, 28:228] = 0.0
    photons = source_photons(water, 10.0, beam, "hann")
    change = LowDoseCT(1.0, photons=photons, electronic=0.0, clean=True, beam=beam).change(water[None])[0]
    assert float(change[water == 0].std()) == pytest.approx(10, rel=0.1)


def test_noise_grows_by_what_the_dose_says() -> None:
    hu = scan(8.0, 96)
    low, high = Simulation((0.1, 0.4), ("hann",), views=60).changes(hu, 2.0, 8.0, 0)
    assert float(low.std() / 8) == pytest.approx(3.0, rel=0.15)
    assert float(high.std() / 8) == pytest.approx(1.5**0.5, rel=0.15)


def test_pairs_are_simulated_once(data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, split = data
    first = pairs(folder, split, "train", folder / "cache", QUICK)
    monkeypatch.setattr(Simulation, "changes", lambda *_: pytest.fail("simulated again"))
    again = pairs(folder, split, "train", folder / "cache", QUICK)
    assert first.clean.shape == (1, 64, 64) and first.changes.shape == (1, 2, 64, 64)
    assert (first.changes == again.changes).all() and again.about[0]["subject"] == "p0"


def test_slices_of_other_sides_are_fitted(data: tuple[Path, Path]) -> None:
    import nibabel

    folder, split = data
    values = scan(side=48, seed=3).numpy()[..., None].astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), folder / "p2.nii.gz")
    split.write_text(json.dumps({"train": {"p0": ["p0.nii.gz"], "p2": ["p2.nii.gz"]}}))
    found = pairs(folder, split, "train", folder / "cache", QUICK)
    assert found.clean.shape == (2, 64, 64)
    assert (found.clean[1, :8] == -1024).all() and (found.clean[1, 8:56, 8:56] > -100).all()


def test_a_part_without_a_usable_slice_is_refused(data: tuple[Path, Path]) -> None:
    with pytest.raises(OptionError, match="no slice of the part train"):
        pairs(*data, "train", data[0] / "cache", QUICK | {"noisiest_hu": 1.0})


def test_slices_come_with_pixel_and_noise(data: tuple[Path, Path]) -> None:
    ((subject, hu, pixel_mm, sigma),) = slices(*data, "test", 30.0)
    assert (subject, hu.shape, pixel_mm) == ("p1", (64, 64), 2.0)
    assert sigma == pytest.approx(8, rel=0.15)
    assert not list(slices(*data, "test", 1.0))


def test_a_patch_is_the_slice_plus_noise_of_a_drawn_dose() -> None:
    patches = DosePatches(made(), size=16, batch_size=32, doses=(0.1, 0.2), untouched=0.0)
    noisy, clean = patches.batch(4)
    assert noisy.shape == clean.shape == (32, 1, 16, 16)
    assert torch.allclose(clean, torch.tensor(1.04))
    sigma = 1000 * (noisy - clean).flatten(1).std(1)
    assert float(sigma.min()) > 15 and float(sigma.max()) < 36 and float(sigma.std()) > 2
    assert torch.equal(noisy, patches.batch(4)[0])


def test_some_patches_have_nothing_to_take_out() -> None:
    noisy, clean = DosePatches(made(), size=16, doses=(0.1, 0.9), untouched=1.0).batch(0)
    assert torch.equal(noisy, clean)


def test_doses_below_the_simulated_are_refused() -> None:
    with pytest.raises(OptionError, match=r"doses from 0\.05"):
        DosePatches(made(), size=16, doses=(0.05, 1.0))


def test_the_score_is_the_gain_in_decibel() -> None:
    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 1.04 + (x - 1.04) / 2

    assert DoseGain(made(), size=32)(nn.Identity()) == pytest.approx(0, abs=1e-6)
    assert DoseGain(made(), size=32)(Half()) == pytest.approx(6.02, abs=0.2)


def test_test_slices_are_given_at_each_dose(data: tuple[Path, Path]) -> None:
    cases = list(DoseCases(str(data[0]), str(data[1]), doses=(0.1, 0.25), views=24))
    assert [case.about["dose"] for case in cases] == ["10%", "25%"]
    first, second = (float((case.worse.array - case.truth.array).std()) for case in cases)
    assert first > 1.4 * second > 10


def test_the_published_width_of_redcnn_is_a_config_that_trains() -> None:
    parser = ConfigParser(yaml.safe_load((REDCNN / "configs/published.yaml").read_text()))
    network = parser.get_parsed_content("network_def")
    assert sum(p.numel() for p in network.parameters()) == 1_848_865
    noisy, clean = DosePatches(made(), size=24, batch_size=1, doses=(0.1, 1.0)).batch(0)
    RelativeSquaredError()(network(noisy), clean, noisy).backward()
    assert all(p.grad is not None for p in network.parameters())
