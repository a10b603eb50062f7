# SPDX-License-Identifier: Apache-2.0
"""A worker as the server's own, but that a test says when its jobs go on, and by a job's tag `fault` how they fail.

A job that is about to be enhanced waits while the file `HOLD` lies in the server's data folder, and says meanwhile
that it goes on; a fault happens in the first attempt only.
"""

import os
import signal
import time
from contextlib import suppress

from clarivox.progress import Step
from clarivox.server import work
from clarivox.server.worker import main

HOLD = "hold"
ALWAYS = ("poison", "limited")

_enhanced_one = work.enhanced_one


def limited(bundle, most_voxels):
    """A device that has room for windows of so many voxels only."""
    import torch

    def look(_module, inputs):
        if inputs[0].numel() > most_voxels:
            raise torch.OutOfMemoryError("made up")

    return bundle.network.register_forward_pre_hook(look)


def allowed(hold):
    """How many jobs may pass, or None where nothing is held."""
    with suppress(FileNotFoundError):
        return int(hold.read_text() or 0)
    return None


def wait(task, hold):
    """Stand at the first step until the file is gone, or the job has to stop; so many as it says go through before."""
    follow = task.share(0, 1)
    while (left := allowed(hold)) is not None:
        if left > 0:
            hold.write_text(str(left - 1))
            return
        if not follow(Step("enhance", 0.001, 5.0)):
            task.alive()
        time.sleep(0.02)


def enhanced_one(task, shop, bundle, given, tale):
    fault = task.job.tags.get("fault")
    hook = None
    if fault in ALWAYS or task.job.attempt == 1:
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "poison":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif fault == "hangs":
            time.sleep(1000)
        elif fault == "frozen":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fault == "sticky":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        elif fault == "stranger":
            raise ValueError("PATIENT^NAME")
        elif fault == "reader":
            os.kill(task.child.pid, signal.SIGKILL)
        elif fault == "limited":
            hook = limited(bundle, 40_000)
    wait(task, shop.settings.data_dir / HOLD)
    try:
        return _enhanced_one(task, shop, bundle, given, tale)
    finally:
        if hook is not None:
            hook.remove()


if __name__ == "__main__":
    work.enhanced_one = enhanced_one
    main()
