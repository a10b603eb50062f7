# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest

from clarivox.errors import BundleError
from clarivox.safe_config import check, check_defined, read_config


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "monai.bundle.download",
        "monai.transforms.LoadImage",
        "monai.networks.nets.torch.hub.load",
        "clarivox.windows.torch.load",
        "clarivox.networks.unet.fold",
        "clarivox.manifest.seal",
        "torch.load",
        "torch.nn.functional.relu",
        "Identity",
        "$@other",
        "@other",
        7,
        ["torch.nn.Identity"],
    ],
)
def test_a_target_that_is_not_an_allowed_class_is_refused(target: Any) -> None:
    with pytest.raises(BundleError, match="not an allowed class"):
        check({"network_def": {"_target_": target}}, "inference.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "$__import__('os').system('ls')",
        "$import os",
        "$from os import system",
        "$open('/etc/passwd')",
        "$().__class__.__base__",
        "$@network_def.load_state_dict({})",
        "$@a[0]",
        "$9 ** 9 ** 9",
        "$1 << 99999999",
        "$[x for x in range(9)]",
        "$lambda: 1",
        "$f'{1}'",
        "$(yield)",
        "$name",
        "$@evaluator.run(); 1",
        "$((((",
        "%/etc/passwd",
        " %other.yaml::key",
    ],
)
def test_an_expression_that_is_more_than_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(BundleError):
        check({"list": [{"value": text}]}, "inference.yaml")


@pytest.mark.parametrize("key", ["_mode_", "_requires_", "network::_target_", "a#b", "+list", "~key", "$x", "__x__", 3])
def test_a_key_that_means_more_than_its_name_is_refused(key: Any) -> None:
    with pytest.raises(BundleError, match="not allowed"):
        check({key: 1}, "inference.yaml")


def test_what_bundles_need_is_allowed() -> None:
    check(
        {
            "imports": ["$from clarivox.io import volumes"],
            "network_def": {"_target_": "clarivox.networks.unet.RestorationUNet", "channels": [8, "$@width * 2 + 1"]},
            "inferer": {"_target_": "clarivox.windows.Windows", "halo": "@_meta_::clarivox::halo"},
            "dataset": {"_target_": "monai.data.Dataset", "data": "$volumes(@dataset_dir)"},
            "other": "$1 if @flag else (2, 3)",
            "run": ["$@evaluator.run()"],
            "text": "costs 5 $ and 10 %",
        },
        "inference.yaml",
    )


def test_a_class_must_come_from_the_package_that_it_is_named_after() -> None:
    check_defined({"a": [{"_target_": "torch.nn.Identity"}]})
    for target in ("clarivox.io.data_list.Path", "torch.nn.Nothing", "clarivox.networks.unet.Sequence"):
        with pytest.raises(BundleError, match="is not a class of"):
            check_defined({"a": {"_target_": target}})


@pytest.mark.parametrize("text", ["a: [", "- 1", "!!python/object/apply:os.system [ls]", "\x00", "a: &a [*a]"])
def test_a_file_that_is_not_plain_data_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "inference.yaml").write_text(text)
    with pytest.raises(BundleError, match=r"inference\.yaml"):
        read_config(tmp_path / "inference.yaml")


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_config(tmp_path / "inference.yaml")
