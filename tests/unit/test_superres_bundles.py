# SPDX-License-Identifier: Apache-2.0
"""The bundles that enlarge radiographs: their published forms train, and the one that may invent says so."""

from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from clarivox import io
from clarivox.adversarial import Opponent
from clarivox.bundle import describe
from clarivox.enhance import enhance
from clarivox.io.dicom_kinds import Kind
from clarivox.training import Trainer
from tests.dicom_objects import read_phantom

BUNDLES = Path(__file__).parents[2] / "bundles"


class Tiny:
    """One pair for ever."""

    def __init__(self, scale: int, size: int = 24) -> None:
        draw = torch.Generator().manual_seed(0)
        self.pair = torch.rand(1, 1, size // scale, size // scale, generator=draw), torch.rand(1, 1, size, size)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        return self.pair


def trainer(name: str, overlay: str | None, folder: Path, **change: Any) -> Trainer:
    """The trainer of a bundle's train.yaml with an overlay, on two tiny patches."""
    configs = BUNDLES / name / "configs"
    files = [configs / "train.yaml"] + ([configs / overlay] if overlay else [])
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser["bundle_root"], parser["output_dir"] = str(folder / "bundle"), str(folder / "out")
    for key, value in change.items():
        parser[key] = value
    parser["train_dataset"], parser["validation"], parser["amp"] = None, None, False
    parser["trainer"]["train_dataset"] = Tiny(parser["scale"])
    parser["trainer"]["score"] = lambda network: 0.0
    found = parser.get_parsed_content("trainer")
    assert isinstance(found, Trainer)
    return found


def numbers(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_published_vdsr_builds_and_makes_a_step(tmp_path: Path) -> None:
    made = trainer("cxr_vdsr_superres", "published.yaml", tmp_path, steps=1)
    assert numbers(made.network) == 665_921
    before = [value.clone() for value in made.network.parameters()]
    made.run()
    assert any(not torch.equal(a, b) for a, b in zip(before, made.network.parameters(), strict=True))


@pytest.mark.parametrize("overlay", [None, "published.yaml"])
def test_generator_and_discriminator_make_a_step_together(tmp_path: Path, overlay: str | None) -> None:
    made = trainer("cxr_srgan_superres", overlay, tmp_path, steps=1, alone=0, scale=4, warm_up=1)
    assert numbers(made.network) == (1_526_612 if overlay else 232_011)
    assert isinstance(made.opponent, Opponent)
    before = [value.clone() for value in made.opponent.network.parameters()]
    made.run()
    assert any(not torch.equal(a, b) for a, b in zip(before, made.opponent.network.parameters(), strict=True))
    assert (tmp_path / "bundle" / "models" / "model_x4.pt").exists()


def test_a_radiograph_enlarged_by_it_says_so_in_its_notes_and_its_series_description(tmp_path: Path) -> None:
    source = read_phantom(Kind.DX, tmp_path / "source")
    result = enhance(source, "cxr_srgan_superres", device="cpu")
    assert result.provenance is not None and result.shape[1] == 2 * source.shape[1]
    assert any("may invent texture" in note for note in result.provenance.notes)
    written = io.write(result, tmp_path / "derived")
    header = pydicom.dcmread(written.files[0])
    assert header.SeriesDescription.endswith("[cxr_srgan_superres x2, may invent texture]")


def test_only_the_network_that_was_trained_against_a_discriminator_may_invent() -> None:
    found = {name: describe(BUNDLES / f"cxr_{name}_superres") for name in ("srcnn", "vdsr", "srgan")}
    assert {name for name, info in found.items() if info.may_invent} == {"srgan"}
    assert "may invent" in found["srgan"].description
    assert "may invent" in (BUNDLES / "cxr_srgan_superres" / "docs" / "README.md").read_text()
