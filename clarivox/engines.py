# SPDX-License-Identifier: Apache-2.0
"""Making a network fast on the device it runs on: torch eager, or OpenVINO on a CPU."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from clarivox.errors import BundleError, OptionError

ENGINES = ("torch", "openvino")
"""What can run a network; the first is the default."""

_AGREE = 1e-4
"""Most that OpenVINO may differ from torch on a trial, as a share of the range of torch's result."""


class OneDnnConv3d(nn.Conv3d):
    """A 3D convolution that always takes oneDNN's kernel on a CPU.

    For one window whose batch x channels x X x Y is at most 20480, torch takes a kernel of its own that unfolds the
    input: measured 10 to 20 times slower at 32 x 32 x 64 voxels and 16 channels.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        faster = input.device.type == "cpu" and input.dtype == torch.float32 and input.numel() > 0
        # A trace is for OpenVINO, which knows only the plain convolution.
        faster = faster and torch._C._get_tracing_state() is None
        if not faster or self.padding_mode != "zeros" or isinstance(padding, str):
            result: Tensor = super()._conv_forward(input, weight, bias)
            return result
        result = torch.mkldnn_convolution(input, weight, bias, padding, self.stride, self.dilation, self.groups)
        return result


def eager(network: nn.Module, spatial_dims: int) -> nn.Module:
    """The network ready for inference: no gradients, channels last, the faster 3D convolution.

    The network itself is changed, not a copy of it; its numbers stay.

    >>> small = eager(nn.Sequential(nn.Conv3d(1, 4, 3, padding=1)), 3)
    >>> type(small[0]).__name__, small(torch.zeros(1, 1, 5, 5, 5)).shape
    ('OneDnnConv3d', torch.Size([1, 4, 5, 5, 5]))
    """
    for module in network.modules():
        if type(module) is nn.Conv3d and torch._C._has_mkldnn:
            module.__class__ = OneDnnConv3d
    layout = torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim == spatial_dims + 2:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return network


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Names of two settings in the C library's malloc.h."""


@contextlib.contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """While this lasts, memory that layers give back stays with the process, for the next layer.

    By default each activation above 32 MiB is asked of the system anew, and the system fills it with zeros first:
    measured a quarter of the time of a small 3D network. At the end the memory goes back. Does nothing for devices
    other than a CPU, and where the C library is not GNU's.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" and device.type == "cpu" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_MAX, 65536)
        library.mallopt(M_TRIM_THRESHOLD, 2**17)
        library.malloc_trim(0)


def place_for(engine: str, device: str) -> str:
    """The device that an engine runs on, of the one asked for.

    Raises:
        OptionError: there is no such engine, it is not installed, or it does not run on this device.

    >>> place_for("torch", "auto")
    'auto'
    """
    if engine not in ENGINES:
        raise OptionError(f"engine is {' or '.join(ENGINES)}; found {engine}", code="unknown_engine")
    if engine == "torch":
        return device
    if device not in ("auto", "cpu"):
        raise OptionError(
            f"the engine openvino runs on the CPU; found device {device}; use cpu, or the engine torch",
            code="engine_device",
        )
    if importlib.util.find_spec("openvino") is None:
        raise OptionError("OpenVINO is not installed; pip install 'clarivox[openvino]'", code="no_openvino")
    return "cpu"


class OpenVino:
    """A network that OpenVINO runs on the CPU in float32; called as the torch network is.

    Threads may share it: each call has a request and an output of its own.

    Args:
        network: on the CPU, ready for inference.
        channels: of its input.
        sides: a window that the network takes; multiples of its stride.

    Raises:
        BundleError: the network cannot be converted, or gives other results then.
    """

    def __init__(self, network: nn.Module, channels: int, sides: tuple[int, ...]) -> None:
        self._library = _openvino()
        first = torch.rand(1, channels, *sides, generator=torch.Generator().manual_seed(0))
        try:
            with warnings.catch_warnings(), torch.no_grad():
                # The tracer warns of all that may depend on the shape; the trial below has another one.
                warnings.simplefilter("ignore")
                expected = network(first)
                model = self._converted(network, first)
            self._outputs = expected.shape[1]
            self._scale = tuple(b / a for a, b in zip(first.shape[2:], expected.shape[2:], strict=True))
            self._model = self._library.Core().compile_model(model, "CPU", self._settings())
            self._try(network, channels, tuple(side * (axis + 2) for axis, side in enumerate(sides)))
        except self._failures() as cause:
            reason = " ".join(str(cause).split())[:200] or type(cause).__name__
            raise BundleError(f"OpenVINO cannot convert the network: {reason}") from cause

    def __call__(self, x: Tensor) -> Tensor:
        """As the torch network: (B, C, *window) to (B, C', *window x scale), float32 on the CPU."""
        tensor, request = self._library.Tensor, self._model.create_infer_request()
        sides = (round(side * factor) for side, factor in zip(x.shape[2:], self._scale, strict=True))
        given, result = x.contiguous(), torch.empty((x.shape[0], self._outputs, *sides))
        # OpenVINO holds the addresses only: both tensors must live until it is done.
        request.set_input_tensor(tensor(given.numpy(), shared_memory=True))
        request.set_output_tensor(tensor(result.numpy(), shared_memory=True))
        request.infer()
        return result

    def _converted(self, network: nn.Module, example: Tensor) -> Any:
        """OpenVINO's form of the network, for windows of any size."""
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(network, example_input=example)  # must outlive the conversion
        return frontend.convert(frontend.load(decoder))

    def _failures(self) -> tuple[type[Exception], ...]:
        """What says that a network cannot be traced, converted or compiled, or that `_try` failed."""
        names = ("GeneralFailure", "NotImplementedFailure", "OpConversionFailure", "OpValidationFailure")
        own = (getattr(self._library.frontend, name) for name in names)
        return (RuntimeError, TypeError, ValueError, *own)

    def _settings(self) -> dict[str, Any]:
        """As many threads as torch has, not bound to cores; never less than float32, which some CPUs would choose."""
        return {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
            "PERFORMANCE_HINT": "LATENCY",
        }

    @torch.inference_mode()
    def _try(self, network: nn.Module, channels: int, sides: tuple[int, ...]) -> None:
        """Run both on two windows of another shape than the one that was traced.

        Raises:
            ValueError: they differ.
        """
        x = torch.rand(2, channels, *sides, generator=torch.Generator().manual_seed(1))
        expected, found = network(x), self(x)
        if found.shape != expected.shape:
            raise ValueError(f"{tuple(found.shape)} where torch gives {tuple(expected.shape)}")
        most = (found - expected).abs().max() / (expected.max() - expected.min()).clamp_min(1e-12)
        if not most <= _AGREE:
            raise ValueError(f"results differ from torch by {float(most):.1g} of their range")


def _openvino() -> ModuleType:
    """OpenVINO, imported without openvino_telemetry, which reports to its makers as soon as it is imported."""
    hidden = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if hidden:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
        import openvino.frontend.pytorch.ts_decoder
    finally:
        if hidden:
            del sys.modules["openvino_telemetry"]
    library: ModuleType = openvino
    return library
