# SPDX-License-Identifier: Apache-2.0
import csv
import io
import json
import re
from pathlib import Path

import pytest

from clarivox import phantoms
from clarivox.bundle import load
from clarivox.errors import FormatError, OptionError, OutputError
from clarivox.evaluation import Case, outcome
from clarivox.reading import CRITERIA, KEY, PAGE, Gathered, Item, Pair, blinded, key_text, write
from clarivox.unblinding import unblinded

PAIRS = [Pair(f"case {n}", ("input", "sharper"), (f"data:old{n}", f"data:new{n}")) for n in range(20)]
FIELDS = [f"{side}_{one.name}" for one in CRITERIA for side in ("left", "right")]


def data_of(page: str) -> dict[str, list[dict[str, str]]]:
    found = re.search(r'id="study">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def answered(items: list[Item], favourite: str, reader: str = "ab", again: str = "") -> str:
    """A reader who rates a favourite 5, the other 2, and prefers it; `again` is preferred in pairs that come twice."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["study", "item", "reader", *FIELDS, "preference", "seconds"])
    for item in items:
        wanted = again if item.again and again else favourite
        ratings = [5 if getattr(item, name.split("_")[0]) == wanted else 2 for name in FIELDS]
        side = "left" if item.left == wanted else "right" if item.right == wanted else "equal"
        writer.writerow([item.study, item.item, reader, *ratings, side, "3.5"])
    return stream.getvalue()


def saved(folder: Path, items: list[Item], *texts: str) -> tuple[Path, list[Path]]:
    (folder / KEY).write_text(key_text(items))
    for number, text in enumerate(texts):
        (folder / f"{number}.csv").write_text(text)
    return folder / KEY, [folder / f"{number}.csv" for number in range(len(texts))]


def test_the_page_says_neither_methods_nor_cases() -> None:
    page, items = blinded(PAIRS)
    assert "sharper" not in page and "case 1" not in page and "input" not in json.dumps(data_of(page))
    assert {item.case for item in items} == {pair.case for pair in PAIRS}


def test_the_key_says_what_the_page_shows_on_each_side() -> None:
    page, items = blinded(PAIRS, seed=4)
    for item, shown in zip(items, data_of(page)["items"], strict=True):
        number = item.case.split()[1]
        assert shown["id"] == item.item
        assert shown["left"] == f"data:{'old' if item.left == 'input' else 'new'}{number}"
        assert shown["right"] == f"data:{'old' if item.right == 'input' else 'new'}{number}"


def test_sides_and_order_are_drawn_and_the_same_seed_gives_the_same_page() -> None:
    page, items = blinded(PAIRS, seed=1)
    assert blinded(PAIRS, seed=1)[0] == page and blinded(PAIRS, seed=2)[0] != page
    assert 4 < sum(item.left == "input" for item in items) < 18
    assert [item.case for item in items[:20]] != [pair.case for pair in PAIRS]


def test_a_tenth_comes_twice_with_its_sides_changed() -> None:
    _, items = blinded(PAIRS)
    twice = [item for item in items if item.again]
    assert len(items) == 22 and len(twice) == 2
    for item in twice:
        first = next(one for one in items if one.item == item.again)
        assert (first.case, first.left, first.right) == (item.case, item.right, item.left)


def test_no_reading_without_a_pair() -> None:
    with pytest.raises(OptionError):
        blinded([])


def test_text_in_the_data_cannot_end_its_script() -> None:
    page, _ = blinded([Pair("c", ("a", "b"), ("</script><b>", "x"))])
    assert "</script><b>" not in page


def test_page_and_key_are_written_and_not_over_others(tmp_path: Path) -> None:
    page, key = write(tmp_path, PAIRS)
    assert (page.name, key.name) == (PAGE, KEY) and "sharper" in key.read_text()
    with pytest.raises(OutputError):
        write(tmp_path, PAIRS)


def test_the_cases_of_an_evaluation_become_pairs() -> None:
    pair = phantoms.mr(size=40, slices=3)
    case = Case({"case": "head"}, pair.degraded, pair.truth, None)
    found = Gathered(most=3)
    outcomes = [outcome(case, load(name), device="cpu") for name in ("any_median_denoise", "identity")]
    for _ in range(2):
        found(case, outcomes)
    assert [one.methods for one in found.pairs] == [
        ("input", "any_median_denoise"),
        ("identity", "any_median_denoise"),
        ("input", "any_median_denoise"),
    ]
    assert found.pairs[0].images[0] == found.pairs[1].images[0] != found.pairs[0].images[1]


def test_a_favourite_is_found_under_the_blinding(tmp_path: Path) -> None:
    _, items = blinded(PAIRS)
    found = unblinded(*saved(tmp_path, items, answered(items, "sharper"), answered(items, "sharper", "cd")))
    assert (found.readers, found.cases, found.answers, found.again) == (2, 20, 40, (4, 4))
    preferred = found.lines[0]
    assert (preferred.figure, preferred.methods) == ("preferred", ("input", "sharper"))
    assert (preferred.first, preferred.second, preferred.verdict) == (0, 1, "sharper ahead")
    assert [line.lead for line in found.lines[1:]] == [3.0] * len(CRITERIA)
    assert found.left[0] + 0 < found.left[1] and len(found.table()[1]) == 5 and found.as_dict()["lines"]


def test_readers_who_disagree_show_no_difference(tmp_path: Path) -> None:
    _, items = blinded(PAIRS)
    texts = answered(items, "sharper", again="input"), answered(items, "input", "cd")
    found = unblinded(*saved(tmp_path, items, *texts))
    assert found.lines[0].lead == 0 and found.lines[0].verdict == "no difference shown"
    assert found.again == (2, 4)


def test_pairs_left_open_do_not_count(tmp_path: Path) -> None:
    _, items = blinded(PAIRS)
    lines = answered(items, "sharper").splitlines()
    blank = [",".join([*line.split(",")[:3], *[""] * (len(FIELDS) + 1), "0"]) for line in lines[5:]]
    found = unblinded(*saved(tmp_path, items, "\n".join([*lines[:5], *blank]) + "\n"))
    assert found.answers == 4 and found.again == (0, 0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("preference", "choice", "no column"), (",left,", ",top,", "prefers top"), (",5,", ",9,", "rates 9")],
)
def test_answers_that_are_none_are_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    _, items = blinded(PAIRS)
    with pytest.raises(FormatError, match=said):
        unblinded(*saved(tmp_path, items, answered(items, "sharper").replace(old, new)))


def test_answers_to_another_study_are_refused(tmp_path: Path) -> None:
    _, items = blinded(PAIRS)
    _, others = blinded(PAIRS, seed=9)
    with pytest.raises(FormatError, match="not that of the key"):
        unblinded(*saved(tmp_path, items, answered(others, "sharper")))
