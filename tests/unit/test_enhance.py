# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clarivox import devices
from clarivox.bundle import Bundle, load
from clarivox.enhance import enhance
from clarivox.errors import CancelledError, CapacityError, GeometryError, ModalityError, OptionError
from clarivox.prepare import PrepareVolume, Unscaled, Window
from clarivox.progress import Step
from clarivox.volume import Axis, Channels, Fault, Irregularity, Volume, blank_like
from clarivox.windows import Windows


class Brighter(nn.Module):
    """Adds to every model value."""

    def __init__(self, change: float = 10.0) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change


def toy(network: nn.Module | None = None, **about: Any) -> Bundle:
    """A bundle made in memory from the identity."""
    plain = load("identity")
    dims = about.get("spatial_dims", 2)
    scale = 2 if about.get("grid") == "scaled" else 1
    windows = Windows(dims, scale=scale, clip=about.get("clip", False))
    info = replace(plain.info, name="toy", accepts_palette=False, **about)
    preparing = PrepareVolume(Unscaled(), by_channel=scale > 1)
    return replace(plain, info=info, network=network or Brighter(), preparing=preparing, windows=windows)


def volume(**about: Any) -> Volume:
    array = blank_like((1, 8, 6, 3), np.dtype(np.int16))
    array[:] = np.random.default_rng(0).integers(0, 1000, array.shape)
    return Volume(array, np.diag([1.0, 2, 3, 1]), **about)


def irregular(fault: Fault) -> Volume:
    return volume(irregular=Irregularity(fault, "gaps of 1 to 7 mm"))


def test_the_result_is_new_and_the_source_is_left_as_it_was() -> None:
    source = volume()
    before = source.array.copy()
    result = enhance(source, toy())
    assert (result.array == before + 10).all() and (source.array == before).all()
    assert result.array.dtype == np.int16 and result.frames.flags.c_contiguous


def test_provenance_says_how() -> None:
    found = enhance(volume(modality="MR"), toy(task="denoise"), device="cpu", strength=0.5).provenance
    assert found is not None
    assert (found.bundle, found.task, found.device, found.strength) == ("toy", "denoise", "cpu", 0.5)
    assert found.windows == 3 and found.redundancy == 1 and len(found.digest) == 64 and not found.forced


@pytest.mark.parametrize("modality", ["MR", ""])
def test_a_network_that_may_invent_texture_says_so(modality: str) -> None:
    found = enhance(volume(modality=modality), toy(modalities=("MR",), may_invent=True), device="cpu").provenance
    assert found is not None and found.may_invent
    assert found.notes[0].startswith("toy may invent texture")


def test_strength_zero_keeps_every_bit() -> None:
    assert (enhance(volume(), toy(), strength=0).array == volume().array).all()


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        enhance(volume(), toy(), strength=strength)


def test_a_modality_that_is_not_declared_is_refused_by_name_unless_forced() -> None:
    with pytest.raises(ModalityError, match=r"is for MR, CT; found US"):
        enhance(volume(modality="US"), toy(modalities=("MR", "CT")))
    found = enhance(volume(modality="US"), toy(modalities=("MR",)), force=True).provenance
    assert found is not None and found.forced and "forced" in found.notes[0]


def test_a_source_that_does_not_say_its_modality_is_taken_with_a_note() -> None:
    found = enhance(volume(), toy(modalities=("MR",))).provenance
    assert found is not None and "taken as MR" in found.notes[0] and not found.forced


def test_palettes_are_refused() -> None:
    with pytest.raises(ModalityError, match="colour table"):
        enhance(volume(channels=Channels.PALETTE), toy())
    assert enhance(volume(channels=Channels.PALETTE), "identity").channels is Channels.PALETTE


@pytest.mark.parametrize("fault", [Fault.MISSING, Fault.UNEVEN, Fault.UNRELATED])
def test_3d_bundles_refuse_slices_that_are_not_even(fault: Fault) -> None:
    with pytest.raises(GeometryError, match=r"gaps of 1 to 7 mm; use a 2D bundle") as caught:
        enhance(irregular(fault), toy(spatial_dims=3), allow_uneven=True)
    assert caught.value.code == fault


