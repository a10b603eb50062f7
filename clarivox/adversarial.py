# SPDX-License-Identifier: Apache-2.0
"""A discriminator that learns beside a network, and whose verdict becomes part of the network's loss."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn

from clarivox import parallel
from clarivox.errors import OptionError


class Opponent:
    """Learns to tell a network's results from true images; give it to `clarivox.training.Trainer` as `opponent`.

    A network that is trained against one invents what looks true. Its output must say so.

    Args:
        network: the discriminator; gives verdicts for patches, last in a list as MONAI's PatchDiscriminator does.
        weight: of the verdict in the network's loss.
        learning_rate: of the discriminator's own Adam.
        criterion: of MONAI's PatchAdversarialLoss: "least_squares", "hinge" or "bce".
        begin: steps before the discriminator joins in.

    Raises:
        OptionError: an argument is out of range.

    Source:
        Ledig et al., Photo-realistic single image super-resolution using a generative adversarial network, CVPR 2017;
        Isola et al., Image-to-image translation with conditional adversarial networks, CVPR 2017.
    """

    def __init__(
        self,
        network: nn.Module,
        weight: float = 1e-3,
        learning_rate: float = 1e-4,
        criterion: str = "least_squares",
        begin: int = 0,
    ) -> None:
        if weight < 0 or learning_rate <= 0 or begin < 0:
            raise OptionError(
                f"weight and begin must be 0 or more, learning_rate above 0; found {weight}, {begin}, {learning_rate}"
            )
        self.network, self.weight, self.begin = network, weight, begin
        self.criterion = PatchAdversarialLoss(criterion=criterion)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))

    def to(self, device: torch.device) -> None:
        """Moves the discriminator."""
        self.network.to(device)

    def cost(self, outputs: Tensor) -> Tensor:
        """What the verdict adds to the network's loss."""
        self.network.requires_grad_(False)
        verdict = self.criterion(self._verdict(outputs), target_is_real=True, for_discriminator=False)
        self.network.requires_grad_(True)
        weighted: Tensor = self.weight * verdict
        return weighted

    def learn(self, outputs: Tensor, targets: Tensor) -> None:
        """One step of the discriminator on results (N, C, *spatial) and true images."""
        self.optimizer.zero_grad(set_to_none=True)
        false = self.criterion(self._verdict(outputs.detach()), target_is_real=False, for_discriminator=True)
        true = self.criterion(self._verdict(targets), target_is_real=True, for_discriminator=True)
        loss = 0.5 * (false + true)
        loss.backward()
        parallel.average_gradients(self.network, loss)
        self.optimizer.step()

    def _verdict(self, images: Tensor) -> Tensor:
        given = self.network(images)
        verdict: Tensor = given[-1] if isinstance(given, list | tuple) else given
        return verdict.float()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
