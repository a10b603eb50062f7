# SPDX-License-Identifier: Apache-2.0
"""The pages of `clarivox evaluate` and `clarivox interpret` in a real browser, wide and narrow."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clarivox import io, phantoms
from clarivox.cli.main import app
from tests.e2e.browser import browser

LOADED = "[...document.images].every(one => one.complete && one.naturalWidth > 0)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    for seed in (0, 1):
        io.write(phantoms.mr(size=96, slices=2, seed=seed).truth, made / "brains" / f"{seed}.nii.gz", as_="nifti")
    words = ["evaluate", "mr_unet_denoise", str(made / "brains"), "--degrade", "rician:0.05"]
    done = CliRunner().invoke(app, [*words, "--against", "any_median_denoise,identity", "-o", str(made / "evaluate")])
    assert done.exit_code == 0, done.output
    words = ["interpret", "mr_unet_denoise", str(made / "brains" / "0.nii.gz"), "-o", str(made / "interpret")]
    assert CliRunner().invoke(app, words).exit_code == 0
    return made


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
@pytest.mark.parametrize(
    ("name", "said"),
    [("evaluate", "mr_unet_denoise against each"), ("interpret", "filter times input equals the output")],
)
def test_a_page_shows_all_and_asks_nobody(folder: Path, name: str, said: str, width: int, height: int) -> None:
    with browser() as page:
        page.open((folder / name / "index.html").as_uri(), width, height)
        assert page.run(LOADED) and page.run("document.images.length") > 5
        assert said in page.run("document.body.innerText")
        assert page.run("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
