# SPDX-License-Identifier: Apache-2.0
"""What every network must do, whatever its family."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from clarivox.classical import Bicubic, Median, NonLocalMeans, Srad, TotalVariation, WaveletShrinkage
from clarivox.networks.cbdnet import Cbdnet
from clarivox.networks.dncnn import Dncnn
from clarivox.networks.ffdnet import Ffdnet
from clarivox.networks.hybrid import Hybrid
from clarivox.networks.kpn import Kpn
from clarivox.networks.mwcnn import Mwcnn
from clarivox.networks.redcnn import Redcnn
from clarivox.networks.srcnn import Srcnn
from clarivox.networks.srgan import SrganGenerator
from clarivox.networks.svd import SvdFilter
from clarivox.networks.unet import RestorationUNet
from clarivox.networks.vdsr import Vdsr


class Case(NamedTuple):
    """A network and what it promises."""

    make: Callable[[], nn.Module]
    dims: int
    scale: int = 1
    homogeneous: bool = True
    learns: bool = True
    halo: bool = True
    channels: int = 1


CASES = {
    "unet-2d": Case(lambda: RestorationUNet(2, (4, 8), 1), 2),
    "unet-3d": Case(lambda: RestorationUNet(3, (4, 8), 1), 3),
    "unet-one-level": Case(lambda: RestorationUNet(2, (4,), 1, fold_factor=1), 2),
    "unet-biased": Case(lambda: RestorationUNet(2, (4, 8), 1, bias=True), 2, homogeneous=False),
    "srcnn-x2": Case(lambda: Srcnn(2, features=(8, 4), bias=False), 2, 2),
    "srcnn-x3": Case(lambda: Srcnn(3, features=(8, 4), bias=False), 2, 3),
    "srcnn-x4-published": Case(lambda: Srcnn(4, (9, 1, 5), (8, 4), skip=False), 2, 4, homogeneous=False),
    "dncnn-2d": Case(lambda: Dncnn(2, 4, 8, bias=False), 2),
    "dncnn-3d": Case(lambda: Dncnn(3, 3, 4, bias=False, activation="leaky_relu"), 3),
    "dncnn-biased": Case(lambda: Dncnn(2, 4, 8), 2, homogeneous=False),
    "dncnn-gelu": Case(lambda: Dncnn(2, 4, 8, norm=False, activation="gelu"), 2, homogeneous=False),
    "ffdnet-blind": Case(lambda: Ffdnet(2, 4, 8, sigma=None, bias=False), 2),
    "ffdnet-blind-3d": Case(lambda: Ffdnet(3, 3, 4, sigma=None, bias=False), 3),
    "ffdnet-given": Case(lambda: Ffdnet(2, 4, 8, norm=True), 2, homogeneous=False),
    "redcnn-2d": Case(lambda: Redcnn(2, 3, 8, bias=False), 2),
    "redcnn-3d": Case(lambda: Redcnn(3, 2, 4, 3, bias=False), 3),
    "redcnn-biased": Case(lambda: Redcnn(2, 3, 8, positive=False), 2, homogeneous=False),
    "vdsr-x2": Case(lambda: Vdsr(2, 4, 8, bias=False), 2, 2),
    "vdsr-centred": Case(lambda: Vdsr(2, 4, 8, bias=False, centred=True), 2, 2),
    "vdsr-x3-biased": Case(lambda: Vdsr(3, 4, 8), 2, 3, homogeneous=False),
    "mwcnn-2d": Case(lambda: Mwcnn(2, (4, 8), 2, bias=False), 2),
    "mwcnn-3d": Case(lambda: Mwcnn(3, (4,), 2, norm=False, bias=False), 3),
    "mwcnn-biased": Case(lambda: Mwcnn(2, (4, 8), 2), 2, homogeneous=False),
    "cbdnet-2d": Case(lambda: Cbdnet(2, (4, 8), (1, 2, 1), 4, 3, bias=False), 2),
    "cbdnet-3d": Case(lambda: Cbdnet(3, (4,), (1,), 4, 2, bias=False), 3),
    "cbdnet-biased": Case(lambda: Cbdnet(2, (4, 4, 8), (2, 1, 1, 1, 2), 4, 3), 2, homogeneous=False),
    "kpn-2d": Case(lambda: Kpn(2, 1, 3, (4, 8), 1, bias=False), 2),
    "kpn-3d": Case(lambda: Kpn(3, 1, 3, (4,), 1, bias=False), 3),
    "kpn-biased": Case(lambda: Kpn(2, 1, 5, (4, 8), 1, sigma=0.1), 2, homogeneous=False),
    "kpn-burst": Case(lambda: Kpn(2, 3, 3, (4, 8), 1, bias=False), 2, channels=3),
    "kpn-burst-average": Case(lambda: Kpn(2, 3, 3, (4,), 1, weights="average", bias=False), 2, channels=3),
    "mwkpn-2d": Case(lambda: Kpn(2, 1, 3, (4, 8), 1, haar_levels=1, bias=False), 2),
    "mwkpn-3d": Case(lambda: Kpn(3, 1, 3, (4,), 1, haar_levels=1, bias=False), 3),
    "local-filter": Case(lambda: Kpn(2, 1, 5, (4, 8), 1, weights="average", bias=False), 2),
    "global-filter": Case(
        lambda: Kpn(2, 1, 5, (4, 8), 1, scope="global", weights="average", bias=False), 2, halo=False
    ),
    "srgan-x2": Case(lambda: SrganGenerator(2, 2, 4, 5, skip=True, bias=False), 2, 2),
    "srgan-centred": Case(lambda: SrganGenerator(2, 2, 4, 5, skip=True, bias=False, centred=True), 2, 2),
    "srgan-x3": Case(lambda: SrganGenerator(3, 1, 4, bias=False), 2, 3),
    "srgan-x4-biased": Case(lambda: SrganGenerator(4, 2, 4, norm=False), 2, 4, homogeneous=False),
    "srad": Case(lambda: Srad(6), 2, homogeneous=False, learns=False, halo=False),
    "nlm": Case(lambda: NonLocalMeans(search=2, patch=1), 2, learns=False, halo=False),
    "tv": Case(lambda: TotalVariation(iterations=10), 2, learns=False, halo=False),
    "wavelet": Case(WaveletShrinkage, 2, learns=False, halo=False),
    "median": Case(lambda: Median(2), 2, learns=False),
    "bicubic": Case(lambda: Bicubic(3), 2, 3, learns=False),
    "hybrid-residual": Case(lambda: Hybrid(Median(), Dncnn(2, 4, 8, bias=False)), 2),
    "hybrid-filtered": Case(
        lambda: Hybrid(WaveletShrinkage(), Mwcnn(2, (4, 8), 2, bias=False), "filtered"), 2, halo=False
    ),
    "svd-clip": Case(lambda: SvdFilter(frames=3), 3, learns=False, halo=False),
    "svd-frames": Case(lambda: SvdFilter(frames=99, alike=8, search=4), 3, learns=False, halo=False),
}
SIDES = {2: [(16, 24), (17, 9), (1, 5)], 3: [(16, 12, 8), (9, 7, 5), (3, 3, 1)]}


def those(chosen: Callable[[Case], bool] = lambda case: True) -> pytest.MarkDecorator:
    names = [name for name, case in CASES.items() if chosen(case)]
    return pytest.mark.parametrize("case", [CASES[name] for name in names], ids=names)


def made(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return case.make().eval()


def picture(case: Case, *sides: int) -> Tensor:
    return torch.rand(1, case.channels, *sides, generator=torch.Generator().manual_seed(1))


@those()
def test_the_output_has_the_size_that_is_promised_for_even_odd_and_thin_images(case: Case) -> None:
    network = made(case)
    for sides in SIDES[case.dims]:
        output = network(picture(case, *sides))
        assert output.shape == (1, 1, *[n * case.scale for n in sides])
        assert torch.isfinite(output).all()


@those()
def test_the_same_image_gives_the_same_result_and_is_left_as_it_was(case: Case) -> None:
    network, image = made(case), picture(case, *SIDES[case.dims][0])
    kept = image.clone()
    assert torch.equal(network(image), network(image))
    assert torch.equal(image, kept)


@those()
def test_images_of_a_batch_do_not_touch_each_other(case: Case) -> None:
    network, image = made(case), picture(case, *SIDES[case.dims][0])
    together = network(torch.cat([image, 1 - image]))
    assert torch.allclose(together[:1], network(image), atol=1e-5)


@those(lambda case: case.homogeneous)
def test_without_constants_a_brighter_image_gives_a_brighter_result_of_the_same_kind(case: Case) -> None:
    network, image = made(case).double(), picture(case, *SIDES[case.dims][0]).double()
    assert torch.allclose(network(7 * image), 7 * network(image), rtol=1e-4, atol=1e-6)


@those(lambda case: case.homogeneous)
def test_a_black_image_stays_black_without_constants(case: Case) -> None:
    assert made(case)(torch.zeros(1, case.channels, *SIDES[case.dims][1])).abs().max() == 0


@those()
def test_every_parameter_learns(case: Case) -> None:
    network = made(case)
    if not case.learns:
        assert not list(network.parameters())
        return
    network(picture(case, *SIDES[case.dims][0])).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@those(lambda case: case.halo)
def test_a_voxel_farther_away_than_the_halo_has_no_influence(case: Case) -> None:
    network = made(case).double()
    halo, stride = int(network.halo), int(network.stride)  # type: ignore[arg-type]
    sides = (stride * -(-(halo + 9) // stride) * 2, *[stride] * (case.dims - 1))
    image = picture(case, *sides).double()
    place = sides[0] // 2
    changed = image.clone()
    changed[:, :, place] += 1
    moved = (network(changed) - network(image)).abs().flatten(3).amax(dim=3)[0, 0] > 1e-12
    reached = moved.nonzero().flatten() // case.scale
    assert reached.numel() > 0
    assert place - int(reached.min()) <= halo
    assert int(reached.max()) - place <= halo


@those(lambda case: case.learns)
def test_half_precision_weights_come_back_close(case: Case) -> None:
    network, image = made(case), picture(case, *SIDES[case.dims][0])
    network.requires_grad_(False)
    exact = network(image)
    network.load_state_dict({name: value.half().float() for name, value in network.state_dict().items()})
    assert torch.allclose(network(image), exact, atol=5e-3 * float(exact.abs().max()))
