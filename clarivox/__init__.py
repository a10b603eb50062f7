# SPDX-License-Identifier: Apache-2.0
"""Medical image enhancement: the geometry kept, every change shown."""

from importlib.metadata import version

__version__ = version("clarivox")
