# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from clarivox import io
from clarivox.bundle import Bundle, load
from clarivox.cli.main import app
from clarivox.errors import ModalityError, OptionError
from clarivox.interpret import interpret
from clarivox.interpret_page import html, shown_layers, write
from clarivox.networks.kpn import Kpn
from clarivox.phantoms import cxr, mr
from clarivox.volume import Volume

BRAIN = mr(size=48, slices=2)[0]


class Blur(nn.Module):
    """A 3 x 3 mean, plus a constant."""

    def __init__(self, constant: float = 0.0) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)
        nn.init.constant_(self.convolution.weight, 1 / 9)
        nn.init.constant_(self.convolution.bias, constant)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x)


def holding(network: nn.Module) -> Bundle:
    """A bundle with another network in it."""
    return dataclasses.replace(load("mr_unet_denoise"), network=network.eval().requires_grad_(False))


def test_the_filter_of_a_mean_is_that_mean() -> None:
    found = interpret(BRAIN, holding(Blur()), [(20, 25)])
    one = found.filters[0]
    assert found.without_constants and one.at == (20, 25)
    middle = one.weights.shape[0] // 2
    assert np.allclose(one.weights[middle - 1 : middle + 2, middle - 1 : middle + 2], 1 / 9)
    assert one.total == pytest.approx(1) and np.count_nonzero(one.weights) == 9
    assert one.width_px == pytest.approx(np.sqrt(12 / 9), rel=1e-4)
    assert abs(one.remainder) < 1e-6 and found.worst < 1e-5


def test_a_constant_is_the_remainder_of_the_filter() -> None:
    found = interpret(BRAIN, holding(Blur(0.25)), [(20, 25)])
    assert not found.without_constants and found.filters[0].remainder == pytest.approx(0.25, abs=1e-5)
    assert "affine" in html(found, ())


def test_the_filter_of_a_network_without_constants_gives_its_output() -> None:
    found = interpret(BRAIN, load("mr_unet_denoise"))
    assert found.without_constants and len(found.filters) >= 1
    assert found.worst < 1e-5
    assert found.given.shape == (48, 48) and {layer.kind for layer in found.layers} >= {"Conv2d"}


def test_a_finer_grid_has_its_filter_on_the_coarse_one() -> None:
    found = interpret(cxr(size=64, shrink=2)[0], load("cxr_srcnn_superres", scale=2), [(10, 12)])
    assert found.result.shape == (64, 64) and found.given.shape == (32, 32) and found.worst < 1e-5


@pytest.mark.parametrize("kind", [{"kernel": 5}, {"scope": "global", "weights": "average"}, {"haar_levels": 1}])
def test_predicted_kernels_are_shown(kind: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Kpn(channels=(4, 8), blocks=1, bias=False, **kind)
    found = interpret(BRAIN, holding(network), [(20, 25), (30, 8)])
    (kernels,) = found.kernels
    shared = kind.get("scope") == "global"
    assert kernels.scope == ("global" if shared else "local") and len(kernels.stacks) == (1 if shared else 2)
    assert kernels.stacks[0].shape == (4 if "haar_levels" in kind else 1, 5, 5)
    assert (kernels.centre is None) == shared and found.without_constants and found.worst < 1e-4
    names = {path.name for path in write(found, (), tmp_path / "out")}
    assert "index.html" in names and any(name.startswith("kernel-") for name in names)


def test_what_cannot_be_looked_into_is_refused() -> None:
    for bundle, places, chosen in (
        (load("identity"), [], None),
        (holding(Blur()), [(99, 2)], None),
        (holding(Blur()), [], 7),
    ):
        with pytest.raises(OptionError):
            interpret(BRAIN, bundle, places, slice_index=chosen)
    with pytest.raises(ModalityError):
        interpret(BRAIN.replace(modality="CT"), holding(Blur()))


def test_a_large_picture_is_looked_at_in_part() -> None:
    large = Volume(
        np.random.default_rng(0).integers(0, 99, (1, 600, 520, 1)).astype(np.int16), np.eye(4), modality="MR"
    )
    found = interpret(large, holding(Blur()), [(400, 300)])
    assert found.given.shape == (256, 256) and found.part[0].start % 8 == 0
    assert len(shown_layers(found)) == 1


def test_the_command_writes_a_page_and_figures(tmp_path: Path) -> None:
    io.write(BRAIN, tmp_path / "a.nii.gz")
    words = ["interpret", "mr_unet_denoise", str(tmp_path / "a.nii.gz"), "--at", "20,25", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and "no constants" in done.output, done.output
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["filters"][0]["at"] == [20, 25] and content["layers"]
    assert (tmp_path / "out" / "pictures" / "filter-1.png").is_file()
    assert CliRunner().invoke(app, [*words[:3], "--at", "here"]).exit_code == 2
