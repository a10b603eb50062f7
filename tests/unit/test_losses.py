# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor, nn

from clarivox.errors import OptionError
from clarivox.losses import (
    AnnealedLoss,
    FeatureLoss,
    GradientLoss,
    NoiseEstimateLoss,
    PixelLoss,
    RelativeSquaredError,
    StructureLoss,
    WeightedSum,
    gabor,
)
from clarivox.networks.cbdnet import Cbdnet
from clarivox.networks.kpn import Kpn
from clarivox.transforms.gaussian import GaussianNoise


def picture(*sides: int) -> Tensor:
    return torch.rand(2, 1, *sides, generator=torch.Generator().manual_seed(0))


LOSSES = [
    *[PixelLoss(kind, shave=1) for kind in ("mse", "l1", "charbonnier")],
    RelativeSquaredError(),
    StructureLoss(window=5),
    GradientLoss(),
    FeatureLoss(),
    WeightedSum([PixelLoss(), FeatureLoss()], [1.0, 0.1]),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{type(loss).__name__} {getattr(loss, 'kind', '')}")
def test_a_loss_is_least_at_the_truth_and_can_be_followed_downhill(loss: nn.Module) -> None:
    truth = picture(24, 20)
    inputs = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    outputs = inputs.clone().requires_grad_()
    at_input, at_truth = loss(outputs, truth, inputs), loss(truth, truth, inputs)
    assert float(at_truth) < 0.01 < 5 * float(at_input.detach())
    at_input.backward()
    assert outputs.grad is not None
    nearer = (outputs - 0.01 * outputs.grad / outputs.grad.norm()).detach()
    assert float(loss(nearer, truth, inputs)) < float(at_input.detach())


def test_the_loss_counts_strong_and_faint_noise_alike_at_power_one() -> None:
    truth = torch.zeros(2, 1, 8, 8)
    inputs = torch.stack([torch.full((1, 8, 8), 0.1), torch.full((1, 8, 8), 1.0)])
    loss = RelativeSquaredError(power=1, floor=0)
    assert float(loss(inputs / 2, truth, inputs)) == pytest.approx(0.25)


def test_the_loss_takes_inputs_on_a_coarser_grid_and_leaves_the_border_out() -> None:
    truth = torch.ones(1, 1, 8, 8)
    outputs = truth.clone()
    outputs[..., 0] = 9
    assert float(RelativeSquaredError(shave=1)(outputs, truth, torch.zeros(1, 1, 4, 4))) == 0
    assert float(PixelLoss(shave=1)(outputs, truth, torch.zeros(1, 1, 4, 4))) == 0


def test_a_map_beside_the_input_does_not_weigh_its_error() -> None:
    truth, noisy = picture(8, 8), picture(8, 8) + 0.1
    with_map = torch.cat([noisy, torch.full_like(noisy, 9.0)], dim=1)
    loss = RelativeSquaredError()
    assert torch.equal(loss(noisy, truth, with_map), loss(noisy, truth, noisy))


def test_structure_is_that_of_monai_in_three_dimensions_too() -> None:
    x = picture(12, 12, 12)
    assert float(StructureLoss(3, window=5)(x, x, x)) == pytest.approx(0, abs=1e-5)


def test_gabor_filters_see_no_flat_ground() -> None:
    filters = gabor(9, 8)
    assert filters.shape == (16, 1, 9, 9)
    assert torch.allclose(filters.sum((1, 2, 3)), torch.zeros(16), atol=1e-5)
    assert torch.allclose(filters.flatten(1).norm(dim=1), torch.ones(16))


def test_features_are_the_same_in_every_process_and_are_not_trained() -> None:
    x = picture(24, 24)
    assert torch.equal(FeatureLoss().features(x)[1], FeatureLoss().features(x)[1])
    assert not list(FeatureLoss().parameters()) and not FeatureLoss().state_dict()


def test_features_prefer_texture_a_little_off_its_place_to_none() -> None:
    texture = torch.sin(torch.arange(48.0) * 1.3).expand(1, 1, 48, 48)
    off, none = texture.roll(1, 3), torch.zeros_like(texture)
    loss, plain = FeatureLoss(), PixelLoss()
    assert float(loss(off, texture, texture)) < float(loss(none, texture, texture))
    assert float(plain(off, texture, texture)) > float(plain(none, texture, texture))


def test_features_of_a_volume_are_those_of_its_slices() -> None:
    x = picture(20, 20, 3)
    whole = FeatureLoss().features(x)[0]
    assert torch.allclose(whole[1], FeatureLoss().features(x[:1, ..., 1])[0][0])


def test_sums_need_a_weight_for_each() -> None:
    with pytest.raises(OptionError, match="one weight"):
        WeightedSum([PixelLoss()], [1.0, 2.0])
    with pytest.raises(OptionError, match="kind"):
        PixelLoss("huber")


def test_an_estimate_of_the_noise_that_is_too_small_costs_more() -> None:
    class Estimator(nn.Module):
        def __init__(self, level: float) -> None:
            super().__init__()
            self.level = level

        def forward(self, x: Tensor) -> Tensor:
            return x

        def noise_level(self, x: Tensor) -> Tensor:
            return torch.full_like(x, self.level)

    truth = torch.zeros(1, 1, 48, 48)
    noisy = torch.stack([GaussianNoise(0.2, seed=1, reference=1.0)(truth[0])])
    costs = [
        float(NoiseEstimateLoss(PixelLoss()).of_network(Estimator(level), noisy, truth, (), 0)[1])
        for level in (0.1, 0.2, 0.3)
    ]
    assert costs[1] < costs[2] < costs[0]


def test_cbdnet_and_kpn_learn_by_losses_of_their_own() -> None:
    inputs, targets = picture(16, 16), picture(16, 16) * 0.9
    estimating = Cbdnet(channels=(4, 8), convolutions=(1, 1, 1), estimator=4)
    outputs, loss = NoiseEstimateLoss(PixelLoss()).of_network(estimating, inputs, targets, (), 0)
    loss.backward()
    assert outputs.shape == targets.shape
    assert all(p.grad is not None for p in estimating.estimator.parameters())
    burst = Kpn(frames=3, channels=(4, 8), blocks=1)
    frames = inputs.repeat(1, 3, 1, 1)
    first, later = (AnnealedLoss(PixelLoss()).of_network(burst, frames, targets, (), step)[1] for step in (0, 50000))
    assert float(later.detach()) < 0.02 * float(first.detach())
