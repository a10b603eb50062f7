# SPDX-License-Identifier: Apache-2.0
"""The protocol sr-y."""

import numpy as np
import pytest
import torch

from clarivox import protocols
from clarivox.errors import GeometryError, OptionError
from clarivox.metrics import psnr, ssim
from clarivox.superres_protocol import QUOTED, SuperresLuma


def picture(channels: int = 1, x: int = 37, y: int = 29) -> np.ndarray:
    rows, columns = np.mgrid[:x, :y]
    wave = 120 + 60 * np.sin(rows / 3) * np.cos(columns / 4) + 20 * (rows > columns)
    return np.stack([wave, 0.7 * wave, 255 - wave][:channels]).round().astype(np.uint8)


def test_grey_pictures_are_taken_as_they_are_and_cropped_to_whole_multiples() -> None:
    truth = SuperresLuma(3).truth(picture())
    assert truth.shape == (1, 36, 27)
    assert ((truth[0] * 255).round().numpy() == picture()[0, :36, :27]).all()


def test_the_luma_of_a_colour_picture_is_the_studio_range_of_bt_601() -> None:
    black, white = (np.full((3, 20, 20), value, np.uint8) for value in (0, 255))
    red = np.zeros((3, 20, 20), np.uint8)
    red[0] = 255
    found = [round(255 * float(SuperresLuma(2).truth(image).mean())) for image in (black, white, red)]
    assert found == [16, 235, 81]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_what_is_given_is_what_pillow_shrinks_to_within_one_grey_level(scale: int) -> None:
    from PIL import Image

    protocol = SuperresLuma(scale)
    truth = protocol.truth(picture(x=48, y=36))
    grey = Image.fromarray(picture(x=48, y=36)[0].astype(np.float32))
    expected = np.asarray(grey.resize((36 // scale, 48 // scale), Image.Resampling.BICUBIC)).round()
    given = (protocol.worse(truth)[0] * 255).numpy()
    assert np.abs(given - given.round()).max() < 1e-4
    assert np.abs(given - expected).max() <= 1


def test_the_figures_leave_out_the_border_and_are_rounded_to_8_bits() -> None:
    protocol = SuperresLuma(4)
    truth = protocol.truth(picture(x=48, y=40))
    result = protocol.bicubic(protocol.worse(truth))
    inner = [(image[0, 4:-4, 4:-4].clamp(0, 1) * 255).round().numpy() for image in (result, truth)]
    assert protocol.psnr(result, truth) == pytest.approx(psnr(*inner, data_range=255))
    assert protocol.ssim(result, truth) == pytest.approx(ssim(*inner, data_range=255))
    spoilt = result.clone()
    spoilt[:, :4] = 0
    assert protocol.psnr(spoilt, truth) == protocol.psnr(result, truth)
    assert protocol.psnr(truth + 0.4 / 255, truth) == float("inf")


def test_the_runner_of_protocols_measures_it() -> None:
    protocol = SuperresLuma(2)
    truths = [("a", protocol.truth(picture())), ("b", protocol.truth(picture(3)))]
    rows = protocols.run(protocol, truths, protocol.bicubic)
    assert [row.name for row in rows] == ["a", "b"]
    assert rows[0].result_db == protocol.psnr(protocol.bicubic(protocol.worse(truths[0][1])), truths[0][1])
    assert np.isnan(rows[0].given_db)


def test_published_figures_stand_beside_by_method_and_factor() -> None:
    assert {row.scale for row in QUOTED} == {2, 3, 4}
    found = {row.method: row.figures["Set5"] for row in SuperresLuma(2).published}
    assert found == {"bicubic": 33.66, "SRCNN": 36.66, "VDSR": 37.53}


def test_it_says_how_it_measures() -> None:
    for word in ("x3", "8 bits", "border of 3 pixels", "range 255", "Gaussian window"):
        assert word in SuperresLuma(3).about


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(OptionError):
        SuperresLuma(1)
    with pytest.raises(GeometryError):
        SuperresLuma(2).truth(picture(2))
    with pytest.raises(GeometryError):
        SuperresLuma(4).truth(picture(x=16))
    truth = SuperresLuma(2).truth(picture())
    with pytest.raises(GeometryError):
        SuperresLuma(2).psnr(torch.zeros(1, 8, 8), truth)
