# SPDX-License-Identifier: Apache-2.0
"""A server that is started in a checkout, with clarivox installed elsewhere: the checkout is not taken for it."""

import sys
from pathlib import Path

import pytest

import clarivox as cv
from clarivox import phantoms
from tests.served import PATIENCE_S, serving

RUN = "import sys; sys.path.pop(0); from clarivox.cli.main import run; run()"


@pytest.mark.timeout(PATIENCE_S + 60)
def test_a_job_runs_where_a_folder_of_the_same_name_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoy = tmp_path / "here" / "clarivox"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise RuntimeError('the folder was taken for the package')\n")
    cv.write(phantoms.mr(size=32, slices=1).degraded, tmp_path / "in.nii.gz")
    monkeypatch.chdir(decoy.parent)
    with serving(tmp_path / "data", (sys.executable, "-c", RUN, "serve")) as server:
        line = server.line()
        answer = line.ask(
            "POST",
            "/v1/enhance?bundle=any_median_denoise",
            (tmp_path / "in.nii.gz").read_bytes(),
            {"Content-Type": "application/octet-stream"},
        )
        line.close()
        assert answer.status == 200, answer.body[:500]
