# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from clarivox import checkpoints, manifest
from clarivox.errors import BundleError, CancelledError, CapacityError, TrainingError
from clarivox.progress import Step
from clarivox.training_log import Row, Shown, read_log
from clarivox.weights import write_model
from tests.toy_training import Closeness, Doubling, trainer

ROOT = Path(__file__).parents[2]
CHILD = """
import json, resource, sys, pathlib
from tests.toy_training import trainer
folder, steps, limit, hold_at = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])
run = trainer(folder, steps, hold_at=hold_at)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    run.run()
except Exception as error:
    print(json.dumps([type(error).__name__, getattr(error, "code", ""), run.step]))
"""


def in_a_process(folder: Path, steps: int, limit: int = 0, hold_at: int = -1) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, str(folder), str(steps), str(limit), str(hold_at)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_it_learns_and_writes_weights_in_half_precision_under_a_fresh_manifest(tmp_path: Path) -> None:
    run = trainer(tmp_path, 120)
    run.run()
    assert run.best > -0.01
    state = torch.load(tmp_path / "bundle/models/model.pt", weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert manifest.digests(tmp_path / "bundle") == json.loads((tmp_path / "bundle/models/manifest.json").read_text())


def test_layers_with_whole_numbers_in_their_state_are_averaged_too(tmp_path: Path) -> None:
    run = trainer(tmp_path, 20, network=nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
    run.run()
    assert int(run.averaged["1.num_batches_tracked"]) == 20


def test_a_run_that_was_stopped_on_request_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "a", 40)
    whole.run()
    steps: list[Step] = []
    stopped = trainer(tmp_path / "b", 40, progress=lambda step: steps.append(step) or len(steps) < 27)
    with pytest.raises(CancelledError, match="step 27 of 40"):
        stopped.run()
    assert steps[0].stage == "train" and steps[-1].eta_s is not None
    resumed = trainer(tmp_path / "b", 40)
    resumed.run()
    assert all(torch.equal(value, resumed.averaged[name]) for name, value in whole.averaged.items())
    assert [row[:4] for row in resumed.log.rows] == [row[:4] for row in whole.log.rows]


@pytest.mark.slow
def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "a", 60)
    whole.run()
    child = in_a_process(tmp_path / "b", 60, hold_at=47)
    table = tmp_path / "b/bundle/docs/training.csv"
    while not table.exists() or len(read_log(table)) < 2:
        assert child.poll() is None
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    resumed = trainer(tmp_path / "b", 60)
    resumed.run()
    assert 0 < resumed.from_step < 60
    assert all(torch.equal(value, resumed.averaged[name]) for name, value in whole.averaged.items())
    assert [row[:4] for row in resumed.log.rows] == [row[:4] for row in whole.log.rows]
    seconds = [row.seconds for row in read_log(table)]
    assert seconds == sorted(seconds)
    model = [torch.load(tmp_path / n / "bundle/models/model.pt", weights_only=True)["weight"] for n in ("a", "b")]
    assert torch.equal(*model)


@pytest.mark.slow
def test_a_full_disk_stops_with_the_last_checkpoint_kept(tmp_path: Path) -> None:
    trainer(tmp_path, 20).run()
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    said, _ = in_a_process(tmp_path, 40, limit=len(kept) // 2).communicate()
    assert json.loads(said) == ["CapacityError", "disk_full", 40]
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    assert not list(tmp_path.rglob(".clarivox-*"))


def test_a_full_disk_is_named_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "no room")

    monkeypatch.setattr("clarivox.io.atomic.sync", full)
    with pytest.raises(CapacityError, match="no room"):
        checkpoints.save(tmp_path / "checkpoint.pt", {"step": 1})


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer(tmp_path, 40).run()
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100])
    run = trainer(tmp_path, 40)
    run.resume()
    assert run.step == 20 and "checkpoint.previous.pt" in caplog.text


def test_a_checkpoint_with_a_changed_bit_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, {"step": 1})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="damaged") as caught:
        checkpoints.load(path)
    assert caught.value.code == "torn_checkpoint"


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, 20).run()
    with pytest.raises(TrainingError, match="another network") as caught:
        trainer(tmp_path, 20, network=nn.Conv2d(1, 1, 3, padding=1)).run()
    assert caught.value.code == "other_checkpoint"


class Poisoned(Doubling):
    """From a step on, inputs that are no numbers."""

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        inputs, targets = super().batch(number)
        return (inputs * float("nan") if number >= 25 else inputs), targets


def test_a_loss_that_is_no_number_stops_and_the_good_weights_stay(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="checkpoint of step 20 is kept") as caught:
        trainer(tmp_path, 60, train_dataset=Poisoned()).run()
    assert caught.value.code == "nan_loss"
    model = torch.load(tmp_path / "bundle/models/model.pt", weights_only=True)
    state = checkpoints.load(tmp_path / "checkpoint.pt")
    assert state is not None and state["step"] == 20
    assert all(bool(value.isfinite().all()) for value in (*model.values(), *state["network"].values()))


def test_weights_that_the_last_step_ruined_are_not_kept(tmp_path: Path) -> None:
    run = trainer(tmp_path, 40)
    ruined = run.optimizer.step

    def step() -> None:
        ruined()
        if run.step == 39:
            run.network.weight.data.fill_(float("nan"))  # type: ignore[union-attr,operator]

    run.optimizer.step = step  # type: ignore[method-assign,assignment]
    with pytest.raises(TrainingError, match="step 20 is kept"):
        run.run()
    state = checkpoints.load(tmp_path / "checkpoint.pt")
    assert state is not None and state["step"] == 20


