# SPDX-License-Identifier: Apache-2.0
"""The bundles that ship with clarivox, as package data."""
