# SPDX-License-Identifier: Apache-2.0
"""The routes, one family a module."""
