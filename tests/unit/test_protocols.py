# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from clarivox.bundle import load
from clarivox.errors import GeometryError, OptionError
from clarivox.protocols import DncnnGray, mean_psnr, of_bundle, run


def ramp(side: int = 48) -> torch.Tensor:
    return torch.linspace(0.2, 0.8, side).expand(1, side, side).contiguous()


def test_the_noise_of_dncnn_gray_is_not_clipped_and_the_same_for_every_picture() -> None:
    protocol = DncnnGray(50)
    noise = protocol.worse(torch.zeros(1, 64, 64))
    assert float(noise.min()) < -0.3 and abs(float(noise.std()) * 255 - 50) < 1.5
    assert torch.equal(protocol.worse(torch.zeros(1, 64, 64)), noise)


def test_dncnn_gray_clips_what_it_compares_and_averages_the_figures_of_pictures() -> None:
    protocol, truth = DncnnGray(25), torch.ones(1, 8, 8)
    assert protocol.psnr(truth + 5, truth) == float("inf")
    rows = run(protocol, [("a", ramp()), ("b", ramp(40))], lambda noisy: noisy * 0.9)
    mean = mean_psnr(protocol, [ramp(), ramp(40)], lambda noisy: noisy * 0.9)
    assert [row.name for row in rows] == ["a", "b"] and mean == np.mean([row.result_db for row in rows])
    assert all(row.result_db != row.given_db for row in rows)


def test_colours_become_grey_by_their_luma_and_255_becomes_1() -> None:
    picture = np.zeros((3, 2, 2), np.uint8)
    picture[1] = 255
    assert np.allclose(DncnnGray().truth(picture), 0.587) and float(DncnnGray().truth(picture[1:2]).max()) == 1


def test_published_figures_stand_only_beside_the_sigma_that_they_are_for() -> None:
    assert {one.method: one.figures["BSD68"] for one in DncnnGray(50).published}["DnCNN-S"] == 26.23
    assert DncnnGray(30).published == [] and "sigma 30 of 255" in DncnnGray(30).about
    with pytest.raises(OptionError, match="0 or more; found -1"):
        DncnnGray(-1)


def test_a_bundle_sees_the_range_of_the_protocol_and_not_one_found_in_the_picture() -> None:
    picture = torch.linspace(-0.5, 1.7, 32 * 24).reshape(1, 32, 24)
    assert torch.equal(of_bundle(load("identity"))(picture), picture)
    assert of_bundle(load("cxr_srcnn_superres", scale=2))(picture).shape == (1, 64, 48)
    with pytest.raises(GeometryError, match="us_svd_enhance is for volumes or clips"):
        of_bundle(load("us_svd_enhance"))
