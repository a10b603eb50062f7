# SPDX-License-Identifier: Apache-2.0
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from clarivox import manifest
from clarivox.bundle import Shelf, catalogue, describe, find, load, shipped
from clarivox.errors import BundleError, DigestError, OptionError

Change = Callable[[dict[str, Any], dict[str, Any]], None]

OPTIONS = {
    "type": "object",
    "properties": {"reach": {"type": "integer", "minimum": 1, "maximum": 3}, "rule": {"enum": ["soft", "hard"]}},
    "additionalProperties": False,
}


@pytest.fixture
def made(tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of the identity bundle with its metadata and configuration changed, and sealed."""

    def make(change: Change) -> Path:
        folder = tmp_path / "mine"
        shutil.copytree(shipped() / "identity", folder)
        meta = json.loads((folder / "configs/metadata.json").read_text())
        config = yaml.safe_load((folder / "configs/inference.yaml").read_text())
        change(meta, config)
        (folder / "configs/metadata.json").write_text(json.dumps(meta))
        (folder / "configs/inference.yaml").write_text(yaml.safe_dump(config))
        manifest.seal(folder)
        return folder

    return make


def with_options(meta: dict[str, Any], config: dict[str, Any]) -> None:
    meta["clarivox"]["options"] = OPTIONS
    config.update(reach=2, rule="soft")
    config["inferer"]["neighbours"] = "@reach"


def with_weights(meta: dict[str, Any], config: dict[str, Any]) -> None:
    meta["clarivox"]["weights"] = True
    config["network_def"] = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}


def test_the_catalogue_lists_shipped_and_given_bundles(made: Callable[[Change], Path]) -> None:
    folder = made(lambda meta, config: None)
    names = [info.name for info in catalogue([folder.parent])]
    assert names == sorted(names) and {"identity", "mine"} <= set(names)


def test_the_catalogue_imports_neither_torch_nor_monai() -> None:
    code = (
        "import sys; from clarivox.bundle import catalogue; catalogue(); print({'torch', 'monai'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"


def test_a_bundle_is_found_by_name_and_by_folder(made: Callable[[Change], Path]) -> None:
    folder = made(lambda meta, config: None)
    assert find("identity").folder == shipped() / "identity" and find(folder).name == "mine"
    with pytest.raises(BundleError, match=r"there is no bundle none; there are .*identity"):
        find("none")


def test_a_folder_without_metadata_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        describe(tmp_path)


def test_an_unknown_task_is_refused(made: Callable[[Change], Path]) -> None:
    with pytest.raises(BundleError, match="the task is one of"):
        load(made(lambda meta, config: meta["clarivox"].update(task="magic")))


def test_options_reach_the_configuration_and_defaults_are_told(made: Callable[[Change], Path]) -> None:
    folder = made(with_options)
    assert load(folder).options == {"reach": 2, "rule": "soft"}
    bundle = load(folder, reach=3)
    assert bundle.options == {"reach": 3, "rule": "soft"} and bundle.windows.neighbours == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 1}, "its options are: reach, rule"),
        ({"reach": 9}, "maximum 3"),
        ({"reach": "two"}, "integer"),
        ({"rule": "medium"}, "allowed are soft, hard"),
        ({"rule": "$__import__('os')"}, "may not begin"),
        ({"rule": "@bundle_root"}, "may not begin"),
    ],
)
def test_an_option_that_is_not_allowed_is_refused(
    made: Callable[[Change], Path], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(OptionError, match=says):
        load(made(with_options), **options)


def test_a_changed_file_is_refused(made: Callable[[Change], Path]) -> None:
    folder = made(lambda meta, config: None)
    (folder / "configs/inference.yaml").write_text("network_def: {_target_: torch.nn.ReLU}")
    with pytest.raises(DigestError, match=r"inference\.yaml"):
        load(folder)


def test_a_hostile_configuration_is_refused_before_anything_runs(
    made: Callable[[Change], Path], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    folder = made(lambda meta, config: config.update(device=f"$open({str(mark)!r}, 'w')"))
    with pytest.raises(BundleError, match="arithmetic"):
        load(folder)
    assert not mark.exists()


def test_weights_are_loaded_and_widened_to_float32(made: Callable[[Change], Path]) -> None:
    folder = made(with_weights)
    torch.save(
        {"weight": torch.full((1, 1, 1, 1), 2.0).half(), "bias": torch.zeros(1).half()}, folder / "models/model.pt"
    )
    manifest.seal(folder)
    bundle = load(folder)
    assert bundle.network(torch.ones(1, 1, 2, 2)).max() == 2 and bundle.digest == manifest.sha256(
        folder / "models/model.pt"
    )
    assert bundle.bytes == 8


@pytest.mark.parametrize("content", [b"", b"nonsense", {"other": torch.zeros(1)}, {"weight": object()}, [1]])
def test_weights_that_do_not_fit_are_refused(made: Callable[[Change], Path], content: Any) -> None:
    folder = made(with_weights)
    if isinstance(content, bytes):
        (folder / "models/model.pt").write_bytes(content)
    else:
        torch.save(content, folder / "models/model.pt")
    manifest.seal(folder)
    with pytest.raises(BundleError, match=r"weights model\.pt"):
        load(folder)


def test_the_shelf_forgets_what_was_not_used_for_longest(made: Callable[[Change], Path]) -> None:
    folder = made(with_weights)
    torch.save({"weight": torch.zeros(1, 1, 1, 1), "bias": torch.zeros(1)}, folder / "models/model.pt")
    manifest.seal(folder)
    shelf = Shelf(limit_bytes=8, folders=[folder.parent])
    mine, identity = shelf.load("mine"), shelf.load("identity")
    assert shelf.load("mine") is mine and shelf.load("identity") is identity
    shelf.limit_bytes = 4
    shelf.load("identity")
    assert list(shelf) == [identity] and shelf.load("mine") is not mine
    shelf.limit_bytes, mine = 100, shelf.load("mine")
    assert shelf.load("identity") is not mine
    assert shelf.keep_only(mine) == 1 and list(shelf) == [mine]


def test_the_shelf_reads_a_bundle_again_that_was_sealed_anew(made: Callable[[Change], Path]) -> None:
    folder = made(with_weights)
    torch.save({"weight": torch.zeros(1, 1, 1, 1), "bias": torch.zeros(1)}, folder / "models/model.pt")
    manifest.seal(folder)
    shelf = Shelf(folders=[folder.parent])
    mine = shelf.load("mine")
    torch.save({"weight": torch.ones(1, 1, 1, 1), "bias": torch.zeros(1)}, folder / "models/model.pt")
    manifest.seal(folder)
    assert shelf.load("mine").digest != mine.digest
