# SPDX-License-Identifier: Apache-2.0
import json
from itertools import pairwise

import numpy as np
import pytest

from clarivox import io, phantoms
from clarivox.compare import CT_WINDOW, compare, spread
from clarivox.errors import GeometryError, OptionError, RegionError
from clarivox.matching import matched, picture
from clarivox.regions import Region, flat_regions
from clarivox.volume import Channels, Volume


@pytest.fixture(scope="module")
def brain():
    return phantoms.mr(size=96, slices=3)


def by_name(found):
    return {figure.name: figure for figure in found.figures}


def test_the_truth_itself_scores_perfectly_and_the_noisy_one_does_not(brain):
    found = by_name(compare(brain.degraded, brain.truth, brain.truth))
    assert found["PSNR"].after == float("inf") and found["PSNR"].before < 25
    assert found["SSIM"].after == pytest.approx(1) and found["SSIM"].before < 0.8
    assert found["MAE"].after == 0 < found["MAE"].before
    assert "range" in found["PSNR"].how and "Gaussian" in found["SSIM"].how


def test_without_a_truth_the_difference_is_measured_and_called_so(brain):
    found = by_name(compare(brain.degraded, brain.truth))
    assert found["PSNR"].before is None
    assert "after against before" in found["PSNR"].how


def test_noise_and_contrast_to_noise_get_better_where_noise_is_taken_away(brain):
    found = by_name(compare(brain.degraded, brain.truth))
    assert found["noise"].after < 0.2 * found["noise"].before
    assert found["CNR"].after > 1.2 * found["CNR"].before
    assert found["mean signal"].after == pytest.approx(found["mean signal"].before, rel=0.05)


def test_equal_volumes_show_no_change(brain):
    found = by_name(compare(brain.degraded, brain.degraded))
    assert found["voxels changed"].after == 0 and found["largest change"].after == 0
    assert found["edge sharpness"].after == 1


def test_hounsfield_units_are_compared_in_the_soft_tissue_window():
    pair = phantoms.ct(size=64, slices=1)
    found = compare(pair.degraded, pair.truth, pair.truth)
    assert found.window == CT_WINDOW and found.data_range == 400
    assert "400 HU" in found.range_name
    outside = pair.truth.array.copy(order="K")
    outside[outside < 500] -= 100
    darker_air = compare(pair.truth.replace(array=outside), pair.truth, pair.truth)
    assert by_name(darker_air)["PSNR"].before == float("inf")


def test_padding_does_not_count():
    noisy, truth = phantoms.ct(size=64, slices=1, padding=True)
    with_padding = by_name(compare(noisy, truth, truth))
    array = truth.array.copy(order="K")
    array[truth.padding_mask()] = -1500
    odd = truth.replace(array=array, padding=np.array([[-2000, -1500]]))
    assert by_name(compare(noisy, odd, truth))["MAE"].after == 0 == with_padding["MAE"].after


def test_in_hounsfield_units_noise_is_told_and_no_ratio_to_a_mean():
    noisy, truth = phantoms.ct(size=128, slices=1)
    found = by_name(compare(noisy, truth))
    assert found["noise signal"].after < found["noise signal"].before and "SNR signal" not in found
    assert found["mean background"].before > -150, "air is no region"


def test_a_finer_result_is_compared_on_its_own_grid():
    coarse, truth = phantoms.cxr(size=128, shrink=2)
    found = compare(coarse, truth, truth)
    assert by_name(found)["PSNR"].before > 25
    assert any("finer grid" in note for note in found.notes)


def test_long_series_are_sampled_and_the_notes_say_so(brain):
    many = brain.degraded
    array = np.repeat(many.array, 14, axis=3)
    long = many.replace(array=array, slope=np.ones(42), intercept=np.zeros(42))
    assert any("32 of 42" in note for note in compare(long, long).notes)


