# SPDX-License-Identifier: Apache-2.0
"""The field's configuration of the diffusion bundles, without weights: it builds, is counted, and learns."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from torch.utils.flop_counter import FlopCounterMode

from clarivox.blocks import Blocks, Stack
from clarivox.diffusion import DiffusionBatches
from clarivox.networks.diffusion_unet import ConditionedDiffusionUNet
from clarivox.transforms.rician import RandRicianNoise

BUNDLES = Path(__file__).parents[2] / "bundles"


def published(name: str) -> ConfigParser:
    configs = BUNDLES / name / "configs"
    laid = yaml.safe_load((configs / "train.yaml").read_text()) | yaml.safe_load(
        (configs / "published.yaml").read_text()
    )
    return ConfigParser(laid)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "column"), [("published.yaml", 0), ("train.yaml", 1)])
def test_the_table_of_stages_is_counted(name: str, column: int) -> None:
    table = [line.split() for line in (ConditionedDiffusionUNet.__doc__ or "").splitlines()]
    rows = {line[0]: line[1 + 2 * column : 3 + 2 * column] for line in table if len(line) in (3, 5)}
    config = yaml.safe_load((BUNDLES / "mr_ddpm3d_denoise" / "configs" / name).read_text())["network_def"]
    with torch.device("meta"), torch.inference_mode():
        network = ConfigParser({"network_def": config}).get_parsed_content("network_def")
        with FlopCounterMode(display=False, depth=3) as counter:
            network(torch.empty(1, 3, 64, 64, 64))
    counts = {name.split("unet.")[-1]: sum(c.values()) for name, c in counter.get_flop_counts().items()}
    counts |= {"all": counter.get_total_flops(), "time_embed": 0}
    stages = [name for name in rows if name in counts and rows[name]]
    assert len(stages) == 13 - 4 * column
    for stage in stages:
        part = network if stage == "all" else network.unet.get_submodule(stage)
        assert rows[stage] == [f"{sum(p.numel() for p in part.parameters()):,}", f"{counts[stage] / 1e9:.1f}"], stage


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mr_ddpm3d_denoise", "ct_ddpm3d_denoise"])
def test_the_published_configuration_builds_and_takes_a_training_step_of_shapes_without_numbers(name: str) -> None:
    """On torch's meta device: every shape of forward, backward and Adam at 64^3, no arithmetic."""
    parser = published(name)
    assert parser["difference"] is None and parser["scheduler"]["prediction_type"] == "epsilon"
    with torch.device("meta"):
        network = parser.get_parsed_content("network_def")
        optimizer = torch.optim.Adam(network.parameters())
        network(torch.empty(1, 3, 64, 64, 64)).square().mean().backward()
        optimizer.step()
    assert sum(p.numel() for p in network.parameters()) == 166_924_865


@pytest.mark.slow
def test_the_published_configuration_takes_a_training_step_with_numbers_on_a_tiny_window() -> None:
    """One block of 8^3 voxels, the smallest that three halvings leave something of."""
    parser = published("mr_ddpm3d_denoise")
    network = parser.get_parsed_content("network_def")
    stack = Stack(torch.rand(1, 8, 8, 8))
    blocks = Blocks([stack], size=(8, 8, 8), batch_size=1, degrade=RandRicianNoise((0.1, 0.2)))
    batches = DiffusionBatches(blocks, parser.get_parsed_content("scheduler"), parser["difference"])
    inputs, noise = batches.batch(0)
    loss = torch.nn.functional.mse_loss(network(inputs), noise)
    loss.backward()
    leaving = network.unet.out[2].conv.weight  # begins at zero, so the first step moves it alone
    before = leaving.detach().clone()
    torch.optim.SGD(network.parameters(), 1.0).step()
    assert math.isfinite(loss.item()) and not torch.equal(before, leaving)
