# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clarivox import io
from clarivox.blocks import Blocks, BlockValidation, Stack, fixed_pairs, low_dose_stacks_of, stacks_of
from clarivox.errors import OptionError
from clarivox.transforms.rician import RandRicianNoise
from clarivox.volume import Volume

NOISE = RandRicianNoise((0.05, 0.1), reference=1.0)


def stack(*, change: bool = False) -> Stack:
    draw = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 12, 14, 9, generator=draw) * 0.2 + 0.4
    return Stack(clean, torch.randn(clean.shape, generator=draw) if change else None)


def test_a_batch_depends_on_the_seed_and_on_its_number_alone() -> None:
    first, again, other = (Blocks([stack()], size=(8, 8, 4), batch_size=2, degrade=NOISE, seed=s) for s in (1, 1, 2))
    first.batch(0)
    for one, same in zip(first.batch(3), again.batch(3), strict=True):
        assert torch.equal(one, same)
    assert not torch.equal(first.batch(3)[1], other.batch(3)[1])


def test_simulated_noise_is_laid_as_the_volume_is_and_scaled_to_a_level() -> None:
    source = stack(change=True)
    noisy, clean = Blocks([source], size=(12, 14, 9), batch_size=1, levels=(0.02, 0.02)).batch(0)
    assert float((noisy - clean).std()) == pytest.approx(0.02, rel=0.05)
    flipped = [[], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]]
    assert any(torch.allclose(clean.flip(axes), source.clean[None]) for axes in flipped)
    assert source.change is not None
    assert any(torch.allclose((noisy - clean).flip(axes), 0.02 * source.change[None], atol=1e-6) for axes in flipped)


def test_volumes_smaller_than_a_block_and_stacks_without_noise_are_refused() -> None:
    with pytest.raises(OptionError, match="smaller blocks"):
        Blocks([stack()], size=(8, 8, 16), batch_size=1, degrade=NOISE)
    with pytest.raises(OptionError, match="name a degradation"):
        Blocks([stack()], size=(8, 8, 8), batch_size=1)


def test_fixed_pairs_are_scored_by_their_mean_psnr() -> None:
    pairs = fixed_pairs(Blocks([stack(change=True)], size=(8, 8, 8), batch_size=2, levels=(0.1, 0.1)), 3)
    assert len(pairs) == 3
    same = torch.nn.Conv3d(1, 1, 1, bias=False)
    torch.nn.init.ones_(same.weight)
    assert BlockValidation(pairs)(same) == pytest.approx(20, abs=0.5)


def test_volumes_of_a_split_become_stacks_and_simulations_are_kept(tmp_path: Path) -> None:
    x, y, _ = np.mgrid[:24, :24, :2]
    disc = np.where((x - 12) ** 2 + (y - 12) ** 2 < 80, 40, -1000).astype(np.int16)
    io.write(Volume(disc[None], np.diag([8.0, 8.0, 5.0, 1.0])), tmp_path / "scan.nii.gz", as_="nifti")
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": {"a": ["scan.nii.gz"]}}))
    how = {"low": -1000, "high": 1000, "dose": 0.1, "photons": 1e6, "folder": tmp_path / "kept"}
    first, again = (low_dose_stacks_of(tmp_path, split, "train", **how)[0] for _ in range(2))
    assert first.change is not None and again.change is not None
    assert torch.equal(first.change, again.change) and len(list((tmp_path / "kept").iterdir())) == 1
    body = first.clean > 0.5
    assert float(first.change[body].std()) == pytest.approx(1, rel=1e-3)
    assert float(first.clean.max()) == pytest.approx(0.52)
    assert stacks_of(tmp_path, split, "train", {"scan": 2.0})[0].weight == 2.0
