# SPDX-License-Identifier: Apache-2.0
"""Filters without weights, as torch modules that a bundle names: the baselines that a network has to beat."""

from clarivox.classical.srad import Srad

__all__ = ["Srad"]
