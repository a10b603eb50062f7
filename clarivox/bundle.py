# SPDX-License-Identifier: Apache-2.0
"""Finding, checking and loading bundles."""

from __future__ import annotations

import importlib.resources
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from clarivox import manifest
from clarivox.errors import BundleError, OptionError

if TYPE_CHECKING:
    import torch

    from clarivox.engines import OpenVino
    from clarivox.passes import Piece, Predictor, Run
    from clarivox.prepare import Items, Prepared, PrepareVolume
    from clarivox.volume import Volume
    from clarivox.windows import Windows

TASKS = ("denoise", "despeckle", "superres", "identity")


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle says about itself in configs/metadata.json; nothing of it is run to know this."""

    name: str
    folder: Path
    version: str
    description: str
    task: str
    modalities: tuple[str, ...]
    """DICOM modalities; empty where any is taken."""
    spatial_dims: int
    clip: bool
    tiling: str
    grid: str
    """same or scaled."""
    halo: tuple[int, ...]
    stride: int
    weights: bool
    accepts_palette: bool
    may_invent: bool
    """Trained to look real: its result may show texture that is not in the source, and says so."""
    options: dict[str, Any]
    """JSON schema of the bundle's options, an object schema."""
    measured: tuple[dict[str, Any], ...]
    """Rows of figures, as the bundle's evaluation printed them."""
    licence: str
    weights_bytes: int
    metadata: dict[str, Any] = field(repr=False, default_factory=dict)

    def accepts(self, modality: str) -> bool:
        """Whether the bundle declares a modality; an unknown one ("") is taken."""
        return not self.modalities or not modality or modality in self.modalities

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, valid by the bundle's own schema.

        Raises:
            OptionError: naming what is allowed.
        """
        allowed = self.options.get("properties", {})
        for name, value in options.items():
            import jsonschema  # not there where bundles are only trained

            if name not in allowed:
                known = ", ".join(sorted(allowed)) or "none"
                raise OptionError(f"bundle {self.name} has no option {name}; its options are: {known}")
            if isinstance(value, str) and value[:1] in "$%@":
                raise OptionError(f"option {name} of bundle {self.name} may not begin with {value[:1]}")
            try:
                jsonschema.validate(value, allowed[name])
            except jsonschema.ValidationError as cause:
                raise OptionError(
                    f"option {name} of bundle {self.name}: {cause.message}; {says(allowed[name])}"
                ) from cause
        return dict(options)


def says(schema: Mapping[str, Any]) -> str:
    """What an option's schema allows, in words.

    >>> says({"enum": [2, 3, 4]})
    'allowed are 2, 3, 4'
    >>> says({"type": "number", "minimum": 0, "maximum": 1})
    'allowed are number, minimum 0, maximum 1'
    >>> says({"anyOf": [{"enum": ["auto"]}, {"type": "number", "minimum": 0}]})
    'allowed are auto, or number, minimum 0'
    """
    if "anyOf" in schema:
        return "allowed are " + ", or ".join(says(one).removeprefix("allowed are ") for one in schema["anyOf"])
    if "enum" in schema:
        return "allowed are " + ", ".join(map(str, schema["enum"]))
    rules = [str(schema.get("type", "any value"))]
    rules += [f"{k} {v}" for k, v in schema.items() if k not in ("type", "description", "default", "title")]
    return "allowed are " + ", ".join(rules)


def shipped() -> Path:
    """The folder of the bundles that come with clarivox."""
    return Path(str(importlib.resources.files("clarivox.bundles")))


def describe(folder: Path) -> BundleInfo:
    """Read a bundle's metadata.

    Raises:
        BundleError: the file is absent, not JSON, or lacks what we need.
    """
    try:
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        ours = metadata["clarivox"]
        if ours["task"] not in TASKS:
            raise BundleError(f"bundle {folder.name}: the task is one of {', '.join(TASKS)}; found {ours['task']}")
        return BundleInfo(
            name=folder.name,
            folder=folder,
            version=metadata["version"],
            description=metadata["description"],
            task=ours["task"],
            modalities=tuple(ours["modalities"]),
            spatial_dims=ours["spatial_dims"],
            clip=ours.get("clip", False),
            tiling=ours["tiling"],
            grid=ours["grid"],
            halo=tuple(int(reach) for reach in ours["halo"]),
            stride=int(ours["stride"]),
            weights=ours["weights"],
            accepts_palette=ours.get("accepts_palette", False),
            may_invent=ours.get("may_invent", False),
            options=ours.get("options", {}),
            measured=tuple(ours.get("measured", ())),
            licence=metadata.get("license", "Apache-2.0"),
            weights_bytes=sum(p.stat().st_size for p in folder.glob("models/*") if p.suffix in (".pt", ".safetensors")),
            metadata=metadata,
        )
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise BundleError(
            f"{folder.name} is not a bundle: its configs/metadata.json is absent or lacks {cause}"
        ) from cause


def catalogue(folders: Sequence[Path | str] = ()) -> list[BundleInfo]:
    """The bundles in the given folders and the shipped ones, by name; a given one hides a shipped one of its name."""
    found: dict[str, BundleInfo] = {}
    for parent in [shipped(), *reversed([Path(f) for f in folders])]:
        for folder in sorted(parent.iterdir()):
            if (folder / "configs" / "metadata.json").is_file():
                found[folder.name] = describe(folder)
    return [found[name] for name in sorted(found)]


def find(name: str | Path, folders: Sequence[Path | str] = ()) -> BundleInfo:
    """A bundle by its name, or by the path of its folder.

    Raises:
        BundleError: there is none; the message lists those that there are.
    """
    if (Path(name) / "configs" / "metadata.json").is_file():
        return describe(Path(name).resolve())
    known = {info.name: info for info in catalogue(folders)}
    if str(name) not in known:
        raise BundleError(f"there is no bundle {name}; there are {', '.join(known)}", code="unknown_bundle")
    return known[str(name)]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A loaded bundle: the three middle steps of the one path."""

    info: BundleInfo
    digest: str
    """SHA-256 of the weights, or of the configuration where there are none."""
    options: dict[str, Any]
    """Every option with the value it runs with."""
    network: torch.nn.Module
    preparing: PrepareVolume
    windows: Windows
    _converted: dict[int, OpenVino | str] = field(init=False, repr=False, default_factory=dict)
    """By the number of threads: the network for OpenVINO, or why it cannot be converted."""

    @property
    def scale(self) -> tuple[int, int, int]:
        """Output voxels for each input voxel along X, Y, Z."""
        n = self.windows.scale
        return (n, n, n if self.info.spatial_dims == 3 else 1)

    @property
    def bytes(self) -> int:
        """Memory that the network's numbers take."""
        once = sum(t.nbytes for t in [*self.network.parameters(), *self.network.buffers()])
        return once * (1 + len(self._converted))

    def prepare(self, volume: Volume) -> Prepared:
        """The volume as the network sees it, read lazily."""
        prepared: Prepared = self.preparing(volume)
        return prepared

    def infer(self, items: Items, run: Run, network: Predictor | None = None) -> Iterator[Piece]:
        """Finished pieces of the output of the network, or of what stands for it, as they come."""
        return self.windows.pieces(items, network or self.network, run)

    def for_openvino(self) -> OpenVino | str:
        """The network for OpenVINO, converted on the first call; in words why not, where that is not possible."""
        import torch

        from clarivox.engines import OpenVino

        if not self.info.weights:
            return "its network has no weights"
        threads = torch.get_num_threads()
        if threads not in self._converted:
            sides = tuple(side * max(1, -(-16 // side)) for side in self.windows.stride)
            try:
                channels = self.windows.channels + (self.preparing.noise is not None)
                converted = OpenVino(self.network.cpu(), channels, sides)
                self._converted[threads] = converted
            except BundleError as cause:
                self._converted[threads] = str(cause)
        return self._converted[threads]


def assemble(folder: Path, parts: Mapping[str, Any], options: Mapping[str, Any]) -> Bundle:
    """A bundle from the parts of its configuration, with its files verified and its weights loaded.

    Args:
        folder: the bundle.
        parts: network_def, preprocessing and inferer, as built from the configuration, and optionally weights, the
            path of the weights within the bundle.
        options: every option with its value.

    Raises:
        BundleError: the weights do not fit the network.
        DigestError: a file differs from the manifest.
    """
    from clarivox import engines
    from clarivox.prepare import PrepareVolumed

    info = describe(folder)
    digest = manifest.verify(folder)
    network = parts["network_def"]
    preparing = parts["preprocessing"]
    if info.weights:
        _load_weights(network, folder / str(parts.get("weights") or "models/model.pt").format(**options))
    network = engines.eager(network, info.spatial_dims)
    prepare = preparing.prepare if isinstance(preparing, PrepareVolumed) else preparing
    return Bundle(info, digest, dict(options), network, prepare, parts["inferer"])


def _load_weights(network: torch.nn.Module, path: Path) -> None:
    """Fill a network from a state dict, which may be in half precision.

    Raises:
        BundleError: the file is no state dict, or not of this network.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({key: value.to(torch.float32) for key, value in state.items()})
    except (OSError, EOFError, RuntimeError, AttributeError, UnpicklingError) as cause:
        raise BundleError(f"the weights {path.name} cannot be read or do not fit the network") from cause


def load(name: str | Path, /, folders: Sequence[Path | str] = (), **options: Any) -> Bundle:
    """Load a bundle by name or path, with options of its own.

    Raises:
        BundleError: there is no such bundle, or its configuration is wrong or not allowed.
        DigestError: a file differs from the bundle's manifest.
        OptionError: an option is unknown or out of range.
    """
    from monai.bundle import ConfigParser

    from clarivox import safe_config

    info = find(name, folders)
    chosen = info.checked(options)
    manifest.verify(info.folder)
    content = safe_config.read_config(info.folder / "configs" / "inference.yaml")
    safe_config.check_defined(content)
    parser = ConfigParser(content)
    parser.read_meta({"clarivox": {"halo": list(info.halo), "stride": info.stride}})
    parser["bundle_root"] = str(info.folder)
    for option, value in chosen.items():
        parser[option] = value
    parts = {key: parser.get_parsed_content(key) for key in ("network_def", "preprocessing", "inferer")}
    parts["weights"] = parser.get("weights")
    every = {key: parser.get_parsed_content(key) for key in info.options.get("properties", {})}
    return assemble(info.folder, parts, every)


class Shelf:
    """Keeps loaded bundles within a limit of bytes; what was not used for longest goes first.

    Args:
        limit_bytes: memory for all networks together; the newest is kept whatever its size.
        folders: where to look before the shipped bundles.
    """

    def __init__(self, limit_bytes: int = 2**30, folders: Sequence[Path | str] = ()) -> None:
        self.limit_bytes = limit_bytes
        self.folders = tuple(folders)
        self._kept: OrderedDict[str, Bundle] = OrderedDict()
        self._marks: dict[str, int] = {}

    def load(self, name: str, **options: Any) -> Bundle:
        """As `load`, but a bundle that is still kept, and whose files are the same, is not read again."""
        key = json.dumps([name, options], sort_keys=True, default=str)
        bundle = self._kept.pop(key, None)
        if bundle is None or self._marks[key] != mark(bundle.info.folder):
            bundle = load(name, self.folders, **options)
        self._kept[key], self._marks[key] = bundle, mark(bundle.info.folder)
        while len(self._kept) > 1 and sum(b.bytes for b in self._kept.values()) > self.limit_bytes:
            self._kept.popitem(last=False)
        return bundle

    def keep_only(self, bundle: Bundle) -> int:
        """Let go of every other bundle; how many."""
        others = [key for key, kept in self._kept.items() if kept is not bundle]
        for key in others:
            del self._kept[key]
        return len(others)

    def __iter__(self) -> Iterator[Bundle]:
        return iter(self._kept.values())


def mark(folder: Path) -> int:
    """What changes when a bundle is sealed anew; 0 where its files are gone."""
    try:
        return (folder / manifest.MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0