def test_given_regions_are_used_and_checked(brain):
    signal, background = Region.parse("signal", "40:50,20:30,1"), Region.parse("background", "0:10,0:10,1")
    found = compare(brain.degraded, brain.truth, signal=signal, background=background)
    assert found.signal == signal
    with pytest.raises(RegionError, match="from 0 to 96") as caught:
        compare(brain.degraded, brain.truth, signal=Region.parse("signal", "90:120,0:9,0"), background=background)
    assert caught.value.code == "outside"


@pytest.mark.parametrize("text", ["", "1:2,3:4", "a:b,1:2,3", "1:2:3,1:2,3"])
def test_words_that_are_no_region_are_refused(text):
    with pytest.raises(OptionError, match="X0:X1"):
        Region.parse("signal", text)


def test_flat_regions_are_not_found_in_a_constant_picture():
    assert flat_regions(np.ones((64, 64, 1), np.float32), [0]) is None


def test_the_figures_can_be_written_as_json(brain):
    content = json.loads(json.dumps(compare(brain.degraded, brain.truth, brain.truth).as_dict(), allow_nan=False))
    assert content["figures"][0]["name"] == "PSNR" and content["figures"][0]["after"] is None


def test_volumes_of_other_places_are_refused(brain):
    moved = brain.truth.affine.copy()
    moved[0, 3] += 500
    turned = brain.truth.affine[:, [1, 0, 2, 3]]
    for affine, word in ((moved, "apart"), (turned, "turned")):
        with pytest.raises(GeometryError, match=word) as caught:
            compare(brain.degraded, brain.truth.replace(affine=affine))
        assert caught.value.code == "different_grids"


def test_colour_is_compared_by_its_luma():
    array = np.zeros((3, 16, 16, 1), np.uint8)
    array[1] = 100
    volume = Volume(array, np.eye(4), channels=Channels.RGB, stored_range=(0, 255))
    assert picture(volume, 0)[0, 0] == pytest.approx(58.7)


def test_interpolation_finds_places_between_slices():
    array = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4) * 10
    volume = Volume(array, np.eye(4))
    between = np.eye(4)
    between[2, 3] = 0.5
    like = Volume(np.zeros((1, 1, 1, 3), np.float32), between)
    assert [float(matched(volume, like, z)[0, 0]) for z in range(3)] == [5, 15, 25]


def test_spread_indices_rise_and_stay_inside():
    for depth in (1, 7, 100):
        chosen = spread(depth, 5)
        assert all(a < b for a, b in pairwise(chosen)) and chosen[0] >= 0 and chosen[-1] < depth


def test_what_is_no_finite_number_does_not_spoil_the_figures():
    array = np.random.default_rng(0).normal(100, 5, (1, 32, 32, 2)).astype(np.float32)
    array[0, :4], array[0, 5, 5, 0] = np.nan, np.inf
    volume = Volume(array, np.eye(4))
    found = compare(volume, volume)
    assert all(np.isfinite(figure.after) for figure in found.figures if figure.name not in ("PSNR", "PSNR, foreground"))
    assert any("no finite number" in note for note in found.notes)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 3, 1), (1, 11, 40, 1), (1, 40, 12, 3)])
def test_small_volumes_have_the_figures_that_can_be_taken(shape):
    volume = Volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.eye(4))
    assert by_name(compare(volume, volume))["MAE"].after == 0


def test_an_enlarged_picture_is_compared_although_no_picture_says_its_spacing(tmp_path):
    coarse, truth = phantoms.cxr(size=64, shrink=2)
    read = [
        io.read(io.write(one, tmp_path / f"{name}.png", as_="png").files[0])
        for one, name in ((coarse, "coarse"), (truth, "fine"))
    ]
    found = by_name(compare(*read))
    assert found["PSNR"].after == pytest.approx(by_name(compare(coarse, truth))["PSNR"].after, rel=1e-6)
    with pytest.raises(GeometryError, match="lie apart"):
        compare(read[1], read[0])
