# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from tests.benchmarks.us_real import envelope_of
from tests.experiments.despeckling import table


def test_a_difference_within_its_interval_or_within_the_seeds_is_not_shown() -> None:
    first = np.array([[20.0, 22.0, 24.0, 26.0]])
    better, alike = np.array([0.9, 1.0, 1.1, 1.0]), np.array([-1.0, 1.0, -1.1, 1.2])
    found = {"first": first, "better": first + better, "alike": first + alike}
    about: dict[str, dict[str, int]] = {name: {} for name in found}
    pairs = [("first", "better"), ("first", "alike")]
    rows = {row["network"]: row for row in table(about, found, pairs)}
    assert rows["better"]["verdict"] == "better" and rows["alike"]["verdict"] == "no difference shown"
    assert rows["better"]["difference dB"] == pytest.approx(1.0) and rows["better"]["95 % interval"] == "+0.92 to +1.08"
    assert "verdict" not in rows["first"]
    found["first"] = np.concatenate([first - 0.6, first + 0.6])  # seeds 1.2 dB apart
    rows = {row["network"]: row for row in table(about, found, pairs)}
    assert rows["better"]["verdict"] == "no difference shown" and rows["first"]["range over seeds"] == "22.40 to 23.60"


def test_the_envelope_of_radio_frequency_lines_is_their_amplitude_without_the_carrier() -> None:
    depth = np.arange(600)
    amplitude = np.exp(-(((depth - 300) / 60) ** 2))
    clip = envelope_of(np.tile(amplitude * np.cos(0.9 * depth), (1, 4, 1)), every=1)
    assert clip.shape == (1, 4, 600, 1)
    wanted = 255 * (1 + 20 * np.log10(amplitude[200:400]) / 50)
    assert np.abs(clip.values()[0, 1, 200:400, 0] - wanted).max() < 3
