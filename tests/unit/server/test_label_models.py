# SPDX-License-Identifier: Apache-2.0
import json
from typing import Any

import pytest

from clarivox.bundle import catalogue, find
from clarivox.errors import FormatError, InputError, LimitError, OptionError
from clarivox.server.label_answers import both, extension_of, file_ref, params_of, safe
from clarivox.server.label_models import config, model, options, trainable

BUNDLES = [one.name for one in catalogue()]


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_is_a_model_that_no_viewer_breaks_on(name: str) -> None:
    found = model(find(name))
    assert found["type"] == "segmentation"
    assert found["labels"] == []
    assert found["dimension"] in (2, 3)
    assert found["description"]
    for value in found["config"].values():
        assert isinstance(value, bool | int | float | str | list)
        assert not isinstance(value, list) or all(isinstance(one, str) for one in value)


@pytest.mark.parametrize("name", BUNDLES)
def test_an_option_table_that_comes_back_untouched_is_valid(name: str) -> None:
    info = find(name)
    table = config(info)
    as_slicer = {key: value[0] if isinstance(value, list) else value for key, value in table.items()}
    as_text = {key: str(value) for key, value in as_slicer.items()}
    for sent in (table, as_slicer, as_text, {}):
        options(info, {**sent, "result_dtype": "uint8", "client_id": "user-xyz"})


@pytest.mark.parametrize(
    ("bundle", "sent", "meant"),
    [
        ("any_bicubic_superres", {"scale": ["4", "2", "3"]}, {"scale": 4}),
        ("any_nlm_denoise", {"level": "2.5", "search": "7"}, {"level": 2.5, "search": 7}),
        ("any_nlm_denoise", {"search": 7.0}, {"search": 7}),
        ("photo_ffdnet_denoise", {"sigma": "auto"}, {"sigma": "auto"}),
        ("photo_ffdnet_denoise", {"sigma": "25"}, {"sigma": 25.0}),
        ("ct_ddpm3d_denoise", {"steps": "4", "seed": ""}, {"steps": 4}),
    ],
)
def test_texts_of_a_form_become_options(bundle: str, sent: dict[str, Any], meant: dict[str, Any]) -> None:
    assert options(find(bundle), sent)[0] == meant


@pytest.mark.parametrize(
    ("bundle", "sent"),
    [
        ("any_bicubic_superres", {"scale": "5"}),
        ("any_nlm_denoise", {"level": "much"}),
        ("any_nlm_denoise", {"level": {"a": 1}}),
        ("identity", {"strength": 2}),
        ("identity", {"strength": "nan"}),
        ("identity", {"strength": []}),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(bundle: str, sent: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        options(find(bundle), sent)


def test_only_bundles_with_a_recipe_train() -> None:
    assert trainable(find("ct_unet_denoise"))
    assert not trainable(find("any_median_denoise"))


@pytest.mark.parametrize("text", ["[1]", "{", '"a"', "[" * 100_000])
def test_params_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="JSON"):
        params_of(text)


def test_params_have_an_end() -> None:
    with pytest.raises(LimitError):
        params_of('{"a": "' + "x" * (1 << 20) + '"}')


def test_a_file_is_called_by_what_it_holds(tmp_path: Any) -> None:
    path = tmp_path / "x"
    for head, name in (
        (b"\x1f\x8b\x08", "image.nii.gz"),
        (bytes(128) + b"DICM", "image.dcm"),
        (b"NRRD0004\n", "image.nrrd"),
        (b"PK\x03\x04", "image.zip"),
        (b"\x89PNG\r\n", "image.png"),
        (bytes(344) + b"n+1\0", "image.nii"),
        (b"ObjectType = Image\n", "image.mha"),
    ):
        path.write_bytes(head)
        assert file_ref(path, "a" * 64, len(head), "input", "/home/doe/J. Doe.exe").name == name
    with pytest.raises(FormatError, match="empty"):
        file_ref(path, "a" * 64, 0, "input", "x.nii")


def test_nothing_of_a_clients_name_is_kept() -> None:
    assert extension_of("/home/doe/DOE.JOHN.nrrd") == ".nrrd"
    assert "/" not in safe("../../DOE")
    assert ".." not in safe("..\\..//a..b")


def test_a_body_of_both_says_its_length_and_cannot_be_broken_by_a_name() -> None:
    from clarivox.server.label_answers import Body

    answer = both({"a": '"\r\n'}, Body('x"\r\nSet-Cookie: a=b', "application/gzip", 3, iter((b"abc",))))
    assert answer.headers["content-type"].startswith("multipart/form-data; boundary=clarivox")
    assert int(answer.headers["content-length"]) > 3
    assert "Set-Cookie:" not in json.dumps(dict(answer.headers))
