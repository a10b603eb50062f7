# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import torch
import yaml

from clarivox.new_bundle import set_runs, set_values
from clarivox.training_log import Row, Shown, TrainingLog, read_log, stacked, strip


def row(step: int) -> Row:
    return Row(step, 0.5 / step, 30.0 + step, 1e-3, 1.5 * step)


def test_rows_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.csv", None, None)
    for step in (1, 2, 3):
        log.add(row(step), ())
    log.resume([list(row(1))])
    log.add(row(5), ())
    assert [found.step for found in read_log(tmp_path / "log.csv")] == [1, 5]
    assert log.seconds == 7.5


def test_a_strip_shows_the_middle_of_large_pictures_and_of_volumes() -> None:
    truth = torch.rand(1, 300, 260, generator=torch.Generator().manual_seed(0))
    assert strip(Shown(truth, truth, truth)).shape == (192, 3 * 192)
    volume = torch.zeros(1, 20, 18, 9)
    volume[..., 4] = torch.arange(20.0)[:, None] / 20
    shown = strip(Shown(volume, volume, volume))
    assert shown.shape == (18, 60) and shown[0, 0] < shown[0, 19]


def test_a_coarser_input_of_several_frames_is_shown_on_the_grid_of_the_truth() -> None:
    truth = torch.rand(1, 24, 24)
    assert strip(Shown(torch.rand(5, 8, 8), truth, truth)).shape == (24, 72)


def test_pictures_of_unlike_width_are_stacked() -> None:
    whole = stacked([np.ones((2, 3), np.uint8), np.full((1, 5), 7, np.uint8)])
    assert whole.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [7, 7, 7, 7, 7]]


def test_settings_are_written_into_a_recipe_line_by_line(tmp_path: Path) -> None:
    recipe = tmp_path / "train.yaml"
    recipe.write_text(
        "# why\nsteps: 5\nruns:\n  - {scale: 2}\n  - {scale: 3}\namp: false\ntrainer:\n  steps: '@steps'\n"
    )
    set_values(recipe, {"steps": 9, "amp": True})
    set_runs(recipe, [{"scale": 2, "steps": 7}])
    text = recipe.read_text()
    assert text.startswith("# why\n") and "  steps: '@steps'\n" in text
    assert yaml.safe_load(text)["runs"] == [{"scale": 2, "steps": 7}]
    assert (yaml.safe_load(text)["steps"], yaml.safe_load(text)["amp"]) == (9, True)
