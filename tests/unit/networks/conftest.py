# SPDX-License-Identifier: Apache-2.0
import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Untrained weights are the same in every run."""
    torch.manual_seed(0)
