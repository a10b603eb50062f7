# SPDX-License-Identifier: Apache-2.0
"""Transforms: one and its dictionary twin a file; the physics of degradation."""
