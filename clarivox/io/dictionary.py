# SPDX-License-Identifier: Apache-2.0
"""Reading and writing as steps of a MONAI pipeline, for the bundles' configurations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from clarivox.errors import OptionError
from clarivox.io.data_list import Reference
from clarivox.io.dispatch import read, read_listed
from clarivox.io.dispatch_write import format_of, suffix_of, write
from clarivox.volume import Volume


class LoadVolumed(MapTransform):  # type: ignore[misc]
    """Replace a reference (or a path) by the `Volume` that it names.

    Also sets `data[name_key]` to the name that a result should get, for `SaveVolumed`.

    Args:
        keys: items to read.
        allow_uneven: read series whose slices do not lie on a regular grid.
        name_key: where the name goes.
        allow_missing_keys: do nothing for a key that is absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        allow_uneven: bool = False,
        name_key: str = "name",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.allow_uneven = allow_uneven
        self.name_key = name_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the items."""
        result = dict(data)
        for key in self.key_iterator(result):
            asked = result[key]
            if isinstance(asked, Reference):
                result.setdefault(self.name_key, asked.name)
                result[key] = read_listed(asked.paths, asked.series, allow_uneven=self.allow_uneven)
            else:
                result.setdefault(self.name_key, Path(asked).name.removesuffix(".gz").rsplit(".", 1)[0])
                result[key] = read(asked, allow_uneven=self.allow_uneven)
        return result


class SaveVolumed(MapTransform):  # type: ignore[misc]
    """Write a `Volume` into a folder, in its source's format, under the name that `LoadVolumed` noted.

    Sets `data[key + "_files"]` to the paths.

    Args:
        keys: items to write; with several, the key is part of the name.
        output_dir: the folder; made when absent.
        as_: another format, as for `clarivox.io.write`.
        overwrite: replace files that are there.
        name_key: where the name is.
        allow_missing_keys: do nothing for a key that is absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: Path | str,
        as_: str | None = None,
        overwrite: bool = False,
        name_key: str = "name",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_dir = Path(output_dir)
        self.as_ = as_
        self.overwrite = overwrite
        self.name_key = name_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the items."""
        result = dict(data)
        for key in self.key_iterator(result):
            volume = result[key]
            if not isinstance(volume, Volume):
                raise OptionError(f"SaveVolumed writes volumes; found {type(volume).__name__} under {key!r}")
            name = str(result.get(self.name_key, "image"))
            if len(self.keys) > 1:
                name = f"{name}_{key}"
            chosen = self.as_ or format_of(volume, Path("result"))
            several = chosen == "png" and volume.shape[3] > 1
            target = self.output_dir / (name if several else name + suffix_of(chosen))
            result[f"{key}_files"] = write(volume, target, as_=chosen, overwrite=self.overwrite).files
        return result
