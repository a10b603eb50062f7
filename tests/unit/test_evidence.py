# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from clarivox import charts, phantoms, pictures
from clarivox.errors import OutputError
from clarivox.evidence import page, steepest, write_page
from clarivox.volume import Provenance, Volume

MADE = Provenance(
    "mr_unet_denoise", "0.1.0", "ab" * 32, "denoise", {"steps": 3}, seconds=1.5, windows=4, notes=("smaller windows",)
)


@pytest.fixture(scope="module")
def brain():
    return phantoms.mr(size=64, slices=7)


@pytest.fixture(scope="module")
def html(brain):
    return page(brain.degraded, brain.truth.replace(provenance=MADE), brain.truth)


def test_the_page_asks_nobody_for_anything(html):
    assert not re.search(r"""(src|href|url|action)\s*[=(]\s*["']?(?!data:|["']{2})(https?:|//|/|\.)""", html)
    assert "default-src 'none'" in html and "http" not in html.replace("http-equiv", "")


def test_the_policy_allows_exactly_the_style_and_script_of_the_page(html):
    for tag in ("style", "script"):
        text = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL).group(1)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in html
    assert not re.search(r'\sstyle="|\son\w+="', html)


def test_nothing_of_the_template_is_left_unfilled(html):
    assert "{{" not in html and "}}" not in html.split("<body", 1)[1].split("<script>")[0]


def test_bundle_parameters_notes_versions_and_warning_are_said(html):
    for words in (
        "mr_unet_denoise 0.1.0",
        "option steps",
        "1.50 s",
        "smaller windows",
        "not a medical device",
        "clarivox 0",
    ):
        assert words in html


def test_five_slices_of_four_pictures_are_shown(html):
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)"', html)
    assert len(found) == 20
    with Image.open(io.BytesIO(base64.b64decode(found[0]))) as picture:
        assert picture.size == (64, 64)
    assert html.count('aria-pressed="') == 5


def test_without_a_truth_there_is_no_panel_for_it(brain):
    html = page(brain.degraded, brain.truth)
    assert 'data-panel="truth"' not in html and "not known: the file does not say" in html


def test_words_from_outside_cannot_become_markup(brain):
    noted = brain.degraded.replace(notes=("<script>alert(1)</script>",))
    html = page(noted, brain.truth)
    assert "<script>alert" not in html and "&lt;script&gt;alert" in html


def test_a_clip_a_radiograph_and_a_single_slice_have_pages(tmp_path):
    clip = phantoms.us(size=64, slices=2)
    assert "frame 1" in page(clip.degraded, clip.truth)
    coarse, truth = phantoms.cxr(size=64, shrink=2, inverted=True)
    html = page(coarse, truth)
    assert "32 × 32 × 1 → 64 × 64 × 1" in html and "<button" not in html


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 40, 2), (1, 17, 16, 1)])
def test_small_constant_and_broken_volumes_have_pages(shape):
    for values in (np.zeros(shape, np.uint8), np.full(shape, np.nan, np.float32)):
        volume = Volume(values, np.eye(4))
        assert "<svg" in page(volume, volume)


def test_the_page_is_not_written_over_another_without_leave(tmp_path, brain):
    target = write_page(tmp_path / "page.html", brain.degraded, brain.truth)
    with pytest.raises(OutputError) as caught:
        write_page(target, brain.degraded, brain.truth)
    assert caught.value.code == "output_exists"
    write_page(target, brain.degraded, brain.truth, overwrite=True)


def test_charts_are_well_formed_and_stay_in_their_frame():
    x = np.linspace(-5, 5, 30)
    svg = charts.chart(
        x, [charts.Curve("before", x**2), charts.Curve("after", x, filled=True)], x_label="<x>", y_label="y"
    )
    root = ET.fromstring(svg)
    for line in root.iter("polyline"):
        for point in line.get("points").split():
            px, py = map(float, point.split(","))
            assert 0 <= px <= charts.WIDTH and 0 <= py <= charts.HEIGHT


def test_a_flat_chart_is_drawn():
    assert "polyline" in charts.chart(np.arange(3.0), [charts.Curve("before", np.zeros(3))], x_label="", y_label="")


def test_monochrome1_is_shown_turned_over():
    values = np.array([[0.0, 10.0]], np.float32)
    assert pictures.grey(values, (0, 10), inverted=True).ravel().tolist() == [255, 0]


def test_pixels_that_are_not_square_are_shown_square_and_large_pictures_smaller():
    assert pictures.on_screen(np.zeros((10, 30), np.uint8), aspect=3).size == (30, 30)
    assert pictures.on_screen(np.zeros((100, 2000), np.uint8), longest=500).size == (500, 25)


def test_no_change_has_a_limit_that_can_be_divided_by():
    assert pictures.difference_limit([np.zeros((4, 4), np.float32)]) == 1


def test_the_steepest_edge_is_found_along_each_axis():
    values = np.zeros((40, 50), np.float32)
    values[:, 30:] = 5
    x, y, along_x = steepest(values)
    assert not along_x and abs(y - 30) <= 2 and 0 <= x < 40


def test_warnings_stand_above_the_pictures(html):
    assert 0 < html.index("smaller windows") < html.index('id="viewer"')


def test_a_finer_grid_is_not_praised_for_its_noise():
    coarse, truth = phantoms.cxr(size=64, shrink=2)
    cards = re.findall('<div class="card"><h3>(.*?)</h3>', page(coarse, truth))
    assert cards and not {"noise", "CNR"} & set(cards)


def test_the_edges_of_a_slice_are_named(html):
    assert re.findall(r'class="edge (\w+)">(.)<', html) == [
        ("west", "R"),
        ("east", "L"),
        ("north", "A"),
        ("south", "P"),
    ]
