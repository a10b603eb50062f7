# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from clarivox.safe_config import check

BUNDLES = Path(__file__).parents[2] / "bundles"
TRAINED = sorted(path.parent for path in BUNDLES.glob("*/configs/train.yaml"))


@pytest.mark.parametrize("configs", TRAINED, ids=lambda path: path.parent.name)
def test_several_processes_can_train_it(configs: Path) -> None:
    overlay = yaml.safe_load((configs / "multi_gpu_train.yaml").read_text())
    assert overlay == {
        "+imports": ["$import clarivox.parallel as parallel"],
        "device": "$parallel.join()",
        "finalize": ["$parallel.leave()"],
    }
    train = yaml.safe_load((configs / "train.yaml").read_text())
    assert train["trainer"]["device"] == "@device" and {"steps", "learning_rate", "init_from", "amp"} <= set(train)


@pytest.mark.parametrize("configs", TRAINED, ids=lambda path: path.parent.name)
def test_what_is_trained_is_what_runs(configs: Path) -> None:
    train, run = (yaml.safe_load((configs / name).read_text()) for name in ("train.yaml", "inference.yaml"))
    assert train["network_def"] == run["network_def"]


@pytest.mark.parametrize("configs", TRAINED, ids=lambda path: path.parent.name)
def test_what_is_evaluated_is_laid_over_what_runs(configs: Path) -> None:
    evaluate, run = (yaml.safe_load((configs / name).read_text()) for name in ("evaluate.yaml", "inference.yaml"))
    assert set(evaluate) == {"evaluator"}
    for key in ("network", "preprocessing", "inferer", "options", "weights"):
        assert evaluate["evaluator"].get(key) == run["evaluator"].get(key)


def test_the_published_form_of_srcnn_is_a_config() -> None:
    parser = ConfigParser(
        yaml.safe_load((BUNDLES / "cxr_srcnn_superres/configs/plain.yaml").read_text()) | {"scale": 3}
    )
    network = parser.get_parsed_content("network_def")
    assert sum(p.numel() for p in network.parameters()) == 64 * 82 + 32 * 65 + 801
    assert network(torch.zeros(1, 1, 6, 6)).shape == (1, 1, 18, 18)


HYBRIDS = sorted(BUNDLES.glob("*/configs/hybrid.yaml"))


@pytest.mark.parametrize("path", HYBRIDS, ids=lambda path: path.parents[1].name)
def test_a_hybrid_is_the_bundles_network_behind_a_filter_and_learns(path: Path) -> None:
    overlay, train = (yaml.safe_load((path.parent / name).read_text()) for name in (path.name, "train.yaml"))
    assert overlay["network_def"]["network"] == train["network_def"]
    check(overlay, path.name)
    parser = ConfigParser(overlay)
    network, inferer = (parser.get_parsed_content(key) for key in ("network_def", "inferer"))
    image = torch.rand(1, 1, 19, 14)
    torch.autograd.backward(network(image).square().mean())
    assert any(float(p.grad.abs().sum()) > 0 for p in network.parameters() if p.grad is not None)
    assert inferer(image, network.eval()).shape == image.shape
