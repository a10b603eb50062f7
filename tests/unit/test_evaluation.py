# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import numpy as np
import pytest

from clarivox import bundle
from clarivox.compare import compare
from clarivox.degradations import parsed
from clarivox.evaluation import Case, enlarged, outcome, scored
from clarivox.phantoms import cxr, mr
from clarivox.scores import INPUT, Failure, Row, Score, Scores


def case(name: str = "a", level: float = 0.05, seed: int = 0) -> Case:
    truth = mr(size=64, slices=1, seed=seed)[1]
    return Case({"name": name}, parsed(f"rician:{level}")(truth, name), truth, None, name)


def test_it_takes_the_figures_that_compare_takes() -> None:
    found = outcome(case(), bundle.load("mr_unet_denoise"), device="cpu")
    other = compare(case().worse, found.after, case().truth)
    assert found.comparison.figures == other.figures and found.seconds > 0


def test_figures_of_every_case_and_method_are_kept_with_the_input() -> None:
    scores = scored(
        [case("a"), case("b", seed=1)], [bundle.load("mr_unet_denoise"), bundle.load("identity")], device="cpu"
    )
    assert scores.cases == ["a", "b"] and scores.patients == 2
    psnr = {one.method: one for one in scores.summaries() if one.figure == "PSNR"}
    assert psnr["mr_unet_denoise"].mean > psnr[INPUT].mean + 3
    assert psnr["identity"].mean == psnr[INPUT].mean
    assert psnr[INPUT].lead == pytest.approx(psnr["mr_unet_denoise"].mean - psnr[INPUT].mean)
    low, high = psnr["mr_unet_denoise"].interval
    assert low <= psnr["mr_unet_denoise"].mean <= high


def test_what_fails_is_named_and_the_rest_goes_on() -> None:
    wrong = Case({"name": "ct"}, case().worse.replace(modality="CT"), None, None)
    unread = Failure("torn", "truncated", "the file ends too early")
    scores = scored([unread, wrong, case()], [bundle.load("mr_unet_denoise")], device="cpu")
    assert [(one.case, one.code) for one in scores.failures] == [("torn", "truncated"), ("ct", "wrong_modality")]
    assert scores.cases == ["a"]


def test_a_request_to_stop_keeps_what_is_done() -> None:
    done = []
    scores = scored(
        [case("a"), case("b")],
        [bundle.load("identity")],
        progress=lambda step: "case 2" not in step.stage,
        seen=lambda one, outcomes: done.append(one.name),
        device="cpu",
    )
    assert scores.stopped and scores.cases == done == ["a"]


def test_a_smaller_input_is_enlarged_to_be_compared() -> None:
    truth = cxr(size=64)[1]
    small = parsed("shrink:2")(truth, "a")
    large = enlarged(small, truth)
    assert large.shape == truth.shape and np.allclose(large.affine, truth.affine)
    found = outcome(Case({"name": "a"}, small, truth, None), bundle.load("cxr_srcnn_superres", scale=2), device="cpu")
    psnr = found.comparison.figures[0]
    assert psnr.before is not None and psnr.after > psnr.before > 20


def test_without_a_truth_there_is_no_merit_in_likeness() -> None:
    alone = Case({"name": "a"}, case().worse, None, None)
    scores = scored([alone], [bundle.load("mr_unet_denoise")], device="cpu")
    assert "PSNR" not in {score.name for row in scores.rows if row.method == INPUT for score in row.scores}
    assert {one.better for one in scores.summaries() if one.figure == "PSNR"} == {""}


def toy_scores() -> Scores:
    rows = []
    for number, patient in enumerate("aab"):
        for method, gain in ((INPUT, 0.0), ("net", 3.0 + number)):
            rows.append(Row(f"c{number}", patient, method, (Score("PSNR", 20 + gain, "dB", "range 1", "higher"),), 0.5))
    return Scores(tuple(rows), (), ("net",))


def test_the_tables_tell_mean_deviation_interval_and_cost() -> None:
    scores = toy_scores()
    columns, rows = scores.table()
    assert columns == ["figure", INPUT, "net"]
    assert rows[0] == ["PSNR, dB", "20 ± 0 (20 to 20)", "24 ± 1 (23.5 to 25)"]
    assert rows[1] == ["time a case, s", "0.50", "0.50"]
    assert scores.leads() == (["figure", INPUT], [["PSNR", "+4 (+3.5 to +5)"]])
    assert scores.csv().splitlines()[1] == "c0,a,input,PSNR,20,dB,0.500,"
    assert json.loads(json.dumps(scores.as_dict()))["patients"] == 2
    assert scores.ways() == {"PSNR": "range 1"}


def test_the_configuration_gives_the_same_figures(tmp_path: Path) -> None:
    from clarivox.evaluation import Evaluation, SpeckleCases

    loaded = bundle.load("identity")
    run = Evaluation(
        str(loaded.info.folder),
        loaded.network,
        loaded.preparing,
        loaded.windows,
        SpeckleCases((1,), (1,)),
        str(tmp_path),
    )
    row = run.run()[0]
    assert row["before_db"] == row["after_db"] and row["range"] == 255
    assert json.loads((tmp_path / "results.json").read_text())[0]["before_db"] == row["before_db"]


def test_an_infinite_figure_is_left_out_of_the_mean_and_counted() -> None:
    rows = [
        Row(f"c{n}", f"p{n}", "net", (Score("CNR", v, "", "", "higher"),)) for n, v in enumerate((1.0, np.inf, 3.0))
    ]
    (found,) = Scores(tuple(rows), (), ("net",)).summaries()
    assert (found.mean, found.cases, found.infinite) == (2.0, 2, 1)
    alike = Scores((rows[1],), (), ("net",)).summaries()[0]
    assert alike.mean == np.inf and alike.interval is None