@pytest.mark.parametrize("dims", [2, 3])
def test_tilted_slices_are_taken_with_a_note(dims: int) -> None:
    found = enhance(irregular(Fault.TILTED), toy(spatial_dims=dims)).provenance
    assert found is not None and found.notes == ("gaps of 1 to 7 mm",)


def test_2d_bundles_take_uneven_slices_and_the_rest_only_when_told() -> None:
    assert enhance(irregular(Fault.UNEVEN), toy()).provenance
    for fault in (Fault.MISSING, Fault.UNRELATED):
        with pytest.raises(GeometryError, match="allow uneven"):
            enhance(irregular(fault), toy())
        assert enhance(irregular(fault), toy(), allow_uneven=True).provenance


def test_a_clip_is_no_volume() -> None:
    with pytest.raises(GeometryError, match="found a clip"):
        enhance(volume(third_axis=Axis.TIME), toy(spatial_dims=3))
    assert enhance(volume(third_axis=Axis.TIME), toy(spatial_dims=3, clip=True)).provenance


def test_a_finer_grid_keeps_the_field_of_view() -> None:
    result = enhance(volume(padding=np.full((3, 2), 5)), toy(nn.Upsample(scale_factor=2.0), grid="scaled"))
    assert result.shape == (1, 16, 12, 3) and result.spacing_mm == (0.5, 1.0, 3.0)
    assert np.allclose(result.affine[:3, 3], [-0.25, -0.5, 0])
    assert (result.array == volume().array.repeat(2, 1).repeat(2, 2)).all()
    with pytest.raises(OptionError, match="changes the grid"):
        enhance(volume(), toy(grid="scaled"), strength=0.5)


def test_progress_ends_at_one_and_false_cancels() -> None:
    seen: list[Step] = []
    enhance(volume(), toy(), progress=seen.append)
    assert seen[-1].fraction == pytest.approx(1) and seen[-1].stage == "enhance"
    with pytest.raises(CancelledError):
        enhance(volume(), toy(), progress=lambda step: False)


def test_windows_fit_the_memory_limit_and_the_result_may_lie_in_a_file() -> None:
    result = enhance(volume(), toy(), memory_limit_bytes=200)
    assert isinstance(result.array, np.memmap) and (result.array == volume().array + 10).all()
    assert result.provenance is not None and result.provenance.windows > 3


class Full(nn.Module):
    """Out of memory on the first device that it is asked to run on."""

    def __init__(self) -> None:
        super().__init__()
        self.moves = 0

    def to(self, *args: Any, **kwargs: Any) -> "Full":
        self.moves += 1
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.moves < 2 and x.shape[2] < 24:
            raise torch.OutOfMemoryError("made up")
        return x + 1


def test_the_cpu_takes_over_when_the_smallest_window_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(devices, "fallbacks", lambda device: [cpu, cpu])
    result = enhance(volume(), toy(Full()))
    assert (result.array == volume().array + 1).all() and result.provenance is not None
    assert "smaller windows" in result.provenance.notes[0] and "next device" in result.provenance.notes[1]
    monkeypatch.setattr(devices, "fallbacks", lambda device: [cpu])
    with pytest.raises(CapacityError):
        enhance(volume(), toy(Full()))


def test_the_scale_of_the_preparation_is_undone() -> None:
    bundle = replace(toy(Brighter(0.1)), preparing=PrepareVolume(Window(0, 500)))
    assert (enhance(volume(), bundle).array == volume().array + 50).all()


def test_values_as_in_ct_are_doubted_where_the_source_says_no_modality() -> None:
    hounsfield = np.full((1, 8, 8, 2), -1000, np.int16)
    hounsfield[0, 2:6, 2:6] = 300
    ct = Volume(hounsfield, np.eye(4))
    assert any("as in CT" in note for note in enhance(ct, toy(modalities=("MR",))).provenance.notes)
    assert not any("as in CT" in note for note in enhance(ct, toy(modalities=())).provenance.notes)
    mr = Volume(np.abs(hounsfield), np.eye(4))
    assert not any("as in CT" in note for note in enhance(mr, toy(modalities=("MR",))).provenance.notes)
