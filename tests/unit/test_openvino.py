# SPDX-License-Identifier: Apache-2.0
import importlib.util
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clarivox import engines, phantoms
from clarivox.bundle import Bundle, load
from clarivox.devices import planned
from clarivox.engines import OpenVino, eager, place_for
from clarivox.enhance import enhance
from clarivox.errors import BundleError, OptionError
from clarivox.evidence import page
from clarivox.volume import Volume, blank_like
from clarivox.windows import Windows

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="no OpenVINO")


def layered(dims: int, channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    layers = nn.Sequential(conv(channels, 4, 3, padding=1), nn.ReLU(), conv(4, 1, 5, padding=2))
    return eager(layers, dims)


class FixedSize(nn.Module):
    """Has the size of the first window in its trace."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linspace(0, 1, int(x.shape[-1]))


class OfValues(nn.Module):
    """Decides by the values, which a trace does not follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.flatten()[0]) == float(torch.rand(1, generator=torch.Generator().manual_seed(0))) else -x


def picture(side: int = 64) -> Volume:
    array = blank_like((1, side, side, 1), np.dtype(np.float32))
    array[:] = np.random.default_rng(0).random(array.shape)
    return Volume(array, np.eye(4))


@needs_openvino
@pytest.mark.parametrize("name", ["mr_unet_denoise", "cxr_srcnn_superres"])
def test_a_bundle_gives_the_same_within_a_ten_thousandth_of_the_range(name: str) -> None:
    bundle, source = load(name), picture()
    by_torch = enhance(source, bundle, device="cpu")
    found = enhance(source, bundle, engine="openvino")
    assert found.provenance is not None and found.provenance.engine == "openvino"
    assert by_torch.provenance is not None and by_torch.provenance.engine == "torch"
    assert np.abs(found.array - by_torch.array).max() <= 1e-4 * np.ptp(by_torch.array)
    assert found.shape != source.shape or np.abs(found.array - source.array).max() > 0.1


@needs_openvino
@pytest.mark.parametrize(("dims", "shape"), [(2, (37, 22)), (3, (17, 13, 11))])
def test_exact_windows_equal_the_whole_pass(dims: int, shape: tuple[int, ...]) -> None:
    network, windows = layered(dims), Windows(dims, halo=3)
    converted = OpenVino(network, 1, (16,) * dims)
    x = torch.rand(2, 1, *shape)
    run = planned(network, windows, torch.device("cpu"))
    run.budget_bytes = 300 * run.footprint
    whole = network(x)
    assert (windows(x, converted, run=run) - whole).abs().max() <= 1e-5 * (whole.max() - whole.min())
    assert run.windows > 2


@needs_openvino
def test_several_channels_laid_last_come_in_right() -> None:
    network = layered(2, channels=3)
    x = torch.rand(1, 3, 20, 24).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(OpenVino(network, 3, (16, 16))(x), network(x), atol=1e-5)


@needs_openvino
def test_the_input_is_not_changed_and_a_later_call_leaves_an_earlier_result() -> None:
    converted, x = OpenVino(layered(2), 1, (16, 16)), torch.rand(1, 1, 16, 16)
    kept = x.clone()
    first = converted(x)
    before = first.clone()
    converted(torch.rand(1, 1, 16, 16))
    assert torch.equal(first, before) and torch.equal(x, kept)


@needs_openvino
@pytest.mark.parametrize("network", [FixedSize(), OfValues()])
def test_a_network_that_a_trace_does_not_hold_is_refused(network: nn.Module) -> None:
    with pytest.raises(BundleError, match="cannot convert"):
        OpenVino(network, 1, (16, 16))


def toy(network: nn.Module) -> Bundle:
    plain = load("mr_unet_denoise")
    return replace(plain, network=network, info=replace(plain.info, modalities=()))


@needs_openvino
def test_what_cannot_be_converted_is_run_by_torch_with_a_note() -> None:
    for bundle in (toy(FixedSize()), load("identity")):
        found = enhance(picture(), bundle, engine="openvino").provenance
        assert found is not None and found.engine == "torch" and found.device == "cpu"
        assert any(note.startswith("run by torch, not OpenVINO: ") for note in found.notes)


@needs_openvino
def test_a_bundle_is_converted_once_for_a_number_of_threads() -> None:
    bundle = load("mr_unet_denoise")
    before = bundle.bytes
    assert bundle.for_openvino() is bundle.for_openvino()
    assert bundle.bytes == 2 * before


@needs_openvino
def test_nothing_of_telemetry_is_imported() -> None:
    code = (
        "import sys; from clarivox.bundle import load; from clarivox.engines import OpenVino;"
        "assert isinstance(load('mr_unet_denoise').for_openvino(), OpenVino);"
        "assert 'openvino' in sys.modules;"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


@needs_openvino
def test_the_page_says_the_engine() -> None:
    source = phantoms.mr(size=32, slices=1).degraded
    assert "<dd>openvino</dd>" in page(source, enhance(source, "mr_unet_denoise", engine="openvino"))


def test_an_absent_openvino_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"pip install 'clarivox\[openvino\]'") as found:
        enhance(picture(), "identity", engine="openvino")
    assert found.value.code == "no_openvino"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"engine": "tensorrt", "device": "cpu"}, "unknown_engine"),
        ({"engine": "openvino", "device": "cuda"}, "engine_device"),
    ],
)
def test_an_engine_that_is_not_there_or_not_for_the_device_is_refused(words: dict[str, Any], code: str) -> None:
    with pytest.raises(OptionError) as found:
        place_for(**words)
    assert found.value.code == code