def test_a_batch_that_does_not_fit_the_device_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(network: nn.Module, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(nn.Conv2d, "forward", full)
    with pytest.raises(CapacityError, match="smaller batch_size"):
        trainer(tmp_path, 20).run()


def scores(*values: float) -> Closeness:
    given = iter(values)

    class Given(Closeness):
        def __call__(self, network: nn.Module) -> float:
            return next(given)

    return Given()


def test_the_best_weights_are_kept_when_later_ones_are_worse(tmp_path: Path) -> None:
    run = trainer(tmp_path, 40, score=scores(1.0, 0.5))
    run.run()
    first = torch.load(tmp_path / "bundle/models/model.pt", weights_only=True)["weight"]
    assert run.best == 1.0
    assert not torch.equal(first.float(), run.averaged["weight"].half().float())


def test_the_last_weights_are_kept_where_the_score_does_not_say_what_is_wanted(tmp_path: Path) -> None:
    run = trainer(tmp_path, 40, score=scores(1.0, 0.5), keep="last")
    run.run()
    last = torch.load(tmp_path / "bundle/models/model.pt", weights_only=True)["weight"]
    assert torch.equal(last, run.averaged["weight"].half())


def test_training_ends_early_without_a_better_score_and_stays_ended(tmp_path: Path) -> None:
    run = trainer(tmp_path, 200, score=scores(1.0, 0.5, 0.6), patience=2)
    run.run()
    again = trainer(tmp_path, 200, score=scores(), patience=2)
    again.run()
    assert (run.step, again.step) == (60, 60)


def test_training_can_begin_with_weights_of_another(tmp_path: Path) -> None:
    given = nn.Conv2d(1, 1, 1)
    write_model(given, tmp_path / "bundle")
    run = trainer(tmp_path, 20, init_from=tmp_path / "bundle/models/model.pt")
    assert torch.equal(run.averaged["weight"], given.weight.detach().half().float())
    for wrong in (nn.Conv2d(1, 2, 1), None):
        if wrong is not None:
            write_model(wrong, tmp_path / "bundle")
        else:
            (tmp_path / "bundle/models/model.pt").write_text("no weights")
        with pytest.raises(BundleError, match="to begin with") as caught:
            trainer(tmp_path, 20, init_from=tmp_path / "bundle/models/model.pt")
        assert caught.value.code == "bad_weights"


def test_batches_made_ahead_in_other_processes_are_the_same(tmp_path: Path) -> None:
    alone, ahead = trainer(tmp_path / "a", 20), trainer(tmp_path / "b", 20, workers=1)
    alone.run()
    ahead.run()
    assert torch.equal(alone.averaged["weight"], ahead.averaged["weight"])


def test_the_log_and_the_pictures_say_how_it_went(tmp_path: Path) -> None:
    trainer(tmp_path, 40).run()
    rows = read_log(tmp_path / "bundle/docs/training.csv")
    assert [row.step for row in rows] == [20, 40]
    assert rows[1].score > rows[0].score and rows[1].loss < rows[0].loss and rows[1].seconds >= rows[0].seconds
    picture = np.asarray(Image.open(tmp_path / "pictures/step_000040.png"))
    assert picture.shape == (6, 18) and picture[:, 12:].max() == 255


def test_tensorboard_gets_curves_and_pictures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer(tmp_path, 40, tensorboard=tmp_path / "events").run()
    events = accumulator.EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in events.Scalars("score")] == [20, 40]
    assert events.Tags()["images"] == ["degraded, output, truth 0"]


def test_tensorboard_that_is_not_there_is_said_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(Exception, match="pip install") as caught:
        trainer(tmp_path, 20, tensorboard=tmp_path / "events")
    assert caught.value.code == "no_tensorboard"  # type: ignore[attr-defined]


def test_bfloat16_leaves_the_weights_in_single_precision(tmp_path: Path) -> None:
    run = trainer(tmp_path, 20, amp=True)
    run.run()
    assert {value.dtype for value in run.averaged.values()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_like_a_cpu_and_resumes(tmp_path: Path) -> None:
    cpu, gpu = trainer(tmp_path / "a", 40), trainer(tmp_path / "b", 40, device="cuda", workers=1)
    cpu.run()
    with pytest.raises(CancelledError):
        trainer(tmp_path / "b", 40, device="cuda", progress=lambda step: step.fraction < 0.5).run()
    gpu.run()
    assert gpu.from_step == 20
    assert torch.allclose(cpu.averaged["weight"], gpu.averaged["weight"].cpu(), atol=1e-4)


def test_a_noise_level_goes_to_the_network(tmp_path: Path) -> None:
    class Levelled(Doubling):
        def batch(self, number: int) -> tuple[Tensor, ...]:
            return (*super().batch(number), torch.full((4, 1, 1, 1), 3.0))

    class Net(nn.Conv2d):
        def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
            assert level is None or bool((level == 3).all())
            return super().forward(x)

    trainer(tmp_path, 20, train_dataset=Levelled(), network=Net(1, 1, 1)).run()


def test_rows_and_pictures_are_of_the_kinds_that_they_say() -> None:
    assert Row._fields == ("step", "loss", "score", "learning_rate", "seconds")
    assert Shown._fields == ("degraded", "output", "truth")
