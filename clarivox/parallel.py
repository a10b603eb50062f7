# SPDX-License-Identifier: Apache-2.0
"""One training on several processes, each with its share of every batch: the same steps as one process, sooner.

`configs/multi_gpu_train.yaml` of a bundle, laid over its train.yaml, calls `join` and `leave`; torchrun starts the
processes. Layers whose result depends on the other patches of a batch (batch normalisation) see their share only.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, distributed, nn

from clarivox.errors import OptionError


def join() -> str:
    """Joins the processes that torchrun started: nccl on CUDA, gloo on CPUs.

    Returns:
        The device of this process.

    Raises:
        OptionError: torchrun did not start this process (code no_torchrun).
    """
    if "LOCAL_RANK" not in os.environ:
        raise OptionError(
            "multi_gpu_train.yaml is for torchrun: torchrun --nproc_per_node=2 -m monai.bundle run …",
            code="no_torchrun",
        )
    here = int(os.environ["LOCAL_RANK"])
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(here)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if cuda else "gloo")
    return f"cuda:{here}" if cuda else "cpu"


def leave() -> None:
    """Ends the work in common, after the others have come this far."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def place() -> tuple[int, int]:
    """Which of how many processes this is.

    >>> place()
    (0, 1)
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def share(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """This process's part of a batch: each n-th patch.

    Raises:
        OptionError: the patches cannot be dealt out evenly (code uneven_batch).
    """
    rank, world = place()
    if world > 1 and len(batch[0]) % world:
        raise OptionError(
            f"a batch of {len(batch[0])} patches cannot be dealt out evenly to {world} processes; "
            "choose a batch_size that is a multiple",
            code="uneven_batch",
        )
    return tuple(part[rank::world] for part in batch)


def average_gradients(network: nn.Module, loss: Tensor) -> Tensor:
    """Replaces every gradient by its mean over the processes.

    Args:
        network: after `backward` of this process's loss.
        loss: of this process.

    Returns:
        The mean loss.
    """
    _, world = place()
    if world == 1:
        return loss
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = torch.cat([loss.detach().reshape(1), *[gradient.reshape(-1) for gradient in gradients]])
    distributed.all_reduce(flat)
    flat /= world
    parts = torch.split(flat[1:], [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.reshape(gradient.shape))
    return flat[0]


def agreed(value: float, device: torch.device) -> float:
    """The first process's number, in all of them."""
    if place()[1] == 1:
        return value
    told = torch.tensor([value], dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return float(told)
