# SPDX-License-Identifier: Apache-2.0
"""Filters without weights, as torch modules that a bundle names: the baselines that a network has to beat.

The singular value filter, `clarivox.networks.svd.SvdFilter`, is another.
"""

from clarivox.classical.bicubic import Bicubic
from clarivox.classical.median import Median
from clarivox.classical.nlm import NonLocalMeans
from clarivox.classical.srad import Srad
from clarivox.classical.tv import TotalVariation
from clarivox.classical.wavelet import WaveletShrinkage

__all__ = ["Bicubic", "Median", "NonLocalMeans", "Srad", "TotalVariation", "WaveletShrinkage"]
