# SPDX-License-Identifier: Apache-2.0
"""Rules: each criterion, the order, what is wrong said with its line, a file that changes, patterns that do no harm."""

import time
from pathlib import Path

import pytest
from pydicom import Dataset

from clarivox import phantoms
from clarivox.bundle import BundleInfo, catalogue
from clarivox.errors import ClarivoxError, OptionError
from clarivox.io.dicom_new import Kind, new_series, save_series
from clarivox.server.pacs.facts import Facts, instance_of, number, within
from clarivox.server.pacs.patterns import TEXT_CHARS, compiled
from clarivox.server.pacs.rules import Rules, Watched, When, digest_of, load
from clarivox.server.pacs.settings import read

CT = Facts(
    modality="CT",
    sop_class="1.2.840.10008.5.1.4.1.1.2",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    description="Thorax 1.0 low dose",
    body_part="CHEST",
    kernel="B30f",
    thickness_mm=1.0,
    calling="CT1",
)


@pytest.fixture(scope="module")
def bundles() -> list[BundleInfo]:
    return catalogue()


@pytest.mark.parametrize(
    ("criterion", "fits", "not_fits"),
    [
        ("modality", "ct", "MR"),
        ("modality", ["MR", "CT"], ["MR", "US"]),
        ("sop_class", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"),
        ("sop_class", "CT Image Storage", "MR Image Storage"),
        ("image_type", ["AXIAL", "original"], ["AXIAL", "DERIVED"]),
        ("description", "low ?dose$", "^low"),
        ("body_part", "chest", ["HEAD", "NECK"]),
        ("kernel", ["B30f", "B40f"], "B60f"),
        ("thickness_mm", {"from": 1, "to": 1}, {"from": 1.1}),
        ("thickness_mm", {"to": 2}, {"to": 0.9}),
        ("calling", ["CT2", "CT1"], "CT2"),
    ],
)
def test_each_criterion_fits_and_says_why_not(criterion: str, fits: object, not_fits: object) -> None:
    assert list(When.model_validate({criterion: fits}).misfits(CT)) == []
    why = list(When.model_validate({criterion: not_fits}).misfits(CT))
    assert len(why) == 1 and criterion in why[0]


def test_a_series_that_does_not_say_it_fits_no_criterion_that_asks() -> None:
    wanted = When.model_validate(
        {"modality": "CT", "thickness_mm": {"to": 2}, "kernel": "B30f", "image_type": "AXIAL", "description": "x"}
    )
    assert len(list(wanted.misfits(Facts()))) == 5
    assert list(When().misfits(Facts())) == []


def rules(*found: dict[str, object], **more: object) -> Rules:
    filled = [one if "ignore" in one else {"bundle": "identity", "to": "archive", **one} for one in found]
    return Rules.model_validate({"rules": filled, **more})


def test_the_first_that_fits_wins_unless_all_may() -> None:
    three = ({"name": "mr", "when": {"modality": "MR"}}, {"name": "ct", "when": {"modality": "CT"}}, {"name": "any"})
    first = rules(*three).verdict(CT)
    assert [one.name for one in first.fired] == ["ct"]
    assert [name for name, _ in first.why] == ["mr", "ct"] and "modality is CT, not MR" in first.why[0][1]
    assert [one.name for one in rules(*three, all=True).verdict(CT).fired] == ["ct", "any"]


def test_a_rule_that_ignores_ends_the_search() -> None:
    found = rules({"name": "no", "when": {"modality": "CT"}, "ignore": True}, {"name": "any"}, all=True).verdict(CT)
    assert found.ignored and not found.fired
    after = rules({"name": "any"}, {"name": "no", "ignore": True}, all=True).verdict(CT)
    assert [one.name for one in after.fired] == ["any"] and not after.ignored


def test_nothing_fits_and_our_own_never_does() -> None:
    assert rules({"name": "mr", "when": {"modality": "MR"}}).verdict(CT).fired == ()
    own = rules({"name": "any"}).verdict(Facts(modality="CT", ours=True))
    assert own.ignored and not own.fired and "clarivox" in own.why[0][1]


GOOD = """\
rules:
  - name: thin chest
    when: {modality: CT, thickness_mm: {to: 1.5}}
    bundle: ct_unet_denoise
    params: {strength: 0.8}
    to: [archive]
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("bundle: ct_unet_denoise", "bundle: nonsense", 4, "there is no bundle nonsense"),
        ("to: [archive]", "to: [nowhere]", 6, "pacs.yaml has archive"),
        ("strength: 0.8", "strength: 2", 5, "less than or equal to 1"),
        ("strength: 0.8", "options: {sharpness: 2}", 5, "has no option sharpness"),
        ("strength: 0.8", "series: '2'", 2, "not for rules"),
        ("modality: CT", "modalities: CT", 3, "modalities"),
        ("modality: CT", "description: '(a+)+'", 3, "within another repeat"),
        ("to: 1.5", "from: 3, to: 1", 3, "from is above to"),
        ("    to: [archive]\n", "", 2, "has bundle and to"),
        ("    bundle", "   bundle", 4, "YAML"),
        ("rules:", "all: maybe\nrules:", 1, "all"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, bundles: list[BundleInfo], old: str, new: str, line: int, words: str
) -> None:
    assert old in GOOD
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)
    assert load(path, bundles, ["archive"]).params == {"thin chest": {"strength": 0.8}}
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(OptionError, match=f"line {line}[,:].*{words}") as caught:
        load(path, bundles, ["archive"])
    assert caught.value.code == "bad_rules"


def test_two_rules_of_one_name_are_refused(tmp_path: Path, bundles: list[BundleInfo]) -> None:
    (tmp_path / "rules.yaml").write_text(GOOD + GOOD.partition("\n")[2])
    with pytest.raises(OptionError, match="two rules are named thin chest"):
        load(tmp_path / "rules.yaml", bundles, ["archive"])


def test_a_good_change_takes_effect_and_a_bad_one_changes_nothing(tmp_path: Path, bundles: list[BundleInfo]) -> None:
    path = tmp_path / "rules.yaml"
    watched = Watched(path, lambda: bundles, ["archive"])
    assert watched.look() and watched.now is None and "cannot be read" in watched.error
    path.write_text(GOOD)
    assert watched.look() and watched.now is not None and watched.error == ""
    before = watched.now
    assert not watched.look()
    path.write_text(GOOD.replace("ct_unet", "no_unet"))
    assert watched.look() and watched.now is before and "line 4" in watched.error
    path.write_text(GOOD.replace("thin chest", "thin"))
    assert watched.look() and watched.now is not before and watched.error == ""
    assert watched.now is not None and watched.now.rules.rules[0].name == "thin"
    path.unlink()
    assert watched.look() and watched.now is not None and watched.error


def test_another_work_has_another_digest() -> None:
    one = rules({"name": "any"}).rules[0]
    assert digest_of(one, {"strength": 1}, "1") == digest_of(one, {"strength": 1}, "1")
    others = [digest_of(one, {"strength": 0.5}, "1"), digest_of(one, {"strength": 1}, "2")]
    others.append(digest_of(one.model_copy(update={"bundle": "x"}), {"strength": 1}, "1"))
    assert len({digest_of(one, {"strength": 1}, "1"), *others}) == 4


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|ab)*c", r"(\w+\s?)*$", "(.*)*", "(?:a?){9}", "(", "x" * 200, "a*" * 9]
)
def test_a_pattern_that_may_run_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(OptionError) as caught:
        compiled(pattern)
    assert caught.value.code == "bad_pattern"


@pytest.mark.parametrize("pattern", [".*.*.*x", r"(.)\1*.*.*x", "a?a?a?a?a?a?a?a?" + "a" * 60 + "x"])
def test_the_worst_pattern_that_is_taken_ends(pattern: str) -> None:
    began = time.process_time()
    assert compiled(pattern).search("a" * TEXT_CHARS) is None
    assert time.process_time() - began < 20  # a pattern that is refused would take longer than the universe


def test_the_facts_of_a_series(tmp_path: Path) -> None:
    save_series(new_series(phantoms.ct(size=32, slices=1).degraded, Kind.CT), tmp_path)
    file = next(tmp_path.iterdir())
    found = instance_of(file, "CT1")
    assert found.study and found.series and found.sop
    assert found.facts.modality == "CT" and found.facts.sop_class_name == "CT Image Storage"
    assert found.facts.calling == "CT1" and not found.facts.ours
    (tmp_path / "no.dcm").write_bytes(b"no DICOM" * 100)
    with pytest.raises(ClarivoxError):
        instance_of(tmp_path / "no.dcm")


def test_an_object_of_many_frames_says_it_once_for_all() -> None:
    measures, groups, outer = Dataset(), Dataset(), Dataset()
    measures.SliceThickness = 2.5
    groups.PixelMeasuresSequence = [measures]
    outer.SharedFunctionalGroupsSequence = [groups]
    assert within(outer, "SliceThickness").SliceThickness == 2.5
    assert within(Dataset(), "SliceThickness") == Dataset()
    assert number("") is None


def test_the_example_of_the_documentation_is_right(tmp_path: Path, bundles: list[BundleInfo]) -> None:
    page = (Path(__file__).parents[4] / "docs" / "pacs.md").read_text()
    for name in ("pacs.yaml", "rules.yaml"):
        found = [block for block in page.split("```yaml\n# ")[1:] if block.startswith(name)][-1]
        (tmp_path / name).write_text(found.partition("\n")[2].partition("```")[0])
    pacs = read(tmp_path / "pacs.yaml")
    assert pacs.rules is not None
    assert [one.name for one in load(pacs.rules, bundles, tuple(pacs.destinations)).rules.rules] == [
        "no scouts",
        "thin chest",
    ]
